//! Finds special tokens that are written out in a text, before the rest of it is tokenised.
//!
//! The tokens' texts are sorted, so those with a common prefix lie side by side. At each byte of the text that some
//! token begins with, the longest token is found by narrowing the range of candidates byte by byte. All these finds go
//! into a heap, the longest first. A find is taken if no byte of it was taken before. If a longer token has taken its
//! end, the rest is searched again for a shorter one. This gives longer tokens the right of way wherever they stand.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::texts::Texts;
use super::tokens::Tokens;

/// A part of the text that is still text, or a special token that was written there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fragment {
    Text(Range<usize>),
    Token(u32),
}

/// The special tokens that a text may name.
pub(super) struct Partition {
    /// User-defined tokens, which are always looked for.
    user: Texts,
    /// These, control tokens and the unknown one, which are looked for if the caller asks for special tokens.
    all: Texts,
    strips: Strips,
}

/// Tokens that swallow the white space beside them.
#[derive(Default)]
pub(super) struct Strips {
    /// The one that swallows what is before it.
    pub left: Option<u32>,
    /// Those that swallow what is behind them, ascending.
    pub right: Vec<u32>,
}

impl Partition {
    pub(super) fn new(tokens: &Tokens, mut strips: Strips) -> Partition {
        use super::tokens::TokenType::*;
        strips.right.sort_unstable();
        Partition {
            user: Texts::new(tokens, |t| t == UserDefined),
            all: Texts::new(tokens, |t| matches!(t, UserDefined | Control | Unknown)),
            strips,
        }
    }

    /// Cuts `text` at its special tokens. Longer tokens go first, wherever they stand. Of equally long ones the lower
    /// id goes first, then the one further left.
    pub(super) fn cut(&self, tokens: &Tokens, text: &str, parse_special: bool) -> Vec<Fragment> {
        let found = self.find(tokens, text.as_bytes(), if parse_special { &self.all } else { &self.user });
        let mut fragments = Vec::new();
        let mut at = 0;
        for (start, id) in found {
            // This one stood in white space that was swallowed.
            if start < at {
                continue;
            }
            let mut end = start;
            if self.strips.left == Some(id) {
                end -= text.as_bytes()[at..start].iter().rev().take_while(|b| is_space(b)).count();
            }
            if end > at {
                fragments.push(Fragment::Text(at..end));
            }
            fragments.push(Fragment::Token(id));
            at = start + tokens.text(id).len();
            if self.strips.right.binary_search(&id).is_ok() {
                at += text.as_bytes()[at..].iter().take_while(|b| is_space(b)).count();
            }
        }
        if at < text.len() {
            fragments.push(Fragment::Text(at..text.len()));
        }
        fragments
    }

    /// The places of tokens in the text, from left to right.
    fn find(&self, tokens: &Tokens, text: &[u8], texts: &Texts) -> Vec<(usize, u32)> {
        let mut heap = BinaryHeap::new();
        let add = |heap: &mut BinaryHeap<_>, range: Range<usize>| {
            if let Some(id) = texts.longest_prefix(tokens, &text[range.clone()]) {
                heap.push((tokens.text(id).len(), Reverse(id), Reverse(range.start)));
            }
        };
        for (i, _) in text.iter().enumerate().filter(|(_, b)| texts.first[**b as usize]) {
            add(&mut heap, i..text.len());
        }
        if heap.is_empty() {
            return Vec::new();
        }
        let mut taken = vec![false; text.len()];
        let mut found = Vec::new();
        while let Some((len, Reverse(id), Reverse(start))) = heap.pop() {
            let range = start..start + len;
            if taken[start] {
                continue;
            }
            // Tokens that were taken before are at least as long, so one overlaps this one only if it covers an end of
            // it.
            if taken[range.end - 1] {
                let free = taken[range.clone()].iter().take_while(|t| !**t).count();
                add(&mut heap, start..start + free);
                continue;
            }
            taken[range].fill(true);
            found.push((start, id));
        }
        found.sort_unstable();
        found
    }
}

fn is_space(byte: &u8) -> bool {
    matches!(byte, 9..=13 | b' ')
}
