//! Route: which experts a row goes to, and with which weights. SumExperts: what they gave, weighted.

use super::args::{self, ROUTE_FEW, ROUTE_MOST};
use super::driver::Ptr;
use super::kernels;
use super::step::{Step, blocks, int};
use crate::error::{Error, Result};
use crate::graph::{self, Gating, Node};

pub(super) fn route(s: &Step, node: &Node, r: &graph::Route) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    if r.n_expert > ROUTE_MOST {
        return Err(Error::unsupported(format!("{} experts; a CUDA device takes at most {ROUTE_MOST}", r.n_expert)));
    }
    let args = args::Route {
        logits: s.at(node.inputs[0]),
        bias: r.bias.map_or(Ptr::NULL, |b| s.weight(b)),
        y: s.at(output),
        n_expert: int(r.n_expert)?,
        n_used: int(r.n_expert_used)?,
        gating: int(match r.gating {
            Gating::Softmax => args::GATING_SOFTMAX,
            Gating::Sigmoid => args::GATING_SIGMOID,
            Gating::SoftmaxOfChosen => args::GATING_SOFTMAX_OF_CHOSEN,
        })?,
        normalise: i32::from(r.normalise),
        n_group: int(r.n_group)?,
        n_group_used: int(r.n_group_used)?,
        scale: r.scale,
        unused: 0,
    };
    let kernel = if r.n_expert <= ROUTE_FEW { kernels::route } else { kernels::route_many };
    s.launch(kernel, [blocks(s.n_rows(output), 1)?, 1, 1], &args)
}

pub(super) fn sum_experts(s: &Step, node: &Node, o: &graph::SumExperts) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let cols = s.graph().value(output).cols;
    let args = args::SumExperts {
        x: s.at(node.inputs[0]),
        route: s.at(node.inputs[1]),
        y: s.at(output),
        cols: int(cols)?,
        n_used: int(o.n_expert_used)?,
        weighted: i32::from(o.weighted),
        unused: 0,
    };
    let kernel = kernels::sum_experts;
    s.launch(kernel, [blocks(s.n_rows(output), 1)?, blocks(cols, kernel.threads())?, 1], &args)
}
