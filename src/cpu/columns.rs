//! Columns: some columns of each head. Concat: columns of two values side by side, head by head.

use super::pool::Over;
use super::step::Step;
use crate::graph::{Columns, Concat, Node};

pub(super) fn columns(s: &Step, node: &Node, o: &Columns) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    let (input, n_head, first) = (node.inputs[0], o.n_head, o.first);
    let (head, n) = (s.x.graph.value(input).cols / n_head, s.x.graph.value(output).cols / n_head);
    s.worker.share(s.n_rows(output), 1, |rows| {
        for h in rows.start * n_head..rows.end * n_head {
            // SAFETY: the builder took columns within a head; one writer per head.
            unsafe { s.floats_mut(output, h * n, n).copy_from_slice(s.floats(input, h * head + first, n)) };
        }
    })
}

pub(super) fn concat(s: &Step, node: &Node, o: &Concat) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    let (a, b, n_head) = (node.inputs[0], node.inputs[1], o.n_head);
    let cols = |v| s.x.graph.value(v).cols;
    let (n_a, n) = (cols(a) / n_head, cols(output) / n_head);
    let n_b = n - n_a;
    // The second value has one part for all heads, or one for each.
    let parts = cols(b) / n_b;
    s.worker.share(s.n_rows(output), 1, |rows| {
        for h in rows.start * n_head..rows.end * n_head {
            let from = (h / n_head * parts + h % n_head % parts) * n_b;
            // SAFETY: both parts of a head lie within their rows; one writer per head.
            unsafe {
                s.floats_mut(output, h * n, n_a).copy_from_slice(s.floats(a, h * n_a, n_a));
                s.floats_mut(output, h * n + n_a, n_b).copy_from_slice(s.floats(b, from, n_b));
            }
        }
    })
}
