//! Scale, Add, Gate and SoftCap: element by element.

use super::args::{self, Each};
use super::driver::Ptr;
use super::kernels::{self, Kernel};
use super::step::{Step, blocks, int};
use crate::error::{Error, Result, Status};
use crate::graph::{self, Activation, Gate, Node, SoftCap};

/// Blocks at most; with more elements, a thread has several.
const MOST_BLOCKS: u32 = 4096;

/// x times a scale, plus a bias; those of each expert where there is a route.
pub(super) fn scale(s: &Step, node: &Node, o: &graph::Scale) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (n_used, parts) = (o.n_expert_used, o.n_expert_used.max(1));
    let cols = s.graph().value(output).cols / parts;
    let args = args::Scale {
        x: s.at(node.inputs[0]),
        scale: o.scale.map_or(Ptr::NULL, |w| s.weight(w)),
        bias: o.bias.map_or(Ptr::NULL, |b| s.weight(b)),
        route: node.inputs.get(1).map_or(Ptr::NULL, |r| s.at(*r)),
        y: s.at(output),
        cols: int(cols)?,
        n_used: int(n_used)?,
    };
    let kernel = kernels::scale;
    s.launch(kernel, [blocks(s.n_rows(output) * parts, 1)?, blocks(cols, kernel.threads())?, 1], &args)
}

pub(super) fn add(s: &Step, node: &Node) -> Result<()> {
    each(s, node, kernels::add, 0.0, 0.0)
}

pub(super) fn gate(s: &Step, node: &Node, gate: Gate) -> Result<()> {
    match gate {
        Gate::Plain(Activation::Silu) => each(s, node, kernels::gate_silu, 0.0, 0.0),
        Gate::Plain(Activation::Gelu) => each(s, node, kernels::gate_gelu, 0.0, 0.0),
        Gate::SiluClamped { alpha, limit } => each(s, node, kernels::gate_silu_clamped, alpha, limit),
        Gate::Plain(_) | Gate::SiluLimited { .. } => {
            Err(Error::new(Status::Internal, "a gate without a kernel was given to a die"))
        }
    }
}

/// cap tanh(x / cap)
pub(super) fn soft_cap(s: &Step, node: &Node, o: &SoftCap) -> Result<()> {
    each(s, node, kernels::soft_cap, 0.0, o.cap)
}

fn each(s: &Step, node: &Node, kernel: Kernel<Each>, alpha: f32, limit: f32) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let n = s.n_rows(output) * s.graph().value(output).cols;
    let args = Each {
        x: s.at(node.inputs[0]),
        b: node.inputs.get(1).map_or(Ptr::NULL, |b| s.at(*b)),
        y: s.at(output),
        n: n as i64,
        alpha,
        limit,
    };
    s.launch(kernel, [blocks(n, kernel.threads())?.min(MOST_BLOCKS), 1, 1], &args)
}
