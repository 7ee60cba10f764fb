//! Scale, Add, Gate and SoftCap: element by element.

use super::pool::Poisoned;
use super::step::Step;
use crate::graph::{Gate, Node, Scale, SoftCap};

/// Elements in a piece of work, which takes some microseconds.
const CHUNK: usize = 4096;

/// x times a scale, plus a bias. With a route, each expert has its own.
pub(super) fn scale(s: &Step, node: &Node, o: &Scale) -> Result<(), Poisoned> {
    let Some(output) = node.output else { return s.worker.barrier() };
    let (scales, biases) = (s.weight_floats(o.scale), o.bias.map(|b| s.weight_floats(b)));
    let (n_used, parts) = (o.n_expert_used, o.n_expert_used.max(1));
    let cols = s.x.graph.value(output).cols / parts;
    s.worker.share(s.n_rows(output) * parts, 1, |items| {
        for i in items {
            // SAFETY: a row of a route begins with the numbers of its experts.
            let expert = node
                .inputs
                .get(1)
                .map_or(0, |r| unsafe { s.floats(*r, i / parts * 2 * n_used, n_used)[i % parts] } as usize);
            let bias = biases.as_ref().map(|b| &b[expert * cols..(expert + 1) * cols]);
            let (x, y) = (s.at(node.inputs[0]).wrapping_add(i * cols), s.at(output).wrapping_add(i * cols));
            for c in 0..cols {
                // SAFETY: within the part, one writer per part; the output may be the input's place, by whole elements.
                unsafe { *y.add(c) = *x.add(c) * scales[expert] + bias.map_or(0.0, |b| b[c]) };
            }
        }
    })
}

pub(super) fn add(s: &Step, node: &Node) -> Result<(), Poisoned> {
    let Some(output) = node.output else { return s.worker.barrier() };
    let n = s.n_rows(output) * s.x.graph.value(output).cols;
    let (a, b, y) = (s.at(node.inputs[0]), s.at(node.inputs[1]), s.at(output));
    s.worker.share(n.div_ceil(CHUNK), 1, |chunks| {
        for i in chunks.start * CHUNK..n.min(chunks.end * CHUNK) {
            // SAFETY: all three have n elements; the output is one input's place or a place of its own, by whole
            // elements.
            unsafe { *y.add(i) = *a.add(i) + *b.add(i) };
        }
    })
}

/// gate(a) * b (Shazeer 2020, arXiv:2002.05202).
pub(super) fn gate(s: &Step, node: &Node, gate: Gate) -> Result<(), Poisoned> {
    let Some(output) = node.output else { return s.worker.barrier() };
    let n = s.n_rows(output) * s.x.graph.value(output).cols;
    let (a, b) = (node.inputs[0], node.inputs[1]);
    s.worker.share(n.div_ceil(CHUNK), 1, |chunks| {
        let (first, last) = (chunks.start * CHUNK, n.min(chunks.end * CHUNK));
        let mut piece = [0f32; CHUNK / 8];
        for first in (first..last).step_by(piece.len()) {
            let piece = &mut piece[..(last - first).min(CHUNK / 8)];
            // SAFETY: all three have n elements, one writer per piece; the output may be a's place, so it is written
            // last.
            let (a, b) = unsafe { (s.floats(a, first, piece.len()), s.floats(b, first, piece.len())) };
            match gate {
                Gate::Silu => s.x.kernels.silu_mul(a, b, piece),
                Gate::Gelu => zip(piece, a, b, |x, y| gelu(x) * y),
                Gate::SiluClamped { alpha, limit } => zip(piece, a, b, |x, y| {
                    // `min` would turn what is no number into a number.
                    let x = if x > limit { limit } else { x };
                    x / (1.0 + (-alpha * x).exp()) * (y.clamp(-limit, limit) + 1.0)
                }),
            }
            // SAFETY: as above.
            unsafe { s.floats_mut(output, first, piece.len()).copy_from_slice(piece) };
        }
    })
}

fn zip(out: &mut [f32], a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) {
    for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
        *o = f(*a, *b);
    }
}

/// The tanh form (Hendrycks and Gimpel 2016, arXiv:1606.08415).
fn gelu(x: f32) -> f32 {
    const SQRT_2_BY_PI: f32 = 0.797_884_6;
    0.5 * x * (1.0 + (SQRT_2_BY_PI * x * (1.0 + 0.044_715 * x * x)).tanh())
}

/// cap tanh(x / cap)
pub(super) fn soft_cap(s: &Step, node: &Node, o: &SoftCap) -> Result<(), Poisoned> {
    let Some(output) = node.output else { return s.worker.barrier() };
    let n = s.n_rows(output) * s.x.graph.value(output).cols;
    let (x, y) = (s.at(node.inputs[0]), s.at(output));
    s.worker.share(n.div_ceil(CHUNK), 1, |chunks| {
        for i in chunks.start * CHUNK..n.min(chunks.end * CHUNK) {
            // SAFETY: both have n elements; the output is the input's place or a place of its own, by whole elements.
            unsafe { *y.add(i) = o.cap * (*x.add(i) / o.cap).tanh() };
        }
    })
}
