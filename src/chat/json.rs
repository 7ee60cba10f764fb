//! JSON becomes values of a template, and values become JSON as Python's `json.dumps` writes it.

use std::fmt::Write;

use minijinja::value::ValueKind;
use minijinja::{Error as Wrong, ErrorKind, Value};
use serde_json::Value as Json;

use super::pay::TooMuch;
use crate::error::{Error, Result};
use crate::memory;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Array,
    Object,
}

/// Reads the parameter `name`, which must be an array or an object.
pub(super) fn parse(text: &str, name: &str, kind: Kind) -> Result<Json> {
    let parsed: Json =
        serde_json::from_str(text).map_err(|e| Error::invalid(format!("{name} is no JSON: {e}")).subject(name))?;
    let (fits, want) = match kind {
        Kind::Array => (parsed.is_array(), "an array"),
        Kind::Object => (parsed.is_object(), "an object"),
    };
    if !fits {
        return Err(Error::invalid(format!("{name} is JSON, but not {want} as expected")).subject(name));
    }
    Ok(parsed)
}

/// The value that a template sees. Objects keep the order of the text.
pub(super) fn value(json: &Json) -> Value {
    match json {
        Json::Null => ().into(),
        Json::Bool(b) => (*b).into(),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => i.into(),
            (_, Some(u)) => u.into(),
            _ => n.as_f64().unwrap_or(f64::NAN).into(),
        },
        Json::String(s) => s.as_str().into(),
        Json::Array(a) => a.iter().map(value).collect(),
        Json::Object(o) => Value::from_pairs(o.iter().map(|(k, v)| (k.clone(), value(v)))),
    }
}

/// The parameters of `json.dumps`.
pub(super) struct Style {
    pub ensure_ascii: bool,
    /// The text that indents one level; `None` writes all in one line.
    pub indent: Option<String>,
    pub between_items: String,
    pub after_key: String,
    pub sort_keys: bool,
}

impl Style {
    pub fn dumps(&self, value: &Value) -> std::result::Result<String, Wrong> {
        let mut out = String::new();
        self.write(&mut out, value, 0)?;
        Ok(out)
    }

    fn write(&self, out: &mut String, value: &Value, depth: usize) -> std::result::Result<(), Wrong> {
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&number(value)),
            ValueKind::String => self.string(out, value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list(out, ('[', ']'), depth, &items, |s, out, item| s.write(out, item, depth + 1))?;
            }
            ValueKind::Map => {
                let mut pairs = Vec::new();
                for key in value.try_iter()? {
                    let v = value.get_item(&key)?;
                    let text = match key.kind() {
                        ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
                        ValueKind::None => "null".to_owned(),
                        ValueKind::Bool => key.is_true().to_string(),
                        _ => number(&key),
                    };
                    pairs.push((text, v));
                }
                if self.sort_keys {
                    pairs.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.list(out, ('{', '}'), depth, &pairs, |s, out, (key, v)| {
                    s.string(out, key);
                    out.push_str(&s.after_key);
                    s.write(out, v, depth + 1)
                })?;
            }
            kind => {
                return Err(Wrong::new(
                    ErrorKind::InvalidOperation,
                    format!("tojson: a value that is {kind} has no JSON"),
                ));
            }
        }
        Ok(())
    }

    fn list<T>(
        &self,
        out: &mut String,
        (open, close): (char, char),
        depth: usize,
        items: &[T],
        mut item: impl FnMut(&Self, &mut String, &T) -> std::result::Result<(), Wrong>,
    ) -> std::result::Result<(), Wrong> {
        out.push(open);
        for (i, one) in items.iter().enumerate() {
            if i > 0 {
                out.push_str(&self.between_items);
            }
            self.line(out, depth + 1);
            if !memory::has_room(0) {
                return Err(Wrong::new(ErrorKind::InvalidOperation, "a value").with_source(TooMuch));
            }
            item(self, out, one)?;
        }
        if !items.is_empty() {
            self.line(out, depth);
        }
        out.push(close);
        Ok(())
    }

    fn line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    }

    fn string(&self, out: &mut String, text: &str) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

/// As Python's `repr` writes numbers.
pub(super) fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(x) = f64::try_from(value.clone()) else { return value.to_string() };
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let text = format!("{x:?}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, n) = exponent.strip_prefix('-').map_or(('+', exponent), |n| ('-', n));
            format!("{digits}e{sign}{n:0>2}")
        }
        None => text,
    }
}
