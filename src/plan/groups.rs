//! Groups of dies that share layers: which dies, and what the plan says of them.
//!
//! The first die of a group, its lead, stands for the group wherever a device is named: in the search, in the segments
//! that it finds, and for all that is not shared (a layer that cannot be cut, the output).

use super::params::Params;
use crate::device::{Device, Inventory, Kind};
use crate::error::{Error, Result};
use crate::graph::MOST_SHARDS;

/// True if two dies do the same work in the same time.
fn alike(a: &Device, b: &Device) -> bool {
    let of = |d: &Device| (d.compute_major, d.compute_minor, d.read_bandwidth, d.flops);
    a.name == b.name && of(a) == of(b)
}

/// The groups of a request, each of `n_group` dies that follow each other among those that may compute layers; none, if
/// the request asks for none.
///
/// # Errors
/// `InvalidArgument` for a number that no group can have, for too few dies, for dies that are unlike, and together with
/// placements; named.
pub(super) fn groups(params: &Params, inventory: &Inventory, takes: impl Fn(usize) -> bool) -> Result<Vec<Vec<u32>>> {
    let n = params.n_group as usize;
    let bad = |text: String| Err(Error::invalid(text).subject("n_group"));
    if n <= 1 {
        return Ok(Vec::new());
    }
    if n > MOST_SHARDS {
        return bad(format!("n_group is {n}, expected at most {MOST_SHARDS}"));
    }
    if !params.placements.is_empty() {
        return bad(format!("n_group is {n}, which does not go with placements: they name single dies"));
    }
    let takes = |(i, d): &(usize, &Device)| d.kind == Kind::Cuda && takes(*i);
    let dies: Vec<u32> = inventory.devices.iter().enumerate().filter(takes).map(|(i, _)| i as u32).collect();
    if dies.len() < n {
        return bad(format!("n_group is {n}, but {} dies may compute layers", dies.len()));
    }
    let groups: Vec<Vec<u32>> = dies.chunks_exact(n).map(<[u32]>::to_vec).collect();
    for group in &groups {
        let die = |d: u32| &inventory.devices[d as usize];
        if let Some(other) = group.iter().find(|d| !alike(die(group[0]), die(**d))) {
            return bad(format!(
                "n_group is {n}, but devices {} ({}) and {other} ({}) are unlike: the faster one would \
                 wait",
                group[0],
                die(group[0]).name,
                die(*other).name
            ));
        }
    }
    Ok(groups)
}

/// The reasons for a plan with groups: which layers stay whole, the dies that are left over, the way of an exchange.
pub(super) fn reasons(groups: &[Vec<u32>], whole: &[Option<String>], inventory: &Inventory) -> Vec<String> {
    let Some(n) = groups.first().map(Vec::len) else { return Vec::new() };
    let mut out = Vec::new();
    let shared = whole.iter().filter(|w| w.is_none()).count();
    let linked = groups.iter().all(|g| {
        let pairs = g.iter().flat_map(|a| g.iter().map(move |b| (*a, *b))).filter(|(a, b)| a < b);
        pairs.into_iter().all(|(a, b)| inventory.link(a as usize, b as usize).is_some())
    });
    let way = if linked { "from die to die" } else { "by way of the host" };
    out.push(format!("n_group {n}: caller; {shared} of {} layers are shared, sums go {way}", whole.len()));
    let mut layers = whole.iter().enumerate().filter_map(|(i, why)| why.as_ref().map(|why| (i, why))).peekable();
    while let Some((first, why)) = layers.next() {
        let mut last = first;
        while let Some((next, _)) = layers.next_if(|(i, w)| *i == last + 1 && *w == why) {
            last = next;
        }
        let which = if first == last { format!("layer {first} is") } else { format!("layers {first}-{last} are") };
        out.push(format!("{which} whole: {why}"));
    }
    let left: Vec<String> = inventory
        .devices
        .iter()
        .enumerate()
        .filter(|(i, d)| d.kind == Kind::Cuda && !groups.iter().flatten().any(|g| *g as usize == *i))
        .map(|(i, _)| i.to_string())
        .collect();
    if !left.is_empty() {
        out.push(format!("device {} is in no group of {n}", left.join(", ")));
    }
    out
}
