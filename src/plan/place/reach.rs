//! The fewest stages that hold a chain, where the sets of stages are too many to try all.
//!
//! A question about a model asks many times if it fits, and not where. Then a set of stages needs no values by unit,
//! as in `search`, but a single number: its *reach*, the lowest unit from which its stages can compute the chain to the
//! end. The part of a range that fits does fit, so nobody gains by ranges that are shorter than they can be, and
//!
//! ```text
//! reach(S with t) = the lowest first unit of a range on t that ends at reach(S)          the best of all such t
//! ```
//!
//! Sets grow by one stage at a time, and of each size the `WIDTH` sets that reach lowest are kept. So this may miss a
//! way to hold the chain, as the search for the best placement may, but it finds no false one.

use std::collections::HashMap;

use super::tables::Class;
use super::{Chain, tables};

/// The sets of a size that are kept.
const WIDTH: usize = 48;

/// The fewest stages of these classes that hold the chain, if it is found that any do. There must be a way from each
/// stage to each other one and to the host.
pub(super) fn fewest(chain: &impl Chain, classes: &[Class]) -> Option<usize> {
    let n = chain.n_units();
    let mut lowest = HashMap::new();
    let mut sets = vec![(n, 0u128, 0u32)];
    let n_stages: usize = classes.iter().map(|c| c.members.len()).sum();
    for size in 1..=n_stages.min(n) {
        let mut larger: HashMap<u128, (usize, u32)> = HashMap::new();
        for (end, stages, devices) in &sets {
            for class in classes {
                let next = class.members.iter().position(|s| stages >> s & 1 == 0);
                let Some(next) = next.filter(|m| class.devices[*m] & devices == 0) else { continue };
                let stage = class.members[0];
                let first = *lowest.entry((stage, *end)).or_insert_with(|| reach(chain, stage, *end));
                let set = larger.entry(stages | 1 << class.members[next]);
                let of = set.or_insert((usize::MAX, devices | class.devices[next]));
                of.0 = of.0.min(first);
            }
        }
        sets = larger.into_iter().map(|(stages, (first, devices))| (first, stages, devices)).collect();
        sets.retain(|(first, ..)| *first < n);
        sets.sort_unstable();
        sets.truncate(WIDTH);
        if sets.first()?.0 == 0 {
            return Some(size);
        }
    }
    None
}

/// The lowest first unit of a range that ends before `end` and fits; `usize::MAX` if there is none.
fn reach(chain: &impl Chain, stage: usize, end: usize) -> usize {
    let (mut low, mut high) = (0, end);
    while low < high {
        let mid = low + (high - low) / 2;
        if chain.range(stage, mid, end).is_some() { high = mid } else { low = mid + 1 }
    }
    let whole = |first: &usize| chain.range(stage, *first, end).is_some_and(|c| tables::is_possible(&c));
    (low..end).find(whole).unwrap_or(usize::MAX)
}
