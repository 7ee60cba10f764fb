//! SelectOutputs: the rows whose logits are asked for. (The embedding is the host's.)

use super::die::Ptr;
use super::step::{Step, blocks, int};
use crate::error::Result;
use crate::graph::Node;

const THREADS: u32 = 256;

/// As in select_outputs.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct SelectOutputs {
    x: Ptr,
    outputs: Ptr,
    y: Ptr,
    cols: i32,
    unused: i32,
}

pub(super) fn select_outputs(s: &Step, node: &Node) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let cols = s.graph().value(output).cols;
    let args =
        SelectOutputs { x: s.at(node.inputs[0]), outputs: s.outputs(), y: s.at(output), cols: int(cols)?, unused: 0 };
    s.launch("select_outputs", [blocks(s.n_rows(output), 1)?, blocks(cols, THREADS as usize)?, 1], THREADS, &args)
}
