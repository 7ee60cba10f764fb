//! Tokens that a text begins with.
//!
//! Token ids are sorted by their texts, so those with a common prefix lie side by side. Byte by byte of the text, the
//! range of candidates is narrowed by bisection. Whenever the first of them ends there, it is a prefix of the text.

use super::tokens::{TokenType, Tokens};

/// The most bytes of a token that is looked for. At worst each byte of a text takes as many steps.
const LONGEST: usize = 256;

/// Token ids in the order of their texts.
pub(super) struct Texts {
    sorted: Vec<u32>,
    /// True for bytes that a text begins with.
    pub first: [bool; 256],
}

impl Texts {
    pub fn new(tokens: &Tokens, wanted: impl Fn(TokenType) -> bool) -> Texts {
        // Only texts of UTF-8 count: other bytes could stand inside a character and cut it.
        let usable = |id: &u32| {
            let text = tokens.text(*id);
            text.len() <= LONGEST && tokens.find(text) == Some(*id) && std::str::from_utf8(text).is_ok()
        };
        let mut sorted: Vec<u32> =
            (0..tokens.len() as u32).filter(|id| wanted(tokens.ty(*id))).filter(usable).collect();
        sorted.sort_unstable_by(|a, b| tokens.text(*a).cmp(tokens.text(*b)));
        let mut first = [false; 256];
        sorted.iter().filter_map(|id| tokens.text(*id).first()).for_each(|b| first[*b as usize] = true);
        Texts { sorted, first }
    }

    /// All of these tokens that `text` begins with, the shortest first.
    pub fn prefixes<'a>(&'a self, tokens: &'a Tokens, text: &'a [u8]) -> impl Iterator<Item = u32> + 'a {
        let mut range = &self.sorted[..];
        let narrowed = text.iter().enumerate().map_while(move |(depth, b)| {
            let at = |id: &u32| tokens.text(*id).get(depth).copied();
            range = &range[range.partition_point(|id| at(id) < Some(*b))..];
            range = &range[..range.partition_point(|id| at(id) == Some(*b))];
            range.first().map(|id| (depth, *id))
        });
        narrowed.filter(|(depth, id)| tokens.text(*id).len() == depth + 1).map(|(_, id)| id)
    }

    /// The longest of these tokens that `text` begins with.
    pub fn longest_prefix(&self, tokens: &Tokens, text: &[u8]) -> Option<u32> {
        self.prefixes(tokens, text).last()
    }
}
