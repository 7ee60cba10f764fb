//! The search for the best placement: which device computes which range of a chain of units.
//!
//! It knows costs and whether a range fits, nothing of files and bytes. A placement cuts the chain into ranges and gives each to
//! another stage, in any order of the stages. The search is a dynamic program over sets of stages (`search`): for every set, every
//! unit and every stage before it, the best way to run the rest of the chain on just that set. Stages that nothing tells apart
//! count only by their number (`tables`), so 16 equal dies are 17 sets. What is still open between equally good placements is
//! decided by a walk along them (`walk`).
//!
//! The result is exact as long as the sets are few: up to 12 devices that all differ, more where some are alike. Beyond that, of
//! the sets of each size only the best for each first unit are kept, as many as time and memory afford, and `exact` is false.

mod search;
mod tables;
#[cfg(test)]
mod tests;
mod walk;

use search::{Limits, Pass, Rule};
use tables::Tables;

/// Two sums that differ by less than this share of themselves are equal: they are the same numbers added in another order.
const TIE: f64 = 1e-14;

/// What a range costs on a stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Finite and not negative; anything else counts as not fitting.
    pub seconds: f64,
    /// Tokens of context that the stage could hold with this range.
    pub room: f64,
}

/// A chain of units (layers, the output last) and the stages that may compute ranges of them.
pub trait Chain {
    fn n_units(&self) -> usize;
    /// At most 128; later ones are not used.
    fn n_stages(&self) -> usize;
    /// The devices that a stage takes up, a bit each. Stages that share a device are never used together.
    fn devices(&self, stage: usize) -> u32;
    /// `None` where units `first..end` do not fit on the stage; then no longer range from `first` is asked for.
    fn range(&self, stage: usize, first: usize, end: usize) -> Option<Cost>;
    /// Seconds to hand the activations from one stage to the next; from `None`: the input to the first stage; to `None`: the logits
    /// back to the host. Not negative; infinite where there is no way.
    fn hop(&self, from: Option<usize>, to: Option<usize>) -> f64;
    /// Stages with the same number promise the same `range`, of which only one is then asked. Whether they are interchangeable
    /// altogether is seen here: two also need the same hops from and to the host and every other stage, the same hop to each other
    /// both ways, and to share devices with the same stages. Where they do not, the number costs nothing and changes nothing.
    fn class(&self, stage: usize) -> usize {
        stage
    }
}

/// What is best. What is equally good goes to fewer segments, then to the lower first stage, the lower second one and so on, then
/// to the cuts with the smaller bottleneck, then to the earlier cuts.
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
    /// No placement is better; false where there were too many different stages to try all.
    pub exact: bool,
}

/// The best placement on the devices in `allowed` (a bit each) with at most `max_segments` segments; `None` where nothing fits (as
/// far as the search saw, with too many stages to try all).
pub fn place_with(chain: &impl Chain, objective: Objective, allowed: u32, max_segments: usize) -> Option<Placement> {
    let limits = Limits { max_segments, fewest: false };
    Tables::new(chain, allowed).and_then(|tables| solve(&tables, objective, limits))
}

/// The best placement of those with the fewest segments, on the devices in `allowed`: the fewest devices that hold the chain, where
/// each stage is one device.
pub fn fewest(chain: &impl Chain, objective: Objective, allowed: u32) -> Option<Placement> {
    let limits = Limits { max_segments: usize::MAX, fewest: true };
    Tables::new(chain, allowed).and_then(|tables| solve(&tables, objective, limits))
}

fn solve(tables: &Tables, objective: Objective, limits: Limits) -> Option<Placement> {
    let sum = |weight, rule| Pass::new(tables, weight, tables.hop.clone(), rule);
    // What the first of two passes looks at, and over which hops.
    let (measure, hop) = match objective {
        Objective::Latency => {
            let pass = sum(tables.seconds.clone(), Rule::Sum);
            let (lattice, values) = search::grow(tables, &pass, limits);
            return walk::walk(tables, &pass, &lattice, &values);
        }
        Objective::Throughput => (&tables.seconds, tables.hop.clone()),
        Objective::Headroom => {
            (&tables.lack, tables.hop.iter().map(|h| if h.is_finite() { 0.0 } else { f64::INFINITY }).collect())
        }
    };
    let (lattice, values) = search::grow(tables, &Pass::new(tables, measure.clone(), hop, Rule::Max), limits);
    let best = values.best();
    if best == f64::INFINITY {
        return None;
    }
    // The second sees only ranges as good as the best found, over the same sets.
    let limit = if best.is_finite() { best + best.abs() * TIE } else { best };
    let keep = |(seconds, x): (&f64, &f64)| if *x <= limit { *seconds } else { f64::INFINITY };
    let rule = if objective == Objective::Throughput { Rule::SumWithin(limit) } else { Rule::Sum };
    let pass = sum(tables.seconds.iter().zip(measure).map(keep).collect(), rule);
    walk::walk(tables, &pass, &lattice, &search::evaluate(tables, &pass, &lattice))
}
