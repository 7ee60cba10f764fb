//! Samplers choose a token from logits, reproducibly by seed.
//!
//! The steps, in this order: logit bias; repetition, frequency and presence penalties; then greedy, or top-k, top-p,
//! min-p, temperature and a draw. Greedy is temperature 0. This is the usual order: the cuts look at the model's own
//! probabilities, so what is cut off does not depend on the temperature.

mod rng;

use std::collections::VecDeque;

use rng::Rng;

use crate::error::{Error, Result, try_vec};

/// The parameters of sampling. Zero (or empty) means: off, or the default that is named.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SamplerParams {
    /// 0 means greedy: the most likely token.
    pub temperature: f32,
    /// Leaves only the k most likely tokens; 0: all.
    pub top_k: u32,
    /// Leaves only the most likely tokens that together have this probability; 0: all.
    pub top_p: f32,
    /// Leaves only tokens with at least this share of the most likely one's probability; 0: all.
    pub min_p: f32,
    /// Divides the positive logits of recent tokens and multiplies the negative ones; 0 or 1: off (Keskar et al. 2019,
    /// arXiv:1909.05858).
    pub repeat_penalty: f32,
    /// Taken from a recent token's logit for each time it occurs; 0: off.
    pub frequency_penalty: f32,
    /// Taken from a recent token's logit once; 0: off.
    pub presence_penalty: f32,
    /// The number of accepted tokens that count as recent; 0 means 64.
    pub penalty_last_n: u32,
    pub seed: u64,
    /// Added to the logits of these tokens; -infinity forbids one.
    pub logit_bias: Vec<(i32, f32)>,
}

const DEFAULT_LAST_N: u32 = 64;
const MAX_LAST_N: u32 = 1 << 20;

/// Draws tokens. A sampler belongs to one conversation at a time; a copy goes on by itself.
#[derive(Clone)]
pub struct Sampler {
    params: SamplerParams,
    recent: VecDeque<i32>,
    rng: Rng,
    /// (logit or probability, token), of the vocabulary's length.
    candidates: Vec<(f32, i32)>,
}

