//! All answers of the chain, asked for once and laid out flat, with the stages that nothing tells apart put together in
//! classes.

use super::{Chain, Cost};
use crate::error::{Result, try_vec};

/// The name of the values in errors.
pub(super) const WHAT: &str = "the search for a placement";

/// Stages that can be exchanged without changing anything, ascending.
pub(super) struct Class {
    pub members: Vec<usize>,
    /// The devices of each member, a bit each.
    pub devices: Vec<u32>,
}

pub(super) struct Tables {
    pub n_units: usize,
    pub classes: Vec<Class>,
    /// The seconds of ranges, by class, end and first unit (`at`); infinite if the range does not fit.
    pub seconds: Vec<f64>,
    /// Room with its sign changed, so that less is better; infinite if the range does not fit.
    pub lack: Vec<f64>,
    /// The seconds of hops from class to class (`way`), the host last. They are those between two different stages,
    /// also within a class.
    pub hop: Vec<f64>,
}

impl Tables {
    /// Asks for all ranges. `None` if there is nothing to place or nothing to place it on.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(chain: &impl Chain, classes: Vec<Class>) -> Result<Option<Tables>> {
        let n_units = chain.n_units();
        if n_units == 0 || classes.is_empty() {
            return Ok(None);
        }
        let mut tables = Tables { n_units, classes, seconds: Vec::new(), lack: Vec::new(), hop: Vec::new() };
        let size = tables.classes.len() * (n_units + 1) * n_units;
        tables.seconds = try_vec(WHAT, size, f64::INFINITY)?;
        tables.lack = try_vec(WHAT, size, f64::INFINITY)?;
        for c in 0..tables.classes.len() {
            let stage = tables.classes[c].members[0];
            for first in 0..n_units {
                for end in first + 1..=n_units {
                    let Some(cost) = chain.range(stage, first, end) else { break };
                    if is_possible(&cost) {
                        let at = tables.at(c, end) + first;
                        tables.seconds[at] = cost.seconds;
                        tables.lack[at] = -cost.room;
                    }
                }
            }
        }
        let k = tables.classes.len();
        for from in 0..=k {
            for to in 0..=k {
                // Within a class the hop is that between its first two.
                let stage = |c: usize, i: usize| tables.classes.get(c).and_then(|class| class.members.get(i).copied());
                let to_stage = if from == to { stage(to, 1) } else { stage(to, 0) };
                let none = from == to && to_stage.is_none();
                let hop = if none { f64::INFINITY } else { chain.hop(stage(from, 0), to_stage) };
                tables.hop.push(if hop >= 0.0 { hop } else { f64::INFINITY });
            }
        }
        Ok(Some(tables))
    }

    /// The start of the row of ranges that end before unit `end`.
    pub fn at(&self, class: usize, end: usize) -> usize {
        (class * (self.n_units + 1) + end) * self.n_units
    }

    /// Index of a hop; class `classes.len()` is the host.
    pub fn way(&self, from: usize, to: usize) -> usize {
        from * (self.classes.len() + 1) + to
    }
}

/// The stages on the devices of `allowed`, in classes.
pub(super) fn classes(chain: &impl Chain, allowed: u32) -> Vec<Class> {
    let stages: Vec<usize> = (0..chain.n_stages().min(128)).filter(|s| chain.devices(*s) & !allowed == 0).collect();
    let mut classes: Vec<Class> = Vec::new();
    for stage in &stages {
        let alike = |c: &&mut Class| {
            chain.class(c.members[0]) == chain.class(*stage) && interchangeable(chain, &stages, c.members[0], *stage)
        };
        match classes.iter_mut().find(alike) {
            Some(class) => {
                class.members.push(*stage);
                class.devices.push(chain.devices(*stage));
            }
            None => classes.push(Class { members: vec![*stage], devices: vec![chain.devices(*stage)] }),
        }
    }
    classes
}

/// False for a range that fits, and still cannot be.
pub(super) fn is_possible(cost: &Cost) -> bool {
    cost.seconds.is_finite() && cost.seconds >= 0.0 && !cost.room.is_nan()
}

/// True if the chain stays the same, ranges aside, when `a` and `b` change places.
fn interchangeable(chain: &impl Chain, stages: &[usize], a: usize, b: usize) -> bool {
    let hop = |from, to| chain.hop(from, to);
    let shares = |s: usize, t: usize| chain.devices(s) & chain.devices(t) != 0;
    hop(None, Some(a)) == hop(None, Some(b))
        && hop(Some(a), None) == hop(Some(b), None)
        && hop(Some(a), Some(b)) == hop(Some(b), Some(a))
        && stages.iter().filter(|c| **c != a && **c != b).all(|c| {
            hop(Some(a), Some(*c)) == hop(Some(b), Some(*c))
                && hop(Some(*c), Some(a)) == hop(Some(*c), Some(b))
                && shares(a, *c) == shares(b, *c)
        })
}
