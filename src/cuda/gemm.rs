//! Products of many rows (MatMul, MatMulHeads): tiles of results, for which weights become numbers on the way to shared
//! memory (kernels/gemm.h). matvec.rs has the products of few rows, and hands the others on.

use super::args::{GEMM_OUTPUTS, GEMM_ROWS, GEMM_SMALL_OUTPUTS, GEMM_SMALL_ROWS, Gemm};
use super::driver::Ptr;
use super::kernels::OfType;
use super::step::{Step, blocks, int};
use crate::error::Result;
use crate::graph::Matrices;

/// With fewer tiles than these, eight for each multiprocessor of a GK210, smaller ones keep it busier.
const FEW_TILES: usize = 104;

/// Small tiles do about a fifth more for each result, but waste fewer rows, and there are four times as many.
fn is_small(n_rows: usize, n_out: usize, n_head: usize) -> bool {
    let tiles = n_rows.div_ceil(GEMM_ROWS) * n_out.div_ceil(GEMM_OUTPUTS) * n_head;
    tiles < FEW_TILES || n_rows.next_multiple_of(GEMM_SMALL_ROWS) * 6 < n_rows.next_multiple_of(GEMM_ROWS) * 5
}

/// Rows times a matrix, or times a matrix for each head: head h takes columns h n_in .. of x and h n_out .. of y.
pub(super) struct Product {
    pub matrices: Matrices,
    pub w: Ptr,
    pub x: Ptr,
    pub bias: Ptr,
    pub y: Ptr,
    pub n_rows: usize,
    pub n_head: usize,
}

pub(super) fn product(s: &Step, p: &Product) -> Result<()> {
    let m = &p.matrices;
    let args = Gemm {
        w: p.w,
        x: p.x,
        bias: p.bias,
        y: p.y,
        head_bytes: m.matrix_bytes as i64,
        row_bytes: int(m.row_bytes)?,
        n_in: int(m.n_in)?,
        n_out: int(m.n_out)?,
        n_rows: int(p.n_rows)?,
        x_stride: int(p.n_head * m.n_in)?,
        y_stride: int(p.n_head * m.n_out)?,
    };
    let of = OfType::new(m.ty)?;
    let (kernel, rows, outputs) = match is_small(p.n_rows, m.n_out, p.n_head) {
        true => (of.gemm_small(), GEMM_SMALL_ROWS, GEMM_SMALL_OUTPUTS),
        false => (of.gemm(), GEMM_ROWS, GEMM_OUTPUTS),
    };
    s.launch(kernel, [blocks(p.n_rows, rows)?, blocks(m.n_out, outputs)?, blocks(p.n_head, 1)?], &args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_tiles_are_for_few_rows_and_few_tiles() {
        assert!(is_small(9, 100_000, 1) && is_small(32, 100_000, 1) && !is_small(64, 100_000, 1));
        assert!(is_small(70, 100_000, 1) && !is_small(500, 100_000, 1));
        assert!(is_small(512, 1024, 1) && !is_small(512, 4096, 1) && !is_small(512, 128, 16));
    }
}
