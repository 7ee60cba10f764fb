//! The model as a chain of units (layers, the output last) for the placement search: what any range of them takes on
//! any device.

use super::arenas::{self, Sizing};
use super::cost::{self, Seconds};
use super::place::{Chain, Cost};
use super::units::{Units, prefix_sums};
use crate::cuda;
use crate::device::Kind;
use crate::error::Result;
use crate::quant::Type;

/// A chain for one length of context and one pair of KV types.
pub(super) struct Ranges<'u, 'a> {
    units: &'u Units<'a>,
    pub n_ctx: u32,
    /// Bytes more than there are, for every device: how much would be needed.
    pub extra: u64,
    /// Prefix sums: bytes of the cache, and its bytes per token.
    kv: Vec<u64>,
    kv_per_token: Vec<u64>,
    /// Bytes of a die's tables, in front of its cache.
    tables: u64,
    /// Page-locked bytes of the CPU, were all dies used.
    staging: u64,
    /// The first so many layers have their experts on the CPU, which then is no stage.
    pub split: usize,
    /// Per device.
    seconds: Vec<Sums>,
    /// Prefix sums: what the CPU takes for the experts of a token.
    experts: Vec<f64>,
    classes: Vec<usize>,
    /// Devices that may compute layers, a bit each.
    pub allowed: u32,
}

/// Prefix sums over the units.
#[derive(Clone)]
struct Sums {
    whole: Vec<Seconds>,
    /// With the experts on the CPU, ways there and back included.
    apart: Vec<Seconds>,
}

impl<'u, 'a> Ranges<'u, 'a> {
    pub fn new(units: &'u Units<'a>, types: (Type, Type), n_ctx: u32, n_ubatch: u32) -> Result<Ranges<'u, 'a>> {
        let graph = units.graph;
        let sizing = Sizing { type_k: types.0, type_v: types.1, ..units.sizing };
        let per = |n_ctx: u32| -> Result<Vec<u64>> {
            Ok(prefix_sums(arenas::layer_states(graph, n_ctx, sizing)?.into_iter()))
        };
        let mut known: Vec<(usize, Sums)> = Vec::new();
        let devices = &units.inventory.devices;
        let classes: Vec<usize> =
            (0..devices.len()).map(|d| (0..d).find(|e| like_devices(units, *e, d)).unwrap_or(d)).collect();
        let cpu = units.inventory.cpu();
        let of = |d: usize| cost::units(graph, &units.rates[d], types, n_ubatch, n_ctx);
        let on_cpu = of(cpu);
        let seconds = classes
            .iter()
            .map(|c| {
                if let Some((_, s)) = known.iter().find(|(k, _)| k == c) {
                    return s.clone();
                }
                let own = of(*c);
                let whole = sums(own.iter().map(|u| u.rest + u.experts));
                let apart = own.iter().zip(&on_cpu).zip(&units.crossing);
                let apart = sums(
                    apart.map(|((u, host), crossing)| u.rest + host.experts + ways(units, *c, *crossing, n_ubatch)),
                );
                known.push((*c, Sums { whole, apart }));
                known[known.len() - 1].1.clone()
            })
            .collect();
        let experts = sums(on_cpu.iter().map(|u| u.experts)).iter().map(|s| s.decode).collect();
        let allowed = units.sites.iter().enumerate().filter(|(_, s)| s.takes_layers()).fold(0, |m, (i, _)| m | 1 << i);
        // The difference over many tokens is what one takes, padding aside.
        let (small, large) = (per(1 << 12)?, per(2 << 12)?);
        let kv_per_token = small.iter().zip(&large).map(|(s, l)| (l - s).div_ceil(1 << 12)).collect();
        let tables = arenas::tables_bytes(&arenas::caches(graph, n_ctx, sizing), units.limits)?;
        let dies = (0..devices.len()).filter(|d| allowed >> d & 1 == 1 && devices[*d].kind == Kind::Cuda).count();
        let staging = cuda::staging_bytes(dies, tables) as u64;
        let (kv, tables) = (per(n_ctx)?, tables as u64);
        Ok(Ranges {
            units,
            n_ctx,
            extra: 0,
            kv,
            kv_per_token,
            tables,
            staging,
            split: 0,
            seconds,
            experts,
            classes,
            allowed,
        })
    }

