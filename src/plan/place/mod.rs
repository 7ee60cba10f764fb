//! The search for the best placement of a chain of units on devices.
//!
//! A model is a chain of units: its layers, and the output last. A stage may compute a range of neighbouring units; it
//! is one device, or several that are used together. Activations go from stage to stage. A placement answers two
//! questions: in which order the stages come, and where the chain is cut between them. The search knows only the
//! seconds of a range on a stage, whether the range fits, and the seconds of a hop from one stage to another. It knows
//! nothing of files and bytes.
//!
//! It has three steps:
//!
//! 1. `tables` asks for all ranges and hops once. It puts stages into one class if nothing tells them apart. Then a set
//!    of stages is known by the number of stages of each class, and 16 equal dies make 17 sets instead of 65536.
//! 2. `search` is a dynamic program over sets. The value of a set S, a unit u and a class f is the least time in which
//!    the stages of S, all of them, can compute the chain from u to its end, if a stage of class f comes before them.
//!    It follows from smaller sets. Some stage of S comes first; let t be its class and e the end of its range. Then
//!    the value is the least of range(t, u, e) + hop(f, t) + value(S without t, e, t) over all t and e. Beginning with
//!    the empty set, which is worth the hop back to the host at the end of the chain and is impossible elsewhere, sets
//!    grow by one stage at a time, so the smaller ones are known. The value of a whole placement is that of a set at
//!    the first unit, after the host.
//! 3. `walk` goes forward along the values that are as good as the best and chooses one placement: the stages first,
//!    then the cuts.
//!
//! An objective that looks at the worst stage instead of the sum takes two runs of step 2. The first combines values by
//! their maximum. The second minimises the sum, using only ranges that are as good as the maximum that was found.
//!
//! The result is exact as long as the sets are few: up to 12 devices that all differ, more if some are alike. Beyond
//! that only the best sets of each size are kept, for first units all along the chain, as many as time and memory
//! afford, and `exact` is false. Whoever asks only if a chain fits then gets his answer from `reach`.

mod reach;
mod search;
mod tables;
#[cfg(test)]
mod tests;
mod walk;

use crate::error::{Result, try_copy};
use search::{Limits, Pass, Rule};
use tables::{Class, Tables};

/// Two sums that differ by less than this share of themselves are equal: they are the same numbers added in another
/// order.
const TIE: f64 = 1e-14;

/// The cost of a range on a stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Finite and not negative; anything else counts as not fitting.
    pub seconds: f64,
    /// Tokens of context that the stage could hold with this range.
    pub room: f64,
}

/// A chain of units and the stages that may compute ranges of it.
pub trait Chain {
    fn n_units(&self) -> usize;
    /// At most 128; later ones are not used.
    fn n_stages(&self) -> usize;
    /// The devices that a stage takes up, a bit each. Stages that share a device are never used together.
    fn devices(&self, stage: usize) -> u32;
    /// The cost of units `first..end` on the stage; `None` if they do not fit. Then no longer range from `first` is
    /// asked for.
    fn range(&self, stage: usize, first: usize, end: usize) -> Option<Cost>;
    /// The seconds to hand the activations from one stage to the next, not negative, and infinite if there is no way.
    /// From `None` they are the input's way from the host to the first stage, to `None` the way of the logits back to
    /// the host.
    fn hop(&self, from: Option<usize>, to: Option<usize>) -> f64;
    /// Stages with the same number promise the same `range`, and only one of them is asked for it. The search finds out
    /// itself if they are interchangeable altogether. For that, two stages also need the same hops from and to the host
    /// and every other stage, the same hop to each other both ways, and they must share devices with the same stages.
    /// If they do not, the number costs nothing and changes nothing.
    fn class(&self, stage: usize) -> usize {
        stage
    }
}

/// The aim of a placement. Of equally good ones the one with fewer segments is chosen, then the one with the lower
/// first stage, the lower second one and so on, then the cuts with the smaller bottleneck, then the earlier cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Objective {
    #[default]
    /// The least sum of ranges and hops: the time of one token.
    Latency,
    /// The least bottleneck, then the least sum: the pace of a pipeline.
    Throughput,
    /// The most room on the stage that has the least, then the least sum.
    Headroom,
}

/// Units `first..end` on a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub stage: usize,
    pub first: usize,
    pub end: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// In the order of the units.
    pub segments: Vec<Segment>,
    /// Sum of all ranges and hops.
    pub seconds: f64,
    /// The largest seconds of a stage, with the hop to it.
    pub bottleneck: f64,
    /// The least room of a stage, in tokens.
    pub room: f64,
    /// True if no placement is better; false if there were too many different stages to try all.
    pub exact: bool,
}

