//! Neighbouring nodes that go to the stream as one launch. A launch costs a K80 some 4 us whatever it does, and a step
//! of one token is little else than hundreds of them, so the description stays as it is and its nodes are joined here:
//!
//! - up to three products of one row and the same value: queries, keys and values
//! - the two products of a gated block, and the gate: neither product is kept
//! - a sum and the norm of it
//! - the rotations of queries and keys, and the new cells
//!
//! Each gives the bits that its nodes give one by one (tests/ops.rs holds both together). Values keep the places that
//! the layout gave them for one node after the other. So nodes are joined only if what one launch writes is not what
//! another of its blocks may yet read.

use super::args::{FUNCTION_GELU, FUNCTION_SILU};
use super::step::Step;
use super::{kv, matvec, norm};
use crate::error::Result;
use crate::graph::{Activation, Gate, MatMul, Node, Op, ValueId};

/// Gives the first nodes to the stream as one launch, if there is one for them; how many, or 0.
pub(super) fn give(s: &Step, nodes: &[Node]) -> Result<usize> {
    match nodes {
        [first, ..] if s.rows_of(first) == 0 => Ok(0),
        [first, ..] if matches!(first.op, Op::MatMul(_)) => products(s, nodes),
        [add, second, ..] => match (&add.op, &second.op) {
            (Op::Add, Op::Norm(o)) if can_add_norm(s, add, second) && norm::takes_rows(s, second, o) => {
                norm::add_norm(s, add, second, o)?;
                Ok(2)
            }
            (Op::Rope(_), Op::Rope(_)) => rope_store(s, nodes),
            _ => Ok(0),
        },
        _ => Ok(0),
    }
}

/// True if a value is read by these nodes alone.
fn only(s: &Step, v: Option<ValueId>, readers: &[&Node]) -> bool {
    let here = |v: ValueId| readers.iter().flat_map(|n| &n.inputs).filter(|i| **i == v).count();
    v.is_some_and(|v| s.x.readers[v.0 as usize] == here(v))
}

/// True if no byte of these values' rows is in both places.
fn apart(s: &Step, a: ValueId, b: ValueId) -> bool {
    let range = |v: ValueId| {
        let from = s.at(v).0;
        (from, from + (s.n_rows(v) * s.graph().value(v).cols * size_of::<f32>()) as u64)
    };
    let (a, b) = (range(a), range(b));
    a.1 <= b.0 || b.1 <= a.0
}

/// As `apart`, or one place that each of a launch's threads reads before it writes there.
fn apart_or_same(s: &Step, a: ValueId, b: ValueId) -> bool {
    (s.at(a) == s.at(b) && s.graph().value(a).has_shape_of(s.graph().value(b))) || apart(s, a, b)
}

fn matmul(node: &Node) -> Option<&MatMul> {
    if let Op::MatMul(o) = &node.op { Some(o) } else { None }
}

/// Products of one row by the same value.
fn products(s: &Step, nodes: &[Node]) -> Result<usize> {
    let input = nodes[0].inputs[0];
    let alike = |n: &&Node| n.inputs.first() == Some(&input) && n.output.is_some_and(|v| s.n_rows(v) == 1);
    let joined: Vec<&MatMul> = nodes.iter().take(3).take_while(alike).map_while(matmul).collect();
    if let (&[gate, up, ..], [first, second, third, ..]) = (joined.as_slice(), nodes)
        && gated(s, [first, second, third], [gate, up])?
    {
        return Ok(3);
    }
    // What one of them writes, the others must not read or write.
    let is_apart = |n: usize| {
        let outputs: Vec<ValueId> = nodes[..n].iter().filter_map(|n| n.output).collect();
        let pairs = |i: usize| outputs[..i].iter().all(|o| apart(s, *o, outputs[i]));
        (0..n).all(|i| apart(s, input, outputs[i]) && pairs(i))
    };
    let fits = |n: &usize| *n <= joined.len() && is_apart(*n) && matvec::can_join(s, &joined[..*n]);
    let Some(n) = [3, 2].into_iter().find(fits) else { return Ok(0) };
    matvec::several(s, &nodes[..n], &joined[..n])?;
    Ok(n)
}

/// Both products of a gated block and the gate.
fn gated(s: &Step, nodes: [&Node; 3], products: [&MatMul; 2]) -> Result<bool> {
    let [gate, up, last] = nodes;
    let (Op::Gate(Gate::Plain(f)), Some(out)) = (&last.op, last.output) else { return Ok(false) };
    let function = match f {
        Activation::Silu => FUNCTION_SILU,
        Activation::Gelu => FUNCTION_GELU,
        _ => return Ok(false),
    };
    let are_its = [gate.output, up.output] == [Some(last.inputs[0]), last.inputs.get(1).copied()];
    if !are_its || gate.output == up.output || !only(s, gate.output, &[last]) || !only(s, up.output, &[last]) {
        return Ok(false);
    }
    let Some(kernel) = matvec::gated_kernel(s, products[0], products[1]) else { return Ok(false) };
    if !apart(s, gate.inputs[0], out) {
        return Ok(false);
    }
    matvec::gated(s, [gate, up], products, kernel, s.at(out), function)?;
    Ok(true)
}

fn can_add_norm(s: &Step, add: &Node, norm: &Node) -> bool {
    let (Some(sum), Some(out)) = (add.output, norm.output) else { return false };
    let (a, b) = (add.inputs[0], add.inputs[1]);
    let shapes = [a, b, out].iter().all(|v| s.graph().value(*v).has_shape_of(s.graph().value(sum)));
    let places = [(a, sum), (b, sum), (a, out), (b, out)].iter().all(|(read, to)| apart_or_same(s, *read, *to));
    norm.inputs[0] == sum && shapes && places && s.at(sum) != s.at(out) && apart(s, sum, out)
}

/// Rotations of queries and keys by one table, and the store of the turned keys.
fn rope_store(s: &Step, nodes: &[Node]) -> Result<usize> {
    let [q, k, last, ..] = nodes else { return Ok(0) };
    let (Op::Rope(a), Op::Rope(b), Op::StoreKv(o)) = (&q.op, &k.op, &last.op) else { return Ok(0) };
    let (Some(turned), &[stored, v]) = (q.output, last.inputs.as_slice()) else { return Ok(0) };
    let one_table = q.inputs.len() == 2 && k.inputs.len() == 2 && q.inputs[1] == k.inputs[1];
    let alike = (a.head_dim, a.first, a.kind) == (b.head_dim, b.first, b.kind);
    let plain = a.temperature.is_none() && b.temperature.is_none();
    if !one_table || !alike || !plain || k.output != Some(stored) || v == stored || !only(s, k.output, &[last]) {
        return Ok(0);
    }
    // Threads of queries write while others read keys, values and the table.
    let reads = [k.inputs[0], v, q.inputs[1]];
    if !reads.iter().all(|r| apart(s, *r, turned)) || !apart_or_same(s, q.inputs[0], turned) {
        return Ok(0);
    }
    kv::rope_store(s, [q, k, last], a, o)?;
    Ok(3)
}
