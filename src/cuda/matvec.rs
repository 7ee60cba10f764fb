//! MatMul and MatMulHeads of few rows, and MatMulExperts of few pairs: each weight is read and decoded once.

use super::die::Ptr;
use super::gemm;
use super::step::{Step, blocks, int};
use crate::error::Result;
use crate::graph::{MatMul, MatMulExperts, MatMulHeads, Node};
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

pub(super) fn matmul(s: &Step, node: &Node, o: &MatMul) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let n_rows = s.n_rows(output);
    if n_rows > MOST_ROWS {
        return gemm::matmul(s, node, o);
    }
    let (m, w) = s.matrices(o.matrix);
    let shape = Shape::of(m.ty, n_rows);
    let split = shape.split(m.n_out, 1);
    let args = Matvec {
        w,
        x: s.at(node.inputs[0]),
        y: s.at(output),
        bias: s.bias(o.bias, o.matrix),
        row_bytes: m.row_bytes as i64,
        head_bytes: 0,
        n_in: int(m.n_in)?,
        n_out: int(m.n_out)?,
        n_rows: int(n_rows)?,
        x_stride: int(m.n_in)?,
        y_stride: int(m.n_out)?,
        x_head: 0,
        y_head: 0,
        split: int(split)?,
    };
    let kernel = format!("matvec_{}_{}", m.ty.name(), shape.variant);
    s.launch(&kernel, [blocks(m.n_out, shape.rows / split)?, 1, 1], THREADS, &args)
}

pub(super) fn matmul_heads(s: &Step, node: &Node, o: &MatMulHeads) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let n_rows = s.n_rows(output);
    if n_rows > MOST_ROWS {
        return gemm::matmul_heads(s, node, o);
    }
    let (m, w) = s.matrices(o.matrices);
    let shape = Shape::of(m.ty, n_rows);
    let split = shape.split(m.n_out, o.n_head);
    let args = Matvec {
        w,
        x: s.at(node.inputs[0]),
        y: s.at(output),
        bias: Ptr::NULL,
        row_bytes: m.row_bytes as i64,
        head_bytes: m.matrix_bytes as i64,
        n_in: int(m.n_in)?,
        n_out: int(m.n_out)?,
        n_rows: int(n_rows)?,
        x_stride: int(o.n_head * m.n_in)?,
        y_stride: int(o.n_head * m.n_out)?,
        x_head: int(m.n_in)?,
        y_head: int(m.n_out)?,
        split: int(split)?,
    };
    let kernel = format!("matvec_{}_{}", m.ty.name(), shape.variant);
    s.launch(&kernel, [blocks(m.n_out, shape.rows / split)?, blocks(o.n_head, 1)?, 1], THREADS, &args)
}

/// Each pair of a row and one of its experts for itself.
pub(super) fn experts(s: &Step, node: &Node, o: &MatMulExperts) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (n_rows, n_used, input) = (s.n_rows(output), o.n_expert_used, node.inputs[0]);
    let (m, w) = s.matrices(o.matrices);
    let n_x = s.graph().value(input).cols;
    let shape = Shape::of(m.ty, 1);
    let split = shape.split(m.n_out, n_rows * n_used);
    let args = MatvecExperts {
        w,
        x: s.at(input),
        y: s.at(output),
        bias: s.bias(o.bias, o.matrices),
        route: s.at(node.inputs[1]),
        row_bytes: m.row_bytes as i64,
        expert_bytes: m.matrix_bytes as i64,
        n_in: int(m.n_in)?,
        n_out: int(m.n_out)?,
        n_expert: int(m.n_matrices)?,
        n_used: int(n_used)?,
        // A bias has an element for each row of the whole matrix.
        bias_expert: int(s.graph().weight(o.matrices.weight).ne[1] as usize)?,
        x_row: int(n_x)?,
        // One row of the input for all of a row's experts, or one for each.
        x_part: if n_x == m.n_in { 0 } else { int(m.n_in)? },
        y_stride: int(n_used * m.n_out)?,
        split: int(split)?,
        zero: 0,
    };
    let kernel = format!("matvec_experts_{}", m.ty.name());
    s.launch(&kernel, [blocks(m.n_out, shape.rows / split)?, blocks(n_rows * n_used, 1)?, 1], THREADS, &args)
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
