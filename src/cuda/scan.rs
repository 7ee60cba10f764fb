//! Scan: four lanes share a column of a sequence (kernels/scan.cu).

use super::args::{self, SCAN_THREADS};
use super::kernels::{scan_16, scan_64};
use super::step::{Step, blocks, int};
use crate::error::Result;
use crate::graph::{Node, Scan};

/// Numbers at most of a column's state.
pub(super) const MOST_STATE: usize = 64;

pub(super) fn scan(s: &Step, node: &Node, o: &Scan) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (cols, states) = (s.graph().value(output).cols, s.recurrent(o.state)?);
    let [v, steps, b, c] = [0, 1, 2, 3].map(|i| s.at(node.inputs[i]));
    let args = args::Scan {
        v,
        steps,
        b,
        c,
        a: s.weight(o.a),
        y: s.at(output),
        states,
        cols: int(cols)?,
        n_state: int(o.n_state)?,
    };
    let kernel = if o.n_state <= 16 { scan_16 } else { scan_64 };
    s.launch(kernel, [states.n_runs.cast_unsigned(), blocks(cols, SCAN_THREADS / 4)?, 1], &args)
}
