//! The steps of a sampler and their parameters.

use std::ffi::{c_char, c_void};
use std::mem::offset_of;
use std::sync::Arc;

use super::error::UserData;
use super::handle::{TextVocab, get};
use super::structs::{Struct, slice, text};
use super::vocab::rekindle_vocab;
use crate::error::{Error, Result, Status, try_copy, try_vec};
use crate::sample::{HostStep, MAX_BREAKER, MAX_STEPS, SamplerParams, Step, Weighed};

/// A number that is added to a token's logit; -INFINITY forbids the token.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_logit_bias {
    pub token: i32,
    pub bias: f32,
}

/// A text of `len` bytes of UTF-8.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_text {
    pub text: *const c_char,
    pub len: usize,
}

/// A token that may still be drawn, for a step of the host's own.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_candidate {
    pub token: i32,
    pub logit: f32,
    /// The softmax of the candidates' logits. What the step writes here means nothing.
    pub p: f32,
}

/// A step of the host's own. It gets `*n` candidates, each token once, in no certain order. It may change logits
/// (-INFINITY forbids a token), bring the candidates into another order, and set `*n` lower, which cuts off those
/// behind. It returns 0; anything else ends the sampling with REKINDLE_CANCELLED. It runs in the thread that samples,
/// and `candidates` is valid during the call. While it runs the sampler is busy.
///
/// The sampling ends with REKINDLE_INVALID_ARGUMENT if what it leaves is not among what it was given, has a token
/// twice, has a logit that is no number, or forbids all tokens.
pub type rekindle_candidates_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, candidates: *mut rekindle_candidate, n: *mut usize) -> i32>;

/// The steps of a sampler, for rekindle_sampler_params.steps.
pub const REKINDLE_STEP_PENALTIES: i32 = 1;
pub const REKINDLE_STEP_DRY: i32 = 2;
pub const REKINDLE_STEP_TOP_N_SIGMA: i32 = 3;
pub const REKINDLE_STEP_TOP_K: i32 = 4;
pub const REKINDLE_STEP_TYPICAL: i32 = 5;
pub const REKINDLE_STEP_TOP_P: i32 = 6;
pub const REKINDLE_STEP_MIN_P: i32 = 7;
pub const REKINDLE_STEP_XTC: i32 = 8;
pub const REKINDLE_STEP_TEMPERATURE: i32 = 9;
/// For text that goes between two others, behind top-k or top-p: ends the text where its end is likely, and joins
/// tokens of which one begins with the other. It needs vocab.
pub const REKINDLE_STEP_INFILL: i32 = 10;
/// The host's own step.
pub const REKINDLE_STEP_HOST: i32 = 11;

