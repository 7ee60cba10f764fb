//! Arguments that stand between markers, each for itself: `<parameter=city>Paris</parameter>`.
//!
//! They become a JSON object. A value that the tool's schema calls a string goes out as it comes; another one waits for
//! its end, and is JSON if it reads as JSON.

use std::sync::Arc;

use super::format::Tagged;
use super::json::{escape, is_space, is_value};
use super::markers::{At, Markers};
use super::part::{Outcome, Part};
use super::tools::{Tools, Type};

/// The most bytes of a key, and of what stands between it and its value.
const LONGEST: usize = 1024;

#[derive(Clone)]
enum Place {
    /// Between two arguments.
    Between,
    Key,
    /// Behind the key, before the marker that opens the value.
    Attributes,
    /// At the first byte of a value.
    Start,
    Value,
}

#[derive(Clone)]
pub(super) struct TaggedBody {
    place: Place,
    tool: String,
    tools: Arc<Tools>,
    open: Markers<()>,
    key_end: Markers<()>,
    value_open: Markers<()>,
    close: Markers<()>,
    lines: bool,
    begun: bool,
    /// An argument was read.
    more: bool,
    key: String,
    attributes: String,
    kind: Type,
    /// A value that waits for its end.
    value: String,
}

fn one(text: &str) -> Markers<()> {
    Markers::new([(text.to_owned(), ())])
}

impl TaggedBody {
    pub fn new(spec: &Tagged, tool: &str, tools: &Arc<Tools>) -> TaggedBody {
        let mut close = vec![(spec.close.clone(), ())];
        if spec.lines {
            close.push((format!("\n{}", spec.close), ()));
        }
        TaggedBody {
            place: Place::Between,
            tool: tool.to_owned(),
            tools: tools.clone(),
            open: one(&spec.open),
            key_end: one(&spec.key_end),
            value_open: one(&spec.value_open),
            close: Markers::new(close),
            lines: spec.lines,
            begun: false,
            more: false,
            key: String::new(),
            attributes: String::new(),
            kind: Type::Unknown,
            value: String::new(),
        }
    }

    /// An argument opens here.
    pub fn opens(&self, text: &str, last: bool) -> At<()> {
        self.open.at(text, last)
    }

    pub fn push(&mut self, text: &str, last: bool, out: &mut Vec<Part>) -> (usize, Option<Outcome>) {
        let mut json = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            json.push('{');
        }
        let mut at = 0;
        let outcome = loop {
            let rest = &text[at..];
            match self.step(rest, last, &mut json) {
                Ok(used) => at += used,
                Err((used, outcome)) => {
                    at += used;
                    break outcome;
                }
            }
        };
        if outcome == Outcome::Whole {
            json.push('}');
        }
        if !json.is_empty() {
            out.push(Part::Arguments(json));
        }
        (at, Some(outcome))
    }

    /// One step; the error is where reading stops, and why.
    fn step(&mut self, text: &str, last: bool, json: &mut String) -> Result<usize, (usize, Outcome)> {
        let stops = |n| (n, if last { Outcome::Bad } else { Outcome::More });
        match self.place {
            Place::Between => {
                let spaces = text.bytes().take_while(|b| is_space(*b)).count();
                match self.open.at(&text[spaces..], last) {
                    At::Perhaps => Err((spaces, Outcome::More)),
                    At::Nothing => Err((spaces, Outcome::Whole)),
                    At::Marker(len, ()) => {
                        self.key.clear();
                        self.attributes.clear();
                        self.place = Place::Key;
                        Ok(spaces + len)
                    }
                }
            }
            Place::Key | Place::Attributes => {
                let in_key = matches!(self.place, Place::Key);
                let marker = if in_key { &self.key_end } else { &self.value_open };
                let (n, found) = marker.find(text, last);
                let into = if in_key { &mut self.key } else { &mut self.attributes };
                into.push_str(&text[..n]);
                if into.len() > LONGEST {
                    return Err((n, Outcome::Bad));
                }
                let At::Marker(len, ()) = found else { return Err(stops(n)) };
                self.place = if in_key && !self.value_open.is_empty() { Place::Attributes } else { Place::Start };
                Ok(n + len)
            }
            Place::Start => {
                if text.is_empty() && !last {
                    return Err((0, Outcome::More));
                }
                self.kind = match self.attributes.trim() {
                    "string=\"true\"" => Type::String,
                    "string=\"false\"" => Type::Other,
                    _ => self.tools.type_of(&self.tool, self.key.trim()),
                };
                if std::mem::replace(&mut self.more, true) {
                    json.push(',');
                }
                json.push('"');
                escape(self.key.trim(), json);
                json.push_str("\":");
                if self.kind == Type::String {
                    json.push('"');
                }
                self.value.clear();
                self.place = Place::Value;
                // Only a closing marker without a line break of its own can follow at once.
                let line = self.lines && text.starts_with('\n');
                Ok(usize::from(line))
            }
            Place::Value => {
                let (n, found) = self.close.find(text, last);
                if self.kind == Type::String {
                    escape(&text[..n], json);
                } else {
                    self.value.push_str(&text[..n]);
                }
                let At::Marker(len, ()) = found else { return Err(stops(n)) };
                if self.kind == Type::String {
                    json.push('"');
                } else {
                    value(&std::mem::take(&mut self.value), json);
                }
                self.place = Place::Between;
                Ok(n + len)
            }
        }
    }
}

/// A value of no known type: JSON, a word of Python's, or a string.
fn value(text: &str, json: &mut String) {
    let word = text.trim();
    match word {
        "True" => json.push_str("true"),
        "False" => json.push_str("false"),
        "None" => json.push_str("null"),
        _ if is_value(word) => json.push_str(word),
        _ => {
            json.push('"');
            escape(text, json);
            json.push('"');
        }
    }
}
