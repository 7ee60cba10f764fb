//! MatMul and MatMulHeads of few rows, and MatMulExperts of few pairs: each weight is read and decoded once.

use super::gemm::{self, blocks, int};
use super::{Ptr, Step};
use crate::error::Result;
use crate::graph::{Node, WeightId};
use crate::quant::Type;

/// More rows are tiles' business.
const MOST_ROWS: usize = 8;
const THREADS: u32 = 128;
/// Where there would be fewer blocks than these, about ten for each multiprocessor of a GK210, warps share their rows.
const FEW_BLOCKS: usize = 128;

/// As in matvec.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct Matvec {
    w: Ptr,
    x: Ptr,
    y: Ptr,
    bias: Ptr,
    row_bytes: i64,
    head_bytes: i64,
    n_in: i32,
    n_out: i32,
    n_rows: i32,
    x_stride: i32,
    y_stride: i32,
    x_head: i32,
    y_head: i32,
    split: i32,
}

/// As in matvec.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct MatvecExperts {
    w: Ptr,
    x: Ptr,
    y: Ptr,
    bias: Ptr,
    route: Ptr,
    row_bytes: i64,
    expert_bytes: i64,
    n_in: i32,
    n_out: i32,
    n_expert: i32,
    n_used: i32,
    bias_expert: i32,
    x_row: i32,
    x_part: i32,
    y_stride: i32,
    split: i32,
    zero: i32,
}

/// Of a kernel: rows of x that it takes, rows of the matrix that a block takes if its warps share none, and how many may share.
struct Shape {
    variant: usize,
    rows: usize,
    most_split: usize,
}

impl Shape {
    /// As in matvec_blocks.h and matvec_plain.cu.
    fn of(ty: Type, n_rows: usize) -> Shape {
        let variant = n_rows.next_power_of_two();
        if ty.block_len() == 1 {
            return Shape { variant, rows: if variant == 8 { 4 } else { 8 }, most_split: 4 };
        }
        let (rows, most_split) = [(64, 4), (32, 2), (32, 1), (16, 1)][variant.ilog2() as usize];
        Shape { variant, rows, most_split }
    }

    /// Warps that share their rows, for `n` products of `n_out`.
    fn split(&self, n_out: usize, n: usize) -> usize {
        let mut split = 1;
        while split < self.most_split && n_out.div_ceil(self.rows / split) * n < FEW_BLOCKS {
            split *= 2;
        }
        split
    }
}

pub(super) fn matmul(s: &Step, node: &Node, weight: WeightId, bias: Option<WeightId>, first: usize) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (graph, input, n_rows) = (s.graph(), node.inputs[0], s.n_rows(output));
    if n_rows > MOST_ROWS {
        return gemm::matmul(s, node, weight, bias, first);
    }
    let ty = graph.weight(weight).ty;
    let (n_in, n_out) = (graph.value(input).cols, graph.value(output).cols);
    let row_bytes = n_in / ty.block_len() * ty.block_bytes();
    let shape = Shape::of(ty, n_rows);
    let split = shape.split(n_out, 1);
    let args = Matvec {
        // The rows of a fused weight that this product takes.
        w: s.weight(weight).add(first * row_bytes),
        x: s.at(input),
        y: s.at(output),
        bias: bias.map_or(Ptr::NULL, |b| s.weight(b).add(first * size_of::<f32>())),
        row_bytes: row_bytes as i64,
        head_bytes: 0,
        n_in: int(n_in)?,
        n_out: int(n_out)?,
        n_rows: int(n_rows)?,
        x_stride: int(n_in)?,
        y_stride: int(n_out)?,
        x_head: 0,
        y_head: 0,
        split: int(split)?,
    };
    let kernel = format!("matvec_{}_{}", ty.name(), shape.variant);
    s.launch(&kernel, [blocks(n_out, shape.rows / split)?, 1, 1], THREADS, &args)
}

