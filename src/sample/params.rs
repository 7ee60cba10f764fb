//! The parameters of sampling, their defaults and their ranges.

use std::sync::Arc;

use super::host::HostStep;
use super::penalties;
use crate::error::{Error, Result};
use crate::vocab::Vocab;

/// A step between the biases and the draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Step {
    Penalties = 1,
    Dry = 2,
    TopNSigma = 3,
    TopK = 4,
    Typical = 5,
    TopP = 6,
    MinP = 7,
    Xtc = 8,
    Temperature = 9,
    Infill = 10,
    Host = 11,
}

impl Step {
    pub fn from_number(n: i32) -> Option<Step> {
        use Step::*;
        let all = [Penalties, Dry, TopNSigma, TopK, Typical, TopP, MinP, Xtc, Temperature, Infill, Host];
        all.into_iter().find(|s| *s as i32 == n)
    }
}

/// The order of the field: what changes logits, the cuts, the temperature.
pub const DEFAULT_STEPS: [Step; 9] = [
    Step::Penalties,
    Step::Dry,
    Step::TopNSigma,
    Step::TopK,
    Step::Typical,
    Step::TopP,
    Step::MinP,
    Step::Xtc,
    Step::Temperature,
];

/// The default steps before mirostat, which is a cut of its own.
const MIROSTAT_STEPS: [Step; 3] = [Step::Penalties, Step::Dry, Step::Temperature];

/// The texts that end a repetition for DRY, if there is a vocabulary and none are given.
pub const DEFAULT_BREAKERS: [&str; 4] = ["\n", ":", "\"", "*"];

/// The longest text of a breaker, in bytes.
pub const MAX_BREAKER: usize = 40;

/// The parameters of sampling. Zero (or empty) means: off, or the default that is named.
#[derive(Clone, Default)]
pub struct SamplerParams {
    /// 0 means greedy: the most likely token of those that the other steps leave.
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
    /// DRY: a token that would make a repetition of n tokens longer loses multiplier * base^(n - allowed length). 0:
    /// off.
    pub dry_multiplier: f32,
    /// At least 1; 0 means 1.75.
    pub dry_base: f32,
    /// Shorter repetitions are free; 0 means 2.
    pub dry_allowed_length: u32,
    /// The number of accepted tokens in which repetitions are looked for; 0 means 64.
    pub dry_last_n: u32,
    /// Tokens, in order, that end a repetition.
    pub dry_breakers: Vec<Vec<i32>>,
    /// Texts that end a repetition, of 1 to 40 bytes. They need a vocabulary. If there is one and neither texts nor
    /// tokens are given, they are [`DEFAULT_BREAKERS`].
    pub dry_breaker_texts: Vec<String>,
    /// For the texts of DRY and for `Infill`.
    pub vocab: Option<Arc<Vocab>>,
    /// Leaves only the most typical tokens that together have this probability; 0 or 1: all.
    pub typical_p: f32,
    /// Leaves only tokens whose logit is within so many standard deviations of the highest one; 0: all.
    pub top_n_sigma: f32,
    /// The share of draws in which the most likely tokens are taken out; 0: never.
    pub xtc_probability: f32,
    /// They are those with at least this probability, but for the least likely of them; 0 means 0.1, above 0.5: off.
    pub xtc_threshold: f32,
    /// Makes the temperature dynamic: at most so much below or above; 0: off.
    pub dynatemp_range: f32,
    /// The entropy's share is raised to this; 0 means 1.
    pub dynatemp_exponent: f32,
    /// 1 or 2: mirostat of that version takes the place of the cuts, unless `steps` names some; 0: off.
    pub mirostat: u32,
    /// The surprise in bits that mirostat aims at; 0 means 5.
    pub mirostat_tau: f32,
    /// The rate at which mirostat learns; 0 means 0.1.
    pub mirostat_eta: f32,
    /// Adaptive-p draws tokens whose probability is near this one; 0: off.
    pub adaptive_target: f32,
    /// The share of what adaptive-p remembers that is left after a token, at most 0.99; 0 means 0.9.
    pub adaptive_decay: f32,
    /// Top-p, min-p, typical and XTC leave at least so many tokens; 0 means 1.
    pub min_keep: u32,
    /// The steps in their order; empty means [`DEFAULT_STEPS`]. A step that is off does nothing.
    pub steps: Vec<Step>,
    /// The host's own step, for where `steps` has [`Step::Host`].
    pub host_step: Option<Arc<dyn HostStep>>,
    /// The number of most likely tokens whose log-probabilities are kept with those of each chosen token, at most 1000;
    /// 0: none are kept.
    pub n_logprobs: u32,
}

