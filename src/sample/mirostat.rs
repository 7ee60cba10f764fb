//! Mirostat keeps the surprise of a text near a target (Basu et al. 2020, arXiv:2007.14966).
//!
//! The surprise of a token is -log2 of its probability. `mu` is the largest surprise that is allowed; it starts at
//! twice the target `tau` and moves against the error of each draw, by the share `eta`.
//!
//! Version 2 cuts off what would surprise more than `mu`. Version 1 finds the number of tokens to leave from Zipf's
//! law: it estimates the law's exponent s from the most likely tokens and takes the k at which the expected surprise is
//! `mu` (equation 30 there).

use super::candidates::{Candidates, weight};

/// The tokens that version 1 estimates the exponent from, as in the paper.
const ESTIMATE_FROM: usize = 100;

#[derive(Debug, Clone, Copy)]
pub(super) struct Mirostat {
    pub version: u32,
    tau: f32,
    eta: f32,
    mu: f32,
}

impl Mirostat {
    pub fn new(version: u32, tau: f32, eta: f32) -> Mirostat {
        Mirostat { version, tau, eta, mu: 2.0 * tau }
    }

    /// Leaves the candidates that may be drawn; at least one stays.
    pub fn cut(&self, candidates: &mut Candidates, n_vocab: usize) {
        if self.version == 1 {
            let k = self.number(candidates, n_vocab);
            candidates.keep_first(k.max(1));
        } else {
            let (highest, temperature) = (candidates.highest(), candidates.temperature());
            let sum = candidates.sum(highest);
            let mu = f64::from(self.mu);
            if sum.log2() > mu {
                // Even the most likely one surprises too much.
                candidates.keep_first(1);
            } else {
                candidates.keep_likely(|logit| -(weight(logit, highest, temperature) / sum).log2() <= mu);
            }
        }
    }

    fn number(&self, candidates: &mut Candidates, n_vocab: usize) -> usize {
        candidates.sort_to(ESTIMATE_FROM);
        let temperature = candidates.temperature();
        let first = &candidates.list()[..candidates.len().min(ESTIMATE_FROM)];
        // The slope of the logarithms of probabilities over those of ranks, by least squares.
        let (mut tb, mut tt) = (0f64, 0f64);
        for (i, pair) in first.windows(2).enumerate() {
            let t = ((i + 2) as f64 / (i + 1) as f64).ln();
            let b = f64::from(pair[0].logit - pair[1].logit) / f64::from(temperature);
            tb += t * b;
            tt += t * t;
        }
        if tt == 0.0 {
            return 1;
        }
        let s = tb / tt;
        let e = s - 1.0;
        // The factor's limit for s = 1, where both parts of the fraction are 0.
        let factor = if e.abs() < 1e-9 { 1.0 / (n_vocab as f64).ln() } else { e / (1.0 - (n_vocab as f64).powf(-e)) };
        // A conversion ends at the largest number; what is no number becomes 0.
        (factor * f64::from(self.mu).exp2()).powf(1.0 / s) as usize
    }

    /// Learns from a token that was drawn with probability `p`.
    pub fn learn(&mut self, p: f64) {
        let error = -p.log2() as f32 - self.tau;
        self.mu -= self.eta * error;
    }

    pub fn reset(&mut self) {
        self.mu = 2.0 * self.tau;
    }
}
