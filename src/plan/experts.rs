//! Routed experts on the CPU, if the dies are too small for whole layers.
//!
//! # Problem and idea
//!
//! A mixture's experts are most of its bytes, and a token reads few of them. A die that is too small for all layers can
//! leave some layers to the CPU as a whole. Or it keeps attention and all that every token reads, and leaves the
//! experts alone to the CPU; a token then goes there and back once per such layer.
//!
//! ```text
//! split = 3           layer 0   1    2    3    4    5
//! die 0, die 1              A    A    A    A E  A E  A E      A: attention, router and so on
//! CPU                       E    E    E                       E: routed experts
//! ```
//!
//! Layers are alike, so it hardly matters which of them are without their experts. They are the first ones, and the
//! whole choice is one number, the split. The CPU is the slower device, so the least split with which the dies hold the
//! rest is taken.
//!
//! # Steps
//!
//! 1. Nothing is done if all layers fit on dies.
//! 2. The least split is found by bisection: a larger split leaves less on the dies, so if one fits, larger ones do.
//!    The
//!    dies' part of it is placed like any chain (`place`).
//! 3. The result competes with the best placement of whole layers, on the CPU too, by the objective.

use super::chain::Ranges;
use super::place::{self, Objective, Segment};
use crate::error::Result;

/// A placement of the layers.
pub(super) struct Choice {
    pub segments: Vec<Segment>,
    /// Number of layers, from the first on, whose experts are on the CPU.
    pub split: usize,
    /// If the split is not 0: the best placement of whole layers, which lost against this one.
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
) -> Result<Option<Choice>> {
    let cpu = ranges.cpu();
    let allowed = mask & ranges.allowed;
    // If all layers fit on dies, experts stay there.
    let needed = whole.as_ref().is_none_or(|p| p.segments.iter().any(|s| s.stage == cpu));
    let found =
        if needed && allowed & 1 << cpu != 0 { apart(ranges, objective, allowed & !(1 << cpu)) } else { Ok(None) };
    ranges.split = 0;
    let Some((split, apart, on_cpu)) = found? else { return Ok(whole.map(|p| Choice::whole(p.segments))) };
    let better = whole.as_ref().is_none_or(|whole| match objective {
        Objective::Latency => apart.seconds < whole.seconds,
        Objective::Throughput => apart.bottleneck.max(on_cpu) < whole.bottleneck,
        Objective::Headroom => apart.room > whole.room,
    });
    Ok(Some(match whole {
        Some(whole) if !better => Choice::whole(whole.segments),
        whole => Choice { segments: apart.segments, split, instead: whole.map(|p| p.segments) },
    }))
}

/// The least split with which the rest of all layers fits on `dies`, the placement of that rest, and the CPU's seconds
/// for a token. `None` if no split helps, or none is needed.
fn apart(
    ranges: &mut Ranges<'_, '_>,
    objective: Objective,
    dies: u32,
) -> Result<Option<(usize, place::Placement, f64)>> {
    let fits = |ranges: &mut Ranges<'_, '_>, split: usize| {
        ranges.split = split;
        ranges.fits(dies, usize::MAX)
    };
    let (mut low, mut high) = (0, ranges.last_experts());
    if high == 0 || fits(ranges, low)? || !fits(ranges, high)? {
        return Ok(None);
    }
    while high - low > 1 {
        let mid = low + (high - low) / 2;
        if fits(ranges, mid)? { high = mid } else { low = mid }
    }
    ranges.split = high;
    let placement = ranges.place(objective, dies, usize::MAX)?.filter(|_| ranges.cpu_holds_experts());
    Ok(placement.map(|placement| (high, placement, ranges.experts_seconds())))
}
