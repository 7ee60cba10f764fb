//! MatMul: activations times a weight matrix, rows of the matrix shared among the threads.

use super::Step;
use super::matmul::{act_bytes, act_format, scratch_bytes};
use super::pool::Poisoned;
use crate::graph::{Graph, Limits, Node, WeightId};

/// Rows of weights are handed out in multiples of this, which suits the kernels' tiles.
const ROWS: usize = 32;
/// Pieces per thread: enough that a thread which lost its core for a while does not hold up the others.
const PIECES: usize = 6;

/// The prepared activations, then scratch of each thread.
pub(super) fn workspace_bytes(graph: &Graph, node: &Node, weight: WeightId, limits: Limits, n_threads: usize) -> Option<usize> {
    let (input, ty) = (graph.value(node.inputs[0]), graph.weight(weight).ty);
    let n_rows = limits.rows(input.rows);
    let scratch = scratch_bytes(ty, n_rows, input.cols)?.checked_mul(n_threads)?;
    act_bytes(act_format(ty)?, n_rows, input.cols)?.checked_add(scratch)
}

pub(super) fn matmul(s: &Step, node: &Node, weight: WeightId, bias: Option<WeightId>) -> Result<(), Poisoned> {
    let (graph, w) = (&s.x.graph, s.worker);
    // The plan took only types that have kernels, and a matrix product has an output.
    let ty = graph.weight(weight).ty;
    let (Some(format), Some(output)) = (act_format(ty), node.output) else { return w.meet() };
    let input = node.inputs[0];
    let (n_rows, n_in, n_out) = (s.n_rows(input), graph.value(input).cols, graph.value(output).cols);
    let (x, y, workspace) = (s.at(input), s.at(output), s.x.compute.base());
    if s.prepared.get() != Some((input, format)) {
        // SAFETY: the input has these rows; the workspace was measured for this product and starts the arena, page-aligned.
        unsafe { s.x.kernels.prepare_acts(format, x, n_in, n_rows, n_in, w.index, w.n_threads, workspace) };
        s.prepared.set(Some((input, format)));
        w.meet()?;
    }
    // Measured for the largest batch, so they do not overflow here.
    let acts = act_bytes(format, n_rows, n_in).unwrap_or(0);
    let scratch = workspace.wrapping_add(acts + w.index * scratch_bytes(ty, n_rows, n_in).unwrap_or(0));
    let bias = bias.map_or(std::ptr::null(), |b| s.x.weight(b).cast::<f32>());
    let chunk = n_out.div_ceil(w.n_threads * PIECES).next_multiple_of(ROWS);
    w.share(n_out, chunk, |rows| {
        // SAFETY: the builder checked the tensor's shape; each thread writes other columns of y and its own scratch.
        unsafe { s.x.kernels.matmul(ty, s.x.weight(weight), n_in, rows, workspace, n_rows, scratch, y, n_out, bias) };
    })
}