/// The best placement on the devices in `allowed` (a bit each) with at most `max_segments` segments. `None` means that
/// nothing fits, or that the search found nothing among too many stages to try all.
///
/// # Errors
/// `OutOfMemory`, here and below.
pub fn place(chain: &impl Chain, objective: Objective, allowed: u32, max_segments: usize) -> Result<Option<Placement>> {
    best(chain, tables::classes(chain, allowed), objective, Limits { max_segments, fewest: false })
}

/// The fewest segments with which the devices in `allowed` hold the chain. If each stage is one device, these are the
/// fewest devices. `None` as for [`place`], and it takes less time where not all sets can be tried.
pub fn fewest(chain: &impl Chain, allowed: u32) -> Result<Option<usize>> {
    let classes = tables::classes(chain, allowed);
    if has_too_many(chain, &classes) {
        return Ok(reach::fewest(chain, &classes));
    }
    let limits = Limits { max_segments: usize::MAX, fewest: true };
    Ok(best(chain, classes, Objective::Latency, limits)?.map(|p| p.segments.len()))
}

/// The room of the placement that has the most, as a guess: 0 if the chain fits and nobody has looked for that one,
/// since not all sets can be tried; `None` if it does not fit.
pub fn room(chain: &impl Chain, allowed: u32) -> Result<Option<f64>> {
    let classes = tables::classes(chain, allowed);
    if has_too_many(chain, &classes) {
        return Ok(reach::fewest(chain, &classes).map(|_| 0.0));
    }
    let limits = Limits { max_segments: usize::MAX, fewest: false };
    Ok(best(chain, classes, Objective::Headroom, limits)?.map(|p| p.room))
}

/// True if the devices in `allowed` hold the chain in at most `max_segments` segments.
pub fn fits(chain: &impl Chain, allowed: u32, max_segments: usize) -> Result<bool> {
    let classes = tables::classes(chain, allowed);
    if has_too_many(chain, &classes) {
        return Ok(reach::fewest(chain, &classes).is_some_and(|n| n <= max_segments));
    }
    Ok(best(chain, classes, Objective::Latency, Limits { max_segments, fewest: false })?.is_some())
}

fn best(chain: &impl Chain, classes: Vec<Class>, objective: Objective, limits: Limits) -> Result<Option<Placement>> {
    let Some(tables) = Tables::new(chain, classes)? else { return Ok(None) };
    solve(&tables, objective, limits)
}

/// True if not all sets of stages can be tried, and each stage has a way to each other one and to the host.
fn has_too_many(chain: &impl Chain, classes: &[Class]) -> bool {
    let sizes = classes.iter().map(|c| c.members.len());
    let n_sets = sizes.fold(1usize, |n, size| n.saturating_mul(size + 1));
    let stages = || classes.iter().flat_map(|c| &c.members).copied().map(Some).chain([None]);
    let way = |from: Option<usize>, to: Option<usize>| from == to || chain.hop(from, to).is_finite();
    !search::all_can_be_tried(n_sets, classes.len(), chain.n_units())
        && stages().all(|from| stages().all(|to| way(from, to)))
}

fn solve(tables: &Tables, objective: Objective, limits: Limits) -> Result<Option<Placement>> {
    let copy = |of: &[f64]| try_copy(tables::WHAT, of);
    let sum = |weight, rule| Pass::new(tables, weight, tables.hop.clone(), rule);
    // The measure that the first of two passes compares, and the hops that count in it.
    let (measure, hop) = match objective {
        Objective::Latency => {
            let pass = sum(copy(&tables.seconds)?, Rule::Sum);
            let (lattice, values) = search::grow(tables, &pass, limits)?;
            return Ok(walk::walk(tables, &pass, &lattice, &values));
        }
        Objective::Throughput => (&tables.seconds, tables.hop.clone()),
        Objective::Headroom => {
            (&tables.lack, tables.hop.iter().map(|h| if h.is_finite() { 0.0 } else { f64::INFINITY }).collect())
        }
    };
    let (lattice, values) = search::grow(tables, &Pass::new(tables, copy(measure)?, hop, Rule::Max), limits)?;
    let best = values.best();
    if best == f64::INFINITY {
        return Ok(None);
    }
    // The second pass sees only ranges that are as good as the best that was found, over the same sets.
    let limit = if best.is_finite() { best + best.abs() * TIE } else { best };
    let rule = if objective == Objective::Throughput { Rule::SumWithin(limit) } else { Rule::Sum };
    let mut weight = copy(&tables.seconds)?;
    weight.iter_mut().zip(measure).filter(|(_, x)| **x > limit).for_each(|(seconds, _)| *seconds = f64::INFINITY);
    let pass = sum(weight, rule);
    let values = search::evaluate(tables, &pass, &lattice)?;
    Ok(walk::walk(tables, &pass, &lattice, &values))
}
