//! The reasons for a measured plan, in sentences.

use super::chain::Ranges;
use super::place::Objective;
use super::request::Request;
use super::search::{Found, Model};
use super::text::human;
use super::units::Units;
use crate::device::Kind;
use crate::error::Result;

/// The reasons for the choice of devices: the objective, experts on the CPU, and the bytes that fewer dies would lack.
pub(super) fn why_these(model: &Model, r: &Request<'_>, units: &Units<'_>, found: &Found) -> Result<Vec<String>> {
    let cpu = r.context.inventory().cpu();
    let used = found.choice.segments.iter().filter(|s| s.stage != cpu).count();
    let mut out = Vec::new();
    if r.context.devices().len() > 1 {
        out.push(match r.params.objective {
            Objective::Latency => "objective latency: the fastest decode of one sequence".to_owned(),
            Objective::Throughput => "objective throughput: the fastest slowest device".to_owned(),
            Objective::Headroom => "objective headroom: the most memory left for context".to_owned(),
        });
    }
    out.extend(why_experts(model, r, units, found)?);
    if used > 1 && found.fits && found.choice.split == 0 && r.params.objective == Objective::Latency {
        let mut chain = Ranges::new(units, found.types, found.n_ctx, r.batch.n_ubatch)?;
        let (mask, fewer) = (!(1 << cpu), used - 1);
        // Fewer may hold it, and more be faster.
        let lack = if chain.fits(mask, fewer)? { u64::MAX } else { model.least_lack(&mut chain, mask, fewer)? };
        if lack < u64::MAX {
            let each = if used > 2 { " each" } else { "" };
            out.push(format!("{} short by {}{each}", dies(used - 1, "is", "are"), human(lack)));
        }
    }
    Ok(out)
}

/// The sentence about experts on the CPU, if there are any.
fn why_experts(model: &Model, r: &Request<'_>, units: &Units<'_>, found: &Found) -> Result<Option<String>> {
    let split = found.choice.split;
    let Some(first) = units.has_experts[..split].iter().position(|has| *has) else { return Ok(None) };
    let cpu = r.context.inventory().cpu();
    let n_dies = (0..cpu).filter(|d| r.sites[*d].takes_layers()).count();
    let mut chain = Ranges::new(units, found.types, found.n_ctx, r.batch.n_ubatch)?;
    let lack = model.least_lack(&mut chain, !(1 << cpu), usize::MAX)?;
    let mut text = match split - first {
        1 => format!("experts of layer {first} on the CPU"),
        _ => format!("experts of layers {first}-{} on the CPU", split - 1),
    };
    if lack < u64::MAX {
        let each = if n_dies > 1 { " each" } else { "" };
        text += &format!(": with all of them {} short by {}{each}", dies(n_dies, "is", "are"), human(lack));
    }
    if let Some(whole) = &found.choice.instead {
        let p = model.predict(r, units, found, whole, 0)?;
        let (decode, full) = (p.decode, p.decode_full);
        text += &format!("; with whole layers there {decode:.1} tokens/s are predicted, {full:.1} at a full context");
    }
    Ok(Some(text))
}

/// "2 dies are", or "1 die is".
pub(super) fn dies(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 die {one}") } else { format!("{n} dies {many}") }
}

/// The reason for a layer's device.
pub(super) fn reason_of(r: &Request<'_>, found: &Found, layer: usize) -> String {
    let devices = r.context.devices();
    let Some(at) = found.choice.segments.iter().position(|s| (s.first..s.end).contains(&layer)) else {
        return String::new();
    };
    let s = found.choice.segments[at];
    let device = &devices[s.stage];
    if r.sites.iter().filter(|s| s.takes_layers()).count() == 1 {
        return format!("the only device is the {}", if device.kind == Kind::Cpu { "CPU" } else { &device.name });
    }
    let m = &found.arenas.memory[s.stage];
    let left = r.sites[s.stage].room.saturating_sub(m.needed() - m.driver);
    let weight = |i: usize| {
        let apart = found.placement.experts.get(i).is_some_and(|d| *d != found.placement.layers[i]);
        let experts = if apart { found.arenas.layer_experts[i] } else { 0 };
        found.arenas.layer_weights[i] - experts + found.arenas.layer_states[i]
    };
    if found.choice.segments.len() == 1 {
        let but = if found.choice.split > 0 { " but for experts on the CPU" } else { "" };
        return format!("all layers fit on device {}{but}", s.stage);
    }
    match found.choice.segments.get(at + 1) {
        Some(_) if left < weight(s.end) => {
            format!("device {} is full: {} left, the next layer takes {}", s.stage, human(left), human(weight(s.end)))
        }
        _ if device.kind == Kind::Cpu => "the dies are full".to_owned(),
        _ => format!("best by the objective; {} left on device {}", human(left), s.stage),
    }
}