pub(super) fn matmul_heads(s: &Step, node: &Node, weight: WeightId, n_head: usize) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let n_rows = s.n_rows(output);
    if n_rows > MOST_ROWS {
        return gemm::matmul_heads(s, node, weight, n_head);
    }
    let info = s.graph().weight(weight);
    let (n_in, n_out) = (info.ne[0] as usize, info.ne[1] as usize);
    let row_bytes = n_in / info.ty.block_len() * info.ty.block_bytes();
    let shape = Shape::of(info.ty, n_rows);
    let split = shape.split(n_out, n_head);
    let args = Matvec {
        w: s.weight(weight),
        x: s.at(node.inputs[0]),
        y: s.at(output),
        bias: Ptr::NULL,
        row_bytes: row_bytes as i64,
        head_bytes: (n_out * row_bytes) as i64,
        n_in: int(n_in)?,
        n_out: int(n_out)?,
        n_rows: int(n_rows)?,
        x_stride: int(n_head * n_in)?,
        y_stride: int(n_head * n_out)?,
        x_head: int(n_in)?,
        y_head: int(n_out)?,
        split: int(split)?,
    };
    let kernel = format!("matvec_{}_{}", info.ty.name(), shape.variant);
    s.launch(&kernel, [blocks(n_out, shape.rows / split)?, blocks(n_head, 1)?, 1], THREADS, &args)
}

/// Each pair of a row and one of its experts for itself.
pub(super) fn experts(
    s: &Step,
    node: &Node,
    weight: WeightId,
    bias: Option<WeightId>,
    n_used: usize,
    first: usize,
) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (graph, n_rows, input) = (s.graph(), s.n_rows(output), node.inputs[0]);
    let info = graph.weight(weight);
    let (n_in, n_all, n_expert) = (info.ne[0] as usize, info.ne[1] as usize, info.ne[2] as usize);
    let (n_x, n_y) = (graph.value(input).cols, graph.value(output).cols);
    let n_out = n_y / n_used;
    let row_bytes = n_in / info.ty.block_len() * info.ty.block_bytes();
    let shape = Shape::of(info.ty, 1);
    let split = shape.split(n_out, n_rows * n_used);
    let args = MatvecExperts {
        w: s.weight(weight).add(first * row_bytes),
        x: s.at(input),
        y: s.at(output),
        bias: bias.map_or(Ptr::NULL, |b| s.weight(b).add(first * size_of::<f32>())),
        route: s.at(node.inputs[1]),
        row_bytes: row_bytes as i64,
        expert_bytes: (n_all * row_bytes) as i64,
        n_in: int(n_in)?,
        n_out: int(n_out)?,
        n_expert: int(n_expert)?,
        n_used: int(n_used)?,
        bias_expert: int(n_all)?,
        x_row: int(n_x)?,
        // One row of the input for all of a row's experts, or one for each.
        x_part: if n_x == n_in { 0 } else { int(n_in)? },
        y_stride: int(n_y)?,
        split: int(split)?,
        zero: 0,
    };
    let kernel = format!("matvec_experts_{}", info.ty.name());
    s.launch(&kernel, [blocks(n_out, shape.rows / split)?, blocks(n_rows * n_used, 1)?, 1], THREADS, &args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warps_share_rows_where_blocks_are_few() {
        let one = Shape::of(Type::Q4_K, 1);
        assert_eq!(
            (one.variant, one.split(14336, 1), one.split(4096, 1), one.split(1024, 1), one.split(64, 1)),
            (1, 1, 2, 4, 4)
        );
        assert_eq!(one.split(768, 8), 2);
        assert_eq!(
            (
                Shape::of(Type::Q4_K, 3).variant,
                Shape::of(Type::Q4_K, 2).split(64, 1),
                Shape::of(Type::Q4_K, 5).split(64, 1)
            ),
            (4, 2, 1)
        );
        assert_eq!((Shape::of(Type::F32, 8).split(64, 1), Shape::of(Type::F32, 1).split(4096, 1)), (4, 1));
    }

    #[test]
    fn arguments_have_no_hidden_padding() {
        assert_eq!((size_of::<Matvec>(), size_of::<MatvecExperts>()), (80, 96));
    }
}
