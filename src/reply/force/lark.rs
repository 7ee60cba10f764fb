//! A grammar in Lark, written rule by rule.
//!
//! A grammar cannot spell control tokens; it names them. So a marker is taken apart where such tokens stand in it.

use std::collections::HashMap;
use std::fmt::Write;

use regex::Regex;
use serde_json::Value;

use crate::error::Result;
use crate::grammar::prepare_schema;
use crate::vocab::{TokenType, Vocab};

/// Any text.
pub(super) const ANY: &str = "[\\x{0}-\\x{10FFFF}]*";

pub(super) struct Lark<'a> {
    vocab: &'a Vocab,
    /// The texts of control tokens and of those that end a generation.
    controls: Vec<(String, i32)>,
    rules: String,
    n_rules: usize,
    /// Rules by what they say.
    known: HashMap<String, String>,
}

enum Piece<'t> {
    Text(&'t str),
    Token(i32),
}

impl Lark<'_> {
    pub fn new(vocab: &Vocab) -> Lark<'_> {
        let control = |id: &i32| {
            let kind = vocab.token_type(*id).ok()?;
            let text = std::str::from_utf8(vocab.token_text(*id).ok()?).ok()?;
            let named = kind == TokenType::Control || vocab.is_eog(*id);
            (named && !text.is_empty()).then(|| (text.to_owned(), *id))
        };
        let controls = (0..vocab.n_tokens() as i32).filter_map(|id| control(&id)).collect();
        Lark { vocab, controls, rules: String::from("WS: /[ \\t\\r\\n]{1,8}/\n"), n_rules: 0, known: HashMap::new() }
    }

    /// The whole grammar, which begins with `start`.
    pub fn finish(self, start: &str) -> String {
        format!("start: {start}\n{}", self.rules)
    }

    /// A name for a rule that `define` writes.
    pub fn name(&mut self) -> String {
        self.n_rules += 1;
        format!("r{}", self.n_rules)
    }

    pub fn define(&mut self, name: &str, body: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.rules, "{name}: {body}");
    }

    /// The name of a rule that says this.
    pub fn rule(&mut self, body: &str) -> String {
        let name = self.name();
        self.once(name, ": ", body)
    }

    /// The name of an expression; names of these are written in capitals.
    fn terminal(&mut self, body: &str) -> String {
        let name = self.name().to_uppercase();
        self.once(name, ": ", body)
    }

    /// The name under which this is defined, which is a new one only the first time.
    fn once(&mut self, name: String, between: &str, body: &str) -> String {
        if let Some(name) = self.known.get(body) {
            return name.clone();
        }
        // Writing to a String cannot fail.
        let _ = writeln!(self.rules, "{name}{between}{body}");
        self.known.insert(body.to_owned(), name.clone());
        name
    }

    /// True the first time: then the rule of this name is to be defined.
    pub fn is_new(&mut self, name: &str) -> bool {
        self.known.insert(name.to_owned(), name.to_owned()).is_none()
    }

    /// A marker.
    pub fn marker(&self, text: &str) -> String {
        let spell = |piece| match piece {
            Piece::Text(text) => quoted(text),
            Piece::Token(id) => format!("<[{id}]>"),
        };
        self.pieces(text).into_iter().map(spell).collect::<Vec<_>>().join(" ")
    }

    /// A marker behind which nothing needs to follow: nothing at all if it ends with a token that ends a generation,
    /// since the end may come wherever a text is complete.
    pub fn last_marker(&self, text: &str) -> String {
        match self.pieces(text.trim()).last() {
            None => String::new(),
            Some(Piece::Token(id)) if self.vocab.is_eog(*id) => String::new(),
            Some(_) => format!("WS? {}", self.marker(text.trim())),
        }
    }

    /// A text that matches an expression, up to a marker, and the marker.
    pub fn until(&mut self, expression: &str, end: &str) -> String {
        self.until_behind(expression, "", end)
    }

    /// The same with a text before the marker, as a line break, that belongs to it.
    pub fn until_behind(&mut self, expression: &str, before: &str, marker: &str) -> String {
        let end = &format!("{before}{marker}");
        let pieces = self.pieces(end);
        let Some(Piece::Text(first)) = pieces.first() else {
            // Spelled in letters, the marker ends a text for a reader, too. An expression by itself must not match
            // nothing.
            let empty = can_be_empty(expression);
            let some = if empty { " & /[\\x{0}-\\x{10FFFF}]+/" } else { "" };
            let text = self.terminal(&format!("/(?:{expression})/{}{some}", without(end)));
            return format!("{text}{} {}", if empty { "?" } else { "" }, self.marker(end));
        };
        // The first marker ends the text, also where that would be too short.
        let never = if before.is_empty() { first } else { marker };
        let without = if expression == ANY { String::new() } else { without(never) };
        let (first, rest) = (quoted(first), end[first.len()..].to_owned());
        let name = self.name();
        let name = self.once(name, "", &format!("[suffix={first}]: /(?:{expression})/{without}"));
        if rest.is_empty() { name } else { format!("{name} {}", self.marker(&rest)) }
    }

    /// JSON by a schema.
    ///
    /// # Errors
    /// As for [`prepare_schema`].
    pub fn json(&mut self, schema: Value) -> Result<String> {
        let schema = prepare_schema(schema)?;
        Ok(self.rule(&format!("%json {schema}")))
    }

    fn pieces<'t>(&self, text: &'t str) -> Vec<Piece<'t>> {
        let (mut pieces, mut from, mut at) = (Vec::new(), 0, 0);
        while let Some(c) = text[at..].chars().next() {
            let here = self.controls.iter().filter(|(t, _)| text[at..].starts_with(t.as_str()));
            match here.max_by_key(|(t, _)| t.len()) {
                None => at += c.len_utf8(),
                Some((token, id)) => {
                    if from < at {
                        pieces.push(Piece::Text(&text[from..at]));
                    }
                    pieces.push(Piece::Token(*id));
                    at += token.len();
                    from = at;
                }
            }
        }
        if from < at {
            pieces.push(Piece::Text(&text[from..]));
        }
        pieces
    }
}

/// A text that is written as it stands.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A text inside an expression.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = write!(out, "\\x{{{:X}}}", c as u32);
    }
    out
}

/// A condition of expressions: the text does not hold this one.
fn without(text: &str) -> String {
    format!(" & ~/{ANY}{}{ANY}/", escaped(text))
}

/// The empty text matches an expression. One that is none is refused by the compiler later.
fn can_be_empty(expression: &str) -> bool {
    expression == ANY || Regex::new(&format!("^(?:{expression})$")).is_ok_and(|r| r.is_match(""))
}
