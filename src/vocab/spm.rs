//! SentencePiece-style tokenising: neighbours merge into the token with the best score, until no two make a token.
//!
//! The symbols are the characters of the text. Any two neighbours whose text together is a token may merge; the file
//! gives each token a score, and the best score goes first, of equal scores the leftmost. As in `bpe`, symbols form a
//! linked list, and a heap holds the pairs that may merge. An entry of the heap is outdated if one of its symbols has
//! changed since; then their lengths do not add up to the length that the entry remembers. Symbols only grow, so the
//! sum never comes back to an older value.
//!
//! A symbol that is no token at the end, which only a single character can be, becomes one token for each of its bytes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::tokens::Tokens;
use crate::error::{Error, Result};

/// The character that stands for a space inside tokens, U+2581.
pub(super) const SPACE: &str = "\u{2581}";

const NONE: u32 = u32::MAX;

/// The token of each byte, for characters that are no token.
pub(super) struct Spm {
    bytes: [Option<u32>; 256],
}

/// A piece of the text. A merge grows the left one of two and empties the right one.
struct Symbol {
    prev: u32,
    next: u32,
    start: u32,
    len: u32,
}

/// Two neighbours that would make a token of `len` bytes.
struct Bigram {
    score: f32,
    left: u32,
    len: u32,
}

impl Ord for Bigram {
    fn cmp(&self, other: &Bigram) -> Ordering {
        // The best score comes first, of equal ones the leftmost.
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left)).then(other.len.cmp(&self.len))
    }
}
impl PartialOrd for Bigram {
    fn partial_cmp(&self, other: &Bigram) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Bigram {
    fn eq(&self, other: &Bigram) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Bigram {}

/// The tokens `<0x00>` to `<0xFF>`. If there is no such token, it is the one whose text is the byte itself.
pub(super) fn byte_tokens(tokens: &Tokens) -> [Option<u32>; 256] {
    std::array::from_fn(|b| tokens.find(format!("<0x{b:02X}>").as_bytes()).or_else(|| tokens.find(&[b as u8])))
}

impl Spm {
    pub(super) fn new(tokens: &Tokens) -> Spm {
        Spm { bytes: byte_tokens(tokens) }
    }

    /// Appends the tokens of `text`, in which spaces are escaped already. `unk` takes the place of bytes without a
    /// token.
    pub(super) fn tokenize(&self, tokens: &Tokens, unk: Option<u32>, text: &str, out: &mut Vec<i32>) -> Result<()> {
        let bytes = text.as_bytes();
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(i, (at, c))| Symbol {
                prev: (i as u32).wrapping_sub(1),
                next: i as u32 + 1,
                start: at as u32,
                len: c.len_utf8() as u32,
            })
            .collect();
        if let Some(last) = symbols.last_mut() {
            last.next = NONE;
        }

        let mut heap = BinaryHeap::new();
        let consider = |symbols: &[Symbol], left: u32, heap: &mut BinaryHeap<Bigram>| {
            let Some(l) = symbols.get(left as usize) else { return };
            let Some(r) = symbols.get(l.next as usize) else { return };
            let len = l.len + r.len;
            if let Some(id) = bytes.get(l.start as usize..(l.start + len) as usize).and_then(|t| tokens.find(t)) {
                heap.push(Bigram { score: tokens.score(id), left, len });
            }
        };
        for i in 0..symbols.len() as u32 {
            consider(&symbols, i, &mut heap);
        }
        while let Some(Bigram { left, len, .. }) = heap.pop() {
            let (l, next) = (left as usize, symbols[left as usize].next);
            let Some(right) = symbols.get(next as usize) else { continue };
            if symbols[l].len == 0 || symbols[l].len + right.len != len {
                continue;
            }
            let after = right.next;
            symbols[next as usize].len = 0;
            symbols[l].len = len;
            symbols[l].next = after;
            if let Some(a) = symbols.get_mut(after as usize) {
                a.prev = left;
            }
            consider(&symbols, symbols[l].prev, &mut heap);
            consider(&symbols, left, &mut heap);
        }

        let mut i = if symbols.is_empty() { NONE } else { 0 };
        while let Some(s) = symbols.get(i as usize) {
            let piece = &bytes[s.start as usize..(s.start + s.len) as usize];
            match tokens.find(piece) {
                Some(id) => out.push(id as i32),
                None => bytes_to_tokens(&self.bytes, unk, piece, out)?,
            }
            i = s.next;
        }
        Ok(())
    }
}

/// Appends one token for each byte of `piece`, or `unk` if a byte has none.
pub(super) fn bytes_to_tokens(
    bytes: &[Option<u32>; 256],
    unk: Option<u32>,
    piece: &[u8],
    out: &mut Vec<i32>,
) -> Result<()> {
    for b in piece {
        let id = bytes[*b as usize].or(unk).ok_or_else(|| no_token(*b))?;
        out.push(id as i32);
    }
    Ok(())
}

pub(super) fn no_token(byte: u8) -> Error {
    Error::invalid(format!("the vocabulary has no token for byte 0x{byte:02X} of the text, and no unknown token"))
}
