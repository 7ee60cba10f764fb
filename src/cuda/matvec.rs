//! MatMul and MatMulHeads of few rows, and MatMulExperts of few pairs (kernels/matvec.h): each weight is read and
//! decoded once, for all rows. Products of more rows go on to gemm.rs.

use super::args::{Matvec, MatvecExperts, MatvecOne, MatvecPart};
use super::driver::Ptr;
use super::gemm::{self, Product};
use super::kernels::{self, Kernel, OfType};
use super::step::{Step, blocks, int};
use crate::error::Result;
use crate::graph::{MatMul, MatMulExperts, MatMulHeads, Node, WeightId, WeightSlice};
use crate::quant::Type;

/// Products of more rows go by tiles.
const MOST_ROWS: usize = 8;
/// Where there would be fewer blocks than these, about ten for each multiprocessor of a GK210, warps share their rows.
const FEW_BLOCKS: usize = 128;

/// The form of a kernel, as in matvec_blocks.h and matvec_plain.cu.
struct Form {
    /// Rows of x that it takes at most.
    most_rows: usize,
    /// Rows of the matrix that a block takes if its warps share none.
    block_rows: usize,
    /// Warps at most that share their rows.
    most_split: usize,
}

impl Form {
    /// `ahead`: that of one row which loads ahead.
    fn of(ty: Type, n_rows: usize, ahead: bool) -> Form {
        let most_rows = n_rows.next_power_of_two();
        if ty.block_len() == 1 {
            return Form { most_rows, block_rows: if most_rows == 8 { 4 } else { 8 }, most_split: 4 };
        }
        if most_rows == 1 && ahead {
            return Form { most_rows, block_rows: 32, most_split: 4 };
        }
        let (block_rows, most_split) = [(64, 4), (32, 2), (32, 1), (16, 1)][most_rows.ilog2() as usize];
        Form { most_rows, block_rows, most_split }
    }

    /// Warps that share their rows, for `n` products of `n_out`.
    fn split(&self, n_out: usize, n: usize) -> usize {
        let mut split = 1;
        while split < self.most_split && n_out.div_ceil(self.block_rows / split) * n < FEW_BLOCKS {
            split *= 2;
        }
        split
    }
}

/// A part that no block takes.
const NO_PART: MatvecPart = MatvecPart {
    w: Ptr::NULL,
    y: Ptr::NULL,
    bias: Ptr::NULL,
    row_bytes: 0,
    n_out: 0,
    first_block: i32::MAX,
    split: 1,
    unused: 0,
};

/// A matrix that the one row of a step is multiplied by, and the blocks that it takes, from block `first` on.
fn part(s: &Step, node: &Node, o: &MatMul, first: u32) -> Result<(MatvecPart, u32)> {
    let (m, w) = s.matrices(o.matrix);
    let form = Form::of(m.ty, 1, s.x.loads_ahead());
    let split = form.split(m.n_out, 1);
    let part = MatvecPart {
        w,
        y: node.output.map_or(Ptr::NULL, |v| s.at(v)),
        bias: s.bias(o.bias, o.matrix),
        row_bytes: m.row_bytes as i64,
        n_out: int(m.n_out)?,
        first_block: first.cast_signed(),
        split: int(split)?,
        unused: 0,
    };
    Ok((part, blocks(m.n_out, form.block_rows / split)?))
}

fn one(x: Ptr, n_in: usize, first: MatvecPart) -> Result<MatvecOne> {
    let n_in = int(n_in)?;
    let none = (NO_PART, NO_PART);
    Ok(MatvecOne { first, second: none.0, third: none.1, x, head_bytes: 0, n_in, x_head: 0, y_head: 0, function: 0 })
}

/// The kernel for products of one row by these matrices in one launch: two or three of one type, or a third of another.
fn several_kernel(s: &Step, products: &[&MatMul]) -> Option<Kernel<MatvecOne>> {
    let ty = |o: &MatMul| s.graph().weight(o.matrix.weight).ty;
    let (first, ahead) = (ty(products[0]), s.x.loads_ahead());
    if products.iter().all(|o| ty(o) == first) {
        return OfType::new(first).ok().map(|of| of.matvec_one(ahead));
    }
    match products {
        [_, second, third] if ty(second) == first => kernels::matvec_pair(first, ty(third), ahead),
        _ => None,
    }
}

/// True if these products of one value can be one launch.
pub(super) fn can_join(s: &Step, products: &[&MatMul]) -> bool {
    several_kernel(s, products).is_some()
}

/// Up to three products of one row, all of the same value, in one launch.
pub(super) fn several(s: &Step, nodes: &[Node], products: &[&MatMul]) -> Result<()> {
    let Some(kernel) = several_kernel(s, products) else { return Ok(()) };
    let mut parts = [NO_PART; 3];
    let mut end = 0;
    for ((node, o), to) in nodes.iter().zip(products).zip(&mut parts) {
        let (part, n) = part(s, node, o, end)?;
        (*to, end) = (part, end + n);
    }
    let [first, second, third] = parts;
    let args = MatvecOne { second, third, ..one(s.at(nodes[0].inputs[0]), products[0].matrix.n_cols, first)? };
    s.launch(kernel, [end, 1, 1], &args)
}

/// The kernel for a gate's and its other half's products in one launch, if there is one for such matrices.
pub(super) fn gated_kernel(s: &Step, gate: &MatMul, up: &MatMul) -> Option<Kernel<MatvecOne>> {
    let ty = |o: &MatMul| s.graph().weight(o.matrix.weight).ty;
    let ((a, w), (b, v)) = (s.matrices(gate.matrix), s.matrices(up.matrix));
    // Rows of both go together, and are aligned alike.
    let alike = a.row_bytes == b.row_bytes && a.n_out == b.n_out && w.0 % 4 == v.0 % 4;
    let of = OfType::new(ty(gate)).ok().filter(|_| alike && ty(gate) == ty(up))?;
    of.matvec_gated(s.x.loads_ahead())
}

