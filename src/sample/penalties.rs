//! Penalties for tokens that came already, by how often they are among the last accepted ones.
//!
//! The repetition penalty divides a positive logit and multiplies a negative one (Keskar et al. 2019,
//! arXiv:1909.05858). Then the frequency penalty is taken off for each time that the token came, and the presence
//! penalty once.

use super::candidates::Candidates;
use super::params::SamplerParams;
use crate::error::{Result, try_copy};

/// True if no penalty changes anything.
pub(super) fn off(p: &SamplerParams) -> bool {
    repeat(p) == 1.0 && p.frequency_penalty == 0.0 && p.presence_penalty == 0.0
}

fn repeat(p: &SamplerParams) -> f32 {
    if p.repeat_penalty == 0.0 { 1.0 } else { p.repeat_penalty }
}

/// # Errors
/// `OutOfMemory`.
pub(super) fn apply(candidates: &mut Candidates, p: &SamplerParams, recent: &[i32]) -> Result<()> {
    candidates.settle();
    let repeat = repeat(p);
    let mut recent = try_copy("accepted tokens", recent)?;
    recent.sort_unstable();
    for same in recent.chunk_by(|a, b| a == b) {
        candidates.change(same[0], |logit| {
            let logit = if logit > 0.0 { logit / repeat } else { logit * repeat };
            logit - (same.len() as f32 * p.frequency_penalty + p.presence_penalty)
        });
    }
    Ok(())
}
