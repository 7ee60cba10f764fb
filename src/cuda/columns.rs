//! Columns and Concat: parts of heads apart and together.

use super::step::{Step, blocks, int};
use super::{args, kernels};
use crate::error::Result;
use crate::graph::{self, Node};

pub(super) fn columns(s: &Step, node: &Node, o: &graph::Columns) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (input, n_head, first) = (node.inputs[0], o.n_head, o.first);
    let (head, n) = (s.graph().value(input).cols / n_head, s.graph().value(output).cols / n_head);
    let (x, y) = (s.at(input), s.at(output));
    let args = args::Columns { x, y, head: int(head)?, first: int(first)?, n: int(n)?, unused: 0 };
    let kernel = kernels::columns;
    s.launch(kernel, [blocks(s.n_rows(output) * n_head, 1)?, blocks(n, kernel.threads())?, 1], &args)
}

pub(super) fn concat(s: &Step, node: &Node, o: &graph::Concat) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (a, b, n_head) = (node.inputs[0], node.inputs[1], o.n_head);
    let cols = |v| s.graph().value(v).cols;
    let (n_x, n) = (cols(a) / n_head, cols(output) / n_head);
    let n_b = n - n_x;
    let args = args::Concat {
        x: s.at(a),
        b: s.at(b),
        y: s.at(output),
        n_head: int(n_head)?,
        n_x: int(n_x)?,
        n_b: int(n_b)?,
        // One part for all heads, or one for each.
        parts: int(cols(b) / n_b)?,
    };
    let kernel = kernels::concat;
    s.launch(kernel, [blocks(s.n_rows(output) * n_head, 1)?, blocks(n, kernel.threads())?, 1], &args)
}
