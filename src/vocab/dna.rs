//! Sequences of DNA inside a text, between `<dna>` and `</dna>`: each six letters are a token.
//!
//! Such a token's text in the file ends with U+E000, which keeps it apart from a word of the same letters.

use super::tokens::Tokens;

/// The letters of a token.
const LETTERS: usize = 6;
const MARK: &[u8] = "\u{E000}".as_bytes();
const OPEN: &str = "<dna>";
const CLOSE: &str = "</dna>";

pub(super) struct Dna {
    open: u32,
    close: u32,
    /// Stands for six letters that are no token. The tokens of sequences come after it.
    unknown: u32,
}

/// A part of a text.
pub(super) enum Part<'a> {
    Text(&'a str),
    Sequence(&'a str),
    Token(u32),
}

impl Dna {
    /// Nothing if the vocabulary lacks one of the three tokens: then a text has no sequences.
    pub fn new(tokens: &Tokens) -> Option<Dna> {
        let find = |text: &str| tokens.find(text.as_bytes());
        Some(Dna { open: find(OPEN)?, close: find(CLOSE)?, unknown: find("<oov>")? })
    }

    /// The parts of a text in order. A sequence that is not closed goes to the end of the text.
    pub fn parts<'a>(&self, text: &'a str) -> Vec<Part<'a>> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, inside)) = rest.split_once(OPEN) {
            parts.extend([Part::Text(before), Part::Token(self.open)]);
            let Some((sequence, after)) = inside.split_once(CLOSE) else {
                parts.push(Part::Sequence(inside));
                return parts;
            };
            parts.extend([Part::Sequence(sequence), Part::Token(self.close)]);
            rest = after;
        }
        parts.push(Part::Text(rest));
        parts
    }

    /// Appends the tokens of a sequence. A last one that is too short is filled up with A.
    pub fn sequence(&self, tokens: &Tokens, text: &str, out: &mut Vec<i32>) {
        for letters in text.as_bytes().chunks(LETTERS) {
            let mut word = letters.to_ascii_uppercase();
            word.resize(LETTERS, b'A');
            word.extend_from_slice(MARK);
            out.push(tokens.find(&word).unwrap_or(self.unknown) as i32);
        }
    }

    pub fn shown<'a>(&self, id: u32, text: &'a [u8]) -> &'a [u8] {
        text.strip_suffix(MARK).filter(|t| id > self.unknown && !t.is_empty()).unwrap_or(text)
    }
}
