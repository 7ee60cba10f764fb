//! Keys and values of one KV head in the cache, and the blocks in which they are taken.

use crate::cpu::matmul::attend::{BLOCK, Cells};
use crate::graph::{self, Span};
use crate::quant::Type;

/// One side of the cache (keys or values), of one KV head.
#[derive(Clone, Copy)]
pub(super) struct Side {
    pub ty: Type,
    pub base: *const u8,
    pub row_bytes: usize,
    pub dim: usize,
}

impl Side {
    /// Head `head` of a side of the KV arena. The plan checked that a head is a whole number of blocks.
    pub fn new(ty: Type, arena: *const u8, side: graph::Side, head: usize, dim: usize) -> Side {
        let offset = side.offset + ty.row_bytes(head * dim).unwrap_or(0);
        Side { ty, base: arena.wrapping_add(offset), row_bytes: side.row, dim }
    }

    pub fn cells<'a>(&self, cells: &'a [u32]) -> Cells<'a> {
        Cells { base: self.base, row_bytes: self.row_bytes, cells, dim: self.dim }
    }
}

/// The next keys of a sequence, in the order of positions.
pub(super) struct Block {
    pub cells: [u32; BLOCK],
    pub positions: [i32; BLOCK],
    pub n: usize,
}

impl Block {
    pub fn new() -> Block {
        Block { cells: [0; BLOCK], positions: [0; BLOCK], n: 0 }
    }

    /// Takes a block of keys from the front of `spans`: all whose positions lie between the same two multiples of
    /// `BLOCK`. `used` counts the keys of the first span that earlier blocks took.
    pub fn fill(&mut self, spans: &mut &[Span], used: &mut u32) {
        self.n = 0;
        let at = |span: &Span, used: u32| i64::from(span.pos) + i64::from(used);
        let Some(end) = spans.first().map(|span| (at(span, *used) / BLOCK as i64 + 1) * BLOCK as i64) else { return };
        while let Some((span, rest)) = spans.split_first() {
            let n = (end - at(span, *used)).clamp(0, i64::from(span.len - *used)) as usize;
            let (cells, positions) = (&mut self.cells[self.n..self.n + n], &mut self.positions[self.n..self.n + n]);
            for (i, (cell, pos)) in cells.iter_mut().zip(positions).enumerate() {
                *cell = span.cell + *used + i as u32;
                *pos = span.pos + (*used + i as u32) as i32;
            }
            self.n += n;
            *used += n as u32;
            if *used < span.len {
                return;
            }
            (*spans, *used) = (rest, 0);
        }
    }

    /// The keys that a token sees, as a range within the block: positions above `behind` and up to `last`.
    pub fn seen_from(&self, last: i64, behind: i64) -> (usize, usize) {
        let positions = &self.positions[..self.n];
        let first = positions.partition_point(|p| i64::from(*p) <= behind);
        (first, positions.partition_point(|p| i64::from(*p) <= last).max(first))
    }
}
