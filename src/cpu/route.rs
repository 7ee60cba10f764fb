//! Route: the choice of a row's experts, and their weights. SumExperts: the weighted sum of their results.

use super::pool::Over;
use super::step::Step;
use crate::graph::{Gating, Node, Route, SumExperts};

/// Weights are divided by their sum, but by no less than this: the least normal half.
const LEAST_SUM: f32 = 6.103_515_6e-5;

/// Bytes of workspace: each thread has the probabilities, the scores that experts are chosen by, and the groups'
/// worths.
pub(super) fn workspace_bytes(r: &Route, n_threads: usize) -> Option<usize> {
    r.n_expert.checked_mul(3 * size_of::<f32>())?.checked_next_multiple_of(64)?.checked_mul(n_threads)
}

fn softmax(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    x.iter_mut().for_each(|x| *x = (*x - max).exp());
    let sum: f32 = x.iter().sum();
    x.iter_mut().for_each(|x| *x /= sum);
}

/// The index of the largest score; of equal ones the first. A score that is no number loses to all others.
fn largest(scores: &[f32]) -> usize {
    let mut best = 0;
    for (i, x) in scores.iter().enumerate() {
        if *x > scores[best] || (scores[best].is_nan() && !x.is_nan()) {
            best = i;
        }
    }
    best
}

/// Strikes out all but the best groups. A group is worth the sum of its two best scores (DeepSeek-V3,
/// arXiv:2412.19437).
fn keep_groups(scores: &mut [f32], worths: &mut [f32], n_used: usize) {
    let size = scores.len() / worths.len();
    for (worth, group) in worths.iter_mut().zip(scores.chunks_exact(size)) {
        let first = largest(group);
        let others = group.iter().enumerate().filter(|(i, _)| *i != first).map(|(_, x)| *x);
        *worth = group[first] + others.reduce(f32::max).unwrap_or(0.0);
    }
    for (g, group) in scores.chunks_exact_mut(size).enumerate() {
        let better = |o: &usize| worths[*o] > worths[g] || (worths[*o] == worths[g] && *o < g);
        if (0..worths.len()).filter(better).count() >= n_used {
            group.fill(f32::NEG_INFINITY);
        }
    }
}

/// Chooses the experts of one row: their numbers into `ids`, their weights into `weights`.
fn choose(r: &Route, logits: &[f32], bias: Option<&[f32]>, scratch: &mut [f32], ids: &mut [f32], weights: &mut [f32]) {
    let (probs, rest) = scratch.split_at_mut(r.n_expert);
    let (scores, worths) = rest.split_at_mut(r.n_expert);
    probs.copy_from_slice(logits);
    match r.gating {
        Gating::Softmax => softmax(probs),
        Gating::Sigmoid => probs.iter_mut().for_each(|x| *x = 1.0 / (1.0 + (-*x).exp())),
        Gating::SoftmaxOfChosen => {}
    }
    scores.copy_from_slice(probs);
    if let Some(bias) = bias {
        scores.iter_mut().zip(bias).for_each(|(s, b)| *s += b);
    }
    if r.n_group > 1 {
        keep_groups(scores, &mut worths[..r.n_group], r.n_group_used);
    }
    let mut spare = 0;
    for i in 0..r.n_expert_used {
        let mut best = largest(scores);
        // If no score that is left is a number, any expert that was not chosen yet will do.
        if ids[..i].contains(&(best as f32)) {
            while ids[..i].contains(&(spare as f32)) {
                spare += 1;
            }
            best = spare;
        }
        (ids[i], weights[i]) = (best as f32, probs[best]);
        scores[best] = f32::NAN;
    }
    if r.gating == Gating::SoftmaxOfChosen {
        softmax(weights);
    }
    if r.normalise {
        let sum = weights.iter().sum::<f32>().max(LEAST_SUM);
        weights.iter_mut().for_each(|w| *w /= sum);
    }
    weights.iter_mut().for_each(|w| *w *= r.scale);
}

