//! Tiles: the query rows that read the same keys.

use crate::cpu::matmul::attend::BLOCK;
use crate::graph::Span;

/// The most query rows of a tile.
pub(super) const ROWS: usize = 64;
/// Positions in a part, a multiple of BLOCK.
pub(super) const PART: i64 = 2048;

/// The shape of a tile.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// Query heads of a tile.
    pub heads: usize,
    /// Tiles that the query heads of one KV head take.
    pub slices: usize,
    /// Tokens of a tile.
    pub tokens: usize,
    /// Elements of a key and a value, up to a multiple of 16.
    pub dim_k: usize,
    pub dim_v: usize,
}

impl Sizes {
    /// `group` heads of queries share one of keys, whose length and that of its values are given.
    pub fn new(group: usize, dim_k: usize, dim_v: usize) -> Option<Sizes> {
        let slices = group.div_ceil(ROWS);
        let heads = group.div_ceil(slices);
        let (dim_k, dim_v) = (dim_k.checked_next_multiple_of(16)?, dim_v.checked_next_multiple_of(16)?);
        Some(Sizes { heads, slices, tokens: ROWS / heads, dim_k, dim_v })
    }

    pub fn rows(&self) -> usize {
        self.tokens * self.heads
    }

    /// Floats of a tile's result: each row's sum of values, maximum and sum of weights.
    pub fn result(&self) -> Option<usize> {
        self.dim_v.checked_add(2)?.checked_mul(self.rows())?.checked_next_multiple_of(16)
    }

    /// Floats of a thread's scratch: a block's keys and values, the rows' scores, a part's result, and that of all
    /// parts.
    pub fn scratch(&self) -> Option<usize> {
        let block = self.dim_k.checked_add(self.dim_v)?.checked_mul(BLOCK)?;
        block.checked_add(self.rows() * BLOCK)?.checked_add(self.result()?.checked_mul(2)?)
    }
}

/// Some tokens of a run, with some query heads of one KV head.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    /// The first token, as an index into the micro-batch.
    pub first: usize,
    pub n_tokens: usize,
    /// The KV head.
    pub head: usize,
    /// The first of its query heads that is in this tile, counted from the KV head's first.
    pub first_head: usize,
    pub n_heads: usize,
    pub spans: &'a [Span],
    /// The last position in them.
    pub end: i64,
    /// The first and the last part in which a token of the tile sees a position.
    pub parts: (i64, i64),
}

impl Tile<'_> {
    pub fn rows(&self) -> usize {
        self.n_tokens * self.n_heads
    }

    pub fn n_parts(&self) -> i64 {
        self.parts.1 - self.parts.0 + 1
    }

    /// The parts that hold keys. They are found by spans, not by counting up, since positions may leave millions out.
    pub fn parts_with_keys(&self) -> impl Iterator<Item = i64> {
        let next = |part: i64| {
            let gone = self.spans.partition_point(|s| i64::from(s.pos) + i64::from(s.len) <= part * PART);
            let span = self.spans.get(gone)?;
            Some(part.max(i64::from(span.pos) / PART)).filter(|p| *p <= self.parts.1)
        };
        std::iter::successors(next(self.parts.0), move |part| next(part + 1))
    }

    /// True if most parts may hold keys. If threads share parts, they count up, so a sparse sequence is left to one
    /// thread.
    pub fn is_dense(&self) -> bool {
        let n_cells: i64 = self.spans.iter().map(|s| i64::from(s.len)).sum();
        self.n_parts() <= 1 + 2 * self.spans.len() as i64 + n_cells / PART
    }
}
