//! A step of the host's own.

use super::candidates::{Candidate, Candidates, weight};
use crate::error::{Error, Result, try_vec};

/// A candidate as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct Weighed {
    pub token: i32,
    pub logit: f32,
    /// The softmax of the candidates' logits. The step's own changes of it mean nothing.
    pub p: f32,
}

/// A step of the host's own: it may change logits (-infinity forbids a token), bring the candidates into another order
/// and leave only the first ones of them.
pub trait HostStep: Send + Sync {
    /// Gets the candidates in no certain order and returns how many of the first ones are left.
    ///
    /// # Errors
    /// Whatever the host says; the sampling ends with it.
    fn apply(&self, candidates: &mut [Weighed]) -> Result<usize>;
}

/// Lets the host's step work and checks what it leaves: candidates that it was given, each once, with logits that
/// are numbers.
///
/// # Errors
/// `InvalidArgument` naming what is wrong, `OutOfMemory`, those of the step.
pub(super) fn apply(candidates: &mut Candidates, step: &dyn HostStep) -> Result<()> {
    candidates.settle();
    let (highest, n) = (candidates.highest(), candidates.len());
    let sum = candidates.sum(highest);
    let mut list = try_vec("candidate tokens", n, Weighed { token: 0, logit: 0.0, p: 0.0 })?;
    for (w, c) in list.iter_mut().zip(candidates.list()) {
        let p = (weight(c.logit, highest, 1.0) / sum) as f32;
        *w = Weighed { token: c.token, logit: c.logit, p };
    }
    let mut given: Vec<i32> = try_vec("candidate tokens", n, 0)?;
    given.iter_mut().zip(&list).for_each(|(g, w)| *g = w.token);
    given.sort_unstable();
    let mut taken: Vec<bool> = try_vec("candidate tokens", n, false)?;
    let left = step.apply(&mut list)?;
    let bad = |text: String| Err(Error::invalid(format!("the host's step {text}")).subject("host_step"));
    if left == 0 || left > n {
        return bad(format!("left {left} of {n} candidates, expected 1 to {n}"));
    }
    for w in &list[..left] {
        match given.binary_search(&w.token) {
            Err(_) => return bad(format!("left token {}, which was not among its candidates", w.token)),
            Ok(at) if taken[at] => return bad(format!("left token {} twice", w.token)),
            Ok(at) => taken[at] = true,
        }
        if w.logit.is_nan() {
            return bad(format!("gave token {} a logit that is no number", w.token));
        }
    }
    candidates.replace(list[..left].iter().map(|w| Candidate { token: w.token, logit: w.logit }));
    candidates.prune();
    if candidates.len() == 0 {
        return bad("forbade all candidates".to_owned());
    }
    Ok(())
}
