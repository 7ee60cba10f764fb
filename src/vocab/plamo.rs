//! PLaMo 2's tokeniser: of all ways to write a text with tokens, the one with the best sum of scores.
//!
//! ```text
//! best[end] = 0      best[i] = max over tokens t that the text at i begins with of score(t) + best[i + length of t]
//! ```
//!
//! From the end to the beginning, `best[i]` is found from those behind it; of equal sums the longest token counts.
//! Scores are whole numbers, ten thousandths. A character that is no token costs 1000 and becomes a token for each
//! byte.

use super::spm::{byte_tokens, bytes_to_tokens};
use super::texts::Texts;
use super::tokens::{TokenType, Tokens};
use crate::error::{Result, try_vec};

pub(super) struct Plamo {
    texts: Texts,
    bytes: [Option<u32>; 256],
}

/// The score of a character that is no token; tokens with less than twice that do not count.
const UNKNOWN: i64 = -10_000_000;

/// The best way from a place in the text on: its first token, if it is one, and the sum of scores.
#[derive(Clone, Copy, Default)]
struct Best {
    token: Option<u32>,
    sum: i64,
}

impl Plamo {
    pub fn new(tokens: &Tokens) -> Plamo {
        use TokenType::*;
        // A control token is none that text becomes.
        Plamo { texts: Texts::new(tokens, |t| !matches!(t, Byte | Control | Unknown)), bytes: byte_tokens(tokens) }
    }

    /// Appends the tokens of a text, without a byte order mark at its beginning.
    ///
    /// # Errors
    /// `InvalidArgument` for a byte without a token, if there is no unknown token; `OutOfMemory`.
    pub fn tokenize(&self, tokens: &Tokens, unk: Option<u32>, text: &str, out: &mut Vec<i32>) -> Result<()> {
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let mut best = try_vec("tokenising", text.len() + 1, Best::default())?;
        for (at, c) in text.char_indices().rev() {
            let mut here = Best { token: None, sum: best[at + c.len_utf8()].sum + UNKNOWN };
            for id in self.texts.prefixes(tokens, &text.as_bytes()[at..]) {
                let score = tokens.score(id);
                if !score.is_finite() {
                    continue;
                }
                let score = i64::from((f64::from(score) * 1e4).round() as i32);
                let sum = best[at + tokens.text(id).len()].sum + score;
                if sum >= here.sum && score > 2 * UNKNOWN {
                    here = Best { token: Some(id), sum };
                }
            }
            best[at] = here;
        }
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let n = match best[text.len() - rest.len()].token {
                Some(id) => {
                    out.push(id as i32);
                    tokens.text(id).len()
                }
                None => {
                    bytes_to_tokens(&self.bytes, unk, &rest.as_bytes()[..c.len_utf8()], out)?;
                    c.len_utf8()
                }
            };
            rest = &rest[n..];
        }
        Ok(())
    }
}
