//! Rope: rotary position embedding. The table comes from the host, as part of the input.

use super::driver::Ptr;
use super::step::{Step, blocks, int};
use super::{args, kernels};
use crate::error::Result;
use crate::graph::{Node, RopeKind, Rotate};

pub(super) fn rotate(s: &Step, node: &Node, r: &Rotate) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let table = node.inputs.get(1);
    let n_rot = table.map_or(0, |t| s.graph().value(*t).cols);
    let (x, y) = (s.at(node.inputs[0]), s.at(output));
    // The elements that do not turn stay as they are where the output took the input's place.
    let copies = x != y || r.temperature.is_some();
    let args = args::Rope {
        x,
        table: table.map_or(Ptr::NULL, |t| s.at(*t)),
        positions: s.positions(),
        y,
        n_head: int(r.n_head)?,
        head_dim: int(r.head_dim)?,
        n_rot: int(n_rot)?,
        first: int(r.first)?,
        halves: i32::from(r.kind == RopeKind::Neox),
        length: int(r.temperature.map_or(0, |t| t.length as usize))?,
        scale: r.temperature.map_or(0.0, |t| t.scale),
        copies: i32::from(copies),
        offset: int(r.temperature.map_or(0, |t| t.offset as usize))?,
        unused: 0,
    };
    let units = n_rot / 2 + if copies { r.head_dim - n_rot } else { 0 };
    let kernel = kernels::rope;
    s.launch(kernel, [blocks(s.n_rows(output) * r.n_head, 1)?, blocks(units, kernel.threads())?, 1], &args)
}
