//! Adaptive-p draws tokens whose probability is near a target (github.com/ggml-org/llama.cpp/pull/17927).
//!
//! It remembers the probabilities that the drawn tokens had, as a sum that decays, and aims as far beyond the target as
//! their mean is on the other side of it. A candidate's new logit falls with its distance d from the aim, in units of
//! 0.3: 5 - 10 d^2 / (1 + d), a parabola near the aim and straight lines far from it. So it is best behind a light cut
//! alone, such as min-p.

use super::candidates::{Candidates, weight};
use super::draw::{Drawn, draw};
use super::rng::Rng;
use crate::error::{Result, try_vec};

const WIDTH: f64 = 0.3;
const PEAK: f64 = 5.0;
const SHARPNESS: f64 = 10.0;

#[derive(Debug, Clone, Copy)]
pub(super) struct Adaptive {
    target: f64,
    decay: f64,
    sum: f64,
    total: f64,
    /// The token that was drawn last, and its probability before its logit was changed.
    pub pending: Option<(i32, f64)>,
}

impl Adaptive {
    pub fn new(target: f32, decay: f32) -> Adaptive {
        let mut a =
            Adaptive { target: f64::from(target), decay: f64::from(decay), sum: 0.0, total: 0.0, pending: None };
        a.reset();
        a
    }

    /// As if every token before had the target's probability.
    pub fn reset(&mut self) {
        self.total = 1.0 / (1.0 - self.decay);
        self.sum = self.target * self.total;
        self.pending = None;
    }

    /// Changes the logits. The result has the candidates' tokens and their probabilities before that.
    ///
    /// # Errors
    /// `OutOfMemory`.
    fn apply(&self, candidates: &mut Candidates) -> Result<Vec<(i32, f64)>> {
        let (highest, temperature) = (candidates.highest(), candidates.temperature());
        let sum = candidates.sum(highest);
        let aim = (2.0 * self.target - self.sum / self.total).clamp(0.0, 1.0);
        let mut before = try_vec("candidate tokens", candidates.len(), (0, 0.0))?;
        for (b, c) in before.iter_mut().zip(candidates.list()) {
            *b = (c.token, weight(c.logit, highest, temperature) / sum);
        }
        let mut p = before.iter().map(|b| b.1);
        candidates.rate(|| {
            let d = (p.next().unwrap_or_default() - aim).abs() / WIDTH;
            (PEAK - SHARPNESS * d * d / (1.0 + d)) as f32
        });
        Ok(before)
    }

    /// Draws a token and remembers, until it is accepted, how probable it was. `None` if there are no candidates.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn draw(&mut self, candidates: &mut Candidates, rng: &mut Rng) -> Result<Option<Drawn>> {
        let before = self.apply(candidates)?;
        let drawn = draw(candidates, rng);
        self.pending = drawn.as_ref().and_then(|d| before.into_iter().find(|b| b.0 == d.candidate.token));
        Ok(drawn)
    }

    /// Learns from an accepted token, if it is the one that was drawn.
    pub fn accept(&mut self, token: i32) {
        if let Some((drawn, p)) = self.pending.take()
            && drawn == token
        {
            self.sum = p + self.decay * self.sum;
            self.total = 1.0 + self.decay * self.total;
        }
    }
}
