//! The search for the best plan of a model: it chooses devices, context and types of the KV cache.
//!
//! # Problem
//!
//! `place` finds the best placement for one length of context, one pair of KV types and one set of devices. A caller
//! may leave all of these open, and may have too little memory for the full context. So something has to decide what is
//! given up first.
//!
//! # Steps
//!
//! 1. For F16 as the KV types (or the caller's), the steps 2 to 4 find a placement. If it needs the CPU beside dies, or
//!    fits nowhere, Q8_0 is tried too, and wins if it puts fewer layers on the CPU.
//! 2. The caller's context is placed, or the model's full one. The latter is placed on the dies alone at first: a long
//!    context is not worth layers on the CPU. If it does not fit there, the longest one that does is taken, but none
//!    shorter than `SHORT_CONTEXT`. It leaves a little of each device free (`chain::SPARE`), unless the caller says how
//!    much is to stay free, or none fits so. If there is none, the same is tried with all devices.
//! 3. Experts alone may go to the CPU (`experts`).
//! 4. If nothing fits, the least number of bytes is sought by which every device would have to be larger. The placement
//!    that fits then is the plan, and each device reports its shortfall.
//! 5. The placement that was found is measured as it is (`arenas`). `units` answers from patterns of layers; if the
//!    measurement says "fits" differently from the search, the search is repeated without them.
//!
//! The longest context is guessed from the least room of a placement at one token (room counts tokens). The guess is
//! checked with one search more or two. Only if padding made it wrong does bisection follow.

use std::sync::Arc;

use super::arenas::{self, Arenas, Sizing};
use super::chain::Ranges;
use super::experts::{self, Choice};
use super::params::Source;
use super::place::{Objective, Segment};
use super::places::Places;
use super::request::Request;
use super::units::Units;
use crate::arch::{self, Hparams, Wish};
use crate::error::{Error, Result};
use crate::graph::{Graph, KvShape, Placement};
use crate::quant::Type;

/// Types that the KV cache can have.
const KV_TYPES: [Type; 4] = [Type::F32, Type::F16, Type::Q8_0, Type::Q4_0];
/// A context shorter than this is not worth keeping a model on the dies for.
const SHORT_CONTEXT: u32 = 4096;

/// A file's graph, ready to be placed.
pub(super) struct Model {
    pub hparams: Hparams,
    pub graph: Arc<Graph>,
    /// The caller's.
    pub places: Places,
}

/// A placement that was found, and measured as it is.
pub(super) struct Found {
    pub choice: Choice,
    pub placement: Placement,
    pub arenas: Arenas,
    pub n_ctx: u32,
    pub source: Source,
    pub types: (Type, Type),
    pub fits: bool,
}

impl Model {
    /// Builds the graph of a request's file.
    ///
    /// # Errors
    /// `Unsupported` for an architecture without a graph; `BadFile` for wrong keys or tensors; `InvalidArgument` for
    /// drafts without a prediction layer, scores without a head, or places that nothing can have.
    pub fn new(r: &Request<'_>) -> Result<Model> {
        let (hparams, graph) = arch::build_with(r.file, Wish { draft: r.predicts(), pooling: r.params.pooling })?;
        let takes = |d: usize| r.sites[d].takes_layers();
        let places = Places::new(&r.params.placements, &graph, r.context.inventory(), takes)?;
        Ok(Model { hparams, graph: Arc::new(graph), places })
    }

