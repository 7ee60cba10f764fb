//! CUDA devices: what their kernels ask of the compute arena. (The executor comes with the kernels.)

use crate::graph::{Graph, Limits, Node, Op};

/// With few tokens there are too few query heads to fill a die, so the context is cut into at most so many parts, whose partial
/// results are merged.
const ATTENTION_PARTS: usize = 32;
/// Up to so many tokens; more fill the die by themselves.
const ATTENTION_SPLIT_TOKENS: usize = 8;

/// Bytes of workspace that a node's kernel needs at the largest batch; `None` if that overflows.
///
/// Products decode their weights on the way to registers or shared memory and need none. Attention keeps, per part, each query
/// row's sum of values, maximum and sum: nothing that grows with the context.
pub fn workspace_bytes(graph: &Graph, node: &Node, limits: Limits) -> Option<usize> {
    match &node.op {
        Op::Attention { layer, n_head, .. } => {
            let rows = limits.n_tokens.min(ATTENTION_SPLIT_TOKENS).checked_mul(*n_head)?;
            let row = graph.kv[*layer as usize].head_dim_v.checked_add(2)?.checked_mul(size_of::<f32>())?;
            rows.checked_mul(row)?.checked_mul(ATTENTION_PARTS)
        }
        _ => Some(0),
    }
}
