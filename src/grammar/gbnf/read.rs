//! The text of a GBNF grammar, read into rules.
//!
//! A rule is `name ::= alternatives`. An alternative is a row of elements: "text", `[class]`, `[^class]`, `.` for any
//! character, a rule's name, `<token>`, `!<token>`, and (alternatives). Behind an element may stand `*`, `+`, `?`,
//! `{m}`, `{m,}` or `{m,n}`. A rule ends with its line, but inside brackets and behind `|` it goes on. `#` begins a
//! comment.

use std::collections::HashMap;

use super::chars::Chars;
use crate::error::Result;
use crate::grammar::limits::{DEEPEST, MOST_RULES};
use crate::grammar::scan::mistake;

/// A part of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// One character of these.
    Chars(Chars),
    Row(Vec<Node>),
    Either(Vec<Node>),
    /// So many times, at least and at most.
    Repeat(Box<Node>, u32, Option<u32>),
    Rule(usize),
    /// This token, or any but it.
    Token(u32, bool),
}

pub(super) struct Rule {
    pub name: String,
    pub body: Node,
    /// The byte of the text where its name stands.
    pub at: usize,
}

/// The most times that something may be repeated by number.
const MOST_TIMES: u32 = 100_000;
/// The most repetitions behind one element: more than one is allowed, though of little use.
const MOST_STACKED: usize = 4;

pub(super) fn read(text: &str, n_tokens: u32, find: &dyn Fn(&str) -> Option<u32>) -> Result<Vec<Rule>> {
    let mut r = Reader { text, at: 0, depth: 0, n_tokens, find, names: HashMap::new(), rules: Vec::new() };
    r.space(true);
    while r.at < text.len() {
        r.rule()?;
    }
    let mut rules = Vec::new();
    for slot in r.rules {
        let Some(body) = slot.body else {
            return Err(mistake(text, slot.at, &format!("there is no rule '{}'", slot.name)));
        };
        rules.push(Rule { name: slot.name, body, at: slot.at });
    }
    Ok(rules)
}

