//! Strings that are written without quotes of JSON, held to their schema by an expression.

use serde_json::Value;

use super::lark::{ANY, escaped};
use crate::error::{Error, Result};
use crate::reply::tools::{followed, may_be_string};

/// An expression that a string by this schema, which stands in `root`, matches as a whole. Other values that the schema
/// allows do not matter.
///
/// # Errors
/// `Unsupported` for a pattern that cannot be written in an expression of Lark, and for what strings are not held to.
pub(super) fn expression(schema: &Value, root: &Value) -> Result<String> {
    expression_in(schema, root, 0)
}

/// As deep as types are looked for (`tools`).
const DEEPEST: u32 = 8;

fn expression_in(schema: &Value, root: &Value, depth: u32) -> Result<String> {
    let schema = followed(schema, root);
    let list = |key: &str| schema.get(key).and_then(Value::as_array);
    if let Some(text) = schema.get("const").and_then(Value::as_str) {
        return Ok(escaped(text));
    }
    if let Some(values) = list("enum") {
        return either(values.iter().filter_map(Value::as_str).map(|text| Ok(escaped(text))));
    }
    if let (Some(all), None) = (list("anyOf").or(list("oneOf")), schema.get("type")) {
        let strings = all.iter().filter(|s| may_be_string(s, root));
        return if depth < DEEPEST {
            either(strings.map(|s| expression_in(s, root, depth + 1)))
        } else {
            Ok(ANY.to_owned())
        };
    }
    let count = |key: &str| schema.get(key).and_then(Value::as_u64);
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        if count("minLength").or(count("maxLength")).is_some() {
            return Err(unsupported("pattern together with a length"));
        }
        return self::pattern(pattern);
    }
    Ok(match (count("minLength"), count("maxLength")) {
        (None, None) => ANY.to_owned(),
        (min, max) => {
            let (min, max) = (min.unwrap_or(0), max.map(|n| n.to_string()).unwrap_or_default());
            format!("[\\x{{0}}-\\x{{10FFFF}}]{{{min},{max}}}")
        }
    })
}

fn either(all: impl Iterator<Item = Result<String>>) -> Result<String> {
    let all = all.collect::<Result<Vec<_>>>()?;
    Ok(if all.is_empty() { ANY.to_owned() } else { format!("({})", all.join("|")) })
}

/// A pattern counts anywhere in a string, if it is not anchored.
fn pattern(pattern: &str) -> Result<String> {
    if pattern.contains(['\n', '\r']) {
        return Err(unsupported("a pattern of more than one line"));
    }
    let start = pattern.starts_with('^');
    let end = pattern.ends_with('$') && !pattern.ends_with("\\$");
    let inner = &pattern[usize::from(start)..pattern.len() - usize::from(end)];
    let mut out = String::from(if start { "" } else { ANY });
    out.push_str("(?:");
    let mut escape = false;
    for c in inner.chars() {
        // A slash would end the expression.
        if c == '/' && !escape {
            out.push('\\');
        }
        escape = c == '\\' && !escape;
        out.push(c);
    }
    out.push(')');
    out.push_str(if end { "" } else { ANY });
    Ok(out)
}

fn unsupported(what: &str) -> Error {
    let text = format!("{what} cannot be held in strings that the model writes without quotes");
    Error::unsupported(text).subject("tools")
}
