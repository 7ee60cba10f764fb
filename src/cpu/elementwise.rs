//! Add and SwiGlu: element by element.

use super::Step;
use super::pool::Poisoned;
use crate::graph::Node;

/// Elements in a piece of work: some microseconds.
const CHUNK: usize = 4096;

pub(super) fn add(s: &Step, node: &Node) -> Result<(), Poisoned> {
    let Some(output) = node.output else { return s.worker.meet() };
    let n = s.n_rows(output) * s.x.graph.value(output).cols;
    let (a, b, y) = (s.at(node.inputs[0]), s.at(node.inputs[1]), s.at(output));
    s.worker.share(n.div_ceil(CHUNK), 1, |chunks| {
        for i in chunks.start * CHUNK..n.min(chunks.end * CHUNK) {
            // SAFETY: all three have n elements; the output is one input's place or a place of its own, by whole elements.
            unsafe { *y.add(i) = *a.add(i) + *b.add(i) };
        }
    })
}

/// silu(gate) * up, with silu(x) = x / (1 + exp(-x)) (Shazeer 2020, arXiv:2002.05202).
pub(super) fn swiglu(s: &Step, node: &Node) -> Result<(), Poisoned> {
    let Some(output) = node.output else { return s.worker.meet() };
    let n = s.n_rows(output) * s.x.graph.value(output).cols;
    let (gate, up) = (node.inputs[0], node.inputs[1]);
    s.worker.share(n.div_ceil(CHUNK), 1, |chunks| {
        let (first, last) = (chunks.start * CHUNK, n.min(chunks.end * CHUNK));
        let mut piece = [0f32; CHUNK / 8];
        for first in (first..last).step_by(piece.len()) {
            let piece = &mut piece[..(last - first).min(CHUNK / 8)];
            // SAFETY: all three have n elements, one writer per piece; the output may be the gate's place, so it is written last.
            unsafe {
                s.x.kernels.silu_mul(s.floats(gate, first, piece.len()), s.floats(up, first, piece.len()), piece);
                s.floats_mut(output, first, piece.len()).copy_from_slice(piece);
            }
        }
    })
}
