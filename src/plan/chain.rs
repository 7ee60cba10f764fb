//! The model as a chain of units for the placement search: bytes and seconds of any range of them on any device.
//!
//! `units` knows the bytes that do not depend on the context. Here the context's length and the KV types are given,
//! which adds the bytes of the KV cache and the seconds of the cost model. Both are prefix sums over the units, so the
//! answer for a range is a difference:
//!
//! ```text
//! seconds(first..end) = (apart[split] - apart[first]) + (whole[end] - whole[split])      if first < split < end
//!                        layers whose experts            layers that are whole
//!                        are on the CPU, and the ways
//!                        there and back
//! ```
//!
//! Devices that are alike in all that counts are a class, and the search tries only one of them ([`Chain::class`]).

use super::arenas::{self, Sizing};
use super::cost::{self, Seconds};
use super::place::{self, Chain, Cost, Objective, Placement};
use super::units::{Units, prefix_sums};
use crate::cuda;
use crate::device::Kind;
use crate::error::Result;
use crate::quant::Type;

/// The part of a device that a context of the planner's own choice leaves free, for the driver and others to grow.
pub(super) const SPARE: u64 = 64;

/// A chain for one length of context and one pair of KV types.
pub(super) struct Ranges<'u, 'a> {
    units: &'u Units<'a>,
    pub n_ctx: u32,
    /// Bytes that every device is taken to have more than it has. The search for the least lack tries amounts.
    pub extra: u64,
    /// True if every device is to keep `1 / SPARE` of its memory free.
    pub spare: bool,
    /// Prefix sums of the KV cache's bytes.
    kv: Vec<u64>,
    /// By unit: bytes of the KV cache per token, as prefix sums.
    kv_per_token: Vec<u64>,
    /// Bytes of a die's tables, in front of its cache.
    tables: u64,
    /// Page-locked bytes of the CPU, if all dies are used.
    staging: u64,
    /// Number of layers, from the first on, whose experts are on the CPU, besides those that the caller has put there.
    /// If it is not 0, the CPU computes no layers.
    pub split: usize,
    /// By device.
    seconds: Vec<Sums>,
    /// Prefix sums of the CPU's seconds for the experts of a token, and those for experts that the caller has put
    /// there.
    experts: Vec<f64>,
    put: f64,
    /// By device: the first device that is like it.
    classes: Vec<usize>,
    /// Devices that may compute layers, a bit each.
    pub allowed: u32,
}

