//! The probabilities of a sampling, as natural logarithms: those of the model, before mask, biases and steps, and those
//! of the distribution that the token was drawn from.

use super::candidates::{Candidates, weight};
use crate::error::{Error, Result};

/// A token and the natural logarithm of its probability; -infinity if it had none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Logprob {
    pub token: i32,
    pub logprob: f32,
}

/// The probabilities of one sampling.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// The chosen token, by the model's own distribution.
    pub model: Logprob,
    /// The tokens that are most likely by it, the likeliest first, of equals the lower one.
    pub model_best: Vec<Logprob>,
    /// The chosen token, by the distribution behind all steps, from which it was drawn.
    pub drawn: Logprob,
    /// The most likely tokens of those left for the draw.
    pub drawn_best: Vec<Logprob>,
}

/// A distribution: log-probabilities come from logits.
struct Scale {
    highest: f32,
    temperature: f32,
    ln_sum: f64,
}

impl Scale {
    fn logprob(&self, token: i32, logit: f32) -> Logprob {
        let above = match logit == self.highest {
            true => 0.0,
            false => f64::from(logit - self.highest) / f64::from(self.temperature),
        };
        // A logit that is no number has no probability.
        let logprob = if logit.is_nan() { f32::NEG_INFINITY } else { (above - self.ln_sum) as f32 };
        Logprob { token, logprob }
    }
}

fn list(n: usize) -> Result<Vec<Logprob>> {
    let mut v = Vec::new();
    v.try_reserve_exact(n + 1)
        .map_err(|_| Error::out_of_memory("log-probabilities", ((n + 1) * size_of::<Logprob>()) as u64))?;
    Ok(v)
}

/// The model's side: the logarithm of a token's probability by a row of logits, and the best `n`. There must be a logit
/// above -infinity.
///
/// # Errors
/// `OutOfMemory`.
pub(super) fn of_row(logits: &[f32], chosen: i32, n: usize) -> Result<(Logprob, Vec<Logprob>)> {
    let highest = logits.iter().fold(f32::NEG_INFINITY, |best, l| if *l > best { *l } else { best });
    let sum: f64 = logits.iter().filter(|l| !l.is_nan()).map(|l| weight(*l, highest, 1.0)).sum();
    let scale = Scale { highest, temperature: 1.0, ln_sum: sum.ln() };
    // The list holds logits until all are known. Each token goes behind the ones that are at least as likely.
    let mut best = list(n)?;
    for (token, logit) in logits.iter().enumerate() {
        let full = best.len() == n;
        if logit.is_nan() || full && best.last().is_none_or(|worst| worst.logprob >= *logit) {
            continue;
        }
        let at = best.partition_point(|b| b.logprob >= *logit);
        best.insert(at, Logprob { token: token as i32, logprob: *logit });
        best.truncate(n);
    }
    best.iter_mut().for_each(|b| *b = scale.logprob(b.token, b.logprob));
    let logit = usize::try_from(chosen).ok().and_then(|t| logits.get(t)).copied().unwrap_or(f32::NAN);
    Ok((scale.logprob(chosen, logit), best))
}

/// The best `n` of the candidates that are left.
///
/// # Errors
/// `OutOfMemory`.
pub(super) fn of_candidates(candidates: &mut Candidates, n: usize) -> Result<Vec<Logprob>> {
    let highest = candidates.highest();
    let scale = Scale { highest, temperature: candidates.temperature(), ln_sum: candidates.sum(highest).ln() };
    candidates.sort_to(n);
    let mut best = list(n)?;
    best.extend(candidates.list().iter().take(n).map(|c| scale.logprob(c.token, c.logit)));
    Ok(best)
}
