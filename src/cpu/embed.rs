//! Embed: a row of a table per token, by its id or position. SelectOutputs: the rows whose results are asked for.

use super::pool::Over;
use super::step::Step;
use crate::graph::{Embed, EmbedBy, Node};
use crate::quant::dequantize;

pub(super) fn embed(s: &Step, node: &Node, o: &Embed) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    let info = s.x.graph.weight(o.table);
    let cols = s.x.graph.value(output).cols;
    // The reader checked the tensor's bytes, so a row has a whole number of them.
    let row_bytes = info.ty.row_bytes(cols).unwrap_or(0);
    let numbers = match o.by {
        EmbedBy::Token => s.micro.tokens,
        EmbedBy::Position => s.micro.positions,
    };
    s.worker.share(numbers.len(), 1, |tokens| {
        for t in tokens {
            // SAFETY: the session checked that ids and positions are below the table's rows; each row of the output has
            // one writer.
            unsafe {
                let at = s.x.weight(o.table).add(numbers[t] as usize * row_bytes);
                let row = s.floats_mut(output, t * cols, cols);
                dequantize(info.ty, std::slice::from_raw_parts(at, row_bytes), row);
                row.iter_mut().for_each(|x| *x *= o.scale);
            }
        }
    })
}

pub(super) fn select_outputs(s: &Step, node: &Node) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    let cols = s.x.graph.value(output).cols;
    s.worker.share(s.micro.outputs.len(), 1, |rows| {
        for r in rows {
            // SAFETY: the session checked that the outputs are tokens of this micro-batch; each row has one writer.
            unsafe {
                let from = s.floats(node.inputs[0], s.micro.outputs[r] as usize * cols, cols);
                s.floats_mut(output, r * cols, cols).copy_from_slice(from);
            }
        }
    })
}
