//! The dynamic program over sets of stages. The module above explains the idea; this is its arithmetic.
//!
//! Values lie flat in memory, by set, class before and unit. A set is made from one with a stage less by putting that
//! stage in front of it. So the loop over a new set takes each class that can come first, and for each end of its range
//! adds a row of weights (the ranges with that end, by first unit) to one value of the smaller set and keeps the
//! minimum: plain vector code over first units. The hop to the new range depends on the class before it. If hops are
//! outside of the comparison (in a sum), they are added after this loop, once for each class before; otherwise classes
//! with the same hop share a run of the loop (`Group`).
//!
//! If there are too many sets, `grow` goes level by level, by the number of stages, and keeps only the best sets of
//! each level.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::tables::{Tables, WHAT};
use crate::error::{Error, Result, try_vec};

/// The most values that are kept, 8 bytes each.
const MAX_VALUES: usize = 8 << 20;
/// The most steps of the innermost loop, less than a second of them. Beyond these not every set is tried.
const MAX_STEPS: f64 = 1.2e9;
/// The steps that are taken then, but for the work beside them. More sets were tried and gave no better placements.
const FEWER_STEPS: f64 = 1.2e8;
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub max_segments: usize,
    /// If true, sets larger than the smallest that hold the chain do not count.
    pub fewest: bool,
}

/// The way in which a range and the rest of the chain make one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rule {
    /// Their sum with the hop.
    Sum,
    /// The same, but only with ranges that take at most so long together with their hop.
    SumWithin(f64),
    /// The larger of the range with its hop and the rest.
    Max,
}

/// Classes that have the same hop to another class.
struct Group {
    hop: f64,
    from: Vec<usize>,
}

/// The things that one run of the program minimises.
pub(super) struct Pass {
    pub weight: Vec<f64>,
    pub hop: Vec<f64>,
    pub rule: Rule,
    /// By class and end, the lowest first unit whose range fits.
    lowest: Vec<usize>,
    /// By class, the classes that may come before it.
    groups: Vec<Vec<Group>>,
}

impl Pass {
    pub fn new(tables: &Tables, weight: Vec<f64>, hop: Vec<f64>, rule: Rule) -> Pass {
        let k = tables.classes.len();
        let n = tables.n_units;
        let rows = weight.chunks(n);
        let lowest = rows.map(|row| row.iter().position(|w| *w < f64::INFINITY).unwrap_or(n)).collect();
        let mut groups = Vec::with_capacity(k);
        for to in 0..k {
            let mut of: Vec<Group> = Vec::new();
            for from in (0..k).filter(|from| hop[tables.way(*from, to)] < f64::INFINITY) {
                // A hop that is outside of the comparison is added later, so all classes share one run.
                let h = if rule == Rule::Sum { 0.0 } else { hop[tables.way(from, to)] };
                match of.iter_mut().find(|g| g.hop == h) {
                    Some(group) => group.from.push(from),
                    None => of.push(Group { hop: h, from: vec![from] }),
                }
            }
            groups.push(of);
        }
        Pass { weight, hop, rule, lowest, groups }
    }

    /// The value of a range in front of a rest, its hop included.
    pub fn join(&self, weight: f64, hop: f64, rest: f64) -> f64 {
        match self.rule {
            Rule::Sum => weight + rest + hop,
            Rule::SumWithin(limit) if weight + hop <= limit => weight + rest + hop,
            Rule::SumWithin(_) => f64::INFINITY,
            Rule::Max => (weight + hop).max(rest),
        }
    }

    /// The value of the chain's end after class `from`.
    pub fn end(&self, tables: &Tables, from: usize) -> f64 {
        match self.hop[tables.way(from, tables.classes.len())] {
            hop if hop < f64::INFINITY && self.rule == Rule::Max => f64::NEG_INFINITY,
            hop => hop,
        }
    }
}

/// A set of stages. Of each class it has the first few.
struct Set {
    stages: u128,
    devices: u32,
    size: usize,
}

/// The sets, smaller ones first.
pub(super) struct Lattice {
    sets: Vec<Set>,
    /// By set and class, the set without the last stage that it has of that class, or `NONE`.
    without: Vec<u32>,
    pub exact: bool,
}

impl Lattice {
    pub fn size(&self, set: usize) -> usize {
        self.sets[set].size
    }

    pub fn without(&self, tables: &Tables, set: usize, class: usize) -> Option<usize> {
        let i = self.without[set * tables.classes.len() + class];
        (i != NONE).then_some(i as usize)
    }

