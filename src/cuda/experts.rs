//! MatMulExperts: each row times the matrices of its experts.
//!
//! Where pairs of a row and an expert are many, two launches follow each other. The first sorts the pairs by expert, on
//! the die (kernels/experts.cu), and cuts each expert's pairs into tiles. The second multiplies tile by tile, so that
//! an expert's weights are read once for many rows (kernels/gemm.h). Nobody knows the number of tiles in advance, so
//! there are as many blocks as could be needed, and those without a tile end at once. A few pairs go by matvec.rs, each
//! for itself.

use super::args::{ExpertLists, GEMM_SMALL_OUTPUTS, GEMM_SMALL_ROWS, GemmExperts};
use super::kernels::{self, OfType};
use super::matvec;
use super::step::{Step, blocks, int};
use crate::error::Result;
use crate::graph::{Graph, MatMulExperts, Node};

/// Up to so many pairs for each expert, and up to so many in all, each pair reads its expert's weights for itself: a
/// tile of weights costs as much for one or two rows as for sixteen.
const FEW_EACH: usize = 2;
const FEW_PAIRS: usize = 16;

/// Tiles at most: each expert that has pairs may have one that is not full.
fn most_tiles(n_pairs: usize, n_expert: usize) -> usize {
    n_pairs / GEMM_SMALL_ROWS + n_expert.min(n_pairs)
}

/// Bytes of the lists (`args::ExpertLists`): the number of tiles, the start of each expert's pairs, the pairs, and two
/// numbers of each tile.
pub(super) fn workspace_bytes(graph: &Graph, o: &MatMulExperts, n_rows: usize) -> Option<usize> {
    let n_pairs = n_rows.checked_mul(o.n_expert_used)?;
    let n_expert = graph.weight(o.matrices.weight).ne[2] as usize;
    let ints =
        n_expert.checked_add(2)?.checked_add(n_pairs)?.checked_add(most_tiles(n_pairs, n_expert).checked_mul(2)?)?;
    ints.checked_mul(size_of::<i32>())
}

pub(super) fn matmul(s: &Step, node: &Node, o: &MatMulExperts) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (n_rows, n_used) = (s.n_rows(output), o.n_expert_used);
    let (m, w) = s.matrices(o.matrices);
    let (n_pairs, n_expert) = (n_rows * n_used, m.n_matrices);
    if n_pairs <= FEW_PAIRS.max(FEW_EACH * n_expert) {
        return matvec::experts(s, node, o);
    }
    let (input, route) = (node.inputs[0], node.inputs[1]);
    let lists = ExpertLists {
        route: s.at(route),
        lists: s.workspace(),
        n_rows: int(n_rows)?,
        n_used: int(n_used)?,
        n_expert: int(n_expert)?,
        unused: 0,
    };
    s.launch(kernels::expert_lists, [1, 1, 1], &lists)?;
    let args = GemmExperts {
        w,
        x: s.at(input),
        bias: s.bias(o.bias, o.matrices),
        y: s.at(output),
        lists: s.workspace(),
        expert_bytes: m.matrix_bytes as i64,
        row_bytes: int(m.row_bytes)?,
        n_in: int(m.n_in)?,
        n_out: int(m.n_out)?,
        n_pairs: int(n_pairs)?,
        n_expert: int(n_expert)?,
        // A bias has an element for each row of the whole matrix.
        bias_stride: int(s.graph().weight(o.matrices.weight).ne[1] as usize)?,
        // One row of the input for all of a row's experts, or one for each.
        per_row: if s.graph().value(input).cols == m.n_in { int(n_used)? } else { 1 },
        unused: 0,
    };
    // Blocks without a tile end at once.
    let grid = [blocks(most_tiles(n_pairs, n_expert), 1)?, blocks(m.n_out, GEMM_SMALL_OUTPUTS)?, 1];
    s.launch(OfType::new(m.ty)?.gemm_experts(), grid, &args)
}