/// For rekindle_sampler_create. Zero in a field: off, or the default that is named. The order: suppressed tokens and
/// logit_bias, the steps, the draw. The steps are by default penalties, DRY, top_n_sigma, top_k, typical_p, top_p,
/// min_p, XTC, temperature. So temperature does not change what is cut off.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_sampler_params {
    /// sizeof(rekindle_sampler_params), set by the caller.
    pub struct_size: u32,
    /// 0 means greedy: always the most likely token of those that the other steps leave.
    pub temperature: f32,
    /// Leaves only the top_k most likely tokens.
    pub top_k: u32,
    /// Leaves only the most likely tokens that together have this probability, 0 to 1.
    pub top_p: f32,
    /// Leaves only tokens with at least this share of the most likely one's probability, 0 to 1.
    pub min_p: f32,
    /// Divides the positive logits of recent tokens and multiplies the negative ones; 0 or 1: off.
    pub repeat_penalty: f32,
    /// Taken off a recent token's logit: the first for each time that it occurs, the second once.
    pub frequency_penalty: f32,
    pub presence_penalty: f32,
    /// The number of accepted tokens that are recent; 0 means 64.
    pub penalty_last_n: u32,
    /// Elements of logit_bias.
    pub n_logit_bias: u32,
    /// The same seed gives the same draws.
    pub seed: u64,
    /// Copied during the call. It may be NULL if n_logit_bias is 0.
    pub logit_bias: *const rekindle_logit_bias,
    /// DRY ("don't repeat yourself"): a token that would make a repetition of n tokens longer loses
    /// dry_multiplier * dry_base^(n - dry_allowed_length) of its logit. 0: off.
    pub dry_multiplier: f32,
    /// At least 1; 0 means 1.75.
    pub dry_base: f32,
    /// Shorter repetitions are free; 0 means 2.
    pub dry_allowed_length: u32,
    /// The number of accepted tokens in which repetitions are looked for; 0 means 64.
    pub dry_last_n: u32,
    /// Texts of 1 to 40 bytes that end a repetition; n_dry_breakers of them, copied during the call. They need vocab.
    /// If vocab is given and neither texts nor tokens are, they are a line's end, a colon, a quotation mark and an
    /// asterisk.
    pub dry_breakers: *const rekindle_text,
    /// The same as token ids: one sequence after the other, each with -1 behind it; n_dry_breaker_tokens in all, copied
    /// during the call.
    pub dry_breaker_tokens: *const i32,
    pub n_dry_breakers: u32,
    pub n_dry_breaker_tokens: u32,
    /// For DRY's texts and the infill step; the tokens that its file suppresses are never drawn. The sampler does not
    /// need the handle after the call. NULL: none. Sampling from a model's rows suppresses the tokens of its file all
    /// the same.
    pub vocab: *const rekindle_vocab,
    /// Leaves only the tokens closest to the expected surprise that together have this probability; 0 or 1: all.
    pub typical_p: f32,
    /// Leaves only tokens whose logit is within so many standard deviations of the highest one.
    pub top_n_sigma: f32,
    /// XTC ("exclude top choices"): how often, 0 to 1, all tokens of at least xtc_threshold's probability but the least
    /// likely of them are taken out. xtc_threshold 0 means 0.1; above 0.5 it is off.
    pub xtc_probability: f32,
    pub xtc_threshold: f32,
    /// The temperature is at most so much lower where the model is sure and higher where it is not.
    pub dynatemp_range: f32,
    /// The entropy, as a share of the greatest one, is raised to this; 0 means 1.
    pub dynatemp_exponent: f32,
    /// 1 or 2: mirostat of that version, which takes the place of the cuts: with n_steps 0 only penalties, DRY and
    /// temperature go before it.
    pub mirostat: u32,
    /// The surprise in bits that mirostat aims at; 0 means 5.
    pub mirostat_tau: f32,
    /// The rate at which mirostat learns; 0 means 0.1.
    pub mirostat_eta: f32,
    /// Adaptive-p draws tokens near this probability, 0 to 1, in the mean of those drawn before; not with mirostat.
    pub adaptive_target: f32,
    /// The share of what adaptive-p remembers that is left after each token, at most 0.99; 0 means 0.9.
    pub adaptive_decay: f32,
    /// typical_p, top_p, min_p and XTC leave at least so many tokens; 0 means 1.
    pub min_keep: u32,
    /// REKINDLE_STEP_… in the order in which they go, at most 64; those that are missing do not go. Copied during the
    /// call; NULL with n_steps 0: the default order.
    pub steps: *const i32,
    pub n_steps: u32,
    /// The number of most likely tokens, at most 1000, for which rekindle_sampler_logprobs has log-probabilities beside
    /// those of the chosen token; 0: it has none.
    pub n_logprobs: u32,
    /// Goes where steps has REKINDLE_STEP_HOST, with host_data; NULL: there is no such step. Copies of the sampler
    /// share it.
    pub host_step: rekindle_candidates_fn,
    pub host_data: *mut c_void,
}

// SAFETY: repr(C), no padding, zero is valid in every field.
unsafe impl Struct for rekindle_sampler_params {
    const NAME: &'static str = "rekindle_sampler_params";
}

/// The host's step as the sampler calls it.
struct Host {
    call: unsafe extern "C" fn(*mut c_void, *mut rekindle_candidate, *mut usize) -> i32,
    data: UserData,
}

// SAFETY: the library does not look at the data; the header says that the step runs in the thread that samples, and
// that copies of a sampler share it.
unsafe impl Sync for Host {}

const _: () = assert!(
    size_of::<rekindle_candidate>() == size_of::<Weighed>()
        && offset_of!(rekindle_candidate, logit) == offset_of!(Weighed, logit)
        && offset_of!(rekindle_candidate, p) == offset_of!(Weighed, p)
);

impl HostStep for Host {
    fn apply(&self, candidates: &mut [Weighed]) -> Result<usize> {
        let mut n = candidates.len();
        // SAFETY: the host's function and its own pointer; both structs are repr(C) with the same fields.
        let answer = unsafe { (self.call)(self.data.get(), candidates.as_mut_ptr().cast(), &raw mut n) };
        match answer {
            0 => Ok(n),
            _ => Err(Error::new(Status::Cancelled, format!("the host's step returned {answer}")).subject("host_step")),
        }
    }
}

