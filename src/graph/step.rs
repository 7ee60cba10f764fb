//! What a step is: one micro-batch as an executor gets it, and moves of cached cells.

use super::value::Rows;

/// Neighbouring cells of a cache that hold neighbouring positions of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Span {
    pub cell: u32,
    pub pos: i32,
    pub len: u32,
}

/// Neighbouring tokens of a micro-batch that belong to one sequence and see the same spans, each up to its own
/// position.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Run {
    pub first: u32,
    pub n: u32,
    pub first_span: u32,
    pub n_spans: u32,
}

/// What a micro-batch does with one cache.
#[derive(Debug, Clone, Copy)]
pub struct CacheView<'a> {
    /// Where each token's keys and values go.
    pub cells: &'a [u32],
    pub runs: &'a [Run],
    pub spans: &'a [Span],
}

/// What one micro-batch computes. Every id, cell and row was checked by the session.
#[derive(Debug, Clone, Copy)]
pub struct Micro<'a> {
    pub tokens: &'a [i32],
    pub positions: &'a [i32],
    /// One per cache of the plan.
    pub caches: &'a [CacheView<'a>],
    /// Tokens whose results are asked for, and the row of the first among the whole batch's.
    pub outputs: &'a [u32],
    pub first_output: usize,
}

impl Micro<'_> {
    /// Rows of this micro-batch that a value has.
    pub fn n_rows(&self, rows: Rows) -> usize {
        match rows {
            Rows::Tokens => self.tokens.len(),
            Rows::Outputs => self.outputs.len(),
        }
    }
}

/// What happens to a cached cell when sequences are copied apart or shifted.
#[derive(Debug, Clone, Copy)]
pub struct Move {
    pub from: u32,
    /// May be the same cell.
    pub to: u32,
    /// Positions that the keys move by.
    pub delta: i32,
}
