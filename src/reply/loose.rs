//! Arguments in the notation of a program rather than in JSON: Python's `city='Paris', days=3`, and gemma's
//! `city:<|"|>Paris<|"|>,days:3`.
//!
//! They become a JSON object. Both notations are read by the same rules: keys are words or strings, with `=` or `:`
//! behind them; strings have one of three quotes, of which gemma's knows no escapes; lists may be tuples; words are
//! numbers or the constants of Python or JSON.

use super::escapes::escape;
use super::format::QUOTE;
use super::json::{is_space, is_value};
use super::markers::{At, Markers};
use super::part::{Outcome, Part, within};
use super::quoted::{Piece, Quoted};

/// The most bytes of a word.
const LONGEST: usize = 1024;

#[derive(Clone)]
enum Place {
    /// Before a key or the end of an object.
    Key,
    Colon,
    /// Before a value or the end of a list.
    Value,
    Behind,
    Word {
        key: bool,
    },
    String {
        key: bool,
        text: Box<Quoted>,
    },
}

/// The outcome of a step.
enum Step {
    Read(usize),
    Wait,
    /// So many bytes are the last that it took.
    Bad(usize),
}

#[derive(Clone)]
pub(super) struct LooseBody {
    place: Place,
    /// The closing brackets of what is open. The first one, that of all arguments, ends an object, whatever it is.
    open: Vec<u8>,
    quotes: Markers<()>,
    word: String,
    begun: bool,
    /// A comma was read, and nothing behind it.
    comma: bool,
}

impl LooseBody {
    /// `close` ends the arguments.
    pub fn new(close: u8) -> LooseBody {
        LooseBody {
            place: Place::Key,
            open: vec![close],
            quotes: Markers::new([(QUOTE.to_owned(), ())]),
            word: String::new(),
            begun: false,
            comma: false,
        }
    }

    /// Arguments may begin with this character.
    pub fn begins(&self, c: char) -> bool {
        c.is_alphanumeric()
            || ['_', '"', '\'', '<'].contains(&c)
            || self.open.first().is_some_and(|close| char::from(*close) == c)
    }

