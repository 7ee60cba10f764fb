//! RmsNorm: each row divided by its root mean square, times the weight (Zhang and Sennrich 2019, arXiv:1910.07467).

use super::pool::Poisoned;
use super::step::Step;
use crate::graph::{Node, RmsNorm};

pub(super) fn rms_norm(s: &Step, node: &Node, o: &RmsNorm) -> Result<(), Poisoned> {
    let Some(output) = node.output else { return s.worker.barrier() };
    let (input, group) = (node.inputs[0], o.group);
    let groups = s.n_rows(output) * (s.x.graph.value(output).cols / group);
    let weight = s.x.weight(o.weight).cast::<f32>();
    s.worker.share(groups, 1, |groups| {
        for g in groups {
            // SAFETY: one writer per group; where the output took the input's place, only the raw pointers below touch
            // it.
            let (x, y) = unsafe { (s.at(input).add(g * group).cast_const(), s.at(output).add(g * group)) };
            // SAFETY: a whole group of the input, which nobody writes until the loop below.
            let row = unsafe { std::slice::from_raw_parts(x, group) };
            let mean = s.x.kernels.dot_f32(row, row) / group as f32;
            let scale = 1.0 / (mean + o.eps).sqrt();
            for i in 0..group {
                // SAFETY: within the group; the builder checked the weight's length, a file may put it at any address.
                unsafe { *y.add(i) = *x.add(i) * scale * weight.add(i).read_unaligned() };
            }
        }
    })
}