    /// Adds the sets with one stage more than those from `start` on.
    fn extend(&mut self, tables: &Tables, start: usize) {
        let k = tables.classes.len();
        let mut found: HashMap<u128, usize> = HashMap::new();
        for i in start..self.sets.len() {
            let (stages, devices, size) = (self.sets[i].stages, self.sets[i].devices, self.sets[i].size);
            for (c, class) in tables.classes.iter().enumerate() {
                let next = class.members.iter().position(|s| stages >> s & 1 == 0);
                let Some(next) = next.filter(|m| class.devices[*m] & devices == 0) else { continue };
                let stages = stages | 1 << class.members[next];
                let at = match found.entry(stages) {
                    Entry::Occupied(e) => *e.get(),
                    Entry::Vacant(e) => {
                        self.sets.push(Set { stages, devices: devices | class.devices[next], size: size + 1 });
                        self.without.resize(self.sets.len() * k, NONE);
                        *e.insert(self.sets.len() - 1)
                    }
                };
                self.without[at * k + c] = i as u32;
            }
        }
    }
}

/// True if so many sets of stages, of so many classes, can all be tried.
pub(super) fn all_can_be_tried(n_sets: usize, n_classes: usize, n_units: usize) -> bool {
    let joins = n_sets.saturating_mul(n_classes);
    joins.saturating_mul(n_units + 1) <= MAX_VALUES && joins as f64 * (n_units * n_units) as f64 / 2.0 <= MAX_STEPS
}

pub(super) struct Values {
    /// By set, class before and unit, the value of the rest of the chain.
    pub tails: Vec<f64>,
    /// By set, the value of the whole chain, beginning at the host.
    pub totals: Vec<f64>,
}

impl Values {
    pub fn best(&self) -> f64 {
        self.totals.iter().copied().fold(f64::INFINITY, f64::min)
    }
}

/// The start of a set's values after a class.
pub(super) fn tail_at(tables: &Tables, set: usize, class: usize) -> usize {
    (set * tables.classes.len() + class) * (tables.n_units + 1)
}

/// Finds the sets and their values.
pub(super) fn grow(tables: &Tables, pass: &Pass, limits: Limits) -> Result<(Lattice, Values)> {
    let k = tables.classes.len();
    let steps = pass.groups.iter().map(Vec::len).sum::<usize>() as f64 / k as f64
        * (tables.n_units * tables.n_units) as f64
        / 2.0;
    let levels =
        tables.classes.iter().map(|c| c.members.len()).sum::<usize>().min(limits.max_segments).min(tables.n_units);

    let empty = || Lattice { sets: vec![Set { stages: 0, devices: 0, size: 0 }], without: vec![NONE; k], exact: true };
    let mut all = empty();
    let mut start = 0;
    let mut affordable = true;
    for _ in 0..levels {
        let end = all.sets.len();
        all.extend(tables, start);
        start = end;
        let joins = all.without.iter().filter(|i| **i != NONE).count();
        affordable = all.sets.len() * k * (tables.n_units + 1) <= MAX_VALUES && joins as f64 * steps <= MAX_STEPS;
        if !affordable {
            break;
        }
    }
    if affordable && !limits.fewest {
        let values = evaluate(tables, pass, &all)?;
        return Ok((all, values));
    }

    // A set is extended by each class and costs the ranges that fit; as many at once are kept as one level makes.
    let pairs = |(at, lowest): (usize, &usize)| (at % (tables.n_units + 1)).saturating_sub(*lowest);
    let fitting = pass.lowest.iter().enumerate().map(pairs).sum::<usize>().max(1);
    let most = (FEWER_STEPS / (fitting * levels) as f64) as usize;
    let held = MAX_VALUES / ((levels + k) * k * (tables.n_units + 1));
    let width = if affordable { usize::MAX } else { most.min(held).max(1) };
    let mut lattice = empty();
    let mut values = Values { tails: Vec::new(), totals: Vec::new() };
    evaluate_from(tables, pass, &lattice, &mut values)?;
    let mut start = 0;
    for _ in 0..levels {
        let end = lattice.sets.len();
        lattice.extend(tables, start);
        start = end;
        evaluate_from(tables, pass, &lattice, &mut values)?;
        if limits.fewest && values.best() < f64::INFINITY {
            break;
        }
        if lattice.sets.len() - start > width {
            keep_best(tables, &mut lattice, &mut values, start, width)?;
        }
    }
    Ok((lattice, values))
}

