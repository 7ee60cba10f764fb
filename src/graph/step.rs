//! A step: one micro-batch as an executor gets it, and moves of cached cells.
//!
//! The session knows sequences; an executor does not. It is told three things for each cache. `cells` say where a new
//! token's row goes. A [`Span`] is a stretch of cells that holds neighbouring positions of a sequence. A [`Run`] is a
//! stretch of tokens that see the same spans. For example, sequence A has five tokens in cells 0 to 2 and 6 to 7, and a
//! batch brings the tokens at its positions 5 and 6 and one of sequence B:
//!
//! ```text
//! cells    0  1  2  3  4  5  6  7  8  9        cells of the batch: 8, 9, 5
//!          A0 A1 A2 B0 B1 B2 A3 A4 A5 A6       spans: (cell 0, pos 0, len 3) (cell 6, pos 3, len 4)
//!                        ^^       ^^ ^^               (cell 3, pos 0, len 3)
//!                        new      new          runs: tokens 0..2 see spans 0..2, token 2 sees span 2
//! ```

use super::value::Rows;

/// Neighbouring cells of a cache that hold neighbouring positions of one sequence: cell `cell + i` has `pos + i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Span {
    pub cell: u32,
    pub pos: i32,
    pub len: u32,
}

/// Neighbouring tokens of a micro-batch that belong to one sequence and see the same spans. Each sees them up to its
/// own position, and back to the start of its window.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Run {
    pub first: u32,
    pub n: u32,
    pub first_span: u32,
    pub n_spans: u32,
}

/// Stands for no cell: what a recurrent layer remembers after such a token is not kept.
pub const NO_CELL: u32 = u32::MAX;

/// One cache as a micro-batch sees it.
///
/// With a cache of tokens, `spans` are the tokens that a run sees. With one of recurrent states, a run has one span,
/// the cell of the state from which it goes on, or none if it begins a sequence; and `cells` says after which tokens
/// the state is kept, and where. The last token of a run always has a cell. A later run of the same sequence may go on
/// from the cell that an earlier one has written.
#[derive(Debug, Clone, Copy)]
pub struct CacheView<'a> {
    /// The cell that each token's row is written to.
    pub cells: &'a [u32],
    pub runs: &'a [Run],
    pub spans: &'a [Span],
}

/// One micro-batch. The session has checked every id, cell and row.
#[derive(Debug, Clone, Copy)]
pub struct Micro<'a> {
    pub tokens: &'a [i32],
    pub positions: &'a [i32],
    /// One per cache of the plan.
    pub caches: &'a [CacheView<'a>],
    /// Tokens whose results are asked for.
    pub outputs: &'a [u32],
    /// The row of the first of them among the results of the whole batch.
    pub first_output: usize,
    /// Scales of the adapters beside the model, `[n_tokens, n_adapters]`.
    pub adapters: &'a [f32],
    /// Tokens of the first text that earlier micro-batches have added to its mean.
    pub n_before: usize,
}

impl Micro<'_> {
    /// Number of rows that a value has in this micro-batch.
    pub fn n_rows(&self, rows: Rows) -> usize {
        match rows {
            Rows::Tokens => self.tokens.len(),
            Rows::Outputs => self.outputs.len(),
        }
    }
}

/// A cell's row that is copied to another cell, or whose key is turned to another position. Sequences need this when
/// one is copied apart from another or shifted.
#[derive(Debug, Clone, Copy)]
pub struct Move {
    pub from: u32,
    /// May be the same cell.
    pub to: u32,
    /// Number of positions by which the key moves.
    pub delta: i32,
}