fn steps(numbers: &[i32]) -> Result<Vec<Step>> {
    let step = |(i, n): (usize, &i32)| {
        let text = || format!("steps[{i}] is {n}, expected a REKINDLE_STEP_…, 1 to {}", REKINDLE_STEP_HOST);
        Step::from_number(*n).ok_or_else(|| Error::invalid(text()).subject("steps"))
    };
    // More than the sampler takes need not be copied.
    numbers.iter().enumerate().take(1 + MAX_STEPS).map(step).collect()
}

/// Sequences that have -1 behind them.
fn sequences(tokens: &[i32]) -> Result<Vec<Vec<i32>>> {
    if tokens.last().is_some_and(|t| *t != -1) {
        let text = "dry_breaker_tokens has no -1 behind its last sequence";
        return Err(Error::invalid(text).subject("dry_breaker_tokens"));
    }
    let n = tokens.iter().filter(|t| **t == -1).count();
    let mut all = try_vec("dry_breaker_tokens", n, Vec::new())?;
    for (one, given) in all.iter_mut().zip(tokens.split(|t| *t == -1)) {
        *one = try_copy("dry_breaker_tokens", given)?;
    }
    Ok(all)
}

/// # Safety
/// The text is as long as it says.
unsafe fn breaker(t: &rekindle_text) -> Result<String> {
    if t.len > MAX_BREAKER {
        let text = format!("a DRY breaker has {} bytes, expected 1 to {MAX_BREAKER}", t.len);
        return Err(Error::invalid(text).subject("dry_breakers"));
    }
    // SAFETY: as the caller says.
    unsafe { text(t.text, t.len, "dry_breakers") }.map(str::to_owned)
}

fn try_map<T, U>(what: &str, from: &[T], f: impl Fn(&T) -> Result<U>) -> Result<Vec<U>> {
    let mut all = Vec::new();
    let bytes = (from.len() as u64).saturating_mul(size_of::<U>() as u64);
    all.try_reserve_exact(from.len()).map_err(|_| Error::out_of_memory(what, bytes))?;
    for one in from {
        all.push(f(one)?);
    }
    Ok(all)
}

/// # Safety
/// The arrays and texts of the struct are as long as it says.
pub(super) unsafe fn params(p: &rekindle_sampler_params) -> Result<SamplerParams> {
    // SAFETY: as the caller says.
    let (bias, texts, tokens, numbers) = unsafe {
        (
            slice(p.logit_bias, p.n_logit_bias as usize, "logit_bias")?,
            slice(p.dry_breakers, p.n_dry_breakers as usize, "dry_breakers")?,
            slice(p.dry_breaker_tokens, p.n_dry_breaker_tokens as usize, "dry_breaker_tokens")?,
            slice(p.steps, p.n_steps as usize, "steps")?,
        )
    };
    // SAFETY: as the caller says.
    let texts = try_map("dry_breakers", texts, |t| unsafe { breaker(t) })?;
    let vocab = if p.vocab.is_null() { None } else { Some(get::<TextVocab, _>(p.vocab)?.vocab.clone()) };
    let host_step = p.host_step.map(|call| Arc::new(Host { call, data: UserData(p.host_data) }) as Arc<dyn HostStep>);
    Ok(SamplerParams {
        temperature: p.temperature,
        top_k: p.top_k,
        top_p: p.top_p,
        min_p: p.min_p,
        repeat_penalty: p.repeat_penalty,
        frequency_penalty: p.frequency_penalty,
        presence_penalty: p.presence_penalty,
        penalty_last_n: p.penalty_last_n,
        seed: p.seed,
        logit_bias: try_map("logit_bias", bias, |b| Ok((b.token, b.bias)))?,
        dry_multiplier: p.dry_multiplier,
        dry_base: p.dry_base,
        dry_allowed_length: p.dry_allowed_length,
        dry_last_n: p.dry_last_n,
        dry_breakers: sequences(tokens)?,
        dry_breaker_texts: texts,
        vocab,
        typical_p: p.typical_p,
        top_n_sigma: p.top_n_sigma,
        xtc_probability: p.xtc_probability,
        xtc_threshold: p.xtc_threshold,
        dynatemp_range: p.dynatemp_range,
        dynatemp_exponent: p.dynatemp_exponent,
        mirostat: p.mirostat,
        mirostat_tau: p.mirostat_tau,
        mirostat_eta: p.mirostat_eta,
        adaptive_target: p.adaptive_target,
        adaptive_decay: p.adaptive_decay,
        min_keep: p.min_keep,
        steps: steps(numbers)?,
        n_logprobs: p.n_logprobs,
        host_step,
    })
}
