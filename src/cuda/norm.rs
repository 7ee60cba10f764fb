//! Norm: each row, or each group of its columns, divided by its root mean square, times the weight.

use super::driver::Ptr;
use super::step::{Step, blocks, int};
use super::{args, kernels};
use crate::error::Result;
use crate::graph::{self, Node};

/// Groups of at most so many columns have a warp each, larger ones a block.
const SMALL: usize = 256;

pub(super) fn norm(s: &Step, node: &Node, o: &graph::Norm) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let group = o.group;
    let n_groups = s.n_rows(output) * (s.graph().value(output).cols / group);
    let args = args::RmsNorm {
        x: s.at(node.inputs[0]),
        weight: o.weight.map_or(Ptr::NULL, |w| s.weight(w)),
        y: s.at(output),
        n_groups: n_groups as i64,
        group: int(group)?,
        eps: o.eps,
    };
    let (kernel, each) = match group <= SMALL {
        true => (kernels::rms_norm_small, kernels::rms_norm_small.threads() / 32),
        false => (kernels::rms_norm, 1),
    };
    s.launch(kernel, [blocks(n_groups, each)?, 1, 1], &args)
}
