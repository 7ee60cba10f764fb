//! Arguments that stand between markers, each for itself: `<parameter=city>Paris</parameter>`.
//!
//! They become a JSON object. A value that the tool's schema calls a string goes out as it comes; another one waits for
//! its end, and is JSON if it reads as JSON.

use std::sync::Arc;

use super::escapes::escape;
use super::format::Tagged;
use super::json::{Scan, Scanner, is_space, is_value};
use super::loose::LooseBody;
use super::markers::{At, Markers};
use super::part::{Outcome, Part, within};
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
    /// A value that waits for its end, and where its JSON stands, as long as it is some.
    value: String,
    json: Option<Scanner>,
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
            json: None,
        }
    }

    /// Adds to the value that waits.
    fn take(&mut self, text: &str) {
        self.value.push_str(text);
        let is_json = |json: &mut Scanner| text.bytes().all(|b| json.push(b) == Scan::More);
        self.json = self.json.take().and_then(|mut json| is_json(&mut json).then_some(json));
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
                let fits = within(into.len(), &text[..n], LONGEST);
                into.push_str(&text[..fits]);
                if into.len() > LONGEST {
                    return Err((fits, Outcome::Bad));
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
                self.json = (self.kind == Type::Other).then(Scanner::new);
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
                    self.take(&text[..n]);
                }
                let At::Marker(len, ()) = found else { return Err(stops(n)) };
                if self.json.as_ref().is_some_and(Scanner::is_in_string) {
                    // A string of the value's JSON may hold the marker.
                    let one = n + text[n..].chars().next().map_or(0, char::len_utf8);
                    self.take(&text[n..one]);
                    return Ok(one);
                }
                if self.kind == Type::String {
                    json.push('"');
                } else {
                    value(&std::mem::take(&mut self.value), self.kind, json);
                }
                self.place = Place::Between;
                Ok(n + len)
            }
        }
    }
}

/// A value in Python's notation, of which some templates make use.
fn python(text: &str, json: &mut String) -> bool {
    let (mut body, mut parts) = (LooseBody::new(b')'), Vec::new());
    let whole = format!("value={text})");
    if body.push(&whole, true, &mut parts) != (whole.len(), Some(Outcome::Whole)) {
        return false;
    }
    let all: String =
        parts.into_iter().filter_map(|p| if let Part::Arguments(t) = p { Some(t) } else { None }).collect();
    let value = all.strip_prefix("{\"value\":").and_then(|all| all.strip_suffix('}'));
    // More than one value may have been read.
    match value.filter(|v| is_value(v)) {
        Some(value) => json.push_str(value),
        None => return false,
    }
    true
}

/// A value that is no string: JSON, Python, or a string for all that.
fn value(text: &str, kind: Type, json: &mut String) {
    let word = text.trim();
    match word {
        "True" => json.push_str("true"),
        "False" => json.push_str("false"),
        "None" => json.push_str("null"),
        _ if is_value(word) => json.push_str(word),
        _ if kind == Type::Other && python(word, json) => {}
        _ => {
            json.push('"');
            escape(text, json);
            json.push('"');
        }
    }
}
