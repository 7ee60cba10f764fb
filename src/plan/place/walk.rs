//! From the values of the search to one placement: the order of the stages first, then the cuts between them.
//!
//! The search keeps only values, not the choices that led to them. The walk finds the choices again from the front.
//! `heads` are the least sums of the ranges chosen so far, for each unit at which the next range may begin. A stage may
//! come next if some unit joins a head with a value of the remaining set such that both together are as good as the
//! best. Of the stages that may, the one that `Objective` prefers is taken. As soon as all stages are known, a run from
//! the back finds the cuts with the smallest bottleneck among those that keep the best sum.

use super::search::{Lattice, Pass, Values, tail_at};
use super::tables::Tables;
use super::{Placement, Segment, TIE};

/// The first of the best placements, in the order that `Objective` tells. `pass` must be one of a sum.
pub(super) fn walk(tables: &Tables, pass: &Pass, lattice: &Lattice, values: &Values) -> Option<Placement> {
    let best = values.best();
    if best == f64::INFINITY {
        return None;
    }
    let limit = best + best * TIE;
    let good = |set: &usize| values.totals[*set] <= limit;
    // Sets are in the order of their sizes.
    let size = lattice.size((0..values.totals.len()).find(good)?);
    let mut sets: Vec<usize> = (0..values.totals.len()).filter(good).filter(|set| lattice.size(*set) == size).collect();

    let (k, n) = (tables.classes.len(), tables.n_units);
    let mut used = vec![0; k];
    let mut order: Vec<usize> = Vec::with_capacity(size);
    let mut stages = Vec::with_capacity(size);
    // For each segment, the least sum up to each of its possible first units.
    let mut heads = vec![vec![f64::INFINITY; n + 1]];
    heads[0][0] = 0.0;
    while stages.len() < size {
        let from = order.last().copied().unwrap_or(k);
        let mut next: Vec<(usize, usize)> =
            (0..k).filter_map(|c| tables.classes[c].members.get(used[c]).map(|stage| (*stage, c))).collect();
        next.sort_unstable();
        let chosen = next.into_iter().find_map(|(stage, c)| {
            let head = after(tables, pass, from, c, &heads[heads.len() - 1]);
            let leads = |rest: &usize| {
                let tail = &values.tails[tail_at(tables, *rest, c)..];
                (1..=n).any(|end| head[end] + tail[end] <= limit)
            };
            let mut rests: Vec<usize> =
                sets.iter().filter_map(|set| lattice.without(tables, *set, c)).filter(leads).collect();
            rests.sort_unstable();
            rests.dedup();
            (!rests.is_empty()).then_some((stage, c, head, rests))
        });
        let (stage, c, head, rests) = chosen?;
        used[c] += 1;
        order.push(c);
        stages.push(stage);
        heads.push(head);
        sets = rests;
    }
    let cuts = cuts(tables, pass, &order, &heads, limit)?;
    Some(placement(tables, &order, &stages, &cuts, lattice.exact))
}

/// The least sums up to each possible end of a range of class `to`.
fn after(tables: &Tables, pass: &Pass, from: usize, to: usize, head: &[f64]) -> Vec<f64> {
    let hop = pass.hop[tables.way(from, to)];
    let mut sums = vec![f64::INFINITY; head.len()];
    for (end, sum) in sums.iter_mut().enumerate().skip(1) {
        let weights = &pass.weight[tables.at(to, end)..][..end];
        *sum = head.iter().zip(weights).fold(f64::INFINITY, |best, (head, w)| best.min(pass.join(*w, hop, *head)));
    }
    sums
}

/// The ends of the segments. Of the cuts with the best sum it takes those with the smallest bottleneck, then the
/// earliest.
fn cuts(tables: &Tables, pass: &Pass, order: &[usize], heads: &[Vec<f64>], limit: f64) -> Option<Vec<usize>> {
    let (k, n) = (tables.classes.len(), tables.n_units);
    let mut sums = vec![f64::INFINITY; n + 1];
    sums[n] = pass.end(tables, *order.last()?);
    let mut worst = vec![f64::NEG_INFINITY; n + 1];
    let mut ends = vec![vec![n; n + 1]; order.len()];
    for (i, to) in order.iter().enumerate().rev() {
        let hop = pass.hop[tables.way(if i == 0 { k } else { order[i - 1] }, *to)];
        let mut before = vec![f64::INFINITY; n + 1];
        let mut worst_before = vec![f64::INFINITY; n + 1];
        for first in (0..n).filter(|first| heads[i][*first] < f64::INFINITY) {
            for end in first + 1..=n {
                let weight = pass.weight[tables.at(*to, end) + first];
                let sum = pass.join(weight, hop, sums[end]);
                before[first] = before[first].min(sum);
                let bottleneck = worst[end].max(weight + hop);
                if heads[i][first] + sum <= limit && bottleneck < worst_before[first] {
                    worst_before[first] = bottleneck;
                    ends[i][first] = end;
                }
            }
        }
        (sums, worst) = (before, worst_before);
    }
    let mut first = 0;
    let cuts: Vec<usize> = ends
        .iter()
        .map(|ends| {
            first = ends[first];
            first
        })
        .collect();
    (worst[0] < f64::INFINITY).then_some(cuts)
}

fn placement(tables: &Tables, order: &[usize], stages: &[usize], ends: &[usize], exact: bool) -> Placement {
    let mut p = Placement { segments: Vec::new(), seconds: 0.0, bottleneck: 0.0, room: f64::INFINITY, exact };
    let host = tables.classes.len();
    let (mut from, mut first) = (host, 0);
    for ((class, stage), end) in order.iter().zip(stages).zip(ends) {
        let at = tables.at(*class, *end) + first;
        let seconds = tables.seconds[at] + tables.hop[tables.way(from, *class)];
        p.seconds += seconds;
        p.bottleneck = p.bottleneck.max(seconds);
        p.room = p.room.min(-tables.lack[at]);
        p.segments.push(Segment { stage: *stage, first, end: *end });
        (from, first) = (*class, *end);
    }
    p.seconds += tables.hop[tables.way(from, host)];
    p
}