    pub fn push(&mut self, text: &str, last: bool, out: &mut Vec<Part>) -> (usize, Option<Outcome>) {
        let mut json = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            json.push('{');
        }
        let (mut at, mut outcome) = (0, Outcome::More);
        while at < text.len() && outcome == Outcome::More {
            match self.step(&text[at..], last, &mut json) {
                Step::Read(n) => at += n,
                Step::Wait => break,
                Step::Bad(n) => (at, outcome) = (at + n, Outcome::Bad),
            }
            if self.open.is_empty() {
                outcome = Outcome::Whole;
            }
        }
        if !json.is_empty() {
            out.push(Part::Arguments(json));
        }
        (at, Some(outcome))
    }

    /// Reads on at the beginning of `text`, which is not empty. A step that reads nothing goes to another place.
    fn step(&mut self, text: &str, last: bool, json: &mut String) -> Step {
        let Some(c) = text.chars().next() else { return Step::Wait };
        match &mut self.place {
            Place::Word { key } => {
                let key = *key;
                self.step_word(text, key, last, json)
            }
            Place::String { key, text: string } => match string.push(text, last, json) {
                Piece::Read(n) => Step::Read(n),
                Piece::Wait => Step::Wait,
                Piece::Bad => Step::Bad(0),
                Piece::Ends(n) => {
                    json.push('"');
                    self.place = if *key { Place::Colon } else { Place::Behind };
                    Step::Read(n)
                }
            },
            _ if c.is_ascii() && is_space(c as u8) => Step::Read(1),
            Place::Key | Place::Value => self.step_member(text, c, last, json),
            Place::Colon if c == '=' || c == ':' => {
                json.push(':');
                self.place = Place::Value;
                Step::Read(1)
            }
            Place::Colon => Step::Bad(0),
            Place::Behind => match self.innermost() {
                Some((close, _)) if close == c => self.closes(json),
                Some((_, object)) if c == ',' => {
                    self.comma = true;
                    self.place = if object { Place::Key } else { Place::Value };
                    Step::Read(1)
                }
                _ => Step::Bad(0),
            },
        }
    }

    /// A key or a value begins, or what is open ends.
    fn step_member(&mut self, text: &str, c: char, last: bool, json: &mut String) -> Step {
        let Some((close, object)) = self.innermost() else { return Step::Bad(0) };
        let key = matches!(self.place, Place::Key);
        if c == close && key == object {
            return self.closes(json);
        }
        let string = |quote| Place::String { key, text: Box::new(Quoted::new(quote)) };
        let (read, place) = match c {
            '\'' | '"' => (1, string(Some(c))),
            '<' => match self.quotes.at(text, last) {
                At::Marker(len, ()) => (len, string(None)),
                At::Perhaps => return Step::Wait,
                At::Nothing => return Step::Bad(0),
            },
            '[' | '(' | '{' if !key => (1, if c == '{' { Place::Key } else { Place::Value }),
            c if c.is_alphanumeric() || c == '_' || (!key && "+-.".contains(c)) => (0, Place::Word { key }),
            _ => return Step::Bad(0),
        };
        if std::mem::take(&mut self.comma) {
            json.push(',');
        }
        match c {
            '{' => json.push('{'),
            '[' | '(' => json.push('['),
            _ if matches!(place, Place::String { .. }) => json.push('"'),
            _ => {}
        }
        match c {
            '{' => self.open.push(b'}'),
            '[' => self.open.push(b']'),
            '(' => self.open.push(b')'),
            _ => {}
        }
        self.place = place;
        Step::Read(read)
    }

    /// The bracket that closes what is open, and true for an object.
    fn innermost(&self) -> Option<(char, bool)> {
        self.open.last().map(|close| (char::from(*close), *close == b'}' || self.open.len() == 1))
    }

    fn closes(&mut self, json: &mut String) -> Step {
        let object = self.innermost().is_some_and(|(_, object)| object);
        self.open.pop();
        json.push(if object { '}' } else { ']' });
        (self.comma, self.place) = (false, Place::Behind);
        Step::Read(1)
    }

    fn step_word(&mut self, text: &str, key: bool, last: bool, json: &mut String) -> Step {
        let part = |c: char| c.is_alphanumeric() || (if key { "_-." } else { "_+-." }).contains(c);
        let n = text.find(|c| !part(c)).unwrap_or(text.len());
        let fits = within(self.word.len(), &text[..n], LONGEST);
        self.word.push_str(&text[..fits]);
        if self.word.len() > LONGEST {
            return Step::Bad(fits);
        }
        if n == text.len() && !last {
            return Step::Read(n);
        }
        let word = std::mem::take(&mut self.word);
        if key {
            json.push('"');
            escape(&word, json);
            json.push('"');
            self.place = Place::Colon;
            return Step::Read(n);
        }
        match word.as_str() {
            "True" => json.push_str("true"),
            "False" => json.push_str("false"),
            "None" => json.push_str("null"),
            _ if is_value(&word) => json.push_str(&word),
            _ => return Step::Bad(n),
        }
        self.place = Place::Behind;
        Step::Read(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, close: u8) -> (String, usize, Option<Outcome>) {
        let (mut body, mut out) = (LooseBody::new(close), Vec::new());
        let (n, outcome) = body.push(text, true, &mut out);
        let text = |p: &Part| if let Part::Arguments(t) = p { t.clone() } else { String::new() };
        (out.iter().map(text).collect(), n, outcome)
    }

    #[test]
    fn notations_become_json() {
        for (text, close, json) in [
            (
                r"city='São \'x\'', n=-1.5, t=(1, 'a',), f=[True, None], d={'k': {}})",
                b')',
                r#"{"city":"São 'x'","n":-1.5,"t":[1,"a"],"f":[true,null],"d":{"k":{}}}"#,
            ),
            ("s=\"a\\n\\q\\u00e9\\ud83d\\ude00\\ud83d\")", b')', "{\"s\":\"a\\n\\\\qé😀\u{fffd}\"}"),
            (
                r#"a:<|"|>x "y" \n<|"|>,b:[<|"|>1<|"|>,2],c:{d:true}}"#,
                b'}',
                r#"{"a":"x \"y\" \\n","b":["1",2],"c":{"d":true}}"#,
            ),
            (")", b')', "{}"),
        ] {
            assert_eq!(read(text, close), (json.into(), text.len(), Some(Outcome::Whole)), "{text}");
        }
        for (text, close) in
            [("'a')", b')'), ("a=b)", b')'), ("a=1]", b')'), ("a=1 b=2)", b')'), ("a={1})", b')'), (",)", b')')]
        {
            assert_eq!(read(text, close).2, Some(Outcome::Bad), "{text}");
        }
    }
}
