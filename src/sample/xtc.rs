//! Exclude top choices: sometimes the most likely tokens are taken out, so that a text leaves the worn path
//! (github.com/oobabooga/text-generation-webui/pull/6335). Of the tokens that have at least the threshold's probability
//! only the least likely stays. So nothing is taken out where fewer than two are that likely.

use super::candidates::{Candidates, weight};
use super::rng::Rng;

/// Takes the top choices out with the given probability; at least `min_keep` candidates stay.
pub(super) fn apply(candidates: &mut Candidates, probability: f32, threshold: f32, min_keep: usize, rng: &mut Rng) {
    if candidates.len() < 2 || rng.unit() >= f64::from(probability) {
        return;
    }
    let (highest, temperature) = (candidates.highest(), candidates.temperature());
    let likely = candidates.sum(highest) * f64::from(threshold);
    let mut n = 0;
    while candidates.ranked(n).is_some_and(|c| weight(c.logit, highest, temperature) >= likely) {
        n += 1;
    }
    let out = n.saturating_sub(1);
    if candidates.len() - out >= min_keep.max(1) {
        candidates.drop_first(out);
    }
}
