//! Mean: the mean of each text's rows.

use super::pool::Over;
use super::step::Step;
use crate::graph::Node;

/// A text begins behind the output before it and ends with its own. The first one may have begun in an earlier
/// micro-batch, which has left the mean of `n_before` tokens in the result's row.
pub(super) fn mean(s: &Step, node: &Node) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    let (input, cols, ends) = (node.inputs[0], s.x.graph.value(output).cols, s.micro.outputs);
    s.worker.share(ends.len(), 1, |texts| {
        for i in texts {
            let first = if i == 0 { 0 } else { ends[i - 1] as usize + 1 };
            let tokens = first..ends[i] as usize + 1;
            let before = if i == 0 { s.micro.n_before } else { 0 };
            // SAFETY: the session checked that outputs are ascending tokens of this micro-batch; each row of the output
            // has one writer.
            let out = unsafe { s.floats_mut(output, i * cols, cols) };
            let kept = before as f32;
            out.iter_mut().for_each(|x| *x = if before == 0 { 0.0 } else { *x * kept });
            let n = before + tokens.len();
            for t in tokens {
                // SAFETY: as above; nobody writes the input's rows here.
                let row = unsafe { s.floats(input, t * cols, cols) };
                out.iter_mut().zip(row).for_each(|(x, y)| *x += y);
            }
            let share = 1.0 / n as f32;
            out.iter_mut().for_each(|x| *x *= share);
        }
    })
}
