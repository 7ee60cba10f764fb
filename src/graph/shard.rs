//! The graph of a group of dies that share each layer, made from the graph of one device.
//!
//! # Idea
//!
//! A node of a shared layer stands in the new graph once for each die of the group ([`Part::Shard`]). A product reads a
//! slice of its matrix, heads are some of the heads, and values that are small or that every die needs whole (norms,
//! the residual stream) are computed by each. Where partial sums must become a value, every die adds those of all, in
//! the same order: so all have the same bits. A die reads what another has made as it would anywhere in a graph, so the
//! session hands these values on, and planner, loader and executors need no other rules than those for slices.
//!
//! ```text
//! die 0   norm  q k v (heads 0-3)  attention  attn_output (columns of heads 0-3) --\ /--> p0 + p1, residual, norm
//! die 1   norm  q k v (heads 4-7)  attention  attn_output (columns of heads 4-7) --/ \--> p0 + p1, residual, norm
//! ```
//!
//! The nodes from one exchange to the next stand die by die, so each die has a single stretch between exchanges.
//! [`forms`] says what can be cut, and how.

mod forms;

use std::collections::HashMap;

use self::forms::{Cut, Form, Forms, Shared};
use super::graph::{Graph, INPUT, Node};
use super::op::Op;
use super::state::{KvShape, State, StateShape};
use super::value::{Part, StateId, Value, ValueId, WeightSlice};

/// The most dies of a group.
pub const MOST_SHARDS: usize = 4;

/// A graph whose layers are shared by groups of dies.
pub struct Sharded {
    pub graph: Graph,
    /// By layer: `None` if it is shared; otherwise the reason why it stays whole.
    pub whole: Vec<Option<String>>,
}

/// The graph of groups of `n` dies.
pub fn shard(graph: &Graph, n: usize) -> Sharded {
    let mut nodes: Vec<Vec<usize>> = vec![Vec::new(); graph.n_layer as usize];
    for (i, node) in graph.nodes.iter().enumerate() {
        if let Some(of) = nodes.get_mut(node.layer as usize) {
            of.push(i);
        }
    }
    let outside = read_outside(graph);
    let joined = caches_of_several(graph);
    let forms = |(layer, of): (usize, &Vec<usize>)| match joined[layer] {
        true => Err("several layers read one cache".to_owned()),
        false => forms::of_layer(graph, of, &outside, n),
    };
    let layers: Vec<Result<Forms, String>> = nodes.iter().enumerate().map(forms).collect();
    let mut pass = Pass {
        out: Graph { nodes: Vec::new(), ..graph.clone() },
        n,
        waiting: vec![Vec::new(); n],
        values: HashMap::new(),
        partial: HashMap::new(),
        states: HashMap::new(),
    };
    let mut draft = None;
    for (i, node) in graph.nodes.iter().enumerate() {
        if graph.draft.as_ref().is_some_and(|d| d.nodes.start == i) {
            pass.flush();
            draft = Some(pass.out.nodes.len());
        }
        match layers.get(node.layer as usize) {
            Some(Ok(forms)) => pass.share(node, forms, &forms.nodes[&i]),
            _ => pass.keep(node),
        }
    }
    for (_, v) in &graph.results {
        pass.whole(*v, graph.n_layer);
    }
    pass.flush();
    let mut out = pass.out;
    let before = remove_unread(&mut out, draft.unwrap_or(0));
    if let Some(d) = &mut out.draft {
        d.nodes = before..out.nodes.len();
    }
    Sharded { graph: out, whole: layers.into_iter().map(Result::err).collect() }
}

/// By value: true if another layer than the one that makes it reads it, or the caller.
fn read_outside(graph: &Graph) -> Vec<bool> {
    let mut made = vec![INPUT; graph.values.len()];
    let mut outside = vec![false; graph.values.len()];
    graph.results.iter().for_each(|(_, v)| outside[v.0 as usize] = true);
    for node in &graph.nodes {
        node.inputs.iter().for_each(|v| outside[v.0 as usize] |= made[v.0 as usize] != node.layer);
        if let Some(v) = node.output {
            made[v.0 as usize] = node.layer;
        }
    }
    outside
}

/// By layer: true if it reads another layer's cache, or another reads its own. Both would have to be cut alike.
fn caches_of_several(graph: &Graph) -> Vec<bool> {
    let mut joined = vec![false; graph.n_layer as usize + 1];
    for node in &graph.nodes {
        let Some(state) = node.op.facts().reads else { continue };
        let owner = graph.state(state).layer;
        if owner != node.layer {
            joined[owner as usize] = true;
            joined[node.layer as usize] = true;
        }
    }
    joined
}