/// Keeps at most `width` of the sets from `start` on: the one with the best value for the whole chain, and for first
/// units, evenly from the lowest that any set reaches to the end, those with the best values there.
fn keep_best(tables: &Tables, lattice: &mut Lattice, values: &mut Values, start: usize, width: usize) -> Result<()> {
    let (k, n) = (tables.classes.len(), tables.n_units);
    let count = lattice.sets.len() - start;
    // By set and unit, the least of its values there.
    let mut least = try_vec(WHAT, count * (n + 1), f64::INFINITY)?;
    for (i, least) in least.chunks_mut(n + 1).enumerate() {
        for tails in values.tails[tail_at(tables, start + i, 0)..][..k * (n + 1)].chunks(n + 1) {
            least.iter_mut().zip(tails).for_each(|(least, value)| *least = least.min(*value));
        }
    }
    let lowest = least.chunks(n + 1).filter_map(|row| row.iter().position(|v| *v < f64::INFINITY)).min().unwrap_or(n);
    let mut kept = vec![false; count];
    for place in 0..width {
        let first = lowest + (n - lowest) * place / width;
        let open = (0..count).filter(|i| !kept[*i]);
        let value = |i: usize| if place + 1 == width { values.totals[start + i] } else { least[i * (n + 1) + first] };
        let best = open.map(|i| (value(i), i)).min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, i)) = best.filter(|(value, _)| *value < f64::INFINITY) {
            kept[i] = true;
        }
    }
    let row = k * (n + 1);
    let mut to = start;
    for i in (0..count).filter(|i| kept[*i]).map(|i| start + i) {
        lattice.sets.swap(to, i);
        lattice.without.copy_within(i * k..(i + 1) * k, to * k);
        values.tails.copy_within(i * row..(i + 1) * row, to * row);
        values.totals[to] = values.totals[i];
        to += 1;
    }
    lattice.sets.truncate(to);
    lattice.without.truncate(to * k);
    values.tails.truncate(to * row);
    values.totals.truncate(to);
    lattice.exact = false;
    Ok(())
}

/// The values of all sets.
pub(super) fn evaluate(tables: &Tables, pass: &Pass, lattice: &Lattice) -> Result<Values> {
    let mut values = Values { tails: Vec::new(), totals: Vec::new() };
    evaluate_from(tables, pass, lattice, &mut values)?;
    Ok(values)
}

/// Lengthens a list with values that are not known.
fn lengthen(values: &mut Vec<f64>, len: usize) -> Result<()> {
    let more = len.saturating_sub(values.len());
    values.try_reserve(more).map_err(|_| Error::out_of_memory(WHAT, (more * size_of::<f64>()) as u64))?;
    values.resize(len, f64::INFINITY);
    Ok(())
}

/// The values of the sets that have none yet.
fn evaluate_from(tables: &Tables, pass: &Pass, lattice: &Lattice, values: &mut Values) -> Result<()> {
    let (k, n) = (tables.classes.len(), tables.n_units);
    let start = values.totals.len();
    lengthen(&mut values.totals, lattice.sets.len())?;
    lengthen(&mut values.tails, tail_at(tables, lattice.sets.len(), 0))?;
    let mut scratch = vec![f64::INFINITY; n];
    for set in start..lattice.sets.len() {
        let (smaller, own) = values.tails.split_at_mut(tail_at(tables, set, 0));
        if lattice.sets[set].size == 0 {
            (0..k).for_each(|c| own[c * (n + 1) + n] = pass.end(tables, c));
            continue;
        }
        for to in 0..k {
            let Some(rest) = lattice.without(tables, set, to) else { continue };
            let rest = &smaller[tail_at(tables, rest, to)..][..n + 1];
            let hop = pass.hop[tables.way(k, to)];
            for end in (1..=n).filter(|end| rest[*end] < f64::INFINITY && hop < f64::INFINITY) {
                let value = pass.join(pass.weight[tables.at(to, end)], hop, rest[end]);
                values.totals[set] = values.totals[set].min(value);
            }
            for group in &pass.groups[to] {
                scratch.fill(f64::INFINITY);
                front(tables, pass, to, group.hop, rest, &mut scratch);
                for from in &group.from {
                    let hop = if pass.rule == Rule::Max { 0.0 } else { pass.hop[tables.way(*from, to)] };
                    let tail = &mut own[from * (n + 1)..][..n];
                    for (best, value) in tail.iter_mut().zip(&scratch) {
                        *best = best.min(value + hop);
                    }
                }
            }
        }
    }
    Ok(())
}

/// The best value at every unit with a range of class `to` in front of `rest`. In a sum the hop is left out.
fn front(tables: &Tables, pass: &Pass, to: usize, hop: f64, rest: &[f64], best: &mut [f64]) {
    for (end, rest) in rest.iter().copied().enumerate().skip(1).filter(|(_, rest)| *rest < f64::INFINITY) {
        let lowest = pass.lowest[to * (tables.n_units + 1) + end].min(end);
        let weights = &pass.weight[tables.at(to, end)..][lowest..end];
        let pairs = best[lowest..end].iter_mut().zip(weights);
        // There is one loop for each rule, so that each is plain vector code.
        let less = |a: f64, b: f64| if a < b { a } else { b };
        match pass.rule {
            Rule::Sum => pairs.for_each(|(b, w)| *b = less(w + rest, *b)),
            Rule::SumWithin(limit) => {
                pairs.for_each(|(b, w)| *b = less(if w + hop <= limit { w + rest } else { f64::INFINITY }, *b))
            }
            Rule::Max => pairs.for_each(|(b, w)| *b = less(if w + hop > rest { w + hop } else { rest }, *b)),
        }
    }
}
