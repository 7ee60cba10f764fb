//! What ranges of units (layers, the output last) take in bytes on a device, whatever the context.
//!
//! Bytes are those of `arenas`, by prefix sums; the compute arena of a range is laid out once per kind of range, since
//! layers that look alike give the same arena however many of them follow each other. The first `split` layers may have
//! their experts on the CPU: their dies are without those, and the CPU is no device of layers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::arenas::{self, Sizing};
use super::cost::Rates;
use super::params::Weights;
use super::request::{Request, Site};
use crate::device::{Device, Inventory, Kind};
use crate::graph::{Graph, INPUT, Layout, Limits, Part, Placement, Rows, WeightSlice};
use crate::quant::Type;

/// Runs of like layers, or of like patterns of layers, longer than this are laid out as if they were so long: the
/// residual stream keeps its place from layer to layer. The plan measures the placement that was found once more as it
/// is.
const RUN: usize = 3;
/// Layers of different kinds follow each other in patterns of at most so many that are seen as such.
const PERIOD: usize = 8;
const MOST_RUNS: usize = 64;

/// What does not depend on the context's length.
pub(super) struct Units<'a> {
    pub graph: &'a Graph,
    pub inventory: &'a Inventory,
    pub sites: Vec<Site>,
    pub limits: Limits,
    pub sizing: Sizing,
    /// Prefix sums over the units, of weights that a single unit reads.
    all: Sums,
    /// The same without routed experts.
    rest: Sums,
    /// The readers of each weight that several units read.
    shared: Vec<Vec<Reader>>,
    cpu_maps: bool,
    /// Whether a unit has routed experts.
    pub has_experts: Vec<bool>,
    /// Prefix sums over the units: nodes that only the CPU computes, and those of them that belong to experts.
    cpu_nodes: Vec<(u32, u32)>,
    /// By unit: it cannot begin a range, since it or a later one reads what an earlier unit keeps.
    joined: Vec<bool>,
    /// Columns of what a unit's experts read of the rest, and of what the rest reads of them.
    pub crossing: Vec<(usize, usize)>,
    /// Equal numbers for units that look alike.
    like: Vec<usize>,
    /// The last unit that reads each of the input's values.
    input_reads: Vec<usize>,
    compute: RefCell<Computed>,
    pub rates: Vec<Rates>,
    /// Whether every range is laid out as it is.
    every_range: bool,
}

/// A unit that reads a weight, as its body or as its routed experts, and all that it reads of it.
#[derive(Clone, Copy)]
struct Reader {
    unit: u32,
    part: Part,
    slice: WeightSlice,
}

/// Prefix sums of weights: as copied into an arena, and as mapped.
struct Sums {
    copied: Vec<u64>,
    mapped: Vec<u64>,
}

/// Compute arenas that were laid out.
#[derive(Default)]
struct Computed {
    /// With the split where the units do not tell it.
    by_runs: HashMap<(Kind, usize, Vec<usize>), u64>,
    /// Per split by first unit and end, `UNKNOWN` where not asked for yet; the search asks for every range many times.
    by_range: HashMap<(Kind, usize), Vec<u64>>,
}

const UNKNOWN: u64 = u64::MAX;

pub(super) fn prefix_sums(of: impl Iterator<Item = u64>) -> Vec<u64> {
    std::iter::once(0)
        .chain(of.scan(0u64, |sum, x| {
            *sum = sum.saturating_add(x);
            Some(*sum)
        }))
        .collect()
}

