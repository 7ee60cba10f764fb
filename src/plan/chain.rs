//! The model as a chain of units (layers, the output last) for the placement search: what any range of them takes on any device.
//!
//! Bytes are those of `measure`, by prefix sums; the compute arena of a range is laid out once per kind of range, since layers that
//! look alike give the same arena however many of them follow each other.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::cost::{self, Rates, Seconds};
use super::measure::{self, Copies};
use super::place::{Chain, Cost};
use super::request::{Request, Site};
use crate::device::{Device, Inventory, Kind};
use crate::error::Result;
use crate::graph::{Graph, INPUT, Layout, Limits, Placement};
use crate::quant::Type;

/// Runs of like layers, or of like patterns of layers, longer than this are laid out as if they were so long: the residual stream keeps
/// its place from layer to layer. The plan measures the placement that was found once more as it is.
const RUN: usize = 3;
/// Layers of different kinds follow each other in patterns of at most so many that are seen as such.
const PERIOD: usize = 8;
const MOST_RUNS: usize = 64;

/// What does not depend on the context's length.
pub(super) struct Units<'a> {
    pub graph: &'a Graph,
    inventory: &'a Inventory,
    pub sites: Vec<Site>,
    limits: Limits,
    copies: Copies,
    /// Prefix sums over the units, of weights that a single unit reads: as copied into an arena, and as mapped.
    copied: Vec<u64>,
    mapped: Vec<u64>,
    /// Weights that several units read: which units, and the bytes of both.
    shared: Vec<(Vec<u32>, u64, u64)>,
    cpu_maps: bool,
    /// Equal numbers for units that look alike.
    like: Vec<usize>,
    compute: RefCell<Computed>,
    pub rates: Vec<Rates>,
    /// Whether every range is laid out as it is.
    every_range: bool,
}

/// Compute arenas that were laid out.
#[derive(Default)]
struct Computed {
    by_runs: HashMap<(Kind, Vec<usize>), u64>,
    /// By first unit and end, `UNKNOWN` where not asked for yet; the search asks for every range many times.
    by_range: HashMap<Kind, Vec<u64>>,
}

const UNKNOWN: u64 = u64::MAX;

