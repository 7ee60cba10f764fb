//! The sampler: it goes through the steps and draws.

use std::sync::Arc;

use super::adaptive::Adaptive;
use super::candidates::Candidates;
use super::draw::{Drawn, draw};
use super::dry::{self, Breakers};
use super::history::History;
use super::logprobs::{Logprob, Logprobs, of_candidates, of_row};
use super::mirostat::Mirostat;
use super::params::{SamplerParams, Step};
use super::rng::Rng;
use super::{cuts, host, infill, penalties, temperature, typical, xtc};
use crate::error::{Error, Result};

/// The logits that a token is chosen from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Row<'a> {
    /// `[n_vocab]`
    pub logits: &'a [f32],
    /// The tokens that are allowed, as a set of bits: token t is bit t % 32 of word t / 32. Tokens behind its end are
    /// not allowed. `None` allows all.
    pub allowed: Option<&'a [u32]>,
    /// Tokens that the file forbids; those behind the end of `logits` mean nothing.
    pub suppressed: &'a [i32],
}

impl Row<'_> {
    fn may(&self, token: i32) -> bool {
        let Ok(t) = usize::try_from(token) else { return false };
        let allowed = self.allowed.is_none_or(|set| set.get(t / 32).is_some_and(|word| word >> (t % 32) & 1 == 1));
        allowed && t < self.logits.len() && !self.suppressed.contains(&token)
    }
}

/// Draws tokens. A sampler belongs to one conversation at a time, and what it draws depends on that conversation and
/// its parameters alone.
pub struct Sampler {
    params: Arc<SamplerParams>,
    chain: Arc<[Step]>,
    breakers: Arc<Breakers>,
    history: History,
    rng: Rng,
    pub(super) mirostat: Option<Mirostat>,
    pub(super) adaptive: Option<Adaptive>,
    candidates: Candidates,
    logprobs: Option<Logprobs>,
}

impl Sampler {
    /// # Errors
    /// `InvalidArgument` naming a parameter that is out of range, no number, or lacks another one; `OutOfMemory`.
    pub fn new(params: SamplerParams) -> Result<Sampler> {
        params.check()?;
        let p = &params;
        let breakers = Breakers::new(p)?;
        let n = if p.dry() { p.penalty_last_n().max(p.dry_last_n()) } else { p.penalty_last_n() };
        let mirostat = Mirostat::new(p.mirostat, p.mirostat_tau(), p.mirostat_eta());
        let adaptive = Adaptive::new(p.adaptive_target, p.adaptive_decay());
        Ok(Sampler {
            chain: p.chain().into(),
            breakers: Arc::new(breakers),
            history: History::new(n)?,
            rng: Rng::new(p.seed),
            mirostat: Some(mirostat).filter(|_| p.mirostat != 0),
            adaptive: Some(adaptive).filter(|_| p.adaptive_target > 0.0),
            candidates: Candidates::default(),
            logprobs: None,
            params: Arc::new(params),
        })
    }

