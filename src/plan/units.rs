//! Bytes of ranges of units on a device, but for those that depend on the length of the context.
//!
//! # Problem
//!
//! A unit is a layer, or the output as the last one. The placement search asks for the bytes of every range of units on
//! every device, again and again: a model of 80 layers has 3321 ranges, and the search for the longest context repeats
//! with other lengths. The answers must be those of `arenas`, to the byte, and `arenas` walks the whole graph.
//!
//! # Idea
//!
//! - Weights that one unit reads are summed up once. The sum of units `first..end` is then `sums[end] - sums[first]`.
//! - Weights that several units read (a tied output, divisors of frequencies) lie once on a device. They are few, so
//!   each answer looks at all of them.
//! - A compute arena has to be laid out. But layers that look alike use the same places, one after the other: the
//!   residual stream keeps its place, and all else in a layer dies with it. So a range is given a key that tells its
//!   kind, and is laid out once per kind.
//!
//! # The kind of a range
//!
//! `by_unit::like_units` numbers units so that those that look alike have the same number. A range's key is the row of
//! these numbers, in which a pattern that is repeated more than `REPEATS` times is cut to so many. An example, with
//! layers that have a window (`w`), others that have none (`f`), and the output (`o`):
//!
//! ```text
//! w w w w w w w w w w w w o                 has the key   w w w o
//! w w w f  w w w f  w w w f  w w w f  o     has the key   w w w f  w w w f  w w w f  o
//! ```
//!
//! That is a belief, not a proof. The placement that was found is measured as it is. If that contradicts the search,
//! the search is repeated with each range laid out by itself (`trust_no_kind`).
//!
//! # Experts on the CPU
//!
//! The first `split` layers may have their routed experts on the CPU. Their dies are then without the experts' weights,
//! the CPU has them, and computes no layers besides. Layers whose experts the caller has put there (`Places`) are so
//! whatever the split is: in all sums they are layers without experts, and the CPU always has these.

use std::cell::RefCell;
use std::collections::HashMap;

use super::arenas::{self, Sizing};
use super::by_unit;
use super::cost::Rates;
use super::params::Weights;
use super::places::Places;
use super::request::{Request, Site};
use crate::device::{Device, Inventory, Kind};
use crate::graph::{Graph, INPUT, Layout, Limits, Part, Placement, WeightSlice};
use crate::quant::Type;

/// A pattern of layers that is repeated more often than this is laid out as if it were repeated so often.
const REPEATS: usize = 3;
/// The longest pattern of layers that is looked for.
const LONGEST_PATTERN: usize = 8;
/// A range with a longer key has no pattern.
const LONGEST_KEY: usize = 64;

/// The units of a model, with their bytes and costs as far as these do not depend on the context's length.
pub(super) struct Units<'a> {
    pub graph: &'a Graph,
    pub inventory: &'a Inventory,
    pub sites: Vec<Site>,
    pub limits: Limits,
    pub sizing: Sizing,
    /// The caller's.
    pub places: &'a Places,
    /// Prefix sums over the units, of weights that a single unit reads.
    all: Sums,
    /// The same without routed experts.
    rest: Sums,
    /// Bytes of the experts that the caller has put on the CPU: copied, and mapped.
    put: (u64, u64),
    /// The readers of each weight that several units read.
    shared: Vec<Vec<Reader>>,
    /// True if the CPU reads weights from the map.
    cpu_maps: bool,
    /// By unit: true if it has routed experts.
    pub has_experts: Vec<bool>,
    /// Prefix sums over the units: nodes that only the CPU computes, and those of them that belong to experts.
    cpu_nodes: Vec<(u32, u32)>,
    /// By unit: true if it cannot begin a range, since it or a later one reads the state of an earlier unit.
    joined: Vec<bool>,
    /// By unit: columns of the values that its experts read of the rest, and of those that the rest reads of them.
    pub crossing: Vec<(usize, usize)>,
    /// Equal numbers for units that look alike.
    like: Vec<usize>,
    /// The last unit that reads each of the input's values.
    input_reads: Vec<usize>,
    compute: RefCell<Computed>,
    /// By device.
    pub rates: Vec<Rates>,
    /// True if every range is laid out by itself.
    every_range: bool,
}

/// A part of a unit (its body or its routed experts) that reads a weight, and the slice that it reads.
#[derive(Clone, Copy)]
struct Reader {
    unit: u32,
    part: Part,
    slice: WeightSlice,
}

