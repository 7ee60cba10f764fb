//! A call that is a JSON object: {"name": "f", "arguments": {…}}.
//!
//! The members may come in any order. Arguments that come before the name wait for it; otherwise they go out as they
//! come, in the model's own words. The name may stand in an object inside ("function": {…}), and arguments may be a
//! string that holds JSON.

use std::sync::Arc;

use super::escapes::Unescape;
use super::json::{Scan, Scanner, is_space};
use super::part::{Outcome, Part};
use super::tools::Tools;

/// The most bytes of a key, a name or an id.
const LONGEST: usize = 1024;

#[derive(Clone, Copy, PartialEq)]
enum Member {
    Name,
    Id,
    Arguments,
    Function,
    Other,
}

fn member(key: &str) -> Member {
    match key {
        "name" | "tool_name" => Member::Name,
        "arguments" | "parameters" | "args" => Member::Arguments,
        "id" | "tool_call_id" | "call_id" => Member::Id,
        "function" => Member::Function,
        _ => Member::Other,
    }
}

#[derive(Clone)]
enum Place {
    Open,
    /// Before a key; `true`: the object may also end here.
    Key(bool),
    InKey(Scanner),
    Colon,
    Value,
    /// In a value; `true`: it is a string.
    In(Scanner, bool),
    Behind,
}

#[derive(Clone)]
pub(super) struct ObjectBody {
    place: Place,
    /// Open brackets of objects that hold members of a call.
    depth: u32,
    /// The member whose value comes.
    member: Member,
    /// The key, name or id so far, and the bytes that were read of it.
    text: String,
    read: usize,
    unescape: Unescape,
    id: Option<String>,
    name: Option<String>,
    /// Arguments that came before the name.
    waiting: String,
    has_arguments: bool,
    /// The name was told.
    told: bool,
    /// The only tools that it may call.
    only: Option<Arc<Tools>>,
}

impl ObjectBody {
    pub fn new(only: Option<Arc<Tools>>) -> ObjectBody {
        ObjectBody {
            place: Place::Open,
            depth: 0,
            member: Member::Other,
            text: String::new(),
            read: 0,
            unescape: Unescape::default(),
            id: None,
            name: None,
            waiting: String::new(),
            has_arguments: false,
            told: false,
            only,
        }
    }

    pub fn push(&mut self, text: &str, out: &mut Vec<Part>) -> (usize, Outcome) {
        let mut at = 0;
        while at < text.len() {
            match self.step(text, at, out) {
                Ok(next) if self.depth == 0 && !matches!(self.place, Place::Open) => return (next, self.end(out)),
                Ok(next) => at = next,
                Err(bad) => return (bad, Outcome::Bad),
            }
        }
        (at, Outcome::More)
    }

    /// Takes a byte, or all of `text` that belongs to a value. The error is where it is no call any more.
    fn step(&mut self, text: &str, at: usize, out: &mut Vec<Part>) -> Result<usize, usize> {
        let b = text.as_bytes()[at];
        match &mut self.place {
            Place::InKey(_) | Place::In(..) => return self.value(text, at, out),
            _ if is_space(b) => {}
            Place::Open if b == b'{' => (self.place, self.depth) = (Place::Key(true), 1),
            Place::Key(_) if b == b'"' => {
                let mut scanner = Scanner::new();
                scanner.push(b);
                self.text.clear();
                self.read = 0;
                self.place = Place::InKey(scanner);
            }
            Place::Key(true) | Place::Behind if b == b'}' => (self.depth, self.place) = (self.depth - 1, Place::Behind),
            Place::Behind if b == b',' => self.place = Place::Key(false),
            Place::Colon if b == b':' => self.place = Place::Value,
            Place::Value => {
                let mut again = self.member == Member::Arguments && self.has_arguments;
                again |= self.member == Member::Name && self.name.is_some();
                match (self.member, b) {
                    (_, _) if again => self.member = Member::Other,
                    (Member::Function, b'{') => {
                        (self.depth, self.place) = (self.depth + 1, Place::Key(true));
                        return Ok(at + 1);
                    }
                    (Member::Function, b'"') if self.name.is_none() => self.member = Member::Name,
                    (Member::Function, _) => self.member = Member::Other,
                    (Member::Id, b) if b != b'"' => self.member = Member::Other,
                    (Member::Name, b) if b != b'"' => return Err(at),
                    (Member::Arguments, _) => {
                        self.has_arguments = true;
                        self.tell(out);
                    }
                    _ => {}
                }
                self.text.clear();
                self.read = 0;
                self.unescape = Unescape::default();
                self.place = Place::In(Scanner::new(), b == b'"');
                // The quote itself is not part of what a string says.
                let Place::In(scanner, true) = &mut self.place else { return self.value(text, at, out) };
                scanner.push(b);
            }
            _ => return Err(at),
        }
        Ok(at + 1)
    }