/// Removes shards that nobody reads: sums at the end of the last shared layer, which only one device needs. Gives the
/// new number of the node `mark`.
fn remove_unread(graph: &mut Graph, mark: usize) -> usize {
    let mut read = vec![false; graph.values.len()];
    graph.results.iter().for_each(|(_, v)| read[v.0 as usize] = true);
    let mut keep = vec![true; graph.nodes.len()];
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        let shard = matches!(node.part, Part::Shard(_)) && node.op.facts().writes.is_none();
        keep[i] = !shard || node.output.is_none_or(|v| read[v.0 as usize]);
        if keep[i] {
            node.inputs.iter().for_each(|v| read[v.0 as usize] = true);
        }
    }
    let mut i = 0;
    graph.nodes.retain(|_| {
        i += 1;
        keep[i - 1]
    });
    keep[..mark].iter().filter(|kept| **kept).count()
}

struct Pass {
    out: Graph,
    n: usize,
    /// By die: nodes that are not in the graph yet.
    waiting: Vec<Vec<Node>>,
    /// By value of the old graph: what it is on each die, where that is not itself.
    values: HashMap<ValueId, Vec<ValueId>>,
    /// The partial sums of a value.
    partial: HashMap<ValueId, Vec<ValueId>>,
    states: HashMap<StateId, Vec<StateId>>,
}

/// The first unit that a die has, and how many, of `units`.
fn own(units: usize, die: usize, n: usize) -> (usize, usize) {
    let first = units * die / n;
    (first, units * (die + 1) / n - first)
}

impl Pass {
    /// Puts all nodes that wait into the graph, die by die.
    fn flush(&mut self) {
        for nodes in &mut self.waiting {
            self.out.nodes.append(nodes);
        }
    }

    fn value(&mut self, like: ValueId, cols: usize) -> ValueId {
        let value = Value { cols, ..self.out.value(like).clone() };
        self.out.values.push(value);
        ValueId(self.out.values.len() as u32 - 1)
    }

    /// A value on one of the dies.
    fn on(&self, v: ValueId, die: usize) -> ValueId {
        self.values.get(&v).map_or(v, |all| all[die])
    }

    /// Makes sure that the sum of a value's parts is there, if it has such.
    fn whole(&mut self, v: ValueId, layer: u32) {
        if self.values.contains_key(&v) {
            return;
        }
        let Some(parts) = self.partial.get(&v).cloned() else { return };
        self.flush();
        let cols = self.out.value(v).cols;
        let mut sums = Vec::with_capacity(self.n);
        for die in 0..self.n {
            let mut sum = parts[0];
            for (i, part) in parts.iter().enumerate().skip(1) {
                let last = i + 1 == parts.len();
                let output = if die == 0 && last { v } else { self.value(v, cols) };
                let (layer, part_of) = (self.layer_of(v, layer), Part::Shard(die as u8));
                let inputs = vec![sum, *part];
                self.waiting[die].push(Node { op: Op::Add, inputs, output: Some(output), layer, part: part_of });
                sum = output;
            }
            sums.push(sum);
        }
        self.values.insert(v, sums);
    }

    /// The layer whose partial sums a value has: it adds them, whoever reads the sum.
    fn layer_of(&self, v: ValueId, reader: u32) -> u32 {
        let part = self.partial.get(&v).map(|parts| parts[0]);
        let maker = self.out.nodes.iter().rev().find(|n| n.output.is_some() && n.output == part);
        maker.map_or(reader, |n| n.layer)
    }

    /// A node that one device computes.
    fn keep(&mut self, node: &Node) {
        node.inputs.iter().for_each(|v| self.whole(*v, node.layer));
        if node.layer != INPUT {
            self.flush();
        }
        let inputs = node.inputs.iter().map(|v| self.on(*v, 0)).collect();
        self.out.nodes.push(Node { inputs, ..node.clone() });
    }

    /// A node that all dies of a group compute, or a part of it each.
    fn share(&mut self, node: &Node, forms: &Forms, shared: &Shared) {
        for (v, sum) in node.inputs.iter().zip(&shared.sums) {
            if *sum || !self.partial.contains_key(v) {
                self.whole(*v, node.layer);
            }
        }
        for die in 0..self.n {
            let op = self.op(node, forms, shared, die);
            let inputs = node.inputs.iter().zip(&shared.sums).map(|(v, sum)| match self.partial.get(v) {
                Some(parts) if !sum => parts[die],
                _ => self.on(*v, die),
            });
            let inputs = inputs.collect();
            let output = node.output.map(|v| self.output(v, forms, shared, die));
            self.waiting[die].push(Node { op, inputs, output, layer: node.layer, part: Part::Shard(die as u8) });
        }
    }

