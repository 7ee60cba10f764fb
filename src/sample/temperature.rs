//! Temperature divides the logits: below 1 the likely becomes likelier, above 1 the distribution becomes flatter, and
//! at 0 the most likely token alone is left.
//!
//! A dynamic temperature (Zhu et al. 2023, arXiv:2309.02772, in the form of github.com/LostRuins/koboldcpp/issues/464)
//! is low where the model is sure and high where it is not. It lies within `range` of the temperature, at the place
//! that the entropy has between 0 and that of an even distribution, raised to `exponent`.

use super::candidates::{Candidates, weight};

pub(super) fn apply(candidates: &mut Candidates, temperature: f32, range: f32, exponent: f32) {
    if range <= 0.0 {
        heat(candidates, temperature);
    } else if candidates.len() > 1 {
        let (low, high) = ((temperature - range).max(0.0), temperature + range);
        let share = (entropy(candidates) / (candidates.len() as f64).ln()).powf(f64::from(exponent));
        heat(candidates, (f64::from(low) + f64::from(high - low) * share) as f32);
    }
}

fn heat(candidates: &mut Candidates, temperature: f32) {
    if temperature > 0.0 {
        candidates.heat(temperature);
    } else if let Some(best) = candidates.best() {
        candidates.keep_only(best);
    }
}

/// In natural units.
fn entropy(candidates: &Candidates) -> f64 {
    let (highest, temperature) = (candidates.highest(), candidates.temperature());
    let sum = candidates.sum(highest);
    let p = candidates.list().iter().map(|c| weight(c.logit, highest, temperature) / sum);
    p.filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum::<f64>().max(0.0)
}
