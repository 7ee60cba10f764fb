//! Sets of characters, and of bytes that characters begin with.

/// Characters, as ranges that ascend and do not touch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Chars(Vec<(u32, u32)>);

const LAST: u32 = 0x10_ffff;
/// These numbers stand for no characters: UTF-8 cannot write them.
const NONE: (u32, u32) = (0xd800, 0xdfff);

impl Chars {
    /// Ranges in any order, with both ends. Numbers that are no characters fall out.
    pub fn new(mut ranges: Vec<(u32, u32)>) -> Chars {
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::new();
        for (low, high) in ranges {
            match merged.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        let mut kept = Vec::new();
        for (low, high) in merged {
            let high = high.min(LAST);
            kept.extend([(low, high.min(NONE.0 - 1)), (low.max(NONE.1 + 1), high)].into_iter().filter(|(l, h)| l <= h));
        }
        Chars(kept)
    }

    pub fn one(c: u32) -> Chars {
        Chars::new(vec![(c, c)])
    }

    pub fn all() -> Chars {
        Chars::new(vec![(0, LAST)])
    }

    /// All other characters.
    pub fn others(&self) -> Chars {
        let mut ranges = Vec::new();
        let mut next = 0;
        for (low, high) in &self.0 {
            if next < *low {
                ranges.push((next, low - 1));
            }
            next = high + 1;
        }
        if next <= LAST {
            ranges.push((next, LAST));
        }
        Chars::new(ranges)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn meets(&self, other: &Chars) -> bool {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            if x.0 <= y.1 && y.0 <= x.1 {
                return true;
            }
            if x.1 < y.1 {
                a.next();
            } else {
                b.next();
            }
        }
        false
    }

    /// As a class of a regular expression.
    pub fn class(&self) -> String {
        let mut out = String::from("[");
        for (low, high) in &self.0 {
            out.push_str(&format!("\\x{{{low:X}}}"));
            if low < high {
                out.push_str(&format!("-\\x{{{high:X}}}"));
            }
        }
        out.push(']');
        out
    }

    /// The bytes that these characters begin with in UTF-8.
    pub fn first_bytes(&self) -> Bytes {
        let mut bytes = Bytes::default();
        for (low, high) in &self.0 {
            // The first byte never falls from one character to the next.
            for b in first_byte(*low)..=first_byte(*high) {
                bytes.0[b as usize / 64] |= 1 << (b % 64);
            }
        }
        bytes
    }
}

fn first_byte(c: u32) -> u8 {
    match c {
        0..0x80 => c as u8,
        0x80..0x800 => 0xc0 | (c >> 6) as u8,
        0x800..0x1_0000 => 0xe0 | (c >> 12) as u8,
        _ => 0xf0 | (c >> 18) as u8,
    }
}

/// A set of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bytes([u64; 4]);

impl Bytes {
    pub fn add(&mut self, other: Bytes) {
        self.0.iter_mut().zip(other.0).for_each(|(to, from)| *to |= from);
    }
    pub fn meets(&self, other: &Bytes) -> bool {
        self.0.iter().zip(other.0).any(|(a, b)| a & b != 0)
    }
}
