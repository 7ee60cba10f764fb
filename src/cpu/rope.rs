//! RopeTable and Rope: rotary position embedding (Su et al. 2021, arXiv:2104.09864).

use super::pool::Over;
use super::step::Step;
use crate::graph::{Node, RopeKind, RopeTable, Rotate};

/// The two elements of a head that make pair `i`.
#[inline]
pub(super) fn pair(kind: RopeKind, n_rot: usize, i: usize) -> (usize, usize) {
    match kind {
        RopeKind::Norm => (2 * i, 2 * i + 1),
        RopeKind::Neox => (i, i + n_rot / 2),
    }
}

/// Turns the first `n_rot` elements of one head by the angles whose cosine and sine stand side by side in `table`.
pub(super) fn turn(head: &mut [f32], table: &[f32], kind: RopeKind) {
    for (i, angle) in table.chunks_exact(2).enumerate() {
        let (a, b) = pair(kind, table.len(), i);
        let (x, y) = (head[a], head[b]);
        head[a] = x * angle[0] - y * angle[1];
        head[b] = x * angle[1] + y * angle[0];
    }
}

pub(super) fn table(s: &Step, node: &Node, o: &RopeTable) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    let cols = s.x.graph.value(output).cols;
    let r = &s.x.rotations[o.rope];
    s.worker.share(s.micro.tokens.len(), 1, |tokens| {
        for t in tokens {
            // SAFETY: one writer per row.
            let row = unsafe { s.floats_mut(output, t * cols, cols) };
            for (out, f) in row.chunks_exact_mut(2).zip(&r.frequencies) {
                let (sin, cos) = (f64::from(s.micro.positions[t]) * f).sin_cos();
                out[0] = (cos * r.magnitude) as f32;
                out[1] = (sin * r.magnitude) as f32;
            }
        }
    })
}

pub(super) fn rotate(s: &Step, node: &Node, r: &Rotate) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    let (input, head_dim) = (node.inputs[0], r.head_dim);
    let table = node.inputs.get(1).map(|table| (*table, s.x.graph.value(*table).cols));
    let heads = s.micro.tokens.len() * r.n_head;
    s.worker.share(heads, 8, |heads| {
        for h in heads {
            let token = h / r.n_head;
            // SAFETY: one writer per head; the copy is skipped where the output took the input's place.
            let head = unsafe {
                let (from, to) = (s.at(input).add(h * head_dim), s.at(output).add(h * head_dim));
                if from != to {
                    std::ptr::copy_nonoverlapping(from, to, head_dim);
                }
                s.floats_mut(output, h * head_dim, head_dim)
            };
            if let Some((table, n_rot)) = table {
                // SAFETY: a row of the table, which nobody writes in this step.
                turn(&mut head[r.first..], unsafe { s.floats(table, token * n_rot, n_rot) }, r.kind);
            }
            if let Some(t) = r.temperature {
                let by = t.at(s.micro.positions[token]);
                head.iter_mut().for_each(|x| *x *= by);
            }
        }
    })
}