const DEFAULT_LAST_N: u32 = 64;
const MAX_LAST_N: u32 = 1 << 20;
/// The steps that a sampler may have at most.
pub const MAX_STEPS: usize = 64;
const MAX_LOGPROBS: u32 = 1000;

fn or(value: f32, default: f32) -> f32 {
    if value == 0.0 { default } else { value }
}

fn or_number(value: u32, default: u32) -> usize {
    if value == 0 { default as usize } else { value as usize }
}

impl SamplerParams {
    /// # Errors
    /// `InvalidArgument` naming a parameter that is out of range, no number, or lacks another one.
    pub(super) fn check(&self) -> Result<()> {
        let real = |name: &str, value: f32, low: f32, high: f32| match (low..=high).contains(&value) {
            true => Ok(()),
            false => Err(Error::invalid(format!("{name} is {value}, expected {low} to {high}")).subject(name)),
        };
        let number = |name: &str, value: u64, most: u64| match value <= most {
            true => Ok(()),
            false => Err(Error::invalid(format!("{name} is {value}, expected at most {most}")).subject(name)),
        };
        real("temperature", self.temperature, 0.0, 1e6)?;
        real("top_p", self.top_p, 0.0, 1.0)?;
        real("min_p", self.min_p, 0.0, 1.0)?;
        real("repeat_penalty", self.repeat_penalty, 0.0, 1e6)?;
        real("frequency_penalty", self.frequency_penalty, -1e6, 1e6)?;
        real("presence_penalty", self.presence_penalty, -1e6, 1e6)?;
        number("penalty_last_n", self.penalty_last_n.into(), MAX_LAST_N.into())?;
        if let Some((token, bias)) =
            self.logit_bias.iter().find(|(token, bias)| *token < 0 || bias.is_nan() || *bias == f32::INFINITY)
        {
            let text =
                format!("logit_bias of token {token} is {bias}, expected a token id and a number below infinity");
            return Err(Error::invalid(text).subject("logit_bias"));
        }
        real("dry_multiplier", self.dry_multiplier, 0.0, 1e6)?;
        real("dry_base", self.dry_base(), 1.0, 1e6)?;
        number("dry_allowed_length", self.dry_allowed_length.into(), MAX_LAST_N.into())?;
        number("dry_last_n", self.dry_last_n.into(), MAX_LAST_N.into())?;
        real("typical_p", self.typical_p, 0.0, 1.0)?;
        real("top_n_sigma", self.top_n_sigma, 0.0, 1e6)?;
        real("xtc_probability", self.xtc_probability, 0.0, 1.0)?;
        real("xtc_threshold", self.xtc_threshold, 0.0, 1.0)?;
        real("dynatemp_range", self.dynatemp_range, 0.0, 1e6)?;
        real("dynatemp_exponent", self.dynatemp_exponent, 0.0, 1e6)?;
        number("mirostat", self.mirostat.into(), 2)?;
        real("mirostat_tau", self.mirostat_tau, 0.0, 1e6)?;
        real("mirostat_eta", self.mirostat_eta, 0.0, 1e6)?;
        real("adaptive_target", self.adaptive_target, 0.0, 1.0)?;
        real("adaptive_decay", self.adaptive_decay, 0.0, 0.99)?;
        number("n_logprobs", self.n_logprobs.into(), MAX_LOGPROBS.into())?;
        number("n_steps", self.steps.len() as u64, MAX_STEPS as u64)?;
        self.check_together()
    }