impl Sampler {
    /// # Errors
    /// `InvalidArgument` naming a parameter that is out of range or no number.
    pub fn new(params: SamplerParams) -> Result<Sampler> {
        let p = &params;
        let check = |name: &str, value: f32, low: f32, high: f32| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::invalid(format!("{name} is {value}, expected {low} to {high}")).subject(name))
        };
        check("temperature", p.temperature, 0.0, 1e6)?;
        check("top_p", p.top_p, 0.0, 1.0)?;
        check("min_p", p.min_p, 0.0, 1.0)?;
        check("repeat_penalty", p.repeat_penalty, 0.0, 1e6)?;
        check("frequency_penalty", p.frequency_penalty, -1e6, 1e6)?;
        check("presence_penalty", p.presence_penalty, -1e6, 1e6)?;
        if p.penalty_last_n > MAX_LAST_N {
            let name = "penalty_last_n";
            return Err(
                Error::invalid(format!("{name} is {}, expected at most {MAX_LAST_N}", p.penalty_last_n)).subject(name)
            );
        }
        if let Some((token, bias)) =
            p.logit_bias.iter().find(|(token, bias)| *token < 0 || bias.is_nan() || *bias == f32::INFINITY)
        {
            let text =
                format!("logit_bias of token {token} is {bias}, expected a token id and a number below infinity");
            return Err(Error::invalid(text).subject("logit_bias"));
        }
        let rng = Rng::new(params.seed);
        Ok(Sampler { params, recent: VecDeque::new(), rng, candidates: Vec::new() })
    }

    /// Chooses a token from logits `[n_vocab]`, without accepting it.
    ///
    /// # Errors
    /// `InvalidArgument` if there are no logits or none of them is a number, `OutOfMemory`.
    pub fn sample(&mut self, logits: &[f32]) -> Result<i32> {
        if self.candidates.len() != logits.len() {
            self.candidates = try_vec("candidate tokens", logits.len(), (0.0, 0))?;
        }
        for (i, (c, logit)) in self.candidates.iter_mut().zip(logits).enumerate() {
            *c = (*logit, i as i32);
        }
        for (token, bias) in &self.params.logit_bias {
            if let Some(c) = self.candidates.get_mut(*token as usize) {
                c.0 += bias;
            }
        }
        self.penalise();
        for c in &mut self.candidates {
            // A logit that is no number never wins.
            if c.0.is_nan() {
                c.0 = f32::NEG_INFINITY;
            }
        }
        let best = greedy(&self.candidates).filter(|c| c.0 > f32::NEG_INFINITY);
        let best = best.ok_or_else(|| Error::invalid("no token has a logit that is a number").subject("logits"))?;
        if self.params.temperature == 0.0 { Ok(best.1) } else { Ok(self.draw(best.0)) }
    }

    fn penalise(&mut self) {
        let p = &self.params;
        let repeat = if p.repeat_penalty == 0.0 { 1.0 } else { p.repeat_penalty };
        if repeat == 1.0 && p.frequency_penalty == 0.0 && p.presence_penalty == 0.0 {
            return;
        }
        let mut counts: Vec<i32> = self.recent.iter().copied().collect();
        counts.sort_unstable();
        for same in counts.chunk_by(|a, b| a == b) {
            let Some(c) = usize::try_from(same[0]).ok().and_then(|t| self.candidates.get_mut(t)) else { continue };
            c.0 = if c.0 > 0.0 { c.0 / repeat } else { c.0 * repeat };
            c.0 -= same.len() as f32 * p.frequency_penalty + p.presence_penalty;
        }
    }

    /// Draws one of the tokens that the cuts leave.
    fn draw(&mut self, highest: f32) -> i32 {
        let p = &self.params;
        let mut kept = std::mem::take(&mut self.candidates);
        let n_vocab = kept.len();
        // The most likely token comes first, of equals the lower id, so that a draw does not depend on the order of a
        // sort.
        let order = |a: &(f32, i32), b: &(f32, i32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        let k = if p.top_k == 0 { n_vocab } else { (p.top_k as usize).min(n_vocab) };
        if k < n_vocab {
            kept.select_nth_unstable_by(k - 1, order);
        }
        let kept_now = &mut kept[..k];
        // The cuts need sorted candidates. Without a cut the draw goes by id.
        kept_now.sort_unstable_by(order);
        // An infinite logit minus itself is no number. All the weight goes to that token.
        let weight = |logit: f32, temperature: f32| {
            f64::from(if logit == highest { 1.0 } else { ((logit - highest) / temperature).exp() })
        };
        let mut n = k;
        if p.top_p > 0.0 && p.top_p < 1.0 {
            let enough = kept_now.iter().map(|c| weight(c.0, 1.0)).sum::<f64>() * f64::from(p.top_p);
            let mut so_far = 0f64;
            n = kept_now
                .iter()
                .take_while(|c| {
                    let before = so_far;
                    so_far += weight(c.0, 1.0);
                    before < enough
                })
                .count()
                .max(1);
        }
        if p.min_p > 0.0 {
            n = kept_now[..n].partition_point(|c| weight(c.0, 1.0) >= f64::from(p.min_p)).max(1);
        }
        let mut sum = 0f64;
        for c in &mut kept_now[..n] {
            let w = weight(c.0, p.temperature);
            c.0 = w as f32;
            sum += w;
        }
        let mut left = self.rng.unit() * sum;
        let drawn = kept_now[..n].iter().find(|c| {
            left -= f64::from(c.0);
            left < 0.0
        });
        // Rounding may leave a little over. Then it is the last token.
        let token = drawn.unwrap_or(&kept_now[n - 1]).1;
        self.candidates = kept;
        token
    }

    /// Counts a token, sampled or given, as the most recent one.
    pub fn accept(&mut self, token: i32) {
        let n = if self.params.penalty_last_n == 0 { DEFAULT_LAST_N } else { self.params.penalty_last_n };
        while self.recent.len() >= n as usize {
            self.recent.pop_front();
        }
        self.recent.push_back(token);
    }

    /// Forgets the accepted tokens and starts the seed's draws over.
    pub fn reset(&mut self) {
        self.recent.clear();
        self.rng = Rng::new(self.params.seed);
    }
}

/// The highest logit, of equals the first.
fn greedy(candidates: &[(f32, i32)]) -> Option<(f32, i32)> {
    candidates.iter().copied().reduce(|best, c| if c.0 > best.0 { c } else { best })
}

#[cfg(test)]
mod tests;
