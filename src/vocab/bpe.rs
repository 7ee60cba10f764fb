//! Byte-level BPE (byte-pair encoding): the neighbours of a word merge in the order in which training learnt the
//! merges.
//!
//! The file lists merges, pairs of tokens that become one token. The place of a pair in that list is its rank. A word
//! starts as one symbol for each byte. Then the pair of neighbours with the lowest rank merges, of equal ranks the
//! leftmost, until no pair of neighbours is in the list.
//!
//! To search the whole word for the lowest rank after each merge would take quadratic time. Instead the symbols form a
//! linked list, and a heap holds (rank, left symbol) of every pair that can merge. To merge is to pop the heap, grow
//! the left symbol, take the right one out of the list, and push the two pairs that the grown symbol now has with its
//! neighbours. Entries of pairs that no longer exist stay in the heap. As soon as such an entry is popped, it is
//! skipped, because the tokens of its two symbols are not those of the merge any more. Each merge pushes at most two
//! entries, so a word of n bytes takes O(n log n).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::bytelevel;
use super::spm::bytes_to_tokens;
use super::tokens::Tokens;
use crate::error::{Error, Result};
use crate::gguf::Array;

const NONE: u32 = u32::MAX;

/// `left` and `right` become `result`.
#[derive(Clone, Copy)]
struct Merge {
    left: u32,
    right: u32,
    result: u32,
}

/// The merges by rank, and the ranks by pair.
pub(super) struct Merges {
    by_rank: Vec<Merge>,
    by_pair: HashTable<u32>,
    hasher: RandomState,
}

pub(super) const MERGES: &str = "tokenizer.ggml.merges";

impl Merges {
    /// Reads lines "left right". A line whose parts or result are no tokens can never yield a token and is left out.
    pub(super) fn from_gguf(lines: Array<'_>, tokens: &Tokens) -> Result<Merges> {
        let n = lines.len();
        let mut m = Merges { by_rank: Vec::new(), by_pair: HashTable::new(), hasher: RandomState::new() };
        m.by_rank.try_reserve(n).map_err(|_| Error::out_of_memory(MERGES, 16 * n as u64))?;
        let mut joined = Vec::new();
        for line in lines.strs().map_err(|e| e.at(MERGES).subject(MERGES))? {
            // The first character may be a space itself.
            let Some(gap) = line.iter().skip(1).position(|b| *b == b' ').map(|i| i + 1) else { continue };
            let (left, right) = (&line[..gap], &line[gap + 1..]);
            let (Some(l), Some(r)) = (tokens.find(left), tokens.find(right)) else { continue };
            joined.clear();
            joined.extend_from_slice(left);
            joined.extend_from_slice(right);
            let Some(result) = tokens.find(&joined) else { continue };
            m.insert(Merge { left: l, right: r, result })?;
        }
        m.by_rank.shrink_to_fit();
        Ok(m)
    }

    fn insert(&mut self, merge: Merge) -> Result<()> {
        let (by_rank, hasher) = (&self.by_rank, &self.hasher);
        let hash_of = |rank: &u32| by_rank.get(*rank as usize).map_or(0, |m| hasher.hash_one((m.left, m.right)));
        self.by_pair.try_reserve(1, hash_of).map_err(|_| Error::out_of_memory(MERGES, 16 * by_rank.len() as u64))?;
        let same =
            |rank: &u32| by_rank.get(*rank as usize).is_some_and(|m| (m.left, m.right) == (merge.left, merge.right));
        let rank = by_rank.len() as u32;
        // Of equal pairs the first one counts.
        if let hashbrown::hash_table::Entry::Vacant(v) =
            self.by_pair.entry(hasher.hash_one((merge.left, merge.right)), same, hash_of)
        {
            v.insert(rank);
            self.by_rank.push(merge);
        }
        Ok(())
    }

    fn rank(&self, left: u32, right: u32) -> Option<u32> {
        let same = |rank: &u32| self.by_rank.get(*rank as usize).is_some_and(|m| (m.left, m.right) == (left, right));
        self.by_pair.find(self.hasher.hash_one((left, right)), same).copied()
    }
}

/// The first symbols of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symbols {
    /// Each byte is a symbol, written as in [`bytelevel`].
    Bytes,
    /// Each character is a symbol. Characters that are no token become `<0xXX>` tokens.
    Chars,
    /// The same, with U+2581 for spaces.
    Escaped,
}

/// The words that stay whole if they are tokens, whatever the merges say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    None,
    All,
    /// Runs of newlines, tokens that no merge leads to.
    Newlines,
}

pub(super) struct Bpe {
    pub(super) merges: Merges,
    pub(super) symbols: Symbols,
    whole: Whole,
    /// The token of each byte.
    bytes: [Option<u32>; 256],
}

struct Symbol {
    prev: u32,
    next: u32,
    /// The token; `NONE` if the symbol is no token, or was merged into its left neighbour (its length is 0 then).
    id: u32,
    start: u32,
    len: u32,
}

