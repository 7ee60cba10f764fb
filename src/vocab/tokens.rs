//! The token table: texts, scores and types by id, and ids by text. Each text is stored once.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::error::{Error, Result};
use crate::gguf::Gguf;

/// The use of a token, with GGUF's numbers (`tokenizer.ggml.token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum TokenType {
    Undefined = 0,
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

impl TokenType {
    /// Numbers that the format does not know are `Undefined`.
    pub fn from_number(n: i32) -> TokenType {
        use TokenType::*;
        [Normal, Unknown, Control, UserDefined, Unused, Byte].into_iter().find(|t| *t as i32 == n).unwrap_or(Undefined)
    }
}

/// All tokens of a vocabulary.
pub(super) struct Tokens {
    /// All texts, one after the other.
    bytes: Vec<u8>,
    /// The end of each token's text in `bytes`. It begins at the end of the text before it.
    ends: Vec<u32>,
    /// The scores; empty if the file has none.
    scores: Vec<f32>,
    types: Vec<TokenType>,
    by_text: HashTable<u32>,
    // Seeded at random, so that a file cannot choose texts that collide.
    hasher: RandomState,
    longest: usize,
}

const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";

impl Tokens {
    /// Reads the three arrays. Scores and types longer than the tokens are cut, shorter ones are an error.
    /// Of tokens with the same text the lowest id is the one that the text stands for; an empty text stands for none.
    pub(super) fn from_gguf(gguf: &Gguf) -> Result<Tokens> {
        let texts = gguf
            .get_array(TOKENS)?
            .ok_or_else(|| Error::bad_file(format!("key '{TOKENS}' is missing")).subject(TOKENS))?;
        let n = texts.len();
        if n == 0 || n > i32::MAX as usize {
            return Err(
                Error::bad_file(format!("key '{TOKENS}' holds {n} tokens, expected 1 to 2^31-1")).subject(TOKENS)
            );
        }
        let longer = |key: &str, len: usize| {
            if len >= n {
                return Ok(());
            }
            Err(Error::bad_file(format!("key '{key}' holds {len} elements, expected one for each of {n} tokens"))
                .subject(key))
        };
        let scores = match gguf.get_array(SCORES)? {
            Some(a) => {
                longer(SCORES, a.len())?;
                let mut s = a.f32s().map_err(|e| e.at(SCORES).subject(SCORES))?;
                s.truncate(n);
                // Merging orders by score: no NaN, and one zero only.
                s.iter_mut().for_each(|v| *v = if v.is_nan() { f32::NEG_INFINITY } else { *v + 0.0 });
                s
            }
            None => Vec::new(),
        };
        let types = match gguf.get_array(TYPES)? {
            Some(a) => {
                longer(TYPES, a.len())?;
                let t = a.i32s().map_err(|e| e.at(TYPES).subject(TYPES))?;
                t.into_iter().take(n).map(TokenType::from_number).collect()
            }
            None => crate::error::try_vec(TYPES, n, TokenType::Normal)?,
        };

        let strs = || texts.strs().map_err(|e| e.at(TOKENS).subject(TOKENS));
        let total: usize = strs()?.map(<[u8]>::len).sum();
        if u32::try_from(total).is_err() {
            return Err(Error::bad_file(format!(
                "key '{TOKENS}' holds {total} bytes of text, expected less than 2^32"
            ))
            .subject(TOKENS));
        }
        let no_memory = |bytes: usize| Error::out_of_memory("vocabulary", bytes as u64);
        let (mut bytes, mut ends, mut by_text) = (Vec::new(), Vec::new(), HashTable::new());
        bytes.try_reserve_exact(total).map_err(|_| no_memory(total))?;
        ends.try_reserve_exact(n).map_err(|_| no_memory(4 * n))?;
        by_text.try_reserve(n, |_| 0).map_err(|_| no_memory(8 * n))?;
        for text in strs()? {
            bytes.extend_from_slice(text);
            ends.push(bytes.len() as u32);
        }
        let mut tokens = Tokens { bytes, ends, scores, types, by_text, hasher: RandomState::new(), longest: 0 };
        for id in 0..n as u32 {
            tokens.index(id);
        }
        Ok(tokens)
    }

    fn index(&mut self, id: u32) {
        let text = text(&self.bytes, &self.ends, id);
        if text.is_empty() {
            return;
        }
        self.longest = self.longest.max(text.len());
        let same = |other: &u32| self::text(&self.bytes, &self.ends, *other) == text;
        let hash = self.hasher.hash_one(text);
        let rehash = |other: &u32| self.hasher.hash_one(self::text(&self.bytes, &self.ends, *other));
        self.by_text.entry(hash, same, rehash).or_insert(id);
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
    /// The text of a token of this table, as the file has it.
    pub(super) fn text(&self, id: u32) -> &[u8] {
        text(&self.bytes, &self.ends, id)
    }
    pub(super) fn score(&self, id: u32) -> f32 {
        self.scores.get(id as usize).copied().unwrap_or(0.0)
    }
    pub(super) fn ty(&self, id: u32) -> TokenType {
        self.types.get(id as usize).copied().unwrap_or(TokenType::Undefined)
    }
    pub(super) fn set_type(&mut self, id: u32, ty: TokenType) {
        if let Some(t) = self.types.get_mut(id as usize) {
            *t = ty;
        }
    }
    /// The token that stands for this text, of whatever type.
    pub(super) fn find(&self, text: &[u8]) -> Option<u32> {
        // Also spares the hashing of long texts, of which merging may ask many.
        if text.is_empty() || text.len() > self.longest {
            return None;
        }
        self.by_text.find(self.hasher.hash_one(text), |id| self.text(*id) == text).copied()
    }
}

fn text<'a>(bytes: &'a [u8], ends: &[u32], id: u32) -> &'a [u8] {
    let end = ends.get(id as usize).copied().unwrap_or(0) as usize;
    let start = if id == 0 { 0 } else { ends.get(id as usize - 1).copied().unwrap_or(0) as usize };
    bytes.get(start..end).unwrap_or_default()
}
