//! The way from a text to BPE: the words of a pre-tokeniser, and two kinds of vocabulary with more before that.

use std::borrow::Cow;

use super::bpe::{Bpe, Scratch, Symbols};
use super::dna::{Dna, Part};
use super::split::Splitter;
use super::spm;
use super::tokens::Tokens;
use crate::error::Result;

pub(super) struct Words {
    pub splitter: Splitter,
    pub before: Before,
}

/// The step before the pre-tokeniser.
pub(super) enum Before {
    Nothing,
    /// White space vanishes, and the words between are cut one by one.
    Words {
        /// True if letters become small ones.
        small: bool,
    },
    Dna(Dna),
}

impl Words {
    /// Appends the tokens of a text. `unk` takes the place of bytes without a token.
    ///
    /// # Errors
    /// `InvalidArgument` for a byte without a token, if there is no unknown token.
    pub fn tokenize(
        &self,
        bpe: &Bpe,
        tokens: &Tokens,
        unk: Option<u32>,
        text: &str,
        scratch: &mut Scratch,
        out: &mut Vec<i32>,
    ) -> Result<()> {
        let mut plain = |text: &str, out: &mut Vec<i32>| {
            for word in self.splitter.split(text) {
                bpe.tokenize(tokens, unk, &text[word], scratch, out)?;
            }
            Ok(())
        };
        match &self.before {
            Before::Nothing if bpe.symbols == Symbols::Escaped => plain(&text.replace(' ', spm::SPACE), out),
            Before::Nothing => plain(text, out),
            Before::Words { small } => {
                for word in text.split_whitespace() {
                    // Of what is small in several characters (İ) the first one counts.
                    let letter = |c: char| c.to_lowercase().next().unwrap_or(c);
                    let word =
                        if *small { Cow::Owned(word.chars().map(letter).collect()) } else { Cow::Borrowed(word) };
                    plain(&word, out)?;
                }
                Ok(())
            }
            Before::Dna(dna) => dna.parts(text).into_iter().try_for_each(|part| match part {
                Part::Text(text) => plain(text, out),
                Part::Sequence(text) => {
                    dna.sequence(tokens, text, out);
                    Ok(())
                }
                Part::Token(id) => {
                    out.push(id as i32);
                    Ok(())
                }
            }),
        }
    }

    /// A token's text without what the file marks it by.
    pub fn shown<'a>(&self, id: u32, text: &'a [u8]) -> &'a [u8] {
        match &self.before {
            Before::Dna(dna) => dna.shown(id, text),
            _ => text,
        }
    }
}