/// Buffers that words share.
#[derive(Default)]
pub(super) struct Scratch {
    symbols: Vec<Symbol>,
    heap: BinaryHeap<Reverse<(u32, u32)>>,
    text: Vec<u8>,
}

impl Bpe {
    pub(super) fn new(merges: Merges, tokens: &Tokens, symbols: Symbols, whole: Whole) -> Bpe {
        let bytes = match symbols {
            Symbols::Bytes => {
                std::array::from_fn(|b| tokens.find(bytelevel::char_of(b as u8).encode_utf8(&mut [0; 4]).as_bytes()))
            }
            Symbols::Chars | Symbols::Escaped => super::spm::byte_tokens(tokens),
        };
        Bpe { merges, symbols, whole, bytes }
    }

    /// Appends the tokens of one word. `unk` takes the place of bytes without a token.
    pub(super) fn tokenize(
        &self,
        tokens: &Tokens,
        unk: Option<u32>,
        word: &str,
        scratch: &mut Scratch,
        out: &mut Vec<i32>,
    ) -> Result<()> {
        if let Some(id) = self.whole(tokens, word, &mut scratch.text) {
            out.push(id as i32);
            return Ok(());
        }
        self.split(tokens, word, &mut scratch.symbols);
        self.merge(&mut scratch.symbols, &mut scratch.heap);
        let mut i = if scratch.symbols.is_empty() { NONE } else { 0 };
        while let Some(s) = scratch.symbols.get(i as usize) {
            if s.id != NONE {
                out.push(s.id as i32);
            } else {
                let piece = &word.as_bytes()[s.start as usize..(s.start + s.len) as usize];
                bytes_to_tokens(&self.bytes, unk, piece, out)?;
            }
            i = s.next;
        }
        Ok(())
    }

    fn whole(&self, tokens: &Tokens, word: &str, encoded: &mut Vec<u8>) -> Option<u32> {
        match self.whole {
            Whole::None => return None,
            Whole::Newlines if word.bytes().any(|b| b != b'\n') => return None,
            _ => (),
        }
        if self.symbols != Symbols::Bytes {
            return tokens.find(word.as_bytes());
        }
        encoded.clear();
        bytelevel::encode(word.as_bytes(), encoded);
        tokens.find(encoded)
    }

    fn split(&self, tokens: &Tokens, word: &str, symbols: &mut Vec<Symbol>) {
        symbols.clear();
        let mut add = |start: usize, len: usize, id: Option<u32>| {
            let i = symbols.len() as u32;
            let id = id.unwrap_or(NONE);
            symbols.push(Symbol { prev: i.wrapping_sub(1), next: i + 1, id, start: start as u32, len: len as u32 });
        };
        match self.symbols {
            Symbols::Bytes => word.bytes().enumerate().for_each(|(i, b)| add(i, 1, self.bytes[b as usize])),
            Symbols::Chars | Symbols::Escaped => {
                let mut buffer = [0; 4];
                for (i, c) in word.char_indices() {
                    let text = c.encode_utf8(&mut buffer).as_bytes();
                    add(i, text.len(), tokens.find(text));
                }
            }
        }
        if let Some(last) = symbols.last_mut() {
            last.next = NONE;
        }
    }

    /// Merges by rank, and from the left among equal ranks.
    fn merge(&self, symbols: &mut [Symbol], heap: &mut BinaryHeap<Reverse<(u32, u32)>>) {
        heap.clear();
        let consider = |symbols: &[Symbol], left: u32, heap: &mut BinaryHeap<Reverse<(u32, u32)>>| {
            let Some(l) = symbols.get(left as usize) else { return };
            let Some(r) = symbols.get(l.next as usize) else { return };
            if l.id != NONE
                && r.id != NONE
                && let Some(rank) = self.merges.rank(l.id, r.id)
            {
                heap.push(Reverse((rank, left)));
            }
        };
        for i in 0..symbols.len() as u32 {
            consider(symbols, i, heap);
        }
        while let Some(Reverse((rank, left))) = heap.pop() {
            let Some(merge) = self.merges.by_rank.get(rank as usize).copied() else { continue };
            let (l, next) = (left as usize, symbols[left as usize].next);
            let Some(right) = symbols.get(next as usize) else { continue };
            if symbols[l].id != merge.left || right.id != merge.right {
                continue;
            }
            let (after, len) = (right.next, right.len);
            let r = &mut symbols[next as usize];
            (r.id, r.len) = (NONE, 0);
            let s = &mut symbols[l];
            (s.id, s.len, s.next) = (merge.result, s.len + len, after);
            let before = s.prev;
            if let Some(a) = symbols.get_mut(after as usize) {
                a.prev = left;
            }
            consider(symbols, before, heap);
            consider(symbols, left, heap);
        }
    }
}
