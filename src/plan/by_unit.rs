//! Facts about each unit of a graph (its layers, and the output as the last), read off its nodes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::arenas;
use crate::device::Kind;
use crate::graph::{Graph, INPUT, Part, Rows, StateShape};

/// Prefix sums over the units: nodes that only the CPU computes, and those of them that belong to experts. Experts that
/// are on the CPU anyway (`apart`, by unit) are left out.
pub(super) fn cpu_nodes(graph: &Graph, apart: &[bool]) -> Vec<(u32, u32)> {
    let mut sums = vec![(0, 0); graph.n_layer as usize + 2];
    for node in graph.nodes.iter().filter(|n| n.layer != INPUT) {
        if node.part == Part::Experts && apart[node.layer as usize] {
            continue;
        }
        // A node that no device has kernels for can be planned anywhere, so it does not count.
        if arenas::computes(Kind::Cpu, graph, node) && !arenas::computes(Kind::Cuda, graph, node) {
            let sum = &mut sums[node.layer as usize + 1];
            sum.0 += 1;
            sum.1 += u32::from(node.part == Part::Experts);
        }
    }
    for i in 1..sums.len() {
        sums[i] = (sums[i].0 + sums[i - 1].0, sums[i].1 + sums[i - 1].1);
    }
    sums
}

/// True for a unit that cannot begin a range, since it or a later one reads the state of an earlier unit.
pub(super) fn joined(graph: &Graph) -> Vec<bool> {
    let mut joined = vec![false; graph.n_layer as usize + 1];
    for node in graph.nodes.iter().filter(|n| n.layer != INPUT) {
        if let Some(state) = node.op.facts().reads {
            joined[graph.state(state).layer as usize + 1..=node.layer as usize].fill(true);
        }
    }
    joined
}

/// The last unit that reads each of the input's values.
pub(super) fn input_reads(graph: &Graph) -> Vec<usize> {
    let mut last = vec![None; graph.values.len()];
    for node in graph.nodes.iter().filter(|n| n.layer != INPUT) {
        node.inputs.iter().for_each(|v| last[v.0 as usize] = Some(node.layer as usize));
    }
    let made = graph.nodes.iter().filter(|n| n.layer == INPUT).filter_map(|n| n.output);
    made.filter_map(|v| last[v.0 as usize]).collect()
}

/// Columns of the values that a unit's experts read of the rest, and of those that the rest reads of them. A value that
/// several nodes read crosses once.
pub(super) fn crossing(graph: &Graph) -> Vec<(usize, usize)> {
    let mut out = vec![(0, 0); graph.n_layer as usize + 1];
    let mut of_experts = vec![false; graph.values.len()];
    let mut counted = vec![false; graph.values.len()];
    for node in graph.nodes.iter().filter(|n| n.layer != INPUT) {
        let (there, back) = &mut out[node.layer as usize];
        for v in &node.inputs {
            let i = v.0 as usize;
            if of_experts[i] != (node.part == Part::Experts) && !std::mem::replace(&mut counted[i], true) {
                *(if node.part == Part::Experts { &mut *there } else { &mut *back }) += graph.value(*v).cols;
            }
        }
        if let Some(v) = node.output {
            of_experts[v.0 as usize] = node.part == Part::Experts;
        }
    }
    out
}

/// The exchanges of each unit that a group of dies shares: their number, and the columns that a die gets in them.
pub(super) fn exchanges(graph: &Graph, n_shards: usize) -> Vec<(usize, usize)> {
    let mut out = vec![(0, 0); graph.n_layer as usize + 1];
    let mut made_by = vec![None; graph.values.len()];
    let mut counted = vec![false; graph.values.len()];
    for node in &graph.nodes {
        if let (Some(v), Part::Shard(i)) = (node.output, node.part) {
            made_by[v.0 as usize] = Some((node.layer, i));
        }
        for v in node.inputs.iter().filter(|_| node.part == Part::Shard(0)) {
            let from_other = made_by[v.0 as usize].is_some_and(|(_, i)| i > 0);
            if from_other && !std::mem::replace(&mut counted[v.0 as usize], true) {
                let (n, cols) = &mut out[node.layer as usize];
                (*n, *cols) = (*n + 1, *cols + graph.value(*v).cols);
            }
        }
    }
    // One exchange brings a value of each other die.
    out.iter_mut().for_each(|(n, _)| *n /= n_shards.saturating_sub(1).max(1));
    out
}

/// Numbers units so that those that look alike get the same number: their nodes have the same ops, shapes, inputs from
/// inside the unit and needs of working memory.
pub(super) fn like_units(graph: &Graph) -> Vec<usize> {
    let n = graph.n_layer as usize + 1;
    let mut hashers: Vec<DefaultHasher> = (0..n).map(|_| DefaultHasher::new()).collect();
    let maker: HashMap<u32, u32> = graph.nodes.iter().filter_map(|n| n.output.map(|o| (o.0, n.layer))).collect();
    // Of each value made in a unit: how many that unit had made before it.
    let mut number = vec![0; graph.values.len()];
    let mut made = vec![0; n];
    for node in graph.nodes.iter().filter(|n| n.layer != INPUT) {
        let unit = node.layer as usize;
        let h = &mut hashers[unit];
        (std::mem::discriminant(&node.op), node.part).hash(h);
        for (v, is_output) in node.inputs.iter().map(|v| (v, false)).chain(node.output.iter().map(|v| (v, true))) {
            let value = graph.value(*v);
            (is_output, value.cols, value.rows == Rows::Outputs).hash(h);
            // A value from inside the unit is known by its place there.
            if is_output {
                number[v.0 as usize] = made[unit];
                made[unit] += 1;
            } else if maker.get(&v.0) == Some(&node.layer) {
                number[v.0 as usize].hash(h);
            } else {
                // A value of the input is known by its number, since each lives for another time. Other values from
                // outside are the residual stream.
                (maker.get(&v.0) == Some(&INPUT)).then_some(v.0).hash(h);
            }
        }
        // Working memory of kernels depends on all this besides.
        let facts = node.op.facts();
        facts.n_parts.hash(h);
        if let Some(p) = facts.product {
            let w = graph.weight(p.part.weight);
            (p.part.n_cols, p.part.n_rows, p.part.n_matrices, crate::cpu::matmul::act_format(w.ty) as u8).hash(h);
            crate::cpu::matmul::scratch_bytes(w.ty, 16, p.part.n_cols).hash(h);
        }
        if let Some(state) = facts.reads.or(facts.writes) {
            match &graph.state(state).shape {
                StateShape::Kv(s) => (s.n_head_kv, s.head_dim_k, s.head_dim_v).hash(h),
                StateShape::Recurrent(n) => n.hash(h),
            }
        }
    }
    let mut numbers: HashMap<u64, usize> = HashMap::new();
    hashers
        .into_iter()
        .map(|h| {
            let next = numbers.len();
            *numbers.entry(h.finish()).or_insert(next)
        })
        .collect()
}
