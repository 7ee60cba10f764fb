//! MatMul and MatMulHeads of many rows: tiles, weights decoded on the way to shared memory. Few rows are matvec.rs's.

use super::{Ptr, Step};
use crate::error::{Error, Result, Status};
use crate::graph::{Node, WeightId};

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

/// A size as kernels take it.
pub(super) fn int(n: usize) -> Result<i32> {
    i32::try_from(n)
        .map_err(|_| Error::new(Status::Unsupported, format!("a size of {n} is too large for a CUDA device")))
}

/// Blocks that take `each` of `n`.
pub(super) fn blocks(n: usize, each: usize) -> Result<u32> {
    Ok(int(n.div_ceil(each))?.cast_unsigned())
}

/// Small tiles do about a fifth more for each result, but waste fewer rows, and there are four times as many.
fn is_small(n_rows: usize, n_out: usize, n_head: usize) -> bool {
    let tiles = n_rows.div_ceil(ROWS) * n_out.div_ceil(OUTPUTS) * n_head;
    tiles < FEW_TILES || n_rows.next_multiple_of(SMALL_ROWS) * 6 < n_rows.next_multiple_of(ROWS) * 5
}

pub(super) fn matmul(s: &Step, node: &Node, weight: WeightId, bias: Option<WeightId>, first: usize) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (graph, input) = (s.graph(), node.inputs[0]);
    let ty = graph.weight(weight).ty;
    let (n_in, n_out) = (graph.value(input).cols, graph.value(output).cols);
    let row_bytes = n_in / ty.block_len() * ty.block_bytes();
    let args = Gemm {
        // The rows of a fused weight that this product takes.
        w: s.weight(weight).add(first * row_bytes),
        x: s.at(input),
        bias: bias.map_or(Ptr::NULL, |b| s.weight(b).add(first * size_of::<f32>())),
        y: s.at(output),
        head_bytes: 0,
        row_bytes: int(row_bytes)?,
        n_in: int(n_in)?,
        n_out: int(n_out)?,
        n_rows: int(s.n_rows(output))?,
        x_stride: int(n_in)?,
        y_stride: int(n_out)?,
    };
    launch(s, ty.name(), &args, s.n_rows(output), n_out, 1)
}

pub(super) fn matmul_heads(s: &Step, node: &Node, weight: WeightId, n_head: usize) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let info = s.graph().weight(weight);
    let (n_in, n_out) = (info.ne[0] as usize, info.ne[1] as usize);
    let row_bytes = n_in / info.ty.block_len() * info.ty.block_bytes();
    let args = Gemm {
        w: s.weight(weight),
        x: s.at(node.inputs[0]),
        bias: Ptr::NULL,
        y: s.at(output),
        head_bytes: (n_out * row_bytes) as i64,
        row_bytes: int(row_bytes)?,
        n_in: int(n_in)?,
        n_out: int(n_out)?,
        n_rows: int(s.n_rows(output))?,
        x_stride: int(n_head * n_in)?,
        y_stride: int(n_head * n_out)?,
    };
    launch(s, info.ty.name(), &args, s.n_rows(output), n_out, n_head)
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