pub(super) fn route(s: &Step, node: &Node, r: &Route) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    // The scratch below takes the place of prepared activations.
    s.prepared.set(None);
    let floats = workspace_bytes(r, 1).unwrap_or(0) / size_of::<f32>();
    let bias = r.bias.map(|b| s.weight_floats(b));
    let bias = bias.as_deref();
    s.worker.share(s.n_rows(output), 1, |rows| {
        // SAFETY: the workspace was measured for this many floats per thread.
        let scratch =
            unsafe { std::slice::from_raw_parts_mut(s.workspace().cast::<f32>().add(floats * s.worker.index), floats) };
        for row in rows {
            // SAFETY: whole rows; one writer per row.
            let (logits, out) = unsafe {
                (
                    s.floats(node.inputs[0], row * r.n_expert, r.n_expert),
                    s.floats_mut(output, row * 2 * r.n_expert_used, 2 * r.n_expert_used),
                )
            };
            let (ids, weights) = out.split_at_mut(r.n_expert_used);
            choose(r, logits, bias, scratch, ids, weights);
        }
    })
}

pub(super) fn sum_experts(s: &Step, node: &Node, o: &SumExperts) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    let (parts, route, n_used) = (node.inputs[0], node.inputs[1], o.n_expert_used);
    let cols = s.x.graph.value(output).cols;
    s.worker.share(s.n_rows(output), 1, |rows| {
        for row in rows {
            // SAFETY: whole rows; one writer per row.
            let (weights, out) =
                unsafe { (s.floats(route, row * 2 * n_used + n_used, n_used), s.floats_mut(output, row * cols, cols)) };
            out.fill(0.0);
            for (i, weight) in weights.iter().enumerate() {
                let weight = if o.weighted { *weight } else { 1.0 };
                // SAFETY: part i of the row.
                let part = unsafe { s.floats(parts, (row * n_used + i) * cols, cols) };
                out.iter_mut().zip(part).for_each(|(o, p)| *o += weight * p);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(r: Route, logits: &[f32], bias: Option<&[f32]>) -> (Vec<f32>, Vec<f32>) {
        let (mut ids, mut weights) = (vec![0.0; r.n_expert_used], vec![0.0; r.n_expert_used]);
        choose(&r, logits, bias, &mut vec![0.0; 3 * r.n_expert], &mut ids, &mut weights);
        (ids, weights)
    }

    const PLAIN: Route = Route {
        n_expert: 4,
        n_expert_used: 2,
        gating: Gating::Softmax,
        normalise: false,
        scale: 1.0,
        n_group: 1,
        n_group_used: 1,
        bias: None,
    };

    /// Worked out by hand: e^0, e^1, e^2, e^3 over their sum 31.1928.
    #[test]
    fn the_largest_are_chosen_and_weighted() {
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
        let logits = [2.0, 0.0, 3.0, 1.0];
        let (ids, w) = chosen(PLAIN, &logits, None);
        assert_eq!(ids, [2.0, 0.0]);
        assert!(close(&w, &[0.6439, 0.2369]), "{w:?}");
        let (_, w) = chosen(Route { normalise: true, scale: 2.0, ..PLAIN }, &logits, None);
        assert!(close(&w, &[1.4621, 0.5379]), "{w:?}");
        let (_, w) = chosen(Route { gating: Gating::SoftmaxOfChosen, ..PLAIN }, &logits, None);
        assert!(close(&w, &[0.7311, 0.2689]), "{w:?}");
        // A bias chooses and does not weigh; groups {0, 1} and {2, 3}: 0.88 + 0.5 + 0.6 beats 0.95 + 0.73.
        let groups = Route { gating: Gating::Sigmoid, n_group: 2, n_group_used: 1, ..PLAIN };
        let (ids, w) = chosen(groups, &logits, Some(&[0.0, 0.6, 0.0, 0.0]));
        assert_eq!(ids, [1.0, 0.0]);
        assert!(close(&w, &[0.5, 0.8808]), "{w:?}");
    }

    #[test]
    fn odd_numbers_choose_different_experts() {
        for logits in [[f32::NAN; 4], [f32::NEG_INFINITY; 4], [f32::INFINITY; 4], [0.0; 4]] {
            let (ids, _) = chosen(PLAIN, &logits, None);
            assert!(ids[0] != ids[1] && ids.iter().all(|i| (0.0..4.0).contains(i)), "{logits:?} {ids:?}");
        }
    }
}