impl<'a> Units<'a> {
    pub fn new(r: &'a Request<'_>, graph: &'a Graph) -> Units<'a> {
        let n = graph.n_layer as usize + 1;
        // Of each weight: who reads which part of it.
        let mut readers: Vec<Vec<Reader>> = vec![Vec::new(); graph.weights.len()];
        let mut has_experts = vec![false; n];
        for node in &graph.nodes {
            if node.part == Part::Experts {
                has_experts[node.layer as usize] = true;
            }
            for part in graph.reads(node) {
                let of = &mut readers[part.weight.0 as usize];
                match of.iter_mut().find(|r| (r.unit, r.part) == (node.layer, node.part)) {
                    Some(r) => r.slice = r.slice.union(&part),
                    None => of.push(Reader { unit: node.layer, part: node.part, slice: part }),
                }
            }
        }
        let none = || [vec![0u64; n], vec![0u64; n]];
        let ([mut all_copied, mut all_mapped], [mut copied, mut mapped], mut shared) = (none(), none(), Vec::new());
        for (info, of) in graph.weights.iter().zip(readers) {
            match of[..] {
                [r] if r.unit != INPUT => {
                    let raw = r.slice.n_bytes(info);
                    all_copied[r.unit as usize] += arenas::aligned(raw);
                    all_mapped[r.unit as usize] += raw;
                    if r.part != Part::Experts {
                        copied[r.unit as usize] += arenas::aligned(raw);
                        mapped[r.unit as usize] += raw;
                    }
                }
                _ => shared.push(of),
            }
        }
        let sums = |copied: Vec<u64>, mapped: Vec<u64>| Sums {
            copied: prefix_sums(copied.into_iter()),
            mapped: prefix_sums(mapped.into_iter()),
        };
        Units {
            graph,
            inventory: r.context.inventory(),
            sites: r.sites.clone(),
            limits: r.limits(),
            sizing: r.sizing((Type::F16, Type::F16)),
            all: sums(all_copied, all_mapped),
            rest: sums(copied, mapped),
            shared,
            cpu_maps: r.params.weights != Weights::Copied,
            has_experts,
            cpu_nodes: cpu_nodes(graph),
            joined: joined(graph),
            crossing: crossing(graph),
            like: like_units(graph),
            input_reads: input_reads(graph),
            compute: RefCell::default(),
            rates: r.context.devices().iter().map(|d| Rates::new(d, r.context.n_threads())).collect(),
            every_range: false,
        }
    }

    pub fn device(&self, d: usize) -> &Device {
        &self.inventory.devices[d]
    }

    /// Whether a device computes units `first..end`, the experts of the first `split` layers aside.
    pub fn computes(&self, d: usize, first: usize, end: usize, split: usize) -> bool {
        let cut = split.clamp(first, end);
        let (at, of) = (self.cpu_nodes[first], self.cpu_nodes[end]);
        let apart = self.cpu_nodes[cut].1 - at.1;
        self.device(d).kind == Kind::Cpu || of.0 - at.0 == apart
    }

    /// Whether ranges may be cut before a unit: what a layer keeps lies on its device, and so must be all that read it.
    pub fn may_cut(&self, unit: usize) -> bool {
        !self.joined.get(unit).copied().unwrap_or(false)
    }

    /// Bytes that units `first..end` take on a device, besides the KV cache; the CPU has the input's as well, and the
    /// experts of the first `split` layers, which their dies are without.
    pub fn bytes(&self, d: usize, first: usize, end: usize, split: usize) -> u64 {
        self.weights(d, first, end, split).saturating_add(self.compute(d, first, end, split))
    }

    fn weights(&self, d: usize, first: usize, end: usize, split: usize) -> u64 {
        let cpu = self.device(d).kind == Kind::Cpu;
        let mapped = cpu && self.cpu_maps;
        let (all, rest) =
            if mapped { (&self.all.mapped, &self.rest.mapped) } else { (&self.all.copied, &self.rest.copied) };
        let cut = split.clamp(first, end);
        let own = (rest[cut] - rest[first]).saturating_add(all[end] - all[cut]);
        let experts = if cpu { all[split] - rest[split] } else { 0 };
        let here = |r: &&Reader| match r.unit as usize {
            _ if r.unit == INPUT => cpu,
            u if r.part == Part::Experts && u < split => cpu,
            u => (first..end).contains(&u),
        };
        let bytes = |slice: WeightSlice| {
            let raw = slice.n_bytes(self.graph.weight(slice.weight));
            if mapped { raw } else { arenas::aligned(raw) }
        };
        let shared =
            self.shared.iter().filter_map(|of| of.iter().filter(here).map(|r| r.slice).reduce(|a, b| a.union(&b)));
        shared.fold(own.saturating_add(experts), |sum, slice| sum.saturating_add(bytes(slice)))
    }

    /// What the compute arena of units `first..end` depends on: which units follow each other, long runs cut short.
    fn runs(&self, kind: Kind, first: usize, end: usize, split: usize) -> Vec<usize> {
        let mut runs = Vec::with_capacity(8);
        for unit in first..end {
            let apart = unit < split && self.has_experts[unit];
            runs.push(self.like[unit] + if apart { self.like.len() } else { 0 });
            for period in 1..=(runs.len() / (RUN + 1)).min(PERIOD) {
                let tail = &runs[runs.len() - period * (RUN + 1)..];
                if tail[period..] == tail[..tail.len() - period] {
                    runs.truncate(runs.len() - period);
                    break;
                }
            }
        }
        if kind == Kind::Cpu {
            // The input's values stay until the last unit here has read them.
            runs.extend(self.input_reads.iter().map(|last| usize::from(*last >= first) + usize::from(*last >= end)));
        }
        runs
    }

    /// Bytes of the compute arena for units `first..end` on a device.
    fn compute(&self, d: usize, first: usize, end: usize, split: usize) -> u64 {
        let n = self.like.len() + 1;
        let kind = self.device(d).kind;
        let mut known = self.compute.borrow_mut();
        let Computed { by_runs, by_range } = &mut *known;
        let bytes = &mut by_range.entry((kind, split)).or_insert_with(|| vec![UNKNOWN; n * n])[first * n + end];
        if *bytes == UNKNOWN {
            // With experts of other devices' layers the CPU has no runs of units.
            *bytes = if self.every_range || (kind == Kind::Cpu && split > 0) {
                self.lay_out(d, first, end, split)
            } else {
                let runs = self.runs(kind, first, end, split);
                // Without a pattern every range is a kind of its own; the arena of all units is enough for any.
                let (first, end, key) = if runs.len() > MOST_RUNS {
                    (0, self.like.len(), (kind, split, Vec::new()))
                } else {
                    (first, end, (kind, 0, runs))
                };
                *by_runs.entry(key).or_insert_with(|| self.lay_out(d, first, end, split))
            };
        }
        *bytes
    }

    fn lay_out(&self, d: usize, first: usize, end: usize, split: usize) -> u64 {
        let elsewhere = u32::MAX;
        let mut layers = vec![elsewhere; self.like.len()];
        layers[first..end].fill(d as u32);
        let placement = self.placement(layers, split);
        let workspace = arenas::workspace(self.device(d).kind, self.graph, self.limits, self.sizing.n_threads);
        let layout = Layout::new(self.graph, self.limits, d as u32, &placement, &workspace);
        layout.map_or(u64::MAX, |l| l.bytes as u64)
    }

    /// Layers on these devices, the experts of the first `split` of them on the CPU.
    pub fn placement(&self, layers: Vec<u32>, split: usize) -> Placement {
        let cpu = self.inventory.cpu() as u32;
        let mut placement = Placement::whole(cpu, layers);
        for (device, _) in placement.experts.iter_mut().zip(&self.has_experts).take(split).filter(|(_, has)| **has) {
            *device = cpu;
        }
        placement
    }

    /// From here on lays out every range as it is.
    pub fn doubt_runs(&mut self) {
        self.every_range = true;
        self.compute = RefCell::default();
    }
}

fn cpu_nodes(graph: &Graph) -> Vec<(u32, u32)> {
    let mut sums = vec![(0, 0); graph.n_layer as usize + 2];
    for node in graph.nodes.iter().filter(|n| n.layer != INPUT) {
        // What nobody computes can be planned anywhere.
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

fn joined(graph: &Graph) -> Vec<bool> {
    let mut joined = vec![false; graph.n_layer as usize + 1];
    for node in graph.nodes.iter().filter(|n| n.layer != INPUT) {
        if let Some(state) = node.op.facts().reads {
            joined[graph.state(state).layer as usize + 1..=node.layer as usize].fill(true);
        }
    }
    joined
}

fn input_reads(graph: &Graph) -> Vec<usize> {
    let mut last = vec![None; graph.values.len()];
    for node in graph.nodes.iter().filter(|n| n.layer != INPUT) {
        node.inputs.iter().for_each(|v| last[v.0 as usize] = Some(node.layer as usize));
    }
    let made = graph.nodes.iter().filter(|n| n.layer == INPUT).filter_map(|n| n.output);
    made.filter_map(|v| last[v.0 as usize]).collect()
}

fn crossing(graph: &Graph) -> Vec<(usize, usize)> {
    let mut out = vec![(0, 0); graph.n_layer as usize + 1];
    let mut made_by = vec![Part::Body; graph.values.len()];
    let mut counted = vec![false; graph.values.len()];
    for node in graph.nodes.iter().filter(|n| n.layer != INPUT) {
        let (there, back) = &mut out[node.layer as usize];
        for v in &node.inputs {
            let i = v.0 as usize;
            if made_by[i] != node.part && !std::mem::replace(&mut counted[i], true) {
                *(if node.part == Part::Experts { &mut *there } else { &mut *back }) += graph.value(*v).cols;
            }
        }
        if let Some(v) = node.output {
            made_by[v.0 as usize] = node.part;
        }
    }
    out
}

/// Numbers units so that those whose nodes look alike get the same.
fn like_units(graph: &Graph) -> Vec<usize> {
    let n = graph.n_layer as usize + 1;
    let mut hashers: Vec<DefaultHasher> = (0..n).map(|_| DefaultHasher::new()).collect();
    let maker: HashMap<u32, u32> = graph.nodes.iter().filter_map(|n| n.output.map(|o| (o.0, n.layer))).collect();
    let mut first_value = vec![u32::MAX; n];
    for node in graph.nodes.iter().filter(|n| n.layer != INPUT) {
        let unit = node.layer as usize;
        let h = &mut hashers[unit];
        (std::mem::discriminant(&node.op), node.part).hash(h);
        for (v, is_output) in node.inputs.iter().map(|v| (v, false)).chain(node.output.iter().map(|v| (v, true))) {
            let value = graph.value(*v);
            (is_output, value.cols, value.rows == Rows::Outputs).hash(h);
            // Inside the unit by order; outside by where it comes from.
            if maker.get(&v.0) == Some(&node.layer) {
                first_value[unit] = first_value[unit].min(v.0);
                (v.0 - first_value[unit]).hash(h);
            } else {
                // Which of the input's values decides how long that one lives.
                (maker.get(&v.0) == Some(&INPUT)).then_some(v.0).hash(h);
            }
        }
        // All else that kernels' working memory depends on.
        let facts = node.op.facts();
        facts.n_parts.hash(h);
        if let Some(p) = facts.product {
            let w = graph.weight(p.part.weight);
            (p.part.n_cols, p.part.n_rows, w.ne[2], crate::cpu::matmul::act_format(w.ty) as u8).hash(h);
        }
        if let Some(state) = facts.reads.or(facts.writes) {
            let s = graph.kv(state);
            (s.n_head_kv, s.head_dim_k, s.head_dim_v).hash(h);
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
