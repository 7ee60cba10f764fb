//! Norm: each row, or each group of its columns, brought to one size.

use super::args::{self, NORM_L2, NORM_LAYER, NORM_RMS};
use super::driver::Ptr;
use super::kernels;
use super::step::{Step, blocks, int};
use crate::error::Result;
use crate::graph::{self, Node, NormKind};

/// Groups of at most so many columns have a warp each, larger ones a block.
const SMALL: usize = 256;

pub(super) fn norm(s: &Step, node: &Node, o: &graph::Norm) -> Result<()> {
    launch(s, node, o, None)
}

/// A sum of two values and the norm of it, in one launch. The sum is kept too.
pub(super) fn add_norm(s: &Step, add: &Node, node: &Node, o: &graph::Norm) -> Result<()> {
    launch(s, node, o, Some(add))
}

/// True if a norm's groups are rows that a block each takes.
pub(super) fn takes_rows(s: &Step, node: &Node, o: &graph::Norm) -> bool {
    o.group > SMALL && node.output.is_some_and(|v| s.graph().value(v).cols == o.group)
}

fn launch(s: &Step, node: &Node, o: &graph::Norm, add: Option<&Node>) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (group, cols) = (o.group, s.graph().value(output).cols);
    let n_groups = s.n_rows(output) * (cols / group);
    let floats = |w: Option<graph::WeightId>| w.map_or(Ptr::NULL, |w| s.weight(w));
    let of_row = |w: Option<graph::WeightId>| {
        i32::from(w.is_some_and(|w| s.graph().weight(w).ne.iter().product::<u64>() > group as u64))
    };
    let kind = match o.kind {
        NormKind::Rms => NORM_RMS,
        NormKind::Layer => NORM_LAYER,
        NormKind::L2 => NORM_L2,
    };
    let args = args::Norm {
        x: s.at(add.unwrap_or(node).inputs[0]),
        weight: floats(o.weight),
        bias: floats(o.bias),
        y: s.at(output),
        n_groups: n_groups as i64,
        group: int(group)?,
        cols: int(cols)?,
        eps: o.eps,
        kind: kind as i32,
        weight_of_row: of_row(o.weight),
        bias_of_row: of_row(o.bias),
        b: add.map_or(Ptr::NULL, |a| s.at(a.inputs[1])),
        sum: add.and_then(|a| a.output).map_or(Ptr::NULL, |v| s.at(v)),
    };
    let (kernel, each) = match group <= SMALL {
        true => (kernels::norm_small, kernels::norm_small.threads() / 32),
        false => (kernels::norm, 1),
    };
    s.launch(kernel, [blocks(n_groups, each)?, 1, 1], &args)
}