    /// The units of this model for a request.
    pub fn units<'a>(&'a self, r: &'a Request<'_>) -> Units<'a> {
        Units::new(r, &self.graph, &self.places)
    }

    /// The devices that questions are about: the dies that may compute layers, with the CPU if the caller puts layers
    /// there; the CPU alone, if there are no dies.
    pub fn asked(&self, r: &Request<'_>) -> u32 {
        let cpu = r.context.inventory().cpu();
        r.dies_or_cpu() | if self.places.names(cpu) { 1 << cpu } else { 0 }
    }

    /// The pairs of KV types to try, the preferred first.
    pub fn kv_types(&self, r: &Request<'_>) -> Result<Vec<(Type, Type)>> {
        let check = |field: &str, ty: Type, len: fn(&KvShape) -> usize| kv_type(field, ty, &self.graph, len);
        let pair = |k: Type, v: Type| Ok((check("type_k", k, key_part)?, check("type_v", v, |s| s.head_dim_v)?));
        let (k, v) = (r.params.type_k, r.params.type_v);
        let first = pair(k.unwrap_or(Type::F16), v.unwrap_or(Type::F16))?;
        let second = pair(k.unwrap_or(Type::Q8_0), v.unwrap_or(Type::Q8_0));
        Ok(std::iter::once(first).chain(second.ok().filter(|p| *p != first)).collect())
    }

    /// The best placement for one pair of KV types; if none fits, the one that lacks least.
    fn find(&self, r: &Request<'_>, units: &mut Units<'_>, types: (Type, Type)) -> Result<Found> {
        let (found, promised) = self.search(r, units, types)?;
        if found.fits == promised {
            return Ok(found);
        }
        // A range's arena was not the one that its kind promised.
        units.trust_no_kind();
        self.search(r, units, types).map(|(found, _)| found)
    }

    /// The placement, measured, and true if the search found that it fits.
    fn search(&self, r: &Request<'_>, units: &Units<'_>, types: (Type, Type)) -> Result<(Found, bool)> {
        let ranges = |n_ctx: u32| Ranges::new(units, types, n_ctx, r.batch.n_ubatch);
        let objective = r.params.objective;
        let mut wanted = ranges(r.n_ctx)?;
        // If dies hold everything, the CPU may still make one sequence faster. For the other objectives it only slows
        // the dies down, so they are tried alone first.
        let dies = !(1u32 << r.context.inventory().cpu());
        let first = if objective == Objective::Latency { u32::MAX } else { dies };
        let whole = |ranges: &Ranges<'_, '_>, mask: u32| {
            let on = |mask: u32| ranges.place(objective, mask, usize::MAX);
            let found = on(mask & first)?;
            if found.is_some() { Ok(found) } else { on(mask) }
        };
        let placed = |ranges: &mut Ranges<'_, '_>, mask: u32| {
            let whole = whole(ranges, mask)?;
            experts::choose(ranges, objective, mask, whole)
        };
        let finish = |ranges: &Ranges<'_, '_>, choice: Choice, source: Source| {
            self.measure(r, units, types, ranges.n_ctx, choice, source).map(|found| (found, true))
        };
        if r.params.n_ctx > 0 {
            if let Some(choice) = placed(&mut wanted, u32::MAX)? {
                return finish(&wanted, choice, Source::Caller);
            }
        } else {
            // First on the dies alone: a longer context is not worth layers on the CPU, unless the dies hold hardly any
            // context. It must hold a micro-batch, too.
            let least = r.batch.n_ubatch.max(r.least_n_ctx());
            for (mask, least) in [(dies, SHORT_CONTEXT.min(r.n_ctx).max(least)), (u32::MAX, least)] {
                if let Some(choice) = placed(&mut wanted, mask)? {
                    return finish(&wanted, choice, Source::File);
                }
                // A device that is filled to its last byte fails as soon as something else there grows.
                for spare in [true, false] {
                    let longest = |mask, split| self.largest_context(r, units, types, mask, split, spare);
                    let mut n_ctx = longest(mask, 0)?;
                    if mask != dies && wanted.last_experts() > 0 {
                        n_ctx = n_ctx.max(longest(dies, wanted.last_experts())?);
                    }
                    let Some(n_ctx) = n_ctx.filter(|n| *n >= least && (!spare || r.spares())) else { continue };
                    let mut shorter = ranges(n_ctx)?;
                    shorter.spare = spare;
                    if let Some(choice) = placed(&mut shorter, mask)? {
                        return finish(&shorter, choice, Source::Limited);
                    }
                }
            }
        }
        // Nothing fits: the placement that lacks least, at the caller's length or the model's.
        let source = if r.params.n_ctx > 0 { Source::Caller } else { Source::File };
        let mut chain = wanted;
        let extra = self.least_lack(&mut chain, u32::MAX, usize::MAX)?;
        chain.extra = extra;
        let segments = whole(&chain, u32::MAX)?.map(|p| p.segments).unwrap_or_else(|| {
            // The caller limits layers by number, so no amount of bytes helps. All is shown on the last device that
            // takes any.
            let last = units.sites.iter().rposition(|s| s.takes_layers()).unwrap_or(0);
            vec![Segment { stage: last, first: 0, end: self.graph.n_layer as usize + 1 }]
        });
        let (mut found, _) = finish(&chain, Choice::whole(segments), source)?;
        // For the same reason bytes may suffice, and still it does not fit.
        found.fits = false;
        Ok((found, false))
    }

    /// The least number of bytes by which every device would have to be larger, for a placement on at most
    /// `max_segments` devices of `mask`; `u64::MAX` if no amount helps.
    pub fn least_lack(&self, chain: &mut Ranges<'_, '_>, mask: u32, max_segments: usize) -> Result<u64> {
        let mut fits = |extra: u64| {
            chain.extra = extra;
            let fits = chain.fits(mask, max_segments);
            chain.extra = 0;
            fits
        };
        let mut high = 64u64 << 20;
        while !fits(high)? {
            if high > 1 << 50 {
                return Ok(u64::MAX);
            }
            high *= 4;
        }
        let mut low = 0;
        // To 64 KiB is enough: exact shortfalls are measured afterwards.
        while high - low > 1 << 16 {
            let mid = low + (high - low) / 2;
            if fits(mid)? { high = mid } else { low = mid }
        }
        Ok(high)
    }

    /// The longest context that a placement on the devices of `mask` holds, with the experts of the first `split`
    /// layers on the CPU, and if `spare`, leaves a little of every device free. It is never longer than the one that
    /// the model was trained for.
    pub fn largest_context(
        &self,
        r: &Request<'_>,
        units: &Units<'_>,
        types: (Type, Type),
        mask: u32,
        split: usize,
        spare: bool,
    ) -> Result<Option<u32>> {
        let most = self.hparams.n_ctx_train.max(1);
        let ranges = |n_ctx: u32| -> Result<Ranges<'_, '_>> {
            let mut chain = Ranges::new(units, types, n_ctx, r.batch.n_ubatch)?;
            chain.split = split;
            chain.spare = spare;
            Ok(chain)
        };
        let fits = |n_ctx: u32| -> Result<bool> {
            let chain = ranges(n_ctx)?;
            chain.fits(mask, usize::MAX)
        };
        let shortest = ranges(1)?;
        if split > 0 && !shortest.cpu_holds_experts() {
            return Ok(None);
        }
        let Some(room) = shortest.tokens_that_fit(mask)? else {
            return Ok(None);
        };
        let guess = room.min(f64::from(most)) as u32;
        if guess >= 1 && fits(guess)? && (guess == most || !fits(guess + 1)?) {
            return Ok(Some(guess));
        }
        // The guess did not know of the cache's padding.
        let (mut low, mut high) = (1, most.saturating_add(1));
        while high - low > 1 {
            let mid = low + (high - low) / 2;
            if fits(mid)? { low = mid } else { high = mid }
        }
        Ok(Some(low))
    }

    fn measure(
        &self,
        r: &Request<'_>,
        units: &Units<'_>,
        types: (Type, Type),
        n_ctx: u32,
        choice: Choice,
        source: Source,
    ) -> Result<Found> {
        let inventory = r.context.inventory();
        let mut layers = vec![0u32; self.graph.n_layer as usize + 1];
        for s in &choice.segments {
            layers[s.first..s.end].fill(s.stage as u32);
        }
        let placement = units.placement(layers, choice.split);
        let sizing = Sizing { n_batch: r.batch.within(n_ctx).n_batch, ..r.sizing(types) };
        let arenas = arenas::measure(&inventory.devices, &self.graph, &placement, r.limits(), n_ctx, sizing)?;
        let mut found = Found { choice, placement, arenas, n_ctx, source, types, fits: false };
        found.fits = found.within(units);
        Ok(found)
    }

    /// The best placement over all pairs of KV types, with the reason if it is not the preferred one.
    pub fn best(&self, r: &Request<'_>, units: &mut Units<'_>) -> Result<(Found, Vec<String>)> {
        let types = self.kv_types(r)?;
        let cpu = r.context.inventory().cpu() as u32;
        let on_cpu = |f: &Found| f.whole_on(cpu) + f.experts_on(cpu);
        // A layer and the experts of a layer do not count the same, so only plans of one sort are compared by number.
        let fewer = |f: &Found, than: &Found| {
            on_cpu(f) == 0 || ((f.choice.split > 0) == (than.choice.split > 0) && on_cpu(f) < on_cpu(than))
        };
        let mut best = self.find(r, units, types[0])?;
        let mut reasons = Vec::new();
        let wants_more = !best.fits || (r.dies_or_cpu() != 1 << cpu && on_cpu(&best) > 0);
        if let (true, Some(second)) = (wants_more, types.get(1)) {
            let other = self.find(r, units, *second)?;
            if other.fits && (!best.fits || fewer(&other, &best)) {
                reasons.push(if best.fits {
                    let what = if best.choice.split > 0 { "the experts of " } else { "" };
                    let n = on_cpu(&best) - on_cpu(&other);
                    let layers = if n == 1 { "layer" } else { "layers" };
                    format!("KV Q8_0: with F16, {what}{n} {layers} more would be on the CPU")
                } else {
                    "KV Q8_0: with F16 it does not fit".to_owned()
                });
                best = other;
            }
        }
        Ok((best, reasons))
    }
}