/// Prefix sums of seconds over the units.
#[derive(Clone)]
struct Sums {
    whole: Vec<Seconds>,
    /// With the experts on the CPU, and the ways there and back.
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
                let apart = own.iter().zip(&on_cpu).zip(&units.crossing);
                let apart: Vec<Seconds> = apart
                    .map(|((u, host), crossing)| u.rest + host.experts + ways(units, *c, *crossing, n_ubatch))
                    .collect();
                let whole = own.iter().enumerate().map(|(unit, u)| match units.are_apart(unit, 0) {
                    true => apart[unit],
                    false => u.rest + u.experts,
                });
                known.push((*c, Sums { whole: sums(whole), apart: sums(apart.iter().copied()) }));
                known[known.len() - 1].1.clone()
            })
            .collect();
        let free = on_cpu.iter().enumerate().map(|(unit, u)| match units.are_apart(unit, 0) {
            true => Seconds::default(),
            false => u.experts,
        });
        let experts = sums(free).iter().map(|s| s.decode).collect();
        let put =
            on_cpu.iter().enumerate().filter(|(unit, _)| units.are_apart(*unit, 0)).map(|(_, u)| u.experts.decode);
        let put = put.sum();
        let allowed = units.sites.iter().enumerate().filter(|(_, s)| s.takes_layers()).fold(0, |m, (i, _)| m | 1 << i);
        // Caches are padded, so the bytes of one token are taken from the difference over many.
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
            spare: false,
            kv,
            kv_per_token,
            tables,
            staging,
            split: 0,
            seconds,
            experts,
            put,
            classes,
            allowed,
        })
    }

    /// Bytes of a range on a device, and the bytes of its KV cache and tables.
    fn bytes(&self, d: usize, first: usize, end: usize) -> (u64, u64) {
        let tables = if self.units.device(d).kind == Kind::Cuda { self.tables } else { 0 };
        (self.units.bytes(d, first, end, self.split), self.kv[end] - self.kv[first] + tables)
    }

    /// Seconds of a range on a device.
    pub fn seconds(&self, d: usize, first: usize, end: usize) -> Seconds {
        let Sums { whole, apart } = &self.seconds[d];
        let cut = self.split.clamp(first, end);
        (apart[cut] - apart[first]) + (whole[end] - whole[cut])
    }

    /// Seconds of the CPU for the experts of a token.
    pub fn experts_seconds(&self) -> f64 {
        self.experts[self.split] + self.put
    }

    pub fn cpu(&self) -> usize {
        self.units.inventory.cpu()
    }

    /// The split that has all experts on the CPU; 0 if the model has none.
    pub fn last_experts(&self) -> usize {
        self.units.has_experts.iter().rposition(|has| *has).map_or(0, |last| last + 1)
    }

    /// The best placement on the devices of `mask` with at most `max_segments` of them. The CPU holds the experts that
    /// the caller has put there, too.
    pub fn place(&self, objective: Objective, mask: u32, max_segments: usize) -> Result<Option<Placement>> {
        let found = place::place(self, objective, mask & self.allowed, max_segments)?;
        Ok(found.filter(|p| self.holds_what_was_put(p.segments.iter().any(|s| s.stage == self.cpu()))))
    }

    /// True if there is a placement on the devices of `mask` with at most `max_segments` of them.
    pub fn fits(&self, mask: u32, max_segments: usize) -> Result<bool> {
        Ok(self.holds_what_was_put(false) && place::fits(self, mask & self.allowed, max_segments)?)
    }

    /// The tokens for which a placement on the devices of `mask` has room, as a guess; `None` if there is none.
    pub fn tokens_that_fit(&self, mask: u32) -> Result<Option<f64>> {
        Ok(place::room(self, mask & self.allowed)?.filter(|_| self.holds_what_was_put(false)))
    }

    /// The fewest devices of `mask` that hold the model.
    pub fn fewest(&self, mask: u32) -> Result<Option<usize>> {
        Ok(place::fewest(self, mask & self.allowed)?.filter(|_| self.holds_what_was_put(false)))
    }

    /// True if the CPU holds what the caller has put there. A range of its own was asked for with that already.
    fn holds_what_was_put(&self, on_cpu: bool) -> bool {
        on_cpu || self.units.n_apart(0) == 0 || self.cpu_holds_experts()
    }

    /// Bytes of a device for its arenas.
    fn room(&self, stage: usize) -> u64 {
        let spare = if self.spare { self.units.device(stage).total_bytes / SPARE } else { 0 };
        self.units.sites[stage].room.saturating_add(self.extra).saturating_sub(spare)
    }

    /// True if the CPU has the bytes for the experts that it is given.
    pub fn cpu_holds_experts(&self) -> bool {
        let site = &self.units.sites[self.cpu()];
        let (fixed, _) = self.bytes(self.cpu(), 0, 0);
        site.takes_layers()
            && self.units.n_apart(self.split) as u64 <= u64::from(site.max_layers)
            && fixed.saturating_add(self.staging) <= self.room(self.cpu())
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

/// Seconds of a token's way from device `d` to a layer's experts on the CPU and back. The values that go one way go
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

/// True if ranges and hops cost the same on two devices.
fn like_devices(units: &Units, a: usize, b: usize) -> bool {
    let (x, y) = (units.device(a), units.device(b));
    units.sites[a] == units.sites[b]
        && !(units.places.names(a) || units.places.names(b))
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
        let whole = end.min(self.n_units() - 1).saturating_sub(first);
        // Of the CPU those count whose experts alone the caller has put there.
        let put = |unit: &usize| !(first..end).contains(unit) && self.units.are_apart(*unit, 0);
        let layers = whole + if stage == self.cpu() { (0..self.n_units()).filter(put).count() } else { 0 };
        if layers as u64 > u64::from(self.units.sites[stage].max_layers) {
            return None;
        }
        if !self.units.computes(stage, first, end, self.split) || !self.units.lets(stage, first, end) {
            return None;
        }
        if !self.units.may_cut(first) || !self.units.may_cut(end) {
            // `None` would end the search for longer ranges, and one of these may do.
            return Some(Cost { seconds: f64::INFINITY, room: 0.0 });
        }
        let room = self.room(stage);
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
mod tests;