    /// A sampler in the same state, from which both go on alone. A step of the host's own is shared.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn copy(&self) -> Result<Sampler> {
        Ok(Sampler {
            params: self.params.clone(),
            chain: self.chain.clone(),
            breakers: self.breakers.clone(),
            history: self.history.copy()?,
            rng: self.rng.clone(),
            mirostat: self.mirostat,
            adaptive: self.adaptive,
            // Its contents mean nothing between two calls.
            candidates: Candidates::default(),
            logprobs: self.logprobs.clone(),
        })
    }

    /// Chooses a token from logits `[n_vocab]`, without accepting it.
    ///
    /// # Errors
    /// `InvalidArgument` if there are no logits, none of them is a number, or a step of the host's own leaves what it
    /// must not; `OutOfMemory`; whatever the host's step gives.
    pub fn sample(&mut self, logits: &[f32]) -> Result<i32> {
        self.sample_row(&Row { logits, ..Row::default() })
    }

    /// Chooses a token from a row of which some tokens are forbidden.
    ///
    /// # Errors
    /// As for `sample`; `InvalidArgument`, too, if no token is allowed.
    pub fn sample_row(&mut self, row: &Row) -> Result<i32> {
        self.logprobs = None;
        self.candidates.fill(row.logits)?;
        if let Some(allowed) = row.allowed {
            self.candidates.mask(allowed);
        }
        let drawn = self.draw(row)?;
        if self.params.n_logprobs > 0 {
            self.report(row, drawn.candidate.token, drawn.p)?;
        }
        Ok(drawn.candidate.token)
    }

    /// Chooses the only token that is allowed, without its logits: the sampler is afterwards as `sample_row` leaves it,
    /// so later draws are the same. There are no probabilities of it, and a step of the host's own would see a logit
    /// of 0: see [`Sampler::shows_logits`].
    ///
    /// # Errors
    /// `InvalidArgument` if biases or `suppressed` forbid it, `OutOfMemory`.
    pub fn sample_only(&mut self, token: i32, suppressed: &[i32]) -> Result<()> {
        self.logprobs = None;
        self.candidates.fill_one(token);
        self.draw(&Row { logits: &[], allowed: Some(&[]), suppressed }).map(|_| ())
    }

    /// True if the host sees logits: probabilities that are kept, or those that a step of its own gets.
    pub fn shows_logits(&self) -> bool {
        self.params.n_logprobs > 0 || self.params.host_step.is_some()
    }

    /// Goes through the steps with the candidates that the mask has left, and draws.
    fn draw(&mut self, row: &Row) -> Result<Drawn> {
        self.start(row)?;
        for i in 0..self.chain.len() {
            self.step(self.chain[i], row)?;
        }
        self.choose(row.logits.len())
    }

    /// Biases.
    fn start(&mut self, row: &Row) -> Result<()> {
        let c = &mut self.candidates;
        let file = self.params.vocab.as_ref().map_or(&[][..], |v| v.suppressed());
        for token in row.suppressed.iter().chain(file) {
            c.change(*token, |_| f32::NEG_INFINITY);
        }
        for (token, bias) in &self.params.logit_bias {
            c.change(*token, |logit| logit + bias);
        }
        c.prune();
        if c.len() > 0 {
            return Ok(());
        }
        let text = match row.allowed.is_some() || !row.suppressed.is_empty() {
            true => "no token that is allowed has a logit that is a number",
            false => "no token has a logit that is a number",
        };
        Err(Error::invalid(text).subject("logits"))
    }

    fn step(&mut self, step: Step, row: &Row) -> Result<()> {
        let (c, p) = (&mut self.candidates, &*self.params);
        let min_keep = p.min_keep as usize;
        match step {
            Step::Penalties => penalties::apply(c, p, self.history.last(p.penalty_last_n()))?,
            Step::Dry => dry::apply(c, p, &self.breakers, self.history.last(p.dry_last_n()))?,
            Step::TopNSigma => cuts::top_n_sigma(c, p.top_n_sigma),
            Step::TopK => cuts::top_k(c, p.top_k as usize),
            Step::Typical => typical::apply(c, p.typical_p, min_keep)?,
            Step::TopP => cuts::top_p(c, p.top_p, min_keep),
            Step::MinP => cuts::min_p(c, p.min_p, min_keep),
            Step::Xtc => xtc::apply(c, p.xtc_probability, p.xtc_threshold(), min_keep, &mut self.rng),
            Step::Temperature => temperature::apply(c, p.temperature, p.dynatemp_range, p.dynatemp_exponent()),
            Step::Infill => {
                if let Some(vocab) = &p.vocab {
                    infill::apply(c, vocab, |token| row.may(token))?;
                }
            }
            Step::Host => {
                if let Some(step) = &p.host_step {
                    host::apply(c, &**step)?;
                }
            }
        }
        Ok(())
    }

    /// Draws a candidate.
    fn choose(&mut self, n_vocab: usize) -> Result<Drawn> {
        let none = || Error::invalid("no token can be drawn: penalties made all logits infinite").subject("logits");
        let c = &mut self.candidates;
        if self.params.greedy() {
            let candidate = c.best().ok_or_else(none)?;
            return Ok(Drawn { candidate, p: 1.0 });
        }
        if let Some(m) = &mut self.mirostat {
            m.cut(c, n_vocab);
            let drawn = draw(c, &mut self.rng).ok_or_else(none)?;
            m.learn(drawn.p);
            return Ok(drawn);
        }
        if let Some(a) = &mut self.adaptive {
            return a.draw(c, &mut self.rng)?.ok_or_else(none);
        }
        draw(c, &mut self.rng).ok_or_else(none)
    }

    fn report(&mut self, row: &Row, token: i32, p: f64) -> Result<()> {
        let n = self.params.n_logprobs as usize;
        let (model, model_best) = of_row(row.logits, token, n)?;
        let drawn = Logprob { token, logprob: p.ln() as f32 };
        let drawn_best = of_candidates(&mut self.candidates, n)?;
        self.logprobs = Some(Logprobs { model, model_best, drawn, drawn_best });
        Ok(())
    }

    /// The probabilities of the last sampling; `None` if it failed, there was none, or `n_logprobs` is 0.
    pub fn logprobs(&self) -> Option<&Logprobs> {
        self.logprobs.as_ref()
    }

    /// Counts a token, sampled or given, as the most recent one.
    pub fn accept(&mut self, token: i32) {
        self.history.push(token);
        if let Some(a) = &mut self.adaptive {
            a.accept(token);
        }
    }

    /// Forgets the accepted tokens and starts the seed's draws over.
    pub fn reset(&mut self) {
        self.history.clear();
        self.rng = Rng::new(self.params.seed);
        self.mirostat.iter_mut().for_each(Mirostat::reset);
        self.adaptive.iter_mut().for_each(Adaptive::reset);
        self.logprobs = None;
    }
}