impl Found {
    /// True if every device has the bytes.
    fn within(&self, units: &Units<'_>) -> bool {
        self.arenas.memory.iter().zip(&units.sites).all(|(m, s)| m.needed() - m.driver <= s.room)
    }

    /// Number of layers on a device, the output among them.
    fn whole_on(&self, device: u32) -> usize {
        self.placement.layers.iter().filter(|d| **d == device).count()
    }

    /// Number of layers of other devices whose experts are on this one.
    pub fn experts_on(&self, device: u32) -> usize {
        let apart = self.placement.layers.iter().zip(&self.placement.experts);
        apart.filter(|(layer, experts)| **experts == device && **layer != device).count()
    }
}

/// The length that must be a whole number of blocks: that of a key, or of the value in it if that is none.
fn key_part(s: &KvShape) -> usize {
    let block = Type::Q8_0.block_len();
    if s.v_in_k && !s.head_dim_v.is_multiple_of(block) { s.head_dim_v } else { s.head_dim_k }
}

/// Refuses a type that the KV cache of this model cannot have.
fn kv_type(field: &str, ty: Type, graph: &Graph, len: fn(&KvShape) -> usize) -> Result<Type> {
    if !KV_TYPES.contains(&ty) {
        return Err(
            Error::unsupported(format!("{field} is {}, expected F32, F16, Q8_0 or Q4_0", ty.name())).subject(field)
        );
    }
    if let Some(n) = graph.kv_shapes().map(len).find(|n| n % ty.block_len() != 0) {
        return Err(Error::unsupported(format!(
            "{field} is {}, which needs heads of a multiple of {}; this model's have length {n}",
            ty.name(),
            ty.block_len()
        ))
        .subject(field));
    }
    Ok(ty)
}
