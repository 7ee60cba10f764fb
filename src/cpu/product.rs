//! MatMul: activations times a weight matrix. MatMulHeads: each head times a matrix of its own.
//!
//! A product has two parts. First all threads bring the activations into the form that the kernels want
//! (`matmul/acts.rs`), at the start of the workspace. Then rows of the matrix are shared among the threads, and each
//! thread multiplies its rows with all tokens. Products of the same activations often follow each other (Q, K and V;
//! gate and up), so the first part is left out if the workspace holds them already (`Step::prepared`).

use super::matmul::{Product, Source, act_bytes, act_format, scratch_bytes};
use super::pool::Over;
use super::step::Step;
use crate::graph::{Graph, MatMul, MatMulHeads, Node, Op};

/// Rows of weights are handed out in multiples of this, which suits the kernels' tiles.
const ROWS: usize = 32;
/// Pieces per thread. They are so small that others can take over from a thread that lost its core, and that threads
/// which are done wait for little.
const PIECES: usize = 24;
/// The most bytes of the next product's weights that a waiting thread asks for. They should stay in the second-level
/// cache.
const PREFETCHED: usize = 256 * 1024;

/// Rows of a product that are handed out together.
pub(super) fn chunk(n_out: usize, n_threads: usize) -> usize {
    n_out.div_ceil(n_threads * PIECES).next_multiple_of(ROWS)
}

/// Finds the next product among `nodes`, and lets this thread prefetch the start of its own rows while it waits.
pub(super) fn prefetch_next(s: &Step, nodes: &[Node]) {
    let next = nodes.iter().find_map(|n| if let Op::MatMul(o) = n.op { Some(o) } else { None });
    let Some(o) = next else { return s.worker.prefetch_while_waiting(std::ptr::null(), 0) };
    let (m, at) = s.matrices(o.matrix);
    let part = s.worker.part(m.n_out, chunk(m.n_out, s.worker.n_threads));
    let bytes = (part.len() * m.row_bytes).min(PREFETCHED);
    s.worker.prefetch_while_waiting(at.wrapping_add(part.start * m.row_bytes), bytes);
}

/// Bytes of the prepared activations and of each thread's scratch behind them.
pub(super) fn workspace_bytes(graph: &Graph, o: &MatMul, n_rows: usize, n_threads: usize) -> Option<usize> {
    let (ty, n_in) = (graph.weight(o.matrix.weight).ty, o.matrix.n_cols);
    let scratch = scratch_bytes(ty, n_rows, n_in)?.checked_mul(n_threads)?;
    act_bytes(act_format(ty), n_rows, n_in)?.checked_add(scratch)
}

/// Computes a MatMul; `rest` are the nodes after it.
pub(super) fn matmul(s: &Step, node: &Node, o: &MatMul, rest: &[Node]) -> Result<(), Over> {
    let (w, Some(output)) = (s.worker, node.output) else { return Ok(()) };
    let (m, matrix) = s.matrices(o.matrix);
    let (format, input, n_rows) = (act_format(m.ty), node.inputs[0], s.n_rows(node.inputs[0]));
    let (x, y, workspace) = (s.at(input), s.at(output), s.workspace());
    if s.prepared.get() != Some((input, format)) {
        let n_parts = w.n_threads;
        w.share(n_parts, 1, |parts| {
            for part in parts {
                let source = Source { part, n_parts, ..Source::new(format, x, n_rows, m.n_in, workspace) };
                // SAFETY: the input has these rows; the workspace was measured for this product and starts the arena,
                // page-aligned.
                unsafe { s.x.kernels.prepare_acts(&source) };
            }
        })?;
        s.prepared.set(Some((input, format)));
    }
    // Measured for the largest batch, so they do not overflow here.
    let acts = act_bytes(format, n_rows, m.n_in).unwrap_or(0);
    let scratch = workspace.wrapping_add(acts + w.index * scratch_bytes(m.ty, n_rows, m.n_in).unwrap_or(0));
    let bias = o.bias.map_or(std::ptr::null(), |b| s.x.weight(b).cast::<f32>().wrapping_add(o.matrix.first_row));
    // Not earlier: up to the end of the step above, threads were to prefetch this product's weights.
    prefetch_next(s, rest);
    w.share(m.n_out, chunk(m.n_out, w.n_threads), |rows| {
        let whole = Product::new(m.ty, matrix, m.n_out, m.n_in, n_rows);
        let product = Product { row_bytes: m.row_bytes, rows, acts: workspace, scratch, y, bias, ..whole };
        // SAFETY: the builder checked the tensor's shape; each thread writes other columns of y and its own scratch.
        unsafe { s.x.kernels.matmul(&product) };
    })
}

/// Bytes of the prepared activations of all heads and of each thread's scratch behind them.
pub(super) fn heads_workspace_bytes(graph: &Graph, o: &MatMulHeads, n_rows: usize, n_threads: usize) -> Option<usize> {
    let (ty, n_in) = (graph.weight(o.matrices.weight).ty, o.matrices.n_cols);
    let scratch = scratch_bytes(ty, n_rows, n_in)?.checked_mul(n_threads)?;
    act_bytes(act_format(ty), n_rows, n_in)?.checked_mul(o.n_head)?.checked_add(scratch)
}

pub(super) fn matmul_heads(s: &Step, node: &Node, o: &MatMulHeads) -> Result<(), Over> {
    let (w, Some(output)) = (s.worker, node.output) else { return Ok(()) };
    let (m, matrices) = s.matrices(o.matrices);
    let (format, n_head, n_rows) = (act_format(m.ty), o.n_head, s.n_rows(output));
    let (x, y, workspace) = (s.at(node.inputs[0]), s.at(output), s.workspace());
    s.prepared.set(None);
    // Measured for the largest batch, so they do not overflow here.
    let acts = act_bytes(format, n_rows, m.n_in).unwrap_or(0);
    w.share(n_head, 1, |heads| {
        for h in heads {
            let (x, ws) = (x.wrapping_add(h * m.n_in), workspace.wrapping_add(h * acts));
            let source = Source { x_stride: n_head * m.n_in, ..Source::new(format, x, n_rows, m.n_in, ws) };
            // SAFETY: head h of every row of the input; its own part of the workspace.
            unsafe { s.x.kernels.prepare_acts(&source) };
        }
    })?;
    let scratch = workspace.wrapping_add(n_head * acts + w.index * scratch_bytes(m.ty, n_rows, m.n_in).unwrap_or(0));
    let chunk = chunk(n_head * m.n_out, w.n_threads).min(m.n_out);
    let n_chunks = m.n_out.div_ceil(chunk);
    w.share(n_head * n_chunks, 1, |items| {
        for item in items {
            let (h, first) = (item / n_chunks, item % n_chunks * chunk);
            let whole = Product::new(m.ty, matrices.wrapping_add(h * m.matrix_bytes), m.n_out, m.n_in, n_rows);
            let (rows, acts) = (first..m.n_out.min(first + chunk), workspace.wrapping_add(h * acts).cast_const());
            let (y, y_stride) = (y.wrapping_add(h * m.n_out), n_head * m.n_out);
            let product = Product { row_bytes: m.row_bytes, rows, acts, scratch, y, y_stride, ..whole };
            // SAFETY: the builder checked the tensor's shape; each piece has other columns of y.
            unsafe { s.x.kernels.matmul(&product) };
        }
    })
}
