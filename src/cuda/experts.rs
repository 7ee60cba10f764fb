//! MatMulExperts: each row by the matrices of its experts. Pairs of a row and an expert are sorted by expert first, on the die, so that
//! an expert's weights are read once for many of them.

use super::die::Ptr;
use super::gemm::{SMALL_OUTPUTS, SMALL_ROWS, THREADS};
use super::matvec;
use super::step::{Step, blocks, int};
use crate::error::Result;
use crate::graph::{Graph, MatMulExperts, Node};

/// Up to so many pairs for each expert, and so many at all, each takes its expert's weights by itself: a tile of weights that is read
/// for one or two rows costs as much as for sixteen.
const FEW_EACH: usize = 2;
const FEW_PAIRS: usize = 16;
const LIST_THREADS: u32 = 1024;

/// As in experts.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct ExpertLists {
    route: Ptr,
    lists: Ptr,
    n_rows: i32,
    n_used: i32,
    n_expert: i32,
    unused: i32,
}

/// As in gemm.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct GemmExperts {
    w: Ptr,
    x: Ptr,
    bias: Ptr,
    y: Ptr,
    lists: Ptr,
    expert_bytes: i64,
    row_bytes: i32,
    n_in: i32,
    n_out: i32,
    n_pairs: i32,
    n_expert: i32,
    bias_stride: i32,
    per_row: i32,
    unused: i32,
}

/// Tiles at most: each expert that has pairs may have one that is not full.
fn most_tiles(n_pairs: usize, n_expert: usize) -> usize {
    n_pairs / SMALL_ROWS + n_expert.min(n_pairs)
}

/// The lists: the number of tiles, where each expert's pairs begin, the pairs, and two numbers of each tile.
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
    s.launch("expert_lists", [1, 1, 1], LIST_THREADS, &lists)?;
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
    let grid = [blocks(most_tiles(n_pairs, n_expert), 1)?, blocks(m.n_out, SMALL_OUTPUTS)?, 1];
    s.launch(&format!("gemm_experts_{}", m.ty.name()), grid, THREADS, &args)
}