/// Prefix sums of the bytes of weights: as copied into an arena, where each is aligned, and as mapped.
struct Sums {
    copied: Vec<u64>,
    mapped: Vec<u64>,
}

/// Compute arenas that were laid out.
#[derive(Default)]
struct Computed {
    /// By kind of range: (kind of device, split, key). The split is 0 if the key tells all.
    by_key: HashMap<(Kind, usize, Vec<usize>), u64>,
    /// By (kind of device, split), a table by first unit and end; `UNKNOWN` if a range was not asked for yet. The
    /// search asks for every range many times.
    by_range: HashMap<(Kind, usize), Vec<u64>>,
}

const UNKNOWN: u64 = u64::MAX;

/// 0, and the sums of the first number, the first two and so on.
pub(super) fn prefix_sums(of: impl Iterator<Item = u64>) -> Vec<u64> {
    std::iter::once(0)
        .chain(of.scan(0u64, |sum, x| {
            *sum = sum.saturating_add(x);
            Some(*sum)
        }))
        .collect()
}

impl<'a> Units<'a> {
    pub fn new(r: &'a Request<'_>, graph: &'a Graph, places: &'a Places) -> Units<'a> {
        let n = graph.n_layer as usize + 1;
        // Of each weight: its readers.
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
        let mut put = (0u64, 0u64);
        for (info, of) in graph.weights.iter().zip(readers) {
            match of[..] {
                [r] if r.unit != INPUT => {
                    let raw = r.slice.n_bytes(info);
                    // In the map lies the whole tensor, so a part of one is copied.
                    let in_map = if r.slice.is_whole(info) { raw } else { arenas::aligned(raw) };
                    if r.part == Part::Experts && places.experts[r.unit as usize] {
                        put = (put.0 + arenas::aligned(raw), put.1 + in_map);
                        continue;
                    }
                    all_copied[r.unit as usize] += arenas::aligned(raw);
                    all_mapped[r.unit as usize] += in_map;
                    if r.part != Part::Experts {
                        copied[r.unit as usize] += arenas::aligned(raw);
                        mapped[r.unit as usize] += in_map;
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
            places,
            all: sums(all_copied, all_mapped),
            rest: sums(copied, mapped),
            put,
            shared,
            cpu_maps: r.params.weights != Weights::Copied,
            has_experts,
            cpu_nodes: by_unit::cpu_nodes(graph, &places.experts),
            joined: by_unit::joined(graph),
            crossing: by_unit::crossing(graph),
            like: by_unit::like_units(graph),
            input_reads: by_unit::input_reads(graph),
            compute: RefCell::default(),
            rates: r.context.devices().iter().map(|d| Rates::new(d, r.context.n_threads())).collect(),
            every_range: false,
        }
    }

    /// True if a unit's experts are on the CPU, with this split.
    pub fn are_apart(&self, unit: usize, split: usize) -> bool {
        self.has_experts[unit] && (unit < split || self.places.experts[unit])
    }

    /// Number of layers whose experts are on the CPU.
    pub fn n_apart(&self, split: usize) -> usize {
        (0..self.has_experts.len()).filter(|unit| self.are_apart(*unit, split)).count()
    }

    /// True if the caller lets all of units `first..end` be on a device.
    pub fn lets(&self, d: usize, first: usize, end: usize) -> bool {
        self.places.layers[first..end].iter().all(|at| at.is_none_or(|at| at == d as u32))
    }

    pub fn device(&self, d: usize) -> &Device {
        &self.inventory.devices[d]
    }

    /// True if a device has kernels for units `first..end`, the experts of the first `split` layers aside.
    pub fn computes(&self, d: usize, first: usize, end: usize, split: usize) -> bool {
        let cut = split.clamp(first, end);
        let (at, of) = (self.cpu_nodes[first], self.cpu_nodes[end]);
        let apart = self.cpu_nodes[cut].1 - at.1;
        self.device(d).kind == Kind::Cpu || of.0 - at.0 == apart
    }

    /// True if the chain may be cut before a unit. A state lies on its layer's device, and all layers that read it must
    /// be there too.
    pub fn may_cut(&self, unit: usize) -> bool {
        !self.joined.get(unit).copied().unwrap_or(false)
    }

    /// Bytes of units `first..end` on a device, without the KV cache. The CPU has those of the input as well, and of
    /// the experts of the first `split` layers, which their dies are then without.
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
        let put = if mapped { self.put.1 } else { self.put.0 };
        let experts = if cpu { (all[split] - rest[split]).saturating_add(put) } else { 0 };
        let here = |r: &&Reader| match r.unit as usize {
            _ if r.unit == INPUT => cpu,
            u if r.part == Part::Experts && self.are_apart(u, split) => cpu,
            u => (first..end).contains(&u),
        };
        let bytes = |slice: WeightSlice| {
            let info = self.graph.weight(slice.weight);
            let raw = slice.n_bytes(info);
            if mapped && slice.is_whole(info) { raw } else { arenas::aligned(raw) }
        };
        let shared =
            self.shared.iter().filter_map(|of| of.iter().filter(here).map(|r| r.slice).reduce(|a, b| a.union(&b)));
        shared.fold(own.saturating_add(experts), |sum, slice| sum.saturating_add(bytes(slice)))
    }

    /// The key of units `first..end`. Ranges with the same key have the same compute arena on a kind of device.
    fn key(&self, kind: Kind, first: usize, end: usize, split: usize) -> Vec<usize> {
        let mut key = Vec::with_capacity(8);
        for unit in first..end {
            let apart = self.are_apart(unit, split);
            key.push(self.like[unit] + if apart { self.like.len() } else { 0 });
            for period in 1..=(key.len() / (REPEATS + 1)).min(LONGEST_PATTERN) {
                let tail = &key[key.len() - period * (REPEATS + 1)..];
                // Equal to itself one period further on: the pattern stands there once too often.
                if tail[period..] == tail[..tail.len() - period] {
                    key.truncate(key.len() - period);
                    break;
                }
            }
        }
        if kind == Kind::Cpu {
            // The input's values stay until the last unit here has read them: 0 not at all, 1 to a unit of the range, 2
            // to its end.
            key.extend(self.input_reads.iter().map(|last| usize::from(*last >= first) + usize::from(*last >= end)));
        }
        key
    }

    /// Bytes of the compute arena for units `first..end` on a device.
    fn compute(&self, d: usize, first: usize, end: usize, split: usize) -> u64 {
        let n = self.like.len() + 1;
        let kind = self.device(d).kind;
        let mut known = self.compute.borrow_mut();
        let Computed { by_key, by_range } = &mut *known;
        let bytes = &mut by_range.entry((kind, split)).or_insert_with(|| vec![UNKNOWN; n * n])[first * n + end];
        if *bytes == UNKNOWN {
            // Experts of other devices' layers are on the CPU besides the range, and no key tells them.
            *bytes = if self.every_range || (kind == Kind::Cpu && self.n_apart(split) > 0) {
                self.lay_out(d, first, end, split)
            } else {
                let key = self.key(kind, first, end, split);
                // Without a pattern every range is a kind of its own. The arena of all units is enough for any.
                let (first, end, key) = if key.len() > LONGEST_KEY {
                    (0, self.like.len(), (kind, split, Vec::new()))
                } else {
                    (first, end, (kind, 0, key))
                };
                *by_key.entry(key).or_insert_with(|| self.lay_out(d, first, end, split))
            };
        }
        *bytes
    }

    /// Lays out the compute arena of units `first..end` on a device, and gives its bytes.
    fn lay_out(&self, d: usize, first: usize, end: usize, split: usize) -> u64 {
        let elsewhere = u32::MAX;
        let mut layers = vec![elsewhere; self.like.len()];
        layers[first..end].fill(d as u32);
        let placement = self.placement(layers, split);
        let workspace = arenas::workspace(self.device(d).kind, self.graph, self.limits, self.sizing.n_threads);
        let layout = Layout::new(self.graph, self.limits, d as u32, &placement, &workspace);
        layout.map_or(u64::MAX, |l| l.bytes as u64)
    }

    /// The placement of layers on these devices, with the experts of the first `split` of them on the CPU, and those
    /// that the caller has put there.
    pub fn placement(&self, layers: Vec<u32>, split: usize) -> Placement {
        let cpu = self.inventory.cpu() as u32;
        let mut placement = Placement::whole(cpu, layers);
        for (_, device) in placement.experts.iter_mut().enumerate().filter(|(unit, _)| self.are_apart(*unit, split)) {
            *device = cpu;
        }
        placement
    }

    /// From here on lays out every range by itself.
    pub fn trust_no_kind(&mut self) {
        self.every_range = true;
        self.compute = RefCell::default();
    }
}
