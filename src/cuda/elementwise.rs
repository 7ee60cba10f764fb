//! Scale, Add, Activation, Gate and SoftCap: element by element.

use super::args::{self, Each};
use super::driver::Ptr;
use super::kernels::{self, Kernel};
use super::step::{Step, blocks, int};
use crate::error::Result;
use crate::graph::{self, Activation, Gate, Node, SoftCap};

/// Blocks at most; with more elements, a thread has several.
const MOST_BLOCKS: u32 = 4096;

/// x times a number and a scale, plus a bias; those of each expert where there is a route.
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
        by: o.by,
        // Without a route, several scales are those of the columns.
        of_columns: i32::from(n_used == 0 && o.scale.is_some_and(|w| s.graph().weight(w).ne[0] > 1)),
    };
    let kernel = kernels::scale;
    s.launch(kernel, [blocks(s.n_rows(output) * parts, 1)?, blocks(cols, kernel.threads())?, 1], &args)
}

pub(super) fn add(s: &Step, node: &Node) -> Result<()> {
    each(s, node, kernels::add, 0.0)
}

/// cap tanh(x / cap)
pub(super) fn soft_cap(s: &Step, node: &Node, o: &SoftCap) -> Result<()> {
    each(s, node, kernels::soft_cap, o.cap)
}

fn each(s: &Step, node: &Node, kernel: Kernel<Each>, limit: f32) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let n = s.n_rows(output) * s.graph().value(output).cols;
    let b = node.inputs.get(1).map_or(Ptr::NULL, |b| s.at(*b));
    let args = Each { x: s.at(node.inputs[0]), b, y: s.at(output), n: n as i64, limit, unused: 0 };
    s.launch(kernel, [blocks(n, kernel.threads())?.min(MOST_BLOCKS), 1, 1], &args)
}

/// A function's number, and the numbers that it has: alpha, limit, beta, eps.
fn function(f: Activation) -> (usize, [f32; 4]) {
    let number = match f {
        Activation::Identity => args::FUNCTION_IDENTITY,
        Activation::Silu => args::FUNCTION_SILU,
        Activation::Gelu => args::FUNCTION_GELU,
        Activation::GeluErf => args::FUNCTION_GELU_ERF,
        Activation::Relu => args::FUNCTION_RELU,
        Activation::ReluSquared => args::FUNCTION_RELU_SQUARED,
        Activation::Sigmoid => args::FUNCTION_SIGMOID,
        Activation::Softplus => args::FUNCTION_SOFTPLUS,
        Activation::Reciprocal => args::FUNCTION_RECIPROCAL,
        Activation::Clamp { limit } => return (args::FUNCTION_CLAMP, [0.0, limit, 0.0, 0.0]),
        Activation::Xielu { positive, negative, beta, eps } => {
            return (args::FUNCTION_XIELU, [positive, negative, beta, eps]);
        }
    };
    (number, [0.0; 4])
}

/// A function of each element.
pub(super) fn activation(s: &Step, node: &Node, f: Activation) -> Result<()> {
    functions(s, node, kernels::activation, function(f))
}

/// gate(a) * b. A number of a narrower a counts for several columns of b.
pub(super) fn gate(s: &Step, node: &Node, gate: Gate) -> Result<()> {
    let function = match gate {
        Gate::Plain(f) => function(f),
        Gate::SiluClamped { alpha, limit } => (args::FUNCTION_SILU_CLAMPED, [alpha, limit, 0.0, 0.0]),
        Gate::SiluOfLimited { limit } => (args::FUNCTION_SILU_OF_LIMITED, [0.0, limit, 0.0, 0.0]),
        Gate::SiluLimited { limit } => (args::FUNCTION_SILU_LIMITED, [0.0, limit, 0.0, 0.0]),
    };
    functions(s, node, kernels::gate, function)
}

fn functions(s: &Step, node: &Node, kernel: Kernel<args::Gate>, (number, has): (usize, [f32; 4])) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let cols = s.graph().value(output).cols;
    let n = s.n_rows(output) * cols;
    let [alpha, limit, beta, eps] = has;
    let args = args::Gate {
        x: s.at(node.inputs[0]),
        b: node.inputs.get(1).map_or(Ptr::NULL, |b| s.at(*b)),
        y: s.at(output),
        n: n as i64,
        wide: int(cols / s.graph().value(node.inputs[0]).cols)?,
        function: number as i32,
        alpha,
        limit,
        beta,
        eps,
    };
    s.launch(kernel, [blocks(n, kernel.threads())?.min(MOST_BLOCKS), 1, 1], &args)
}
