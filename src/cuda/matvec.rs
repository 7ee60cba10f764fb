//! MatMul and MatMulHeads of few rows, and MatMulExperts of few pairs (kernels/matvec.h): each weight is read and
//! decoded once, for all rows. Products of more rows go on to gemm.rs.

use super::args::{Matvec, MatvecExperts};
use super::gemm::{self, Product};
use super::kernels::OfType;
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
    fn of(ty: Type, n_rows: usize) -> Form {
        let most_rows = n_rows.next_power_of_two();
        if ty.block_len() == 1 {
            return Form { most_rows, block_rows: if most_rows == 8 { 4 } else { 8 }, most_split: 4 };
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
    let form = Form::of(m.ty, n_rows);
    let split = form.split(m.n_out, n_head);
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
    let kernel = OfType::new(m.ty)?.matvec(form.most_rows);
    s.launch(kernel, [blocks(m.n_out, form.block_rows / split)?, blocks(n_head, 1)?, 1], &args)
}

/// Each pair of a row and one of its experts for itself.
pub(super) fn experts(s: &Step, node: &Node, o: &MatMulExperts) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (n_rows, n_used, input) = (s.n_rows(output), o.n_expert_used, node.inputs[0]);
    let (m, w) = s.matrices(o.matrices);
    let n_x = s.graph().value(input).cols;
    let form = Form::of(m.ty, 1);
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
    let kernel = OfType::new(m.ty)?.matvec_experts();
    s.launch(kernel, [blocks(m.n_out, form.block_rows / split)?, blocks(n_rows * n_used, 1)?, 1], &args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warps_share_rows_where_blocks_are_few() {
        let one = Form::of(Type::Q4_K, 1);
        assert_eq!(
            (one.most_rows, one.split(14336, 1), one.split(4096, 1), one.split(1024, 1), one.split(64, 1)),
            (1, 1, 2, 4, 4)
        );
        assert_eq!(one.split(768, 8), 2);
        assert_eq!(
            (
                Form::of(Type::Q4_K, 3).most_rows,
                Form::of(Type::Q4_K, 2).split(64, 1),
                Form::of(Type::Q4_K, 5).split(64, 1)
            ),
            (4, 2, 1)
        );
        assert_eq!((Form::of(Type::F32, 8).split(64, 1), Form::of(Type::F32, 1).split(4096, 1)), (4, 1));
    }
}
