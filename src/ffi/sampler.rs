//! Samplers: a token chosen from a row of logits.

use std::sync::Arc;

use parking_lot::Mutex;

use super::error::rekindle_status;
use super::guard::guard;
use super::handle::{create, destroy, get, only_user};
use super::model::rekindle_model;
use super::structs::{Struct, place, read_or_default, slice};
use crate::sample::{Sampler, SamplerParams};
use crate::session::Model;

/// Chooses tokens. A sampler belongs to one conversation; a second call at the same time gets REKINDLE_BUSY.
pub struct rekindle_sampler {
    _private: (),
}

/// A number that is added to a token's logit; -INFINITY forbids the token.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_logit_bias {
    pub token: i32,
    pub bias: f32,
}

/// For rekindle_sampler_create. Zero in a field: off, or the default that is named. The order: logit_bias, penalties,
/// top_k, top_p, min_p, temperature, draw. So temperature does not change what is cut off.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_sampler_params {
    /// sizeof(rekindle_sampler_params), set by the caller.
    pub struct_size: u32,
    /// 0 means greedy: always the most likely token.
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
}

// SAFETY: repr(C), no padding, zero is valid in every field.
unsafe impl Struct for rekindle_sampler_params {
    const NAME: &'static str = "rekindle_sampler_params";
}

/// Creates a sampler; `params` may be NULL for a greedy one. On success `*sampler` is a handle that
/// rekindle_sampler_destroy ends.
///
/// REKINDLE_INVALID_ARGUMENT: a parameter out of range; the message names it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_sampler_create(
    params: *const rekindle_sampler_params,
    sampler: *mut *mut rekindle_sampler,
) -> rekindle_status {
    guard("rekindle_sampler_create", || {
        let out = place(sampler, "sampler")?;
        // SAFETY: the caller's struct and its array.
        let (p, bias) = unsafe {
            let p = read_or_default(params)?;
            (p, slice(p.logit_bias, p.n_logit_bias as usize, "logit_bias")?)
        };
        let params = SamplerParams {
            temperature: p.temperature,
            top_k: p.top_k,
            top_p: p.top_p,
            min_p: p.min_p,
            repeat_penalty: p.repeat_penalty,
            frequency_penalty: p.frequency_penalty,
            presence_penalty: p.presence_penalty,
            penalty_last_n: p.penalty_last_n,
            seed: p.seed,
            logit_bias: bias.iter().map(|b| (b.token, b.bias)).collect(),
        };
        let handle = create(Arc::new(Mutex::new(Sampler::new(params)?)))?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// Destroys a sampler. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rekindle_sampler_destroy(sampler: *mut rekindle_sampler) -> rekindle_status {
    guard("rekindle_sampler_destroy", || destroy::<Mutex<Sampler>, _>(sampler))
}

/// Chooses a token from row `row` of a model's logits, without accepting it.
///
/// REKINDLE_INVALID_ARGUMENT: there is no such row, or no logit is a number.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_sampler_sample(
    sampler: *mut rekindle_sampler,
    model: *const rekindle_model,
    row: u32,
    token: *mut i32,
) -> rekindle_status {
    guard("rekindle_sampler_sample", || {
        let (s, m) = (get::<Mutex<Sampler>, _>(sampler)?, get::<Model, _>(model)?);
        let out = place(token, "token")?;
        let chosen = m.sample(&mut *only_user(&s, "sampler")?, row)?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(chosen) };
        Ok(())
    })
}

/// Chooses a token from `n` logits of the caller's, without accepting it.
///
/// REKINDLE_INVALID_ARGUMENT: no logit is a number.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_sampler_sample_logits(
    sampler: *mut rekindle_sampler,
    logits: *const f32,
    n: usize,
    token: *mut i32,
) -> rekindle_status {
    guard("rekindle_sampler_sample_logits", || {
        let s = get::<Mutex<Sampler>, _>(sampler)?;
        let out = place(token, "token")?;
        // SAFETY: the caller's array.
        let logits = unsafe { slice(logits, n, "logits") }?;
        let chosen = only_user(&s, "sampler")?.sample(logits)?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(chosen) };
        Ok(())
    })
}

/// Tells a sampler that a token was used, for its penalties.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_sampler_accept(sampler: *mut rekindle_sampler, token: i32) -> rekindle_status {
    guard("rekindle_sampler_accept", || {
        let s = get::<Mutex<Sampler>, _>(sampler)?;
        only_user(&s, "sampler")?.accept(token);
        Ok(())
    })
}

/// Forgets the accepted tokens and starts the seed's draws over.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_sampler_reset(sampler: *mut rekindle_sampler) -> rekindle_status {
    guard("rekindle_sampler_reset", || {
        let s = get::<Mutex<Sampler>, _>(sampler)?;
        only_user(&s, "sampler")?.reset();
        Ok(())
    })
}