fn prefix_sums(of: impl Iterator<Item = u64>) -> Vec<u64> {
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
        let mut readers: Vec<Vec<u32>> = vec![Vec::new(); graph.weights.len()];
        for node in &graph.nodes {
            for w in graph.weights_of(node) {
                if readers[w.0 as usize].last() != Some(&node.layer) {
                    readers[w.0 as usize].push(node.layer);
                }
            }
        }
        let (mut copied, mut mapped, mut shared) = (vec![0u64; n], vec![0u64; n], Vec::new());
        for (info, units) in graph.weights.iter().zip(readers) {
            let aligned = measure::aligned(info.n_bytes);
            match units[..] {
                [u] if u != INPUT => {
                    copied[u as usize] += aligned;
                    mapped[u as usize] += info.n_bytes;
                }
                _ => shared.push((units, aligned, info.n_bytes)),
            }
        }
        Units {
            graph,
            inventory: r.context.inventory(),
            sites: r.sites.clone(),
            limits: r.limits(),
            copies: r.copies((Type::F16, Type::F16)),
            copied: prefix_sums(copied.into_iter()),
            mapped: prefix_sums(mapped.into_iter()),
            shared,
            cpu_maps: r.params.weights != super::Weights::Copied,
            like: like_units(graph),
            compute: RefCell::default(),
            rates: r.context.devices().iter().map(|d| Rates::new(d, r.context.n_threads())).collect(),
            every_range: false,
        }
    }

    fn device(&self, d: usize) -> &Device {
        &self.inventory.devices[d]
    }

    /// Bytes of the weights of units `first..end` on a device; the CPU has the input's as well.
    fn weights(&self, d: usize, first: usize, end: usize) -> u64 {
        let cpu = self.device(d).kind == Kind::Cpu;
        let mapped = cpu && self.cpu_maps;
        let sums = if mapped { &self.mapped } else { &self.copied };
        let here = |u: &u32| if *u == INPUT { cpu } else { (first..end).contains(&(*u as usize)) };
        let shared = self.shared.iter().filter(|(units, ..)| units.iter().any(here));
        shared.fold(sums[end] - sums[first], |sum, (_, copied, raw)| sum.saturating_add(if mapped { *raw } else { *copied }))
    }

    /// What the compute arena of units `first..end` depends on: which units follow each other, long runs cut short.
    fn runs(&self, first: usize, end: usize) -> Vec<usize> {
        let mut runs = Vec::with_capacity(8);
        for like in &self.like[first..end] {
            runs.push(*like);
            for period in 1..=(runs.len() / (RUN + 1)).min(PERIOD) {
                let tail = &runs[runs.len() - period * (RUN + 1)..];
                if tail[period..] == tail[..tail.len() - period] {
                    runs.truncate(runs.len() - period);
                    break;
                }
            }
        }
        runs
    }

    /// Bytes of the compute arena for units `first..end` on a device.
    fn compute(&self, d: usize, first: usize, end: usize) -> u64 {
        let n = self.like.len() + 1;
        let kind = self.device(d).kind;
        let mut known = self.compute.borrow_mut();
        let Computed { by_runs, by_range } = &mut *known;
        let bytes = &mut by_range.entry(kind).or_insert_with(|| vec![UNKNOWN; n * n])[first * n + end];
        if *bytes == UNKNOWN {
            *bytes = if self.every_range {
                self.lay_out(d, first, end)
            } else {
                let runs = self.runs(first, end);
                // Without a pattern every range is a kind of its own; the arena of all units is enough for any.
                let (first, end, runs) =
                    if runs.len() > MOST_RUNS { (0, self.like.len(), Vec::new()) } else { (first, end, runs) };
                *by_runs.entry((kind, runs)).or_insert_with(|| self.lay_out(d, first, end))
            };
        }
        *bytes
    }

    fn lay_out(&self, d: usize, first: usize, end: usize) -> u64 {
        let elsewhere = u32::MAX;
        let mut layers = vec![elsewhere; self.like.len()];
        layers[first..end].fill(d as u32);
        let placement = Placement { input: self.inventory.cpu() as u32, layers };
        let workspace = measure::workspace(self.device(d).kind, self.graph, self.limits, self.copies.n_threads);
        let layout = Layout::new(self.graph, self.limits, d as u32, &placement, &workspace);
        layout.map_or(u64::MAX, |l| l.bytes as u64)
    }

    /// From here on lays out every range as it is.
    pub fn doubt_runs(&mut self) {
        self.every_range = true;
        self.compute = RefCell::default();
    }
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
        std::mem::discriminant(&node.op).hash(h);
        for (v, is_output) in node.inputs.iter().map(|v| (v, false)).chain(node.output.iter().map(|v| (v, true))) {
            let value = graph.value(*v);
            (is_output, value.cols, value.rows == crate::graph::Rows::Outputs).hash(h);
            // Inside the unit by order; outside by where it comes from.
            if maker.get(&v.0) == Some(&node.layer) {
                first_value[unit] = first_value[unit].min(v.0);
                (v.0 - first_value[unit]).hash(h);
            } else {
                // Which of the input's values decides how long that one lives.
                (maker.get(&v.0) == Some(&INPUT)).then_some(v.0).hash(h);
            }
        }
        for w in graph.weights_of(node) {
            // What the kernels' working memory depends on.
            let w = graph.weight(w);
            (w.ne, crate::cpu::matmul::act_format(w.ty) as u8).hash(h);
        }
        if let crate::graph::Op::Attention { layer, n_head, .. } = &node.op {
            let s = graph.kv[*layer as usize];
            (n_head, s.n_head_kv, s.head_dim_k, s.head_dim_v).hash(h);
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

/// A chain for one length of context and one pair of KV types.
pub(super) struct Ranges<'u, 'a> {
    units: &'u Units<'a>,
    pub n_ctx: u32,
    /// Bytes more than there are, for every device: how much would be needed.
    pub extra: u64,
    /// Prefix sums: bytes of the cache, and its bytes per token.
    kv: Vec<u64>,
    kv_per_token: Vec<u64>,
    /// Prefix sums per device.
    seconds: Vec<Vec<Seconds>>,
    classes: Vec<usize>,
    /// Devices that may compute layers, a bit each.
    pub allowed: u32,
}

impl<'u, 'a> Ranges<'u, 'a> {
    pub fn new(units: &'u Units<'a>, types: (Type, Type), n_ctx: u32, n_ubatch: u32) -> Result<Ranges<'u, 'a>> {
        let graph = units.graph;
        let copies = Copies { type_k: types.0, type_v: types.1, ..units.copies };
        let per = |n_ctx: u32| -> Result<Vec<u64>> {
            let bytes: Result<Vec<u64>> = graph.kv.iter().map(|s| measure::kv_bytes(s, n_ctx, copies)).collect();
            // The output keeps nothing.
            Ok(prefix_sums(bytes?.into_iter().chain([0])))
        };
        let mut known: Vec<(usize, Vec<Seconds>)> = Vec::new();
        let devices = &units.inventory.devices;
        let classes: Vec<usize> = (0..devices.len()).map(|d| (0..d).find(|e| like_devices(units, *e, d)).unwrap_or(d)).collect();
        let seconds = classes
            .iter()
            .map(|c| {
                if let Some((_, s)) = known.iter().find(|(k, _)| k == c) {
                    return s.clone();
                }
                let mut sums = vec![Seconds::default()];
                for s in cost::units(graph, &units.rates[*c], types, n_ubatch, n_ctx) {
                    let mut next = *sums.last().unwrap_or(&Seconds::default());
                    next += s;
                    sums.push(next);
                }
                known.push((*c, sums.clone()));
                sums
            })
            .collect();
        let allowed = units.sites.iter().enumerate().filter(|(_, s)| s.takes_layers()).fold(0, |m, (i, _)| m | 1 << i);
        // The difference over many tokens is what one takes, padding aside.
        let (small, large) = (per(1 << 12)?, per(2 << 12)?);
        let kv_per_token = small.iter().zip(&large).map(|(s, l)| (l - s).div_ceil(1 << 12)).collect();
        Ok(Ranges { units, n_ctx, extra: 0, kv: per(n_ctx)?, kv_per_token, seconds, classes, allowed })
    }

    /// Bytes on a device.
    fn bytes(&self, d: usize, first: usize, end: usize) -> (u64, u64) {
        let fixed = self.units.weights(d, first, end).saturating_add(self.units.compute(d, first, end));
        (fixed, self.kv[end] - self.kv[first])
    }

    /// What a range takes: (decode at an empty context, decode per cached token, prompt).
    pub fn seconds(&self, d: usize, first: usize, end: usize) -> Seconds {
        let (a, b) = (self.seconds[d][first], self.seconds[d][end]);
        Seconds {
            decode: b.decode - a.decode,
            decode_per_cached: b.decode_per_cached - a.decode_per_cached,
            prompt: b.prompt - a.prompt,
        }
    }

    /// Seconds between devices for `rows` rows of the residual stream, or of logits at the end.
    pub fn hop_seconds(&self, from: Option<usize>, to: Option<usize>, rows: f64) -> f64 {
        let cols = if to.is_none() { self.units.graph.n_vocab } else { self.units.graph.n_embd };
        cost::hop(self.units.inventory, &self.units.rates, from, to, rows * cols as f64 * 4.0)
    }
}

/// Whether two devices are alike for every range and hop.
fn like_devices(units: &Units, a: usize, b: usize) -> bool {
    let (x, y) = (units.device(a), units.device(b));
    units.sites[a] == units.sites[b]
        && (x.kind, x.read_bandwidth, x.flops, x.host_bandwidth) == (y.kind, y.read_bandwidth, y.flops, y.host_bandwidth)
}

impl Chain for Ranges<'_, '_> {
    fn n_units(&self) -> usize {
        self.units.graph.n_layer as usize + 1
    }
    fn n_stages(&self) -> usize {
        self.units.inventory.devices.len()
    }
    fn devices(&self, stage: usize) -> u32 {
        1 << stage
    }
    fn range(&self, stage: usize, first: usize, end: usize) -> Option<Cost> {
        let layers = end.min(self.n_units() - 1).saturating_sub(first);
        if layers as u64 > u64::from(self.units.sites[stage].max_layers) {
            return None;
        }
        let room = self.units.sites[stage].room.saturating_add(self.extra);
        let (fixed, kv) = self.bytes(stage, first, end);
        let left = room.checked_sub(fixed)?;
        if kv > left {
            return None;
        }
        let per_token = self.kv_per_token[end] - self.kv_per_token[first];
        let s = self.seconds(stage, first, end);
        Some(Cost {
            // At a context that is half full.
            seconds: s.decode + s.decode_per_cached * f64::from(self.n_ctx) / 2.0,
            room: if per_token == 0 { f64::INFINITY } else { (left / per_token) as f64 },
        })
    }
    fn hop(&self, from: Option<usize>, to: Option<usize>) -> f64 {
        self.hop_seconds(from, to, 1.0)
    }
    fn class(&self, stage: usize) -> usize {
        self.classes[stage]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Gguf;
    use crate::plan::{Params, Weights};
    use crate::session::{Context, LogLevel};
    use std::sync::Arc;

    /// What the search thinks that a range takes is what is measured for it, for every range on a die and on the CPU.
    #[test]
    fn a_range_takes_what_is_measured_for_it() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut n = 0;
        // The shipped one has runs of layers longer than RUN.
        for entry in ["tests/fixtures/models", "models"].iter().flat_map(|f| std::fs::read_dir(root.join(f)).unwrap()) {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|e| e != "gguf") {
                continue;
            }
            let file = Arc::new(Gguf::open(&path).unwrap());
            // Fixtures of architectures that have no graph yet.
            let (_, graph) = crate::arch::build(&file).unwrap();
            for (n_ubatch, n_outputs_max, weights) in [(7, 1, Weights::Auto), (64, 33, Weights::Copied)] {
                let context = Context::new("k80:1,cpu", 3, None, LogLevel::Error).unwrap();
                let params = Params { n_ctx: 100, n_batch: 64, n_ubatch, n_outputs_max, weights, ..Params::default() };
                let r = Request::new(&context, &file, &params).unwrap();
                let units = Units::new(&r, &graph);
                let types = (Type::F16, Type::F32);
                let ranges = Ranges::new(&units, types, 100, n_ubatch).unwrap();
                let n_units = ranges.n_units();
                for (first, end) in (0..n_units).flat_map(|a| (a + 1..=n_units).map(move |b| (a, b))) {
                    for d in 0..2 {
                        let mut layers = vec![1 - d as u32; n_units];
                        layers[first..end].fill(d as u32);
                        let placement = Placement { input: 1, layers };
                        let copies = r.copies(types);
                        let m = measure::measure(context.devices(), &graph, &placement, r.limits(), 100, copies).unwrap();
                        let (fixed, kv) = ranges.bytes(d, first, end);
                        let what = format!("{} {first}..{end} on {d}", file.path());
                        assert_eq!(fixed + kv, m.memory[d].needed() - m.memory[d].driver, "{what}");
                        n += 1;
                    }
                }
            }
        }
        assert!(n > 500, "{n} ranges");
    }
}
