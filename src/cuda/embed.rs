//! SelectOutputs: the rows whose logits are asked for. (The embedding is the host's.)

use super::step::{Step, blocks, int};
use super::{args, kernels};
use crate::error::Result;
use crate::graph::Node;

pub(super) fn select_outputs(s: &Step, node: &Node) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let cols = s.graph().value(output).cols;
    let (x, y) = (s.at(node.inputs[0]), s.at(output));
    let args = args::SelectOutputs { x, outputs: s.outputs(), y, cols: int(cols)?, unused: 0 };
    let kernel = kernels::select_outputs;
    s.launch(kernel, [blocks(s.n_rows(output), 1)?, blocks(cols, kernel.threads())?, 1], &args)
}
