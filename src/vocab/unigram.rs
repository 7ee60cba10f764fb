//! Unigram, the other tokeniser of SentencePiece (Kudo 2018, arXiv:1804.10959), that of T5 and XLM-RoBERTa.
//!
//! Each token has the logarithm of a probability as its score, and a text becomes the tokens whose scores have the
//! largest sum. From left to right, the best way to each character is found from those before it (Viterbi):
//!
//! ```text
//! best[0] = 0        best[end of token t that begins at i] = max over i and t of best[i] + score(t)
//! ```
//!
//! A character that is no token is unknown, which costs 10 more than the worst token; neighbours that are unknown
//! become one. Before that the text is normalised by a map in the file (`charsmap`), and spaces become '▁'.

use super::charsmap::Charsmap;
use super::spm;
use super::texts::Texts;
use super::tokens::{TokenType, Tokens};
use crate::error::{Error, Result, Status, try_vec};
use crate::gguf::Gguf;

pub(super) struct Unigram {
    texts: Texts,
    /// Tokens that the map leaves as they are.
    user: Texts,
    map: Option<Charsmap>,
    unknown_score: f64,
    /// True if words have a space before them, also the first one; true if several spaces count as one.
    prefix: bool,
    merge: bool,
}

/// The cost of an unknown character besides the score of the worst token.
const PENALTY: f64 = 10.0;

/// The best way to a place in the text: the token that ends there, the place where it begins, the sum of scores.
#[derive(Clone, Copy)]
struct Best {
    token: u32,
    from: u32,
    sum: f64,
}

impl Unigram {
    /// # Errors
    /// `BadFile` for a map that is no map, naming its key.
    pub fn new(gguf: &Gguf, tokens: &Tokens) -> Result<Unigram> {
        use TokenType::*;
        let normal = (0..tokens.len() as u32).filter(|id| tokens.ty(*id) == Normal).map(|id| tokens.score(id));
        let worst = normal.fold(f32::MAX, f32::min);
        let flag = |key: &str| Ok(gguf.get_bool(&format!("tokenizer.ggml.{key}"))?.unwrap_or(false));
        Ok(Unigram {
            texts: Texts::new(tokens, |t| matches!(t, Normal | UserDefined | Unused)),
            user: Texts::new(tokens, |t| t == UserDefined),
            map: Charsmap::from_gguf(gguf)?,
            unknown_score: f64::from(worst - PENALTY as f32),
            prefix: flag("add_space_prefix")?,
            merge: flag("remove_extra_whitespaces")?,
        })
    }

    /// True if tokenising puts a space before the text.
    pub fn prefixes(&self) -> bool {
        self.prefix || self.merge
    }

    /// Appends the tokens of a text.
    ///
    /// # Errors
    /// `InvalidArgument` for a character without a token, if the vocabulary has no unknown token; `OutOfMemory`.
    pub fn tokenize(&self, tokens: &Tokens, unk: Option<u32>, text: &str, out: &mut Vec<i32>) -> Result<()> {
        let text = self.normalised(tokens, text)?;
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Ok(());
        }
        // Nothing stands for the unknown token until it is needed.
        let unknown = unk.unwrap_or(u32::MAX);
        let none = Best { token: unknown, from: 0, sum: f64::NEG_INFINITY };
        let mut best = try_vec("tokenising", bytes.len() + 1, none)?;
        best[0].sum = 0.0;
        for (at, c) in text.char_indices() {
            let (before, mut whole) = (best[at].sum, false);
            let mut to = |end: usize, token: u32, score: f64| {
                if before + score > best[end].sum {
                    best[end] = Best { token, from: at as u32, sum: before + score };
                }
            };
            for id in self.texts.prefixes(tokens, &bytes[at..]) {
                let n = tokens.text(id).len();
                whole |= n == c.len_utf8();
                // Tokens of the user are preferred to all others.
                let user = tokens.ty(id) == TokenType::UserDefined;
                to(at + n, id, if user { 0.0 } else { f64::from(tokens.score(id)) });
            }
            if !whole {
                to(at + c.len_utf8(), unknown, self.unknown_score);
            }
        }
        let (first, mut at, mut behind) = (out.len(), bytes.len(), None);
        while at > 0 {
            let Best { token, from, .. } = best[at];
            if !(token == unknown && behind == Some(unknown)) {
                if token == u32::MAX {
                    let text = "the vocabulary has no token for a character of the text, and no unknown token";
                    return Err(Error::invalid(text));
                }
                out.push(token as i32);
            }
            (at, behind) = (from as usize, Some(token));
        }
        out[first..].reverse();
        Ok(())
    }

    /// The text after the map, with '▁' for spaces.
    fn normalised(&self, tokens: &Tokens, text: &str) -> Result<String> {
        let (mut out, mut in_word, mut prefixed) = (String::new(), false, false);
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let user = self.user.longest_prefix(tokens, rest.as_bytes()).map(|id| tokens.text(id).len());
            let mapped = self.map.as_ref().filter(|_| user.is_none()).and_then(|map| map.longest(rest.as_bytes()));
            let (n, piece) = match (user, mapped) {
                (Some(n), _) => (n, &rest[..n]),
                (None, Some((n, piece))) => (n, piece),
                (None, None) => (c.len_utf8(), &rest[..c.len_utf8()]),
            };
            // A piece may be long, though few bytes stand for it.
            out.try_reserve(4 * piece.len() + 4).map_err(|_| Error::out_of_memory("tokenising", out.len() as u64))?;
            for c in piece.chars() {
                if c != ' ' {
                    if !in_word && ((self.prefix && !prefixed) || self.merge) {
                        out.push_str(spm::SPACE);
                        prefixed = true;
                    }
                    out.push(c);
                } else if !self.merge {
                    out.push_str(spm::SPACE);
                }
                in_word = c != ' ';
            }
            rest = rest.get(n..).ok_or_else(|| Error::new(Status::Internal, "the map cuts a character"))?;
        }
        if out.len() > u32::MAX as usize {
            return Err(Error::invalid("the text is too long after it is normalised").subject("text"));
        }
        Ok(out)
    }
}
