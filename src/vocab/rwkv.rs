//! RWKV's tokeniser: the longest token that the rest of the text begins with, again and again.
//!
//! Tokens are any bytes. The file writes them as text with escapes: `\t`, `\n`, `\r`, `\xHH`, and `\\` before any other
//! character. Control tokens are found by the vocabulary's special tokens alone, never here.

use super::tokens::{TokenType, Tokens};
use crate::error::{Error, Result, try_vec};

/// The most bytes of a token that is looked for. At worst each byte of a text takes as many steps.
const LONGEST: usize = 256;

pub(super) struct Rwkv {
    /// The bytes of all tokens, one after the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// Tokens in the order of their bytes; of those with the same bytes the last one alone.
    sorted: Vec<u32>,
}

impl Rwkv {
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(tokens: &Tokens) -> Result<Rwkv> {
        let n = tokens.len() as u32;
        let mut rwkv = Rwkv { bytes: Vec::new(), ends: try_vec("vocabulary", n as usize, 0)?, sorted: Vec::new() };
        let total = (0..n).map(|id| tokens.text(id).len()).sum();
        rwkv.bytes.try_reserve_exact(total).map_err(|_| Error::out_of_memory("vocabulary", total as u64))?;
        for id in 0..n {
            unescape(tokens.text(id), &mut rwkv.bytes);
            rwkv.ends[id as usize] = rwkv.bytes.len() as u32;
        }
        let wanted = |id: &u32| tokens.ty(*id) != TokenType::Control && (1..=LONGEST).contains(&rwkv.text(*id).len());
        let mut sorted: Vec<u32> = (0..n).rev().filter(wanted).collect();
        sorted.sort_by(|a, b| rwkv.text(*a).cmp(rwkv.text(*b)));
        sorted.dedup_by(|later, first| rwkv.text(*later) == rwkv.text(*first));
        rwkv.sorted = sorted;
        Ok(rwkv)
    }

    /// The bytes of a token.
    pub fn text(&self, id: u32) -> &[u8] {
        let end = |id: u32| self.ends.get(id as usize).map_or(0, |end| *end as usize);
        let start = id.checked_sub(1).map_or(0, end);
        self.bytes.get(start..end(id)).unwrap_or_default()
    }

    /// Appends the tokens of a text. `unk` takes the place of bytes without a token.
    ///
    /// # Errors
    /// `InvalidArgument` for such a byte, if there is no unknown token.
    pub fn tokenize(&self, unk: Option<u32>, text: &str, out: &mut Vec<i32>) -> Result<()> {
        let mut rest = text.as_bytes();
        while let Some(first) = rest.first() {
            let (id, n) = match self.longest_prefix(rest) {
                Some(id) => (id, self.text(id).len()),
                None => (unk.ok_or_else(|| super::spm::no_token(*first))?, 1),
            };
            out.push(id as i32);
            rest = &rest[n..];
        }
        Ok(())
    }

    /// Byte by byte, the range of candidates is narrowed by bisection.
    fn longest_prefix(&self, text: &[u8]) -> Option<u32> {
        let (mut range, mut found) = (&self.sorted[..], None);
        for (depth, b) in text.iter().enumerate() {
            let at = |id: &u32| self.text(*id).get(depth).copied();
            range = &range[range.partition_point(|id| at(id) < Some(*b))..];
            range = &range[..range.partition_point(|id| at(id) == Some(*b))];
            match range.first() {
                Some(id) if self.text(*id).len() == depth + 1 => found = Some(*id),
                Some(_) => (),
                None => break,
            }
        }
        found
    }
}

/// Appends the bytes that a text with escapes stands for; they are never more. A number that the text breaks off or
/// that has no digits stands for nothing.
fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text.iter();
    while let Some(b) = rest.next() {
        let c = if *b == b'\\' {
            rest.next()
        } else {
            out.push(*b);
            continue;
        };
        match c {
            Some(b't') => out.push(b'\t'),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b'x') => {
                let digit = |b: Option<&u8>| char::from(*b?).to_digit(16);
                if let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) {
                    out.push((16 * high + low) as u8);
                }
            }
            Some(other) => out.push(*other),
            None => (),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn escapes_stand_for_bytes() {
        let mut out = Vec::new();
        super::unescape(br"a\t\n\r\xff\\\'\x0", &mut out);
        assert_eq!(out, b"a\t\n\r\xFF\\'");
    }
}
