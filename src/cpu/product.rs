//! MatMul: activations times a weight matrix, rows of the matrix shared among the threads. MatMulHeads: each head by its own.

use super::Step;
use super::matmul::{act_bytes, act_format, scratch_bytes};
use super::pool::Poisoned;
use crate::graph::{Graph, Limits, Node, Op, WeightId};

/// Rows of weights are handed out in multiples of this, which suits the kernels' tiles.
const ROWS: usize = 32;
/// Pieces per thread: enough that a thread which lost its core for a while does not hold up the others, and that those who are done
/// wait for little.
const PIECES: usize = 24;
/// So many bytes of the next product's weights a waiting thread asks for: they should stay in the second-level cache.
const EXPECTED: usize = 256 * 1024;

/// Rows of a product that are handed out together.
pub(super) fn chunk(n_out: usize, n_threads: usize) -> usize {
    n_out.div_ceil(n_threads * PIECES).next_multiple_of(ROWS)
}

/// Tells the thread what it will read of the next product's weights among `nodes`.
pub(super) fn expect(s: &Step, nodes: &[Node]) {
    let next = nodes.iter().find_map(|n| {
        if let Op::MatMul { weight, first, .. } = n.op { Some((weight, first, n.output?)) } else { None }
    });
    let Some((weight, first, output)) = next else { return s.worker.expect(std::ptr::null(), 0) };
    let (w, n_out) = (s.x.graph.weight(weight), s.x.graph.value(output).cols);
    let row_bytes = w.ne[0] as usize / w.ty.block_len() * w.ty.block_bytes();
    let part = s.worker.part(n_out, chunk(n_out, s.worker.n_threads));
    s.worker.expect(
        s.x.weight(weight).wrapping_add((first + part.start) * row_bytes),
        (part.len() * row_bytes).min(EXPECTED),
    );
}

/// The prepared activations, then scratch of each thread.
pub(super) fn workspace_bytes(
    graph: &Graph,
    node: &Node,
    weight: WeightId,
    limits: Limits,
    n_threads: usize,
) -> Option<usize> {
    let (input, ty) = (graph.value(node.inputs[0]), graph.weight(weight).ty);
    let n_rows = limits.rows(input.rows);
    let scratch = scratch_bytes(ty, n_rows, input.cols)?.checked_mul(n_threads)?;
    act_bytes(act_format(ty), n_rows, input.cols)?.checked_add(scratch)
}

/// `rest` are the nodes after it.
pub(super) fn matmul(
    s: &Step,
    node: &Node,
    weight: WeightId,
    bias: Option<WeightId>,
    first: usize,
    rest: &[Node],
) -> Result<(), Poisoned> {
    let (graph, w) = (&s.x.graph, s.worker);
    let ty = graph.weight(weight).ty;
    let (format, Some(output)) = (act_format(ty), node.output) else { return w.meet() };
    let input = node.inputs[0];
    let (n_rows, n_in, n_out) = (s.n_rows(input), graph.value(input).cols, graph.value(output).cols);
    let (x, y, workspace) = (s.at(input), s.at(output), s.x.compute.base());
    if s.prepared.get() != Some((input, format)) {
        // SAFETY: the input has these rows; the workspace was measured for this product and starts the arena, page-aligned.
        unsafe {
            s.x.kernels.prepare_acts(format, x, n_in, std::ptr::null(), n_rows, n_in, w.index, w.n_threads, workspace)
        };
        s.prepared.set(Some((input, format)));
        w.meet()?;
    }
    // Measured for the largest batch, so they do not overflow here.
    let acts = act_bytes(format, n_rows, n_in).unwrap_or(0);
    let scratch = workspace.wrapping_add(acts + w.index * scratch_bytes(ty, n_rows, n_in).unwrap_or(0));
    let bias = bias.map_or(std::ptr::null(), |b| s.x.weight(b).cast::<f32>().wrapping_add(first));
    // The rows of a fused weight that this product takes.
    let matrix = s.x.weight(weight).wrapping_add(first * (n_in / ty.block_len() * ty.block_bytes()));
    // Not before: until here threads waited for this product.
    expect(s, rest);
    w.share(n_out, chunk(n_out, w.n_threads), |rows| {
        // SAFETY: the builder checked the tensor's shape; each thread writes other columns of y and its own scratch.
        unsafe {
            s.x.kernels.matmul(ty, matrix, n_in, rows, workspace, n_rows, scratch, y, n_out, std::ptr::null(), bias)
        };
    })
}

/// The prepared activations of all heads, then scratch of each thread.
pub(super) fn heads_workspace_bytes(
    graph: &Graph,
    node: &Node,
    weight: WeightId,
    n_head: usize,
    limits: Limits,
    n_threads: usize,
) -> Option<usize> {
    let w = graph.weight(weight);
    let (n_rows, n_in) = (limits.rows(graph.value(node.inputs[0]).rows), w.ne[0] as usize);
    let scratch = scratch_bytes(w.ty, n_rows, n_in)?.checked_mul(n_threads)?;
    act_bytes(act_format(w.ty), n_rows, n_in)?.checked_mul(n_head)?.checked_add(scratch)
}

pub(super) fn matmul_heads(s: &Step, node: &Node, weight: WeightId, n_head: usize) -> Result<(), Poisoned> {
    let (graph, w) = (&s.x.graph, s.worker);
    let info = graph.weight(weight);
    let (ty, n_in, n_out) = (info.ty, info.ne[0] as usize, info.ne[1] as usize);
    let (format, Some(output)) = (act_format(ty), node.output) else { return w.meet() };
    let n_rows = s.n_rows(output);
    let (x, y, workspace) = (s.at(node.inputs[0]), s.at(output), s.x.compute.base());
    s.prepared.set(None);
    // Measured for the largest batch, so they do not overflow here.
    let acts = act_bytes(format, n_rows, n_in).unwrap_or(0);
    let null = std::ptr::null();
    w.share(n_head, 1, |heads| {
        for h in heads {
            // SAFETY: head h of every row of the input; its own part of the workspace.
            let (x, acts) = (x.wrapping_add(h * n_in), workspace.wrapping_add(h * acts));
            // SAFETY: as above.
            unsafe { s.x.kernels.prepare_acts(format, x, n_head * n_in, null, n_rows, n_in, 0, 1, acts) };
        }
    })?;
    let scratch = workspace.wrapping_add(n_head * acts + w.index * scratch_bytes(ty, n_rows, n_in).unwrap_or(0));
    let matrix = n_out * (n_in / ty.block_len() * ty.block_bytes());
    let chunk = chunk(n_head * n_out, w.n_threads).min(n_out);
    let n_chunks = n_out.div_ceil(chunk);
    w.share(n_head * n_chunks, 1, |items| {
        for item in items {
            let (h, first) = (item / n_chunks, item % n_chunks * chunk);
            let rows = first..n_out.min(first + chunk);
            // SAFETY: the builder checked the tensor's shape; each piece has other columns of y.
            unsafe {
                let (m, acts, y) = (s.x.weight(weight).add(h * matrix), workspace.add(h * acts), y.add(h * n_out));
                s.x.kernels.matmul(ty, m, n_in, rows, acts, n_rows, scratch, y, n_head * n_out, null, std::ptr::null());
            }
        }
    })
}
