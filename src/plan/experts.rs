//! Routed experts on the CPU, where the dies are too small for whole layers.
//!
//! A mixture's experts are most of its bytes and a token reads few of them, so a layer whose experts alone are on the
//! CPU costs little more than one on a die. They are those of the first layers: layers are alike, so which ones hardly
//! matters, and so a plan is one number; as few as the dies need.

use super::chain::Ranges;
use super::place::{self, Objective, Segment};

/// Where the layers go.
pub(super) struct Choice {
    pub segments: Vec<Segment>,
    /// The first so many layers have their experts on the CPU.
    pub split: usize,
    /// What whole layers would do, if experts were taken in their place.
    pub instead: Option<Vec<Segment>>,
}

impl Choice {
    pub fn whole(segments: Vec<Segment>) -> Choice {
        Choice { segments, split: 0, instead: None }
    }
}

/// The better of `whole`, the best placement of whole layers on the devices of `mask`, and of experts on the CPU.
/// `ranges` is left with no split.
pub(super) fn choose(
    ranges: &mut Ranges<'_, '_>,
    objective: Objective,
    mask: u32,
    whole: Option<place::Placement>,
) -> Option<Choice> {
    let cpu = ranges.cpu();
    let allowed = mask & ranges.allowed;
    // Layers that fit on the dies are there.
    let needed = whole.as_ref().is_none_or(|p| p.segments.iter().any(|s| s.stage == cpu));
    let found = if needed && allowed & 1 << cpu != 0 { apart(ranges, objective, allowed & !(1 << cpu)) } else { None };
    ranges.split = 0;
    let Some((split, apart, on_cpu)) = found else { return whole.map(|p| Choice::whole(p.segments)) };
    let better = whole.as_ref().is_none_or(|whole| match objective {
        Objective::Latency => apart.seconds < whole.seconds,
        Objective::Throughput => apart.bottleneck.max(on_cpu) < whole.bottleneck,
        Objective::Headroom => apart.room > whole.room,
    });
    match whole {
        Some(whole) if !better => Some(Choice::whole(whole.segments)),
        whole => Some(Choice { segments: apart.segments, split, instead: whole.map(|p| p.segments) }),
    }
}

/// The least split with which all layers fit on `dies`, where they go then, and the CPU's seconds for a token; `None`
/// also where none is needed.
fn apart(ranges: &mut Ranges<'_, '_>, objective: Objective, dies: u32) -> Option<(usize, place::Placement, f64)> {
    let on_dies = |ranges: &mut Ranges<'_, '_>, split: usize, objective| {
        ranges.split = split;
        place::place_with(ranges, objective, dies, usize::MAX)
    };
    let (mut low, mut high) = (0, ranges.last_experts());
    if high == 0 || on_dies(ranges, low, Objective::Latency).is_some() {
        return None;
    }
    on_dies(ranges, high, Objective::Latency)?;
    while high - low > 1 {
        let mid = low + (high - low) / 2;
        if on_dies(ranges, mid, Objective::Latency).is_some() { high = mid } else { low = mid }
    }
    let placement = on_dies(ranges, high, objective)?;
    ranges.cpu_holds_experts().then(|| (high, placement, ranges.experts_seconds()))
}
