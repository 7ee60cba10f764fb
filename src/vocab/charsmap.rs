//! The map by which SentencePiece normalises a text (`tokenizer.ggml.precompiled_charsmap`): prefixes of the text, and
//! what is written in their place.
//!
//! The prefixes are a trie in a double array (Aoe 1989, as the library darts-clone packs it: Kanda 2018). It is an
//! array of 32-bit words, one for each node. From a node the byte c leads to node `place ^ base ^ c`, if the label
//! there is c.
//!
//! ```text
//! bytes   | n: u32 | n bytes: the words | texts, each with a zero behind it |
//! word    bits 0-7: label   bit 8: has a value   bits 10-30: base, times 256 if bit 9 is set   bit 31: not a node
//! value   a word with bit 31 set, at `place ^ base` of a node that has one: the offset of a text
//! ```
//!
//! Every place and offset is checked: the bytes are a file's. The walk takes a step for each byte of the text, and
//! stops after `LONGEST` of them.

use crate::error::{Error, Result};
use crate::gguf::{Gguf, Value};

pub(super) struct Charsmap {
    words: Vec<u32>,
    texts: Vec<u8>,
}

const KEY: &str = "tokenizer.ggml.precompiled_charsmap";

/// The most bytes of a prefix that is looked for. At worst each byte of a text takes as many steps.
const LONGEST: usize = 256;

impl Charsmap {
    /// The file's map, if it has one.
    ///
    /// # Errors
    /// `BadFile` if it is too short or not made of UTF-8.
    pub fn from_gguf(gguf: &Gguf) -> Result<Option<Charsmap>> {
        let bad = |text: &str| Error::bad_file(format!("key '{KEY}' {text}")).subject(KEY);
        let Some(value) = gguf.get(KEY) else { return Ok(None) };
        let Value::Array(a) = value else { return Err(bad("is no array of bytes")) };
        let byte = |v: Value| v.as_int().and_then(|n| if (-128..256).contains(&n) { Some(n as u8) } else { None });
        let bytes: Vec<u8> = a.iter().map_while(byte).collect();
        if bytes.len() != a.len() {
            return Err(bad("is no array of bytes"));
        }
        let parts = bytes.split_first_chunk::<4>().and_then(|(n, rest)| {
            let n = u32::from_le_bytes(*n) as usize;
            (n < rest.len()).then(|| rest.split_at(n))
        });
        let (words, texts) = parts.ok_or_else(|| bad("ends before its own length"))?;
        // A text that is looked up is a piece of UTF-8 between two zeros, or the end of one.
        if std::str::from_utf8(texts).is_err() {
            return Err(bad("has texts that are no UTF-8"));
        }
        let words = words.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
        Ok(Some(Charsmap { words, texts: texts.to_vec() }))
    }

    /// The longest prefix of `text` that the map has: its bytes, and the text in its place. One that ends inside a
    /// character does not count.
    pub fn longest(&self, text: &[u8]) -> Option<(usize, &str)> {
        let base = |word: u32| (word >> 10) << ((word & (1 << 9)) >> 6);
        let mut at = base(*self.words.first()?);
        let mut found = None;
        for (i, c) in text.iter().take(LONGEST).enumerate().take_while(|(_, c)| **c != 0) {
            at ^= u32::from(*c);
            let Some(word) = self.words.get(at as usize) else { break };
            if word & (1 << 31 | 0xff) != u32::from(*c) {
                break;
            }
            at ^= base(*word);
            if word >> 8 & 1 == 1
                && let Some(value) = self.words.get(at as usize)
                && text.get(i + 1).is_none_or(|next| next & 0xc0 != 0x80)
                && let Some(piece) = self.text((value & !(1 << 31)) as usize)
            {
                found = Some((i + 1, piece));
            }
        }
        found
    }

    /// The text at an offset, up to the zero behind it.
    fn text(&self, offset: usize) -> Option<&str> {
        let rest = self.texts.get(offset..)?;
        let n = rest.iter().position(|b| *b == 0)?;
        std::str::from_utf8(&rest[..n]).ok()
    }
}
