//! Softmax over each row: exp(x) / sum of exp(x). The largest element is subtracted first, so that nothing overflows.

use super::pool::Over;
use super::step::Step;
use crate::graph::Node;

pub(super) fn softmax(s: &Step, node: &Node) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    let cols = s.x.graph.value(output).cols;
    s.worker.share(s.n_rows(output), 1, |rows| {
        for row in rows {
            let (x, y) = (s.at(node.inputs[0]).wrapping_add(row * cols), s.at(output).wrapping_add(row * cols));
            // SAFETY: both have the row, which one thread writes; the output may be the input's place, by whole
            // elements.
            unsafe {
                let most = (0..cols).fold(f32::NEG_INFINITY, |most, c| most.max(*x.add(c)));
                let mut sum = 0.0;
                for c in 0..cols {
                    *y.add(c) = (*x.add(c) - most).exp();
                    sum += *y.add(c);
                }
                (0..cols).for_each(|c| *y.add(c) /= sum);
            }
        }
    })
}
