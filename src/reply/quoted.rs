//! Strings in the notation of a program: Python's two quotes with their escapes, and gemma's quote, which knows none.

use super::escapes::escape;
use super::format::QUOTE;
use super::markers::{At, Markers};

#[derive(Debug, Clone, Copy)]
enum Place {
    Text,
    /// Behind a backslash.
    Escape,
    /// In the digits of an escape; how many are left, and their value so far.
    Digits {
        left: u32,
        value: u32,
    },
}

/// The outcome of a piece of a string.
pub(super) enum Piece {
    /// So many bytes were read, and it goes on.
    Read(usize),
    /// So many bytes were read, and it ends.
    Ends(usize),
    /// More text is needed.
    Wait,
    Bad,
}

/// A string behind its opening quote.
#[derive(Clone)]
pub(super) struct Quoted {
    /// The quote of one character; `None`: gemma's.
    quote: Option<char>,
    end: Markers<()>,
    place: Place,
    /// The first half of a pair of escapes.
    half: Option<u32>,
}

impl Quoted {
    pub fn new(quote: Option<char>) -> Quoted {
        Quoted { quote, end: Markers::new([(QUOTE.to_owned(), ())]), place: Place::Text, half: None }
    }

    /// Reads on at the beginning of `text`, which is not empty; what it says is added to `json`.
    pub fn push(&mut self, text: &str, last: bool, json: &mut String) -> Piece {
        let Some(c) = text.chars().next() else { return Piece::Wait };
        match self.place {
            Place::Text => self.plain(text, last, json),
            Place::Escape => self.escaped(c, json),
            Place::Digits { left, value } => {
                let Some(digit) = c.to_digit(16) else { return Piece::Bad };
                let value = value << 4 | digit;
                self.place = Place::Digits { left: left - 1, value };
                if left == 1 {
                    self.place = Place::Text;
                    self.code(value, json);
                }
                Piece::Read(1)
            }
        }
    }

    fn plain(&mut self, text: &str, last: bool, json: &mut String) -> Piece {
        let (n, len, ends) = match self.quote {
            None => match self.end.find(text, last) {
                (n, At::Marker(len, ())) => (n, len, true),
                (0, _) => return Piece::Wait,
                (n, _) => (n, 0, false),
            },
            Some(q) => match text.find([q, '\\']) {
                Some(n) => (n, 1, text[n..].starts_with(q)),
                None => (text.len(), 0, false),
            },
        };
        if n > 0 || ends {
            self.lone_half(json);
        }
        escape(&text[..n], json);
        if ends {
            return Piece::Ends(n + len);
        }
        if len > 0 {
            self.place = Place::Escape;
        }
        Piece::Read(n + len)
    }

    fn escaped(&mut self, c: char, json: &mut String) -> Piece {
        self.place = match c {
            'u' => Place::Digits { left: 4, value: 0 },
            'x' => Place::Digits { left: 2, value: 0 },
            _ => Place::Text,
        };
        if c != 'u' {
            self.lone_half(json);
        }
        match c {
            'u' | 'x' | '\n' => {}
            'n' => json.push_str("\\n"),
            'r' => json.push_str("\\r"),
            't' => json.push_str("\\t"),
            'b' => json.push_str("\\b"),
            'f' => json.push_str("\\f"),
            '\'' | '"' | '\\' | '/' => escape(c.encode_utf8(&mut [0; 4]), json),
            // As in Python, a backslash before something else is one.
            _ => {
                json.push_str("\\\\");
                escape(c.encode_utf8(&mut [0; 4]), json);
            }
        }
        Piece::Read(c.len_utf8())
    }

    /// The character of an escape, or half of one.
    fn code(&mut self, value: u32, json: &mut String) {
        let low = (0xdc00..0xe000).contains(&value);
        let value = match self.half.take() {
            Some(high) if low => 0x10000 + ((high - 0xd800) << 10) + (value - 0xdc00),
            Some(_) => {
                json.push(char::REPLACEMENT_CHARACTER);
                value
            }
            None => value,
        };
        if (0xd800..0xdc00).contains(&value) {
            self.half = Some(value);
        } else {
            let c = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
            escape(c.encode_utf8(&mut [0; 4]), json);
        }
    }

    fn lone_half(&mut self, json: &mut String) {
        if self.half.take().is_some() {
            json.push(char::REPLACEMENT_CHARACTER);
        }
    }
}
