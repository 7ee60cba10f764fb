//! Locally typical sampling (Meister et al. 2022, arXiv:2202.00666).
//!
//! The surprise of a token is -ln p, and the entropy is the surprise that the distribution has on average. A typical
//! token surprises about as much as that. The candidates are taken by the distance of their surprise from the entropy,
//! the closest first, until they have enough probability together. So the most likely token may be cut off, too.

use super::candidates::{Candidate, Candidates, further, sort_prefix, weight};
use crate::error::{Error, Result};

struct Scored {
    distance: f64,
    p: f64,
    candidate: Candidate,
}

/// Leaves the most typical candidates that together have more than probability `enough`, and at least `min_keep`.
///
/// # Errors
/// `OutOfMemory`.
pub(super) fn apply(candidates: &mut Candidates, enough: f32, min_keep: usize) -> Result<()> {
    let (highest, temperature) = (candidates.highest(), candidates.temperature());
    let sum = candidates.sum(highest);
    let mut scored: Vec<Scored> = Vec::new();
    scored
        .try_reserve_exact(candidates.len())
        .map_err(|_| Error::out_of_memory("candidate tokens", (candidates.len() * size_of::<Scored>()) as u64))?;
    scored.extend(candidates.list().iter().map(|c| {
        let p = weight(c.logit, highest, temperature) / sum;
        Scored { distance: -p.ln(), p, candidate: *c }
    }));
    // A token without any probability adds nothing to the entropy.
    let entropy: f64 = scored.iter().filter(|s| s.p > 0.0).map(|s| s.p * s.distance).sum();
    for s in &mut scored {
        s.distance = (s.distance - entropy).abs();
    }
    let order = |a: &Scored, b: &Scored| {
        a.distance.total_cmp(&b.distance).then(b.p.total_cmp(&a.p)).then(a.candidate.token.cmp(&b.candidate.token))
    };
    let (mut so_far, mut n, mut sorted) = (0f64, 0, 0);
    while n < scored.len() && (so_far <= f64::from(enough) || n < min_keep) {
        if n == sorted {
            let k = further(n).min(scored.len());
            sort_prefix(&mut scored, sorted, k, order);
            sorted = k;
        }
        so_far += scored[n].p;
        n += 1;
    }
    candidates.replace(scored[..n].iter().map(|s| s.candidate));
    Ok(())
}