/// Both products of a gated block and their gate, at `y`. Neither of the products is kept.
pub(super) fn gated(
    s: &Step,
    nodes: [&Node; 2],
    products: [&MatMul; 2],
    kernel: Kernel<MatvecOne>,
    y: Ptr,
    function: usize,
) -> Result<()> {
    let ((first, _), (second, _)) = (part(s, nodes[0], products[0], 0)?, part(s, nodes[1], products[1], 0)?);
    // Each half of a lane's rows is of one matrix.
    let form = Form::of(s.graph().weight(products[0].matrix.weight).ty, 1, s.x.loads_ahead());
    let n = blocks(first.n_out.cast_unsigned() as usize, form.block_rows / 2 / first.split.cast_unsigned() as usize)?;
    let (first, function) = (MatvecPart { y, ..first }, int(function)?);
    let args = MatvecOne { second, function, ..one(s.at(nodes[0].inputs[0]), products[0].matrix.n_cols, first)? };
    s.launch(kernel, [n, 1, 1], &args)
}

pub(super) fn matmul(s: &Step, node: &Node, o: &MatMul) -> Result<()> {
    product(s, node, o.matrix, o.bias, 1)
}

pub(super) fn matmul_heads(s: &Step, node: &Node, o: &MatMulHeads) -> Result<()> {
    product(s, node, o.matrices, None, o.n_head)
}

fn product(s: &Step, node: &Node, part: WeightSlice, bias: Option<WeightId>, n_head: usize) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let ((m, w), n_rows) = (s.matrices(part), s.n_rows(output));
    let (x, bias, y) = (s.at(node.inputs[0]), s.bias(bias, part), s.at(output));
    if n_rows > MOST_ROWS {
        return gemm::product(s, &Product { matrices: m, w, x, bias, y, n_rows, n_head });
    }
    let form = Form::of(m.ty, n_rows, s.x.loads_ahead());
    let split = form.split(m.n_out, n_head);
    let grid = [blocks(m.n_out, form.block_rows / split)?, blocks(n_head, 1)?, 1];
    if n_rows == 1 {
        let first = MatvecPart {
            w,
            y,
            bias,
            row_bytes: m.row_bytes as i64,
            n_out: int(m.n_out)?,
            first_block: 0,
            split: int(split)?,
            unused: 0,
        };
        let (head_bytes, x_head, y_head) = (m.matrix_bytes as i64, int(m.n_in)?, int(m.n_out)?);
        let args = MatvecOne { head_bytes, x_head, y_head, ..one(x, m.n_in, first)? };
        return s.launch(OfType::new(m.ty)?.matvec_one(s.x.loads_ahead()), grid, &args);
    }
    let args = Matvec {
        w,
        x,
        y,
        bias,
        row_bytes: m.row_bytes as i64,
        head_bytes: m.matrix_bytes as i64,
        n_in: int(m.n_in)?,
        n_out: int(m.n_out)?,
        n_rows: int(n_rows)?,
        x_stride: int(n_head * m.n_in)?,
        y_stride: int(n_head * m.n_out)?,
        x_head: int(m.n_in)?,
        y_head: int(m.n_out)?,
        split: int(split)?,
    };
    s.launch(OfType::new(m.ty)?.matvec(form.most_rows), grid, &args)
}

/// Each pair of a row and one of its experts for itself.
pub(super) fn experts(s: &Step, node: &Node, o: &MatMulExperts) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (n_rows, n_used, input) = (s.n_rows(output), o.n_expert_used, node.inputs[0]);
    let (m, w) = s.matrices(o.matrices);
    let n_x = s.graph().value(input).cols;
    let form = Form::of(m.ty, 1, s.x.loads_ahead());
    let split = form.split(m.n_out, n_rows * n_used);
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
        bias_stride: int(s.graph().weight(o.matrices.weight).ne[1] as usize)?,
        x_row: int(n_x)?,
        // One row of the input for all of a row's experts, or one for each.
        x_part: if n_x == m.n_in { 0 } else { int(m.n_in)? },
        y_stride: int(n_used * m.n_out)?,
        split: int(split)?,
        unused: 0,
    };
    let kernel = OfType::new(m.ty)?.matvec_experts(s.x.loads_ahead());
    s.launch(kernel, [blocks(m.n_out, form.block_rows / split)?, blocks(n_rows * n_used, 1)?, 1], &args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warps_share_rows_where_blocks_are_few() {
        let one = Form::of(Type::Q4_K, 1, false);
        assert_eq!(
            (one.most_rows, one.split(14336, 1), one.split(4096, 1), one.split(1024, 1), one.split(64, 1)),
            (1, 1, 2, 4, 4)
        );
        assert_eq!(one.split(768, 8), 2);
        let ahead = Form::of(Type::Q4_K, 1, true);
        assert_eq!((ahead.split(4096, 1), ahead.split(1024, 1)), (1, 4));
        assert_eq!(
            (
                Form::of(Type::Q4_K, 3, false).most_rows,
                Form::of(Type::Q4_K, 2, false).split(64, 1),
                Form::of(Type::Q4_K, 5, false).split(64, 1)
            ),
            (4, 2, 1)
        );
        assert_eq!((Form::of(Type::F32, 8, false).split(64, 1), Form::of(Type::F32, 1, false).split(4096, 1)), (4, 1));
    }
}
