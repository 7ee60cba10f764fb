//! JSON that comes in pieces: where a value ends.
//!
//! The scanner is an automaton with a stack of open brackets. It looks at each byte once and builds nothing, so a
//! value of any length or depth costs its bytes and no more.

/// The place where the scanner stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// Before a value; `true`: a list may also end here, since it is empty.
    Value(bool),
    /// Before a key; `true`: an object may also end here.
    Key(bool),
    Colon,
    /// Behind a value inside brackets.
    Behind,
    /// In a string; `key`: it is one.
    String {
        key: bool,
    },
    /// Behind a backslash, and in the digits of \u.
    Escape {
        key: bool,
    },
    Hex {
        key: bool,
        left: u8,
    },
    /// In a number, true, false or null.
    Word(Word),
}

/// The part of a number or a constant that was read.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Word {
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
    /// The letters that are left of true, false or null.
    Rest(&'static [u8]),
}

impl Word {
    fn begin(b: u8) -> Option<Word> {
        Some(match b {
            b'-' => Word::Minus,
            b'0' => Word::Zero,
            b'1'..=b'9' => Word::Digits,
            b't' => Word::Rest(b"rue"),
            b'f' => Word::Rest(b"alse"),
            b'n' => Word::Rest(b"ull"),
            _ => return None,
        })
    }

    fn next(self, b: u8) -> Option<Word> {
        use Word::*;
        Some(match (self, b) {
            (Minus, b'0') => Zero,
            (Minus, b'1'..=b'9') | (Digits, b'0'..=b'9') => Digits,
            (Zero | Digits, b'.') => Point,
            (Point | Fraction, b'0'..=b'9') => Fraction,
            (Zero | Digits | Fraction, b'e' | b'E') => E,
            (E, b'+' | b'-') => Sign,
            (E | Sign | Exponent, b'0'..=b'9') => Exponent,
            (Rest([first, rest @ ..]), b) if *first == b => Rest(rest),
            _ => return None,
        })
    }

    fn is_whole(self) -> bool {
        matches!(self, Word::Zero | Word::Digits | Word::Fraction | Word::Exponent | Word::Rest([]))
    }
}

/// The outcome of a byte.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scan {
    More,
    /// The value ends with this byte.
    Ends,
    /// The value ended before this byte, which is not part of it.
    Ended,
    Bad,
}

/// Follows one value.
#[derive(Debug, Clone)]
pub(super) struct Scanner {
    place: Place,
    /// Open brackets; `true` for those of objects.
    open: Vec<bool>,
}

pub(super) fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\n' | b'\r' | b'\t')
}

impl Scanner {
    pub fn new() -> Scanner {
        Scanner { place: Place::Value(false), open: Vec::new() }
    }

    /// The next byte.
    pub fn push(&mut self, b: u8) -> Scan {
        match self.place {
            Place::Word(word) => {
                if let Some(next) = word.next(b) {
                    return self.goes_on(Place::Word(next));
                }
                if !word.is_whole() || b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.') {
                    return Scan::Bad;
                }
                if self.open.is_empty() {
                    return Scan::Ended;
                }
                self.place = Place::Behind;
                self.push(b)
            }
            Place::String { key } => {
                match b {
                    b'"' if key => self.place = Place::Colon,
                    b'"' => return self.value_ends(),
                    b'\\' => self.place = Place::Escape { key },
                    0..0x20 => return Scan::Bad,
                    _ => {}
                }
                Scan::More
            }
            Place::Escape { key } => {
                self.place = match b {
                    b'u' => Place::Hex { key, left: 4 },
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Place::String { key },
                    _ => return Scan::Bad,
                };
                Scan::More
            }
            Place::Hex { key, left } => {
                if !b.is_ascii_hexdigit() {
                    return Scan::Bad;
                }
                self.place = if left == 1 { Place::String { key } } else { Place::Hex { key, left: left - 1 } };
                Scan::More
            }
            _ if is_space(b) => Scan::More,
            Place::Value(may_end) => match b {
                b'{' => self.opens(true),
                b'[' => self.opens(false),
                b']' if may_end => self.closes(false),
                b'"' => self.goes_on(Place::String { key: false }),
                _ => Word::begin(b).map_or(Scan::Bad, |word| self.goes_on(Place::Word(word))),
            },
            Place::Key(may_end) => match b {
                b'"' => self.goes_on(Place::String { key: true }),
                b'}' if may_end => self.closes(true),
                _ => Scan::Bad,
            },
            Place::Colon if b == b':' => self.goes_on(Place::Value(false)),
            Place::Colon => Scan::Bad,
            Place::Behind => match (b, self.open.last()) {
                (b',', Some(true)) => self.goes_on(Place::Key(false)),
                (b',', Some(false)) => self.goes_on(Place::Value(false)),
                (b'}', _) => self.closes(true),
                (b']', _) => self.closes(false),
                _ => Scan::Bad,
            },
        }
    }

    /// Nothing follows. True if the value is whole, which only a number or a word can be now.
    pub fn end(&self) -> bool {
        matches!(self.place, Place::Word(word) if self.open.is_empty() && word.is_whole())
    }

    /// The text so far ends within a string.
    pub fn is_in_string(&self) -> bool {
        matches!(self.place, Place::String { .. } | Place::Escape { .. } | Place::Hex { .. })
    }

    fn goes_on(&mut self, place: Place) -> Scan {
        self.place = place;
        Scan::More
    }

    fn opens(&mut self, object: bool) -> Scan {
        self.open.push(object);
        self.goes_on(if object { Place::Key(true) } else { Place::Value(true) })
    }

    fn closes(&mut self, object: bool) -> Scan {
        if self.open.pop() != Some(object) { Scan::Bad } else { self.value_ends() }
    }

    fn value_ends(&mut self) -> Scan {
        if self.open.is_empty() {
            return Scan::Ends;
        }
        self.goes_on(Place::Behind)
    }
}

/// Tells if a text is one JSON value.
pub(super) fn is_value(text: &str) -> bool {
    let mut s = Scanner::new();
    for (i, b) in text.bytes().enumerate() {
        match s.push(b) {
            Scan::More => {}
            Scan::Ends => return text[i + 1..].trim().is_empty(),
            Scan::Ended => return text[i..].trim().is_empty(),
            Scan::Bad => return false,
        }
    }
    s.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that a value at the beginning of `text` takes.
    fn value(text: &str) -> Option<usize> {
        let mut s = Scanner::new();
        for (i, b) in text.bytes().enumerate() {
            match s.push(b) {
                Scan::More => {}
                Scan::Ends => return Some(i + 1),
                Scan::Ended => return Some(i),
                Scan::Bad => return None,
            }
        }
        s.end().then_some(text.len())
    }

    #[test]
    fn values_end_where_they_end() {
        for (text, end) in [
            (r#"{"a": [1, {"b": "}\"]\\"}], "c": -1.5e+3} x"#, Some(41)),
            ("[] ", Some(2)),
            ("12,", Some(2)),
            ("true", Some(4)),
            ("[-0.5e+99999, 1E5, 0]", Some(21)),
            ("-", None),
            ("01", None),
            ("1.", None),
            ("1e", None),
            (r#""\u00e9" "#, Some(8)),
            ("{\"a\": 1,}", None),
            ("[1 2]", None),
            ("[1}", None),
            ("truth ", None),
            ("{\"a\": \"\n\"}", None),
            (r#""\x""#, None),
            ("[1", None),
        ] {
            assert_eq!(value(text), end, "{text}");
        }
    }
}
