//! MatMulExperts: each row by the matrices of its experts. Pairs of a row and an expert are sorted by expert first, on the die, so that
//! an expert's weights are read once for many of them.

use super::gemm::{SMALL_OUTPUTS, SMALL_ROWS, THREADS, blocks, int};
use super::{Ptr, Step, matvec};
use crate::error::Result;
use crate::graph::{Graph, Limits, Node, WeightId};

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
pub(super) fn workspace_bytes(
    graph: &Graph,
    node: &Node,
    weight: WeightId,
    n_used: usize,
    limits: Limits,
) -> Option<usize> {
    let n_pairs = limits.rows(graph.value(node.inputs[0]).rows).checked_mul(n_used)?;
    let n_expert = graph.weight(weight).ne[2] as usize;
    let ints =
        n_expert.checked_add(2)?.checked_add(n_pairs)?.checked_add(most_tiles(n_pairs, n_expert).checked_mul(2)?)?;
    ints.checked_mul(size_of::<i32>())
}

pub(super) fn matmul(
    s: &Step,
    node: &Node,
    weight: WeightId,
    bias: Option<WeightId>,
    n_used: usize,
    first: usize,
) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (n_rows, graph) = (s.n_rows(output), s.graph());
    let info = graph.weight(weight);
    let (n_in, n_all, n_expert) = (info.ne[0] as usize, info.ne[1] as usize, info.ne[2] as usize);
    let n_pairs = n_rows * n_used;
    if n_pairs <= FEW_PAIRS.max(FEW_EACH * n_expert) {
        return matvec::experts(s, node, weight, bias, n_used, first);
    }
    let n_out = graph.value(output).cols / n_used;
    let row_bytes = n_in / info.ty.block_len() * info.ty.block_bytes();
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
        w: s.weight(weight).add(first * row_bytes),
        x: s.at(input),
        bias: bias.map_or(Ptr::NULL, |b| s.weight(b).add(first * size_of::<f32>())),
        y: s.at(output),
        lists: s.workspace(),
        expert_bytes: (n_all * row_bytes) as i64,
        row_bytes: int(row_bytes)?,
        n_in: int(n_in)?,
        n_out: int(n_out)?,
        n_pairs: int(n_pairs)?,
        n_expert: int(n_expert)?,
        bias_stride: int(n_all)?,
        // One row of the input for all of a row's experts, or one for each.
        per_row: if graph.value(input).cols == n_in { int(n_used)? } else { 1 },
        unused: 0,
    };
    // Blocks without a tile end at once.
    let grid = [blocks(most_tiles(n_pairs, n_expert), 1)?, blocks(n_out, SMALL_OUTPUTS)?, 1];
    s.launch(&format!("gemm_experts_{}", info.ty.name()), grid, THREADS, &args)
}
