//! The cuts that leave the most likely candidates, by their number, probability or logit.

use super::candidates::{Candidates, weight};

/// Leaves the candidates whose logit is at most `n` standard deviations of all logits below the highest one (Tang et
/// al. 2024, arXiv:2411.07641). Noise has logits around the mean; what the model means stands out.
pub(super) fn top_n_sigma(candidates: &mut Candidates, n: f32) {
    let count = candidates.len() as f64;
    let logits = || candidates.list().iter().map(|c| f64::from(c.logit));
    let mean = logits().sum::<f64>() / count;
    let deviation = (logits().map(|l| (l - mean) * (l - mean)).sum::<f64>() / count).sqrt();
    let lowest = f64::from(candidates.highest()) - f64::from(n) * deviation;
    // Infinite logits have no deviation. Then nothing is cut off.
    if !lowest.is_nan() {
        candidates.keep_likely(|logit| f64::from(logit) >= lowest);
    }
}

/// Leaves the `k` most likely candidates.
pub(super) fn top_k(candidates: &mut Candidates, k: usize) {
    candidates.keep_first(k);
}

/// Leaves the most likely candidates that together have probability `p`, and at least `min_keep` (nucleus sampling,
/// Holtzman et al. 2019, arXiv:1904.09751).
pub(super) fn top_p(candidates: &mut Candidates, p: f32, min_keep: usize) {
    let (highest, temperature) = (candidates.highest(), candidates.temperature());
    let enough = candidates.sum(highest) * f64::from(p);
    let (mut so_far, mut n) = (0f64, 0);
    while (so_far < enough || n < min_keep)
        && let Some(c) = candidates.ranked(n)
    {
        so_far += weight(c.logit, highest, temperature);
        n += 1;
    }
    candidates.keep_first(n.max(1));
}

/// Leaves the candidates with at least the share `p` of the most likely one's probability, and at least `min_keep`
/// (Nguyen et al. 2024, arXiv:2407.01082).
pub(super) fn min_p(candidates: &mut Candidates, p: f32, min_keep: usize) {
    let (highest, temperature) = (candidates.highest(), candidates.temperature());
    let enough = |logit: f32| weight(logit, highest, temperature) >= f64::from(p);
    if min_keep > 1 && candidates.list().iter().filter(|c| enough(c.logit)).count() < min_keep {
        candidates.keep_first(min_keep);
    } else {
        candidates.keep_likely(enough);
    }
}