    fn check_together(&self) -> Result<()> {
        let bad = |name: &str, text: &str| Err(Error::invalid(text).subject(name));
        let host = self.steps.contains(&Step::Host);
        match (&self.host_step, host) {
            (None, true) => return bad("host_step", "steps has the host's own step, but host_step is not given"),
            (Some(_), false) => return bad("steps", "host_step is given, but steps does not say where it goes"),
            _ => (),
        }
        if self.mirostat != 0 && self.adaptive_target != 0.0 {
            return bad("adaptive_target", "mirostat and adaptive_target are given, but only one of them can draw");
        }
        if self.vocab.is_none() && self.steps.contains(&Step::Infill) {
            return bad("vocab", "steps has the infill step, which needs a vocabulary, but vocab is not given");
        }
        if self.vocab.is_none() && !self.dry_breaker_texts.is_empty() {
            return bad("vocab", "dry_breakers are texts, which need a vocabulary, but vocab is not given");
        }
        Ok(())
    }

    /// The steps that change something, in their order.
    pub(super) fn chain(&self) -> Vec<Step> {
        let order: &[Step] = match (self.steps.is_empty(), self.mirostat) {
            (false, _) => &self.steps,
            (true, 0) => &DEFAULT_STEPS,
            (true, _) => &MIROSTAT_STEPS,
        };
        let mut chain: Vec<Step> = order.iter().copied().filter(|s| !self.off(*s)).collect();
        // The most likely token is left by all other cuts, so a greedy sampler needs none.
        let elsewhere = |s: &Step| matches!(s, Step::Typical | Step::Xtc | Step::Infill | Step::Host);
        if self.greedy() && !chain.iter().any(elsewhere) {
            chain.retain(|s| !matches!(s, Step::TopNSigma | Step::TopK | Step::TopP | Step::MinP));
        }
        chain
    }

    fn off(&self, step: Step) -> bool {
        match step {
            Step::Penalties => penalties::off(self),
            Step::Dry => !self.dry(),
            Step::TopNSigma => self.top_n_sigma == 0.0,
            Step::TopK => self.top_k == 0,
            Step::Typical => self.typical_p == 0.0 || self.typical_p == 1.0,
            Step::TopP => self.top_p == 0.0 || self.top_p == 1.0,
            Step::MinP => self.min_p == 0.0,
            Step::Xtc => self.xtc_probability == 0.0 || self.xtc_threshold > 0.5,
            Step::Temperature => self.temperature == 1.0 && self.dynatemp_range == 0.0,
            Step::Infill | Step::Host => false,
        }
    }

    /// True if the most likely token is taken, without a draw.
    pub(super) fn greedy(&self) -> bool {
        let heats = self.steps.is_empty() || self.steps.contains(&Step::Temperature);
        heats && self.temperature == 0.0 && self.dynatemp_range == 0.0
    }
    /// True if DRY is on, wherever it goes.
    pub(super) fn dry(&self) -> bool {
        self.dry_multiplier != 0.0
    }
    pub(super) fn penalty_last_n(&self) -> usize {
        or_number(self.penalty_last_n, DEFAULT_LAST_N)
    }
    pub(super) fn dry_base(&self) -> f32 {
        or(self.dry_base, 1.75)
    }
    pub(super) fn dry_allowed_length(&self) -> usize {
        or_number(self.dry_allowed_length, 2)
    }
    pub(super) fn dry_last_n(&self) -> usize {
        or_number(self.dry_last_n, DEFAULT_LAST_N)
    }
    pub(super) fn xtc_threshold(&self) -> f32 {
        or(self.xtc_threshold, 0.1)
    }
    pub(super) fn dynatemp_exponent(&self) -> f32 {
        or(self.dynatemp_exponent, 1.0)
    }
    pub(super) fn mirostat_tau(&self) -> f32 {
        or(self.mirostat_tau, 5.0)
    }
    pub(super) fn mirostat_eta(&self) -> f32 {
        or(self.mirostat_eta, 0.1)
    }
    pub(super) fn adaptive_decay(&self) -> f32 {
        or(self.adaptive_decay, 0.9)
    }
}
