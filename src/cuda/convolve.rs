//! Convolve: a thread takes a column of a sequence (kernels/convolve.cu). Few taps have a kernel of their own.

use super::args::{self, CONVOLVE_THREADS};
use super::driver::Ptr;
use super::kernels::{convolve_4, convolve_16};
use super::step::{Step, blocks, int};
use crate::error::Result;
use crate::graph::{Convolve, Node};

const _: () = assert!(Convolve::MOST_TAPS == 16);

pub(super) fn convolve(s: &Step, node: &Node, o: &Convolve) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (cols, states) = (s.graph().value(output).cols, s.recurrent(o.state)?);
    let args = args::Convolve {
        x: s.at(node.inputs[0]),
        weight: s.weight(o.weight),
        bias: o.bias.map_or(Ptr::NULL, |b| s.weight(b)),
        y: s.at(output),
        states,
        cols: int(cols)?,
        n_taps: int(o.n_taps)?,
        silu: i32::from(o.silu),
        unused: 0,
    };
    let kernel = if o.n_taps <= 4 { convolve_4 } else { convolve_16 };
    s.launch(kernel, [states.n_runs.cast_unsigned(), blocks(cols, CONVOLVE_THREADS)?, 1], &args)
}