    /// Bytes on a device, the KV cache and what is looked up in it apart.
    fn bytes(&self, d: usize, first: usize, end: usize) -> (u64, u64) {
        let tables = if self.units.device(d).kind == Kind::Cuda { self.tables } else { 0 };
        (self.units.bytes(d, first, end, self.split), self.kv[end] - self.kv[first] + tables)
    }

    /// What a range takes.
    pub fn seconds(&self, d: usize, first: usize, end: usize) -> Seconds {
        let Sums { whole, apart } = &self.seconds[d];
        let cut = self.split.clamp(first, end);
        (apart[cut] - apart[first]) + (whole[end] - whole[cut])
    }

    /// What the CPU takes for the experts of a token.
    pub fn experts_seconds(&self) -> f64 {
        self.experts[self.split]
    }

    pub fn cpu(&self) -> usize {
        self.units.inventory.cpu()
    }

    /// The split that has all experts on the CPU; 0 where there are none.
    pub fn last_experts(&self) -> usize {
        self.units.has_experts.iter().rposition(|has| *has).map_or(0, |last| last + 1)
    }

    /// Layers whose experts are on the CPU.
    fn n_apart(&self) -> usize {
        self.units.has_experts[..self.split].iter().filter(|has| **has).count()
    }

    /// Whether the CPU has the bytes for the experts that it is given.
    pub fn cpu_holds_experts(&self) -> bool {
        let site = &self.units.sites[self.cpu()];
        let (fixed, _) = self.bytes(self.cpu(), 0, 0);
        site.takes_layers()
            && self.n_apart() as u64 <= u64::from(site.max_layers)
            && fixed.saturating_add(self.staging) <= site.room.saturating_add(self.extra)
    }

    /// Seconds between devices for `rows` rows of the residual stream, or of logits at the end.
    pub fn hop_seconds(&self, from: Option<usize>, to: Option<usize>, rows: f64) -> f64 {
        let cols = if to.is_none() { self.units.graph.n_vocab } else { self.units.graph.n_embd };
        cost::hop(self.units.inventory, &self.units.rates, from, to, rows * cols as f64 * 4.0)
    }
}

fn sums(of: impl Iterator<Item = Seconds>) -> Vec<Seconds> {
    let mut sum = Seconds::default();
    std::iter::once(sum)
        .chain(of.map(|s| {
            sum += s;
            sum
        }))
        .collect()
}

/// What a token's way to a layer's experts on the CPU takes from device `d` and back; both copies of a way start
/// together.
fn ways(units: &Units, d: usize, (there, back): (usize, usize), n_ubatch: u32) -> Seconds {
    let cpu = units.inventory.cpu();
    let hop = |from, to, cols: usize, rows: f64| {
        if cols == 0 {
            0.0
        } else {
            cost::hop(units.inventory, &units.rates, Some(from), Some(to), rows * cols as f64 * 4.0)
        }
    };
    let both = |rows: f64| hop(d, cpu, there, rows) + hop(cpu, d, back, rows);
    let batch = f64::from(n_ubatch.max(1));
    Seconds { decode: both(1.0), decode_per_cached: 0.0, prompt: both(batch) / batch }
}

