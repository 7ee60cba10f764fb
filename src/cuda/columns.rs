//! Columns and Concat: parts of heads apart and together.

use super::die::Ptr;
use super::step::{Step, blocks, int};
use crate::error::Result;
use crate::graph::{self, Node};

const THREADS: u32 = 128;

/// As in columns.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Columns {
    x: Ptr,
    y: Ptr,
    head: i32,
    first: i32,
    n: i32,
    unused: i32,
}

/// As in columns.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Concat {
    x: Ptr,
    b: Ptr,
    y: Ptr,
    n_head: i32,
    n_x: i32,
    n_b: i32,
    parts: i32,
}

pub(super) fn columns(s: &Step, node: &Node, o: &graph::Columns) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (input, n_head, first) = (node.inputs[0], o.n_head, o.first);
    let (head, n) = (s.graph().value(input).cols / n_head, s.graph().value(output).cols / n_head);
    let args = Columns { x: s.at(input), y: s.at(output), head: int(head)?, first: int(first)?, n: int(n)?, unused: 0 };
    s.launch("columns", [blocks(s.n_rows(output) * n_head, 1)?, blocks(n, THREADS as usize)?, 1], THREADS, &args)
}

pub(super) fn concat(s: &Step, node: &Node, o: &graph::Concat) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (a, b, n_head) = (node.inputs[0], node.inputs[1], o.n_head);
    let cols = |v| s.graph().value(v).cols;
    let (n_x, n) = (cols(a) / n_head, cols(output) / n_head);
    let n_b = n - n_x;
    let args = Concat {
        x: s.at(a),
        b: s.at(b),
        y: s.at(output),
        n_head: int(n_head)?,
        n_x: int(n_x)?,
        n_b: int(n_b)?,
        // One part for all heads, or one for each.
        parts: int(cols(b) / n_b)?,
    };
    s.launch("concat", [blocks(s.n_rows(output) * n_head, 1)?, blocks(n, THREADS as usize)?, 1], THREADS, &args)
}
