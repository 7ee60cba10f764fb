//! RmsNorm: each row, or each group of its columns, divided by its root mean square, times the weight.

use super::die::Ptr;
use super::step::{Step, blocks, int};
use crate::error::Result;
use crate::graph::{self, Node};

const THREADS: u32 = 512;
/// Groups of at most so many columns have a warp each, larger ones a block.
const SMALL: usize = 256;
const SMALL_THREADS: u32 = 128;

/// As in rms_norm.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct RmsNorm {
    x: Ptr,
    weight: Ptr,
    y: Ptr,
    n_groups: i64,
    group: i32,
    eps: f32,
}

pub(super) fn rms_norm(s: &Step, node: &Node, o: &graph::RmsNorm) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let group = o.group;
    let n_groups = s.n_rows(output) * (s.graph().value(output).cols / group);
    let args = RmsNorm {
        x: s.at(node.inputs[0]),
        weight: s.weight(o.weight),
        y: s.at(output),
        n_groups: n_groups as i64,
        group: int(group)?,
        eps: o.eps,
    };
    if group <= SMALL {
        s.launch("rms_norm_small", [blocks(n_groups, SMALL_THREADS as usize / 32)?, 1, 1], SMALL_THREADS, &args)
    } else {
        s.launch("rms_norm", [blocks(n_groups, 1)?, 1, 1], THREADS, &args)
    }
}
