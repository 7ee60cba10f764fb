//! Norm: each row, or each group of its columns, brought to one size. Rms divides by the root mean square (Zhang and
//! Sennrich 2019, arXiv:1910.07467), Layer by the deviation from the mean (Ba et al. 2016, arXiv:1607.06450), L2 by the
//! length.

use super::pool::Over;
use super::step::Step;
use crate::graph::{Node, Norm, NormKind};

pub(super) fn norm(s: &Step, node: &Node, o: &Norm) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    let (input, group, cols) = (node.inputs[0], o.group, s.x.graph.value(output).cols);
    let groups = s.n_rows(output) * (cols / group);
    // Of a weight: its address, and its elements.
    let floats = |w| (s.x.weight(w).cast::<f32>(), s.x.graph.weight(w).ne.iter().product::<u64>() as usize);
    let (weight, bias) = (o.weight.map(floats), o.bias.map(floats));
    s.worker.share(groups, 1, |groups| {
        for g in groups {
            // SAFETY: one writer per group; where the output took the input's place, only the raw pointers below touch
            // it.
            let (x, y) = unsafe { (s.at(input).add(g * group).cast_const(), s.at(output).add(g * group)) };
            // SAFETY: a whole group of the input, which nobody writes until the loop below.
            let row = unsafe { std::slice::from_raw_parts(x, group) };
            let squares = |row: &[f32]| s.x.kernels.dot_f32(row, row);
            let (mean, scale) = match o.kind {
                NormKind::Rms => (0.0, 1.0 / (squares(row) / group as f32 + o.eps).sqrt()),
                NormKind::Layer => {
                    let mean = (row.iter().map(|x| f64::from(*x)).sum::<f64>() / group as f64) as f32;
                    let off = |x: &f32| f64::from(*x - mean).powi(2);
                    let variance = (row.iter().map(off).sum::<f64>() / group as f64) as f32;
                    (mean, 1.0 / (variance + o.eps).sqrt())
                }
                NormKind::L2 => (0.0, 1.0 / squares(row).sqrt().max(o.eps)),
            };
            // An element of the weight or bias for column `c` of the row.
            let at = |(floats, n): (*const f32, usize), i: usize| {
                // SAFETY: the builder checked that there is one for each column of the group or row; a file may put
                // them at any address.
                unsafe { floats.add((g * group % cols + i) % n).read_unaligned() }
            };
            for i in 0..group {
                // SAFETY: within the group.
                let normed = unsafe { *x.add(i) - mean } * scale;
                let weighted = weight.map_or(normed, |w| normed * at(w, i));
                // SAFETY: as above.
                unsafe { *y.add(i) = bias.map_or(weighted, |b| weighted + at(b, i)) };
            }
        }
    })
}