/// A rule that was named, and perhaps read.
struct Slot {
    name: String,
    /// The place where it was first named, or where it stands.
    at: usize,
    body: Option<Node>,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    n_tokens: u32,
    find: &'a dyn Fn(&str) -> Option<u32>,
    names: HashMap<String, usize>,
    rules: Vec<Slot>,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }
    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }
    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }
    fn eat(&mut self, what: &str) -> bool {
        let there = self.rest().starts_with(what);
        self.at += if there { what.len() } else { 0 };
        there
    }
    fn expect(&mut self, what: &str) -> Result<()> {
        if self.eat(what) { Ok(()) } else { Err(self.wrong(&format!("expected '{what}'"))) }
    }
    fn wrong(&self, what: &str) -> crate::error::Error {
        let found = self.peek().map_or("the end of the text".into(), |c| format!("{c:?}"));
        mistake(self.text, self.at, &format!("{what}, found {found}"))
    }

    /// Skips blanks and comments, and ends of lines if the rule goes on behind them.
    fn space(&mut self, lines: bool) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' => self.at += 1,
                '\r' | '\n' if lines => self.at += 1,
                '#' => self.at += self.rest().find(['\r', '\n']).unwrap_or(self.rest().len()),
                _ => return,
            }
        }
    }

    fn name(&mut self) -> Result<usize> {
        let at = self.at;
        let len = self.rest().find(|c: char| !is_name(c)).unwrap_or(self.rest().len());
        if len == 0 {
            return Err(self.wrong("expected the name of a rule"));
        }
        let name = self.rest()[..len].to_owned();
        self.at += len;
        let known = self.rules.len();
        let index = *self.names.entry(name.clone()).or_insert(known);
        if index == known {
            if known == MOST_RULES {
                return Err(mistake(self.text, at, &format!("there are more than {MOST_RULES} rules")));
            }
            self.rules.push(Slot { name, at, body: None });
        }
        Ok(index)
    }

    fn rule(&mut self) -> Result<()> {
        let at = self.at;
        let index = self.name()?;
        self.space(false);
        self.expect("::=")?;
        self.space(true);
        let body = self.either(false)?;
        if !(self.at == self.text.len() || matches!(self.peek(), Some('\r' | '\n'))) {
            return Err(self.wrong("expected an element or the end of the line"));
        }
        self.space(true);
        let slot = &mut self.rules[index];
        if slot.body.is_some() {
            let text = format!("there is a rule '{}' already", slot.name);
            return Err(mistake(self.text, at, &text));
        }
        (slot.body, slot.at) = (Some(body), at);
        Ok(())
    }

    fn either(&mut self, nested: bool) -> Result<Node> {
        let mut options = vec![self.row(nested)?];
        while self.eat("|") {
            self.space(true);
            options.push(self.row(nested)?);
        }
        Ok(if options.len() == 1 { options.remove(0) } else { Node::Either(options) })
    }

    fn row(&mut self, nested: bool) -> Result<Node> {
        let mut items: Vec<Node> = Vec::new();
        // The number of repetitions that stand behind the last element.
        let mut stacked = 0;
        while let Some(c) = self.peek() {
            let item = match c {
                '"' => self.literal()?,
                '[' => Node::Chars(self.class()?),
                '.' => {
                    self.at += 1;
                    Node::Chars(Chars::all())
                }
                '<' | '!' => self.token()?,
                '(' => self.group()?,
                '*' | '+' | '?' | '{' => {
                    let Some(last) = items.pop().filter(|_| stacked < MOST_STACKED) else {
                        return Err(self.wrong("expected an element before a repetition"));
                    };
                    stacked += 1;
                    let (min, max) = self.times(nested)?;
                    Node::Repeat(Box::new(last), min, max)
                }
                c if is_name(c) => Node::Rule(self.name()?),
                _ => break,
            };
            if !matches!(c, '*' | '+' | '?' | '{') {
                stacked = 0;
            }
            items.push(item);
            self.space(nested);
        }
        Ok(if items.len() == 1 { items.remove(0) } else { Node::Row(items) })
    }

    fn group(&mut self) -> Result<Node> {
        if self.depth == DEEPEST {
            return Err(self.wrong(&format!("more than {DEEPEST} brackets stand in each other")));
        }
        self.at += 1;
        self.depth += 1;
        self.space(true);
        let inner = self.either(true)?;
        self.expect(")")?;
        self.depth -= 1;
        Ok(inner)
    }

    fn literal(&mut self) -> Result<Node> {
        self.at += 1;
        let mut chars = Vec::new();
        while !self.eat("\"") {
            let at = self.at;
            let c = Chars::one(self.char()?);
            if c.is_empty() {
                return Err(mistake(self.text, at, "this number stands for no character"));
            }
            chars.push(Node::Chars(c));
        }
        Ok(if chars.len() == 1 { chars.remove(0) } else { Node::Row(chars) })
    }

    fn class(&mut self) -> Result<Chars> {
        let start = self.at;
        self.at += 1;
        let negated = self.eat("^");
        let mut ranges = Vec::new();
        while !self.eat("]") {
            let low = self.char()?;
            let mut high = low;
            if self.rest().starts_with('-') && !self.rest().starts_with("-]") {
                self.at += 1;
                high = self.char()?;
            }
            ranges.push((low, high));
        }
        // A range from a higher to a lower character has no characters.
        ranges.retain(|(low, high)| low <= high);
        let chars = Chars::new(ranges);
        let chars = if negated { chars.others() } else { chars };
        if chars.is_empty() {
            return Err(mistake(self.text, start, "no character is in this class"));
        }
        Ok(chars)
    }

    /// A character of a text or class, perhaps escaped.
    fn char(&mut self) -> Result<u32> {
        let at = self.at;
        let Some(c) = self.next() else { return Err(self.wrong("expected a character")) };
        if c != '\\' {
            return Ok(c.into());
        }
        let digits = match self.next() {
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some('t') => return Ok('\t'.into()),
            Some('r') => return Ok('\r'.into()),
            Some('n') => return Ok('\n'.into()),
            Some(c @ ('\\' | '"' | '[' | ']' | '-')) => return Ok(c.into()),
            _ => return Err(mistake(self.text, at, "no escape begins so")),
        };
        let hex = self.rest().get(..digits).filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
        let number = hex.and_then(|h| u32::from_str_radix(h, 16).ok());
        let Some(number) = number.filter(|n| *n <= 0x10_ffff) else {
            return Err(mistake(self.text, at, &format!("expected the number of a character in {digits} hex digits")));
        };
        self.at += digits;
        Ok(number)
    }

    fn token(&mut self) -> Result<Node> {
        let start = self.at;
        let negated = self.eat("!");
        let Some(text) = self.rest().strip_prefix('<').and_then(|t| t.find('>').map(|end| &t[..end])) else {
            return Err(self.wrong("expected <token>"));
        };
        let written = format!("<{text}>");
        let id = match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            Some(number) => number.parse().ok().filter(|id| *id < self.n_tokens),
            None => (self.find)(&written),
        };
        let Some(id) = id else {
            return Err(mistake(self.text, start, &format!("the vocabulary has no token {written}")));
        };
        self.at += written.len();
        Ok(Node::Token(id, negated))
    }

    fn times(&mut self, nested: bool) -> Result<(u32, Option<u32>)> {
        let start = self.at;
        match self.next() {
            Some('*') => return Ok((0, None)),
            Some('+') => return Ok((1, None)),
            Some('?') => return Ok((0, Some(1))),
            _ => self.space(nested),
        }
        let min = self.number()?;
        self.space(nested);
        let mut max = Some(min);
        if self.eat(",") {
            self.space(nested);
            max = if self.rest().starts_with('}') { None } else { Some(self.number()?) };
            self.space(nested);
        }
        self.expect("}")?;
        if max.is_some_and(|max| max < min) {
            return Err(mistake(self.text, start, "the most times are fewer than the least"));
        }
        Ok((min, max))
    }

    fn number(&mut self) -> Result<u32> {
        let len = self.rest().find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest().len());
        let number = self.rest()[..len].parse().ok().filter(|n| *n <= MOST_TIMES);
        let Some(number) = number else {
            return Err(self.wrong(&format!("expected a number of at most {MOST_TIMES}")));
        };
        self.at += len;
        Ok(number)
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}
