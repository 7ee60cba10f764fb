//! Route: which experts a row goes to, and with which weights. SumExperts: what they gave, weighted.

use super::die::Ptr;
use super::step::{Step, blocks, int};
use crate::error::{Error, Result};
use crate::graph::{self, Gating, Node};

const THREADS: u32 = 32;
const SUM_THREADS: u32 = 256;
/// Experts of route.cu's two kernels.
const FEW_EXPERTS: usize = 512;
const MAX_EXPERTS: usize = 4096;

/// As in route.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Route {
    logits: Ptr,
    bias: Ptr,
    y: Ptr,
    n_expert: i32,
    n_used: i32,
    gating: i32,
    normalise: i32,
    n_group: i32,
    n_group_used: i32,
    scale: f32,
    unused: i32,
}

/// As in route.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct SumExperts {
    x: Ptr,
    route: Ptr,
    y: Ptr,
    cols: i32,
    n_used: i32,
}

pub(super) fn route(s: &Step, node: &Node, r: &graph::Route) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    if r.n_expert > MAX_EXPERTS {
        return Err(Error::unsupported(format!("{} experts; a CUDA device takes at most {MAX_EXPERTS}", r.n_expert)));
    }
    let args = Route {
        logits: s.at(node.inputs[0]),
        bias: r.bias.map_or(Ptr::NULL, |b| s.weight(b)),
        y: s.at(output),
        n_expert: int(r.n_expert)?,
        n_used: int(r.n_expert_used)?,
        gating: match r.gating {
            Gating::Softmax => 0,
            Gating::Sigmoid => 1,
            Gating::SoftmaxOfChosen => 2,
        },
        normalise: i32::from(r.normalise),
        n_group: int(r.n_group)?,
        n_group_used: int(r.n_group_used)?,
        scale: r.scale,
        unused: 0,
    };
    let kernel = if r.n_expert <= FEW_EXPERTS { "route" } else { "route_many" };
    s.launch(kernel, [blocks(s.n_rows(output), 1)?, 1, 1], THREADS, &args)
}

pub(super) fn sum_experts(s: &Step, node: &Node, o: &graph::SumExperts) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let cols = s.graph().value(output).cols;
    let args = SumExperts {
        x: s.at(node.inputs[0]),
        route: s.at(node.inputs[1]),
        y: s.at(output),
        cols: int(cols)?,
        n_used: int(o.n_expert_used)?,
    };
    s.launch("sum_experts", [blocks(s.n_rows(output), 1)?, blocks(cols, SUM_THREADS as usize)?, 1], SUM_THREADS, &args)
}