    /// The value that a node makes on a die. The first die's keeps its number, but for partial sums.
    fn output(&mut self, v: ValueId, forms: &Forms, shared: &Shared, die: usize) -> ValueId {
        let cols = self.out.value(v).cols;
        match shared.out {
            Form::Partial => {
                let part = self.value(v, cols);
                self.partial.entry(v).or_default().push(part);
                part
            }
            Form::Whole => {
                let id = if die == 0 { v } else { self.value(v, cols) };
                self.values.entry(v).or_default().push(id);
                id
            }
            Form::Split { class, .. } => {
                let units = forms.units[class];
                let id = self.value(v, cols / units * own(units, die, self.n).1);
                self.values.entry(v).or_default().push(id);
                id
            }
        }
    }

    /// The op of a node on a die.
    fn op(&mut self, node: &Node, forms: &Forms, shared: &Shared, die: usize) -> Op {
        let mut op = node.op.clone();
        let range = |class: usize, n: usize| {
            let (first, units) = own(forms.units[class], die, self.n);
            (n / forms.units[class] * first, n / forms.units[class] * units)
        };
        let cut = |part: &mut WeightSlice| match (shared.cut, shared.out) {
            (Cut::Rows, Form::Split { class, .. }) => {
                let (first, n) = range(class, part.n_rows);
                (part.first_row, part.n_rows) = (part.first_row + first, n);
            }
            (Cut::Columns(class), _) => {
                let (first, n) = range(class, part.n_cols);
                (part.first_col, part.n_cols) = (part.first_col + first, n);
            }
            (Cut::Matrices, Form::Split { class, .. }) => {
                let (first, n) = range(class, part.n_matrices);
                (part.first_matrix, part.n_matrices) = (part.first_matrix + first, n);
            }
            _ => {}
        };
        // Of partial sums only the first has the bias.
        let bias = |bias| if matches!(shared.cut, Cut::Columns(_)) && die > 0 { None } else { bias };
        let heads = |n: usize| shared.heads.map_or((0, n), |class| range(class, n));
        match &mut op {
            Op::MatMul(o) => {
                cut(&mut o.matrix);
                o.bias = bias(o.bias);
            }
            Op::MatMulHeads(o) => {
                cut(&mut o.matrices);
                o.n_head = heads(o.n_head).1;
            }
            Op::MatMulExperts(o) => {
                cut(&mut o.matrices);
                o.bias = bias(o.bias);
            }
            Op::Rope(o) => o.n_head = heads(o.n_head).1,
            Op::Columns(o) => o.n_head = heads(o.n_head).1,
            Op::Concat(o) => o.n_head = heads(o.n_head).1,
            Op::Attention(o) => (o.first_head, o.n_head) = heads(o.n_head),
            _ => {}
        }
        match &mut op {
            Op::StoreKv(o) => o.state = self.state(o.state, forms, die),
            Op::Attention(o) => o.state = self.state(o.state, forms, die),
            Op::Convolve(o) => o.state = self.state(o.state, forms, die),
            Op::LinearAttention(o) => o.state = self.state(o.state, forms, die),
            Op::Scan(o) => o.state = self.state(o.state, forms, die),
            _ => {}
        }
        op
    }

    /// A state on a die.
    fn state(&mut self, s: StateId, forms: &Forms, die: usize) -> StateId {
        if !self.states.contains_key(&s) {
            let old = *self.out.state(s);
            let mut ids = Vec::with_capacity(self.n);
            for die in 0..self.n {
                let shape = match (forms.states.get(&s), old.shape) {
                    (Some(class), StateShape::Kv(kv)) => {
                        let units = forms.units[*class];
                        let n_head_kv = kv.n_head_kv / units * own(units, die, self.n).1;
                        StateShape::Kv(KvShape { n_head_kv, ..kv })
                    }
                    (_, shape) => shape,
                };
                let state = State {
                    shape,
                    part: Part::Shard(die as u8),
                    copy: die > 0 && !forms.states.contains_key(&s),
                    ..old
                };
                match die {
                    0 => {
                        self.out.states[s.0 as usize] = state;
                        ids.push(s);
                    }
                    _ => {
                        self.out.states.push(state);
                        ids.push(StateId(self.out.states.len() as u32 - 1));
                    }
                }
            }
            self.states.insert(s, ids);
        }
        self.states[&s][die]
    }
}

#[cfg(test)]
mod tests;
