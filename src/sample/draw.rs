//! The draw from the candidates that are left.

use super::candidates::{Candidate, Candidates, weight};
use super::rng::Rng;

/// A candidate and the probability with which it was drawn.
pub(super) struct Drawn {
    pub candidate: Candidate,
    pub p: f64,
}

/// Draws one of the candidates: the probabilities, the largest first, are laid on a line, and a random point falls on
/// one of them. `None` if there are no candidates.
pub(super) fn draw(candidates: &mut Candidates, rng: &mut Rng) -> Option<Drawn> {
    let (highest, temperature) = (candidates.highest(), candidates.temperature());
    let sum = candidates.sum(highest);
    let mut left = rng.unit() * sum;
    let (mut i, mut last) = (0, None);
    while let Some(candidate) = candidates.ranked(i) {
        let w = weight(candidate.logit, highest, temperature);
        left -= w;
        if w > 0.0 {
            // Rounding may leave a little over. Then it is the last token that can be drawn.
            last = Some(Drawn { candidate, p: w / sum });
        }
        if left < 0.0 || w == 0.0 {
            break;
        }
        i += 1;
    }
    last
}