    /// Reads on in a key or a value, until it ends or `text` does.
    fn value(&mut self, text: &str, from: usize, out: &mut Vec<Part>) -> Result<usize, usize> {
        let (scanner, is_key, string) = match &mut self.place {
            Place::InKey(s) => (s, true, true),
            Place::In(s, string) => (s, false, *string),
            _ => return Err(from),
        };
        let (mut at, mut ends, mut bad, mut quote) = (from, false, false, 0);
        let is_short = is_key || matches!(self.member, Member::Name | Member::Id);
        while at < text.len() && !ends && !bad {
            if is_short && self.read + at - from >= LONGEST && text.is_char_boundary(at) {
                return Err(at);
            }
            match scanner.push(text.as_bytes()[at]) {
                Scan::More => at += 1,
                Scan::Ends => (at, ends, quote) = (at + 1, true, usize::from(string)),
                Scan::Ended => ends = true,
                Scan::Bad => bad = true,
            }
        }
        self.read += at - from;
        let piece = &text[from..at - quote];
        let told = is_key || self.member != Member::Other;
        let mut said = String::new();
        if string && told {
            self.unescape.push(piece, &mut said);
            if ends {
                self.unescape.end(&mut said);
            }
        } else if told {
            said.push_str(piece);
        }
        if !is_key && self.member == Member::Arguments {
            self.argument(said, out);
        } else {
            self.text.push_str(&said);
        }
        if bad || (ends && !self.ends(is_key)) {
            return Err(at);
        }
        Ok(at)
    }

    /// A key or a value has ended. False: there is no such tool.
    fn ends(&mut self, is_key: bool) -> bool {
        if is_key {
            self.member = member(&self.text);
            self.place = Place::Colon;
            return true;
        }
        self.place = Place::Behind;
        let text = std::mem::take(&mut self.text);
        match self.member {
            Member::Name if text.is_empty() || self.only.as_ref().is_some_and(|t| !t.has(&text)) => return false,
            Member::Name => self.name = Some(text),
            Member::Id if !text.is_empty() => self.id = Some(text),
            _ => {}
        }
        true
    }

    fn argument(&mut self, piece: String, out: &mut Vec<Part>) {
        if !self.told {
            self.waiting.push_str(&piece);
        } else if !piece.is_empty() {
            out.push(Part::Arguments(piece));
        }
    }

    /// Tells the name once it is known.
    fn tell(&mut self, out: &mut Vec<Part>) {
        let Some(name) = self.name.clone().filter(|_| !self.told) else { return };
        self.told = true;
        out.extend(self.id.take().map(Part::Id));
        out.push(Part::Name(name));
    }

    /// The object has ended. Without a name it was no call, and one that may be mere JSON has arguments, too.
    fn end(&mut self, out: &mut Vec<Part>) -> Outcome {
        if self.name.is_none() || (self.only.is_some() && !self.has_arguments) {
            return Outcome::Bad;
        }
        self.tell(out);
        let waiting = if self.has_arguments { std::mem::take(&mut self.waiting) } else { "{}".to_owned() };
        if !waiting.is_empty() {
            out.push(Part::Arguments(waiting));
        }
        Outcome::Whole
    }
}
