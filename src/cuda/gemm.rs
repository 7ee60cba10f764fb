//! MatMul and MatMulHeads of many rows: tiles, weights decoded on the way to shared memory. Few rows are matvec.rs's.

use super::die::Ptr;
use super::step::{Step, blocks, int};
use crate::error::Result;
use crate::graph::{MatMul, MatMulHeads, Node};

pub(super) const THREADS: u32 = 128;
/// Rows and outputs of a tile, of a small one too.
const ROWS: usize = 64;
const OUTPUTS: usize = 128;
pub(super) const SMALL_ROWS: usize = 32;
pub(super) const SMALL_OUTPUTS: usize = 64;
/// With fewer tiles than these, eight for each multiprocessor of a GK210, smaller ones keep it busier.
const FEW_TILES: usize = 104;

/// As in gemm.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Gemm {
    w: Ptr,
    x: Ptr,
    bias: Ptr,
    y: Ptr,
    head_bytes: i64,
    row_bytes: i32,
    n_in: i32,
    n_out: i32,
    n_rows: i32,
    x_stride: i32,
    y_stride: i32,
}

/// Small tiles do about a fifth more for each result, but waste fewer rows, and there are four times as many.
fn is_small(n_rows: usize, n_out: usize, n_head: usize) -> bool {
    let tiles = n_rows.div_ceil(ROWS) * n_out.div_ceil(OUTPUTS) * n_head;
    tiles < FEW_TILES || n_rows.next_multiple_of(SMALL_ROWS) * 6 < n_rows.next_multiple_of(ROWS) * 5
}

pub(super) fn matmul(s: &Step, node: &Node, o: &MatMul) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (m, w) = s.matrices(o.matrix);
    let args = Gemm {
        w,
        x: s.at(node.inputs[0]),
        bias: s.bias(o.bias, o.matrix),
        y: s.at(output),
        head_bytes: 0,
        row_bytes: int(m.row_bytes)?,
        n_in: int(m.n_in)?,
        n_out: int(m.n_out)?,
        n_rows: int(s.n_rows(output))?,
        x_stride: int(m.n_in)?,
        y_stride: int(m.n_out)?,
    };
    launch(s, m.ty.name(), &args, s.n_rows(output), m.n_out, 1)
}

pub(super) fn matmul_heads(s: &Step, node: &Node, o: &MatMulHeads) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (m, w) = s.matrices(o.matrices);
    let args = Gemm {
        w,
        x: s.at(node.inputs[0]),
        bias: Ptr::NULL,
        y: s.at(output),
        head_bytes: m.matrix_bytes as i64,
        row_bytes: int(m.row_bytes)?,
        n_in: int(m.n_in)?,
        n_out: int(m.n_out)?,
        n_rows: int(s.n_rows(output))?,
        x_stride: int(o.n_head * m.n_in)?,
        y_stride: int(o.n_head * m.n_out)?,
    };
    launch(s, m.ty.name(), &args, s.n_rows(output), m.n_out, o.n_head)
}

fn launch(s: &Step, ty: &str, args: &Gemm, n_rows: usize, n_out: usize, n_head: usize) -> Result<()> {
    let (kernel, rows, outputs) = if is_small(n_rows, n_out, n_head) {
        (format!("gemm_small_{ty}"), SMALL_ROWS, SMALL_OUTPUTS)
    } else {
        (format!("gemm_{ty}"), ROWS, OUTPUTS)
    };
    s.launch(&kernel, [blocks(n_rows, rows)?, blocks(n_out, outputs)?, blocks(n_head, 1)?], THREADS, args)
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
