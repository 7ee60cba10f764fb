//! WordPiece, the tokeniser of BERT.
//!
//! 1. The text is cut into words at white space. Punctuation and Chinese characters are words of their own. Control
//!    characters vanish. Letters may lose their accents and become small ones, as the file says.
//! 2. A word, with '▁' before it, becomes the longest token that it begins with, then the longest that the rest begins
//!    with, and so on. If that gets stuck, the whole word becomes the unknown token.
//!
//! An accent goes as follows (that is what the reference does): a character is replaced by the first one of its
//! canonical decomposition, and marks vanish.

use regex::Regex;
use unicode_normalization::char::decompose_canonical;

use super::spm;
use super::texts::Texts;
use super::tokens::Tokens;
use crate::error::{Error, Result, Status};

pub(super) struct WordPiece {
    texts: Texts,
    lowercase: bool,
    strip_accents: bool,
    punctuation: Regex,
    control: Regex,
    mark: Regex,
}

/// The blocks of ideographs, each of which is a word.
const CHINESE: [(u32, u32); 8] = [
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
];

impl WordPiece {
    pub fn new(tokens: &Tokens, lowercase: bool, strip_accents: bool) -> Result<WordPiece> {
        let class = |pattern: &str| {
            Regex::new(pattern).map_err(|e| Error::new(Status::Internal, format!("a class of characters: {e}")))
        };
        Ok(WordPiece {
            texts: Texts::new(tokens, |_| true),
            lowercase,
            strip_accents,
            punctuation: class(r"\p{P}")?,
            control: class(r"[\p{Cc}\p{Cf}\p{Co}]")?,
            mark: class(r"\p{M}")?,
        })
    }

    /// Appends the tokens of a text.
    ///
    /// # Errors
    /// `InvalidArgument` for a word without tokens, if the vocabulary has no unknown token.
    pub fn tokenize(&self, tokens: &Tokens, unk: Option<u32>, text: &str, out: &mut Vec<i32>) -> Result<()> {
        let mut word = String::new();
        for c in text.chars() {
            let c = if self.strip_accents { first_of(c) } else { c };
            if c.is_whitespace() {
                self.word(tokens, unk, &mut word, out)?;
                continue;
            }
            let is = |class: &Regex| class.is_match(c.encode_utf8(&mut [0; 4]));
            if c == '\0'
                || c == char::REPLACEMENT_CHARACTER
                || c.is_ascii_control()
                || (!c.is_ascii() && is(&self.control))
            {
                continue;
            }
            if self.strip_accents && !c.is_ascii() && is(&self.mark) {
                continue;
            }
            // Of what is small in several characters (İ) the first one counts.
            let small = if self.lowercase { c.to_lowercase().next().unwrap_or(c) } else { c };
            let alone = c.is_ascii_punctuation() || (!c.is_ascii() && (is_chinese(c) || is(&self.punctuation)));
            if alone {
                self.word(tokens, unk, &mut word, out)?;
            }
            word.push(small);
            if alone {
                self.word(tokens, unk, &mut word, out)?;
            }
        }
        self.word(tokens, unk, &mut word, out)
    }

    /// Appends the tokens of a word, and empties it.
    fn word(&self, tokens: &Tokens, unk: Option<u32>, word: &mut String, out: &mut Vec<i32>) -> Result<()> {
        if word.is_empty() {
            return Ok(());
        }
        let text = [spm::SPACE, word].concat();
        word.clear();
        let (before, mut rest) = (out.len(), text.as_bytes());
        while !rest.is_empty() {
            let Some(id) = self.texts.longest_prefix(tokens, rest) else {
                out.truncate(before);
                let unk = unk.ok_or_else(|| {
                    Error::invalid("the vocabulary has no tokens for a word of the text, and no unknown token")
                })?;
                out.push(unk as i32);
                break;
            };
            out.push(id as i32);
            rest = &rest[tokens.text(id).len()..];
        }
        Ok(())
    }
}

/// The first character of the canonical decomposition.
fn first_of(c: char) -> char {
    if c.is_ascii() {
        return c;
    }
    let mut first = None;
    decompose_canonical(c, |part| {
        first.get_or_insert(part);
    });
    first.unwrap_or(c)
}

fn is_chinese(c: char) -> bool {
    CHINESE.iter().any(|(first, last)| (*first..=*last).contains(&(c as u32)))
}