/// Whether two devices are alike for every range and hop.
fn like_devices(units: &Units, a: usize, b: usize) -> bool {
    let (x, y) = (units.device(a), units.device(b));
    units.sites[a] == units.sites[b]
        && (x.kind, x.read_bandwidth, x.flops, x.host_bandwidth)
            == (y.kind, y.read_bandwidth, y.flops, y.host_bandwidth)
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
        if !self.units.computes(stage, first, end, self.split) {
            return None;
        }
        if !self.units.may_cut(first) || !self.units.may_cut(end) {
            // A longer range may do.
            return Some(Cost { seconds: f64::INFINITY, room: 0.0 });
        }
        let room = self.units.sites[stage].room.saturating_add(self.extra);
        let (fixed, kv) = self.bytes(stage, first, end);
        let staging = if self.units.device(stage).kind == Kind::Cpu { self.staging } else { 0 };
        let left = room.checked_sub(fixed)?.checked_sub(staging)?;
        if kv > left {
            return None;
        }
        let per_token = self.kv_per_token[end] - self.kv_per_token[first];
        let s = self.seconds(stage, first, end);
        Some(Cost {
            // At a context that is half full.
            seconds: s.decode + s.decode_per_cached * f64::from(self.n_ctx) / 2.0,
            room: left.checked_div(per_token).map_or(f64::INFINITY, |tokens| tokens as f64),
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
    use crate::context::{Context, LogLevel};
    use crate::gguf::Gguf;
    use crate::graph::{Graph, Op, StateId};
    use crate::plan::params::{Params, Weights};
    use crate::plan::request::Request;
    use std::sync::Arc;

    /// What the search thinks that a range takes is what is measured for it, for every range on a die and on the CPU.
    #[test]
    fn a_range_takes_what_is_measured_for_it() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let (mut n, mut mixtures) = (0, 0);
        // The shipped one has runs of layers longer than RUN.
        for entry in ["tests/fixtures/models", "models"].iter().flat_map(|f| std::fs::read_dir(root.join(f)).unwrap()) {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|e| e != "gguf") {
                continue;
            }
            let file = Arc::new(Gguf::open(&path).unwrap());
            let (_, graph) = crate::arch::build(&file).unwrap();
            for (n_ubatch, n_outputs_max, weights) in [(7, 1, Weights::Auto), (64, 33, Weights::Copied)] {
                let context = Context::new("k80:2,cpu", 3, None, LogLevel::Error).unwrap();
                let params = Params { n_ctx: 100, n_batch: 64, n_ubatch, n_outputs_max, weights, ..Params::default() };
                let r = Request::new(&context, &file, &params).unwrap();
                let units = Units::new(&r, &graph);
                let types = (Type::F16, Type::F32);
                let mut ranges = Ranges::new(&units, types, 100, n_ubatch).unwrap();
                let n_units = ranges.n_units();
                let tables = ranges.tables as usize;
                let mut check = |split: usize, d: usize, other: u32, first: usize, end: usize| {
                    let mut layers = vec![other; n_units];
                    layers[first..end].fill(d as u32);
                    let placement = units.placement(layers, split);
                    let sizing = r.sizing(types);
                    let m = arenas::measure(context.devices(), &graph, &placement, r.limits(), 100, sizing).unwrap();
                    ranges.split = split;
                    let (fixed, kv) = ranges.bytes(d, first, end);
                    let what = format!("{} {first}..{end} on {d}, experts of {split} layers on the CPU", file.path());
                    // What the dies keep on the host.
                    let dies = (0..2).filter(|d| placement.layers.contains(d)).count();
                    let staging = if d == 2 { cuda::staging_bytes(dies, tables) as u64 } else { 0 };
                    assert_eq!(fixed + kv + staging, m.memory[d].needed() - m.memory[d].driver, "{what}");
                    n += 1;
                };
                let all = (0..n_units).flat_map(|a| (a + 1..=n_units).map(move |b| (a, b)));
                for (first, end) in all.clone() {
                    check(0, 0, 2, first, end);
                    check(0, 2, 0, first, end);
                }
                let last = units.has_experts.iter().rposition(|has| *has).map_or(0, |last| last + 1);
                for split in [1, 2, last / 2, last.saturating_sub(1), last]
                    .into_iter()
                    .filter(|s| last > 0 && (1..=last).contains(s))
                {
                    all.clone().for_each(|(first, end)| check(split, 0, 1, first, end));
                    // The CPU's part is the same wherever the layers are.
                    for cut in 0..=n_units {
                        let mut layers = vec![0; n_units];
                        layers[cut..].fill(1);
                        let dies = 1 + usize::from(cut > 0 && cut < n_units);
                        let staging = cuda::staging_bytes(dies, tables) as u64;
                        let m = arenas::measure(
                            context.devices(),
                            &graph,
                            &units.placement(layers, split),
                            r.limits(),
                            100,
                            r.sizing(types),
                        );
                        let cpu = m.unwrap().memory[2].needed();
                        assert_eq!(units.bytes(2, 0, 0, split) + staging, cpu, "{} {split}", file.path());
                    }
                    mixtures += 1;
                }
            }
        }
        assert!(mixtures > 20, "{mixtures} splits");
        assert!(n > 500, "{n} ranges");
    }

    /// The units of a small model whose graph was changed, on two dies and the CPU.
    fn with_units(change: impl Fn(&mut Graph), check: impl Fn(&Graph, &Units<'_>, &Ranges<'_, '_>)) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf");
        let file = Arc::new(Gguf::open(&path).unwrap());
        let (_, mut graph) = crate::arch::build(&file).unwrap();
        change(&mut graph);
        let context = Context::new("k80:2,cpu", 1, None, LogLevel::Error).unwrap();
        let params = Params { n_ctx: 64, ..Params::default() };
        let r = Request::new(&context, &file, &params).unwrap();
        let units = Units::new(&r, &graph);
        let ranges = Ranges::new(&units, (Type::F16, Type::F16), 64, 64).unwrap();
        check(&graph, &units, &ranges);
    }

    /// A layer that reads an earlier one's cache has none of its own, and is on the same device.
    #[test]
    fn a_layer_that_reads_an_earlier_cache_is_where_that_is() {
        let share = |graph: &mut Graph| {
            // Layer 3 reads what layer 1 keeps.
            graph.nodes.retain(|n| n.layer != 3 || !matches!(n.op, Op::StoreKv(_)));
            let shared = StateId(graph.states.iter().position(|s| s.layer == 1).unwrap() as u32);
            for node in &mut graph.nodes {
                if let (3, Op::Attention(o)) = (node.layer, &mut node.op) {
                    o.state = shared;
                }
            }
            let own = graph.states.iter().position(|s| s.layer == 3).unwrap();
            graph.states.remove(own);
            for node in &mut graph.nodes {
                match &mut node.op {
                    Op::Attention(o) if o.state.0 as usize > own => o.state.0 -= 1,
                    Op::StoreKv(o) if o.state.0 as usize > own => o.state.0 -= 1,
                    _ => {}
                }
            }
        };
        with_units(share, |graph, units, ranges| {
            let n = graph.n_layer as usize;
            assert_eq!(
                (0..=n).map(|u| units.may_cut(u)).collect::<Vec<_>>(),
                [true, true, false, false, true, true, true]
            );
            let fits = |first, end| ranges.range(0, first, end).is_some_and(|c| c.seconds.is_finite());
            assert!(fits(0, 1) && !fits(0, 2) && !fits(1, 3) && fits(1, 4) && !fits(3, 4) && fits(0, n + 1));
            let kv = |first: usize, end: usize| ranges.kv[end] - ranges.kv[first];
            assert!(kv(3, 4) == 0 && kv(1, 2) > 0 && kv(0, n) == (n as u64 - 1) * kv(1, 2));
        });
    }

    /// Weights of a type that only the CPU computes with are never on a die; those that nobody does can be planned
    /// anywhere.
    #[test]
    fn what_only_the_cpu_computes_is_on_the_cpu() {
        for (ty, on_dies) in [(Type::TQ2_0, false), (Type::IQ2_XXS, true), (Type::Q4_K, true)] {
            let change = |graph: &mut Graph| {
                let w = graph.weights.iter_mut().find(|w| w.name == "blk.2.ffn_down.weight").unwrap();
                w.ty = ty;
            };
            with_units(change, |graph, _, ranges| {
                let n = graph.n_layer as usize;
                let fits = |d, first, end| ranges.range(d, first, end).is_some();
                assert!(fits(0, 0, 2) && fits(1, 3, n + 1) && fits(2, 2, 3), "{}", ty.name());
                assert_eq!((fits(0, 2, 3), fits(1, 0, n + 1)), (on_dies, on_dies), "{}", ty.name());
            });
        }
    }
}
