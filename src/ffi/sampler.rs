//! Samplers: a token chosen from a row of logits.

use std::sync::Arc;

use crate::sync::Mutex;

use super::error::rekindle_status;
use super::guard::guard;
use super::handle::{create, destroy, get, only_user};
use super::model::rekindle_model;
use super::output;
use super::steps::{self, rekindle_sampler_params};
use super::structs::{place, read_or_default, slice};
use crate::error::{Error, Result};
use crate::sample::{Logprob, Logprobs, Sampler};
use crate::session::Model;

/// Chooses tokens. A sampler belongs to one conversation; a second call at the same time gets REKINDLE_BUSY.
pub struct rekindle_sampler {
    _private: (),
}

/// Creates a sampler; `params` may be NULL for a greedy one. On success `*sampler` is a handle that
/// rekindle_sampler_destroy ends.
///
/// REKINDLE_INVALID_ARGUMENT: a parameter out of range, or one that lacks another; the message names it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_sampler_create(
    params: *const rekindle_sampler_params,
    sampler: *mut *mut rekindle_sampler,
) -> rekindle_status {
    guard("rekindle_sampler_create", || {
        let out = place(sampler, "sampler")?;
        // SAFETY: the caller's struct, its arrays and texts.
        let params = unsafe { steps::params(&read_or_default(params)?) }?;
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

/// Copies a sampler with its accepted tokens and its place in the seed's draws; from then on both go on alone. On
/// success `*copy` is a handle that rekindle_sampler_destroy ends.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_sampler_copy(
    sampler: *const rekindle_sampler,
    copy: *mut *mut rekindle_sampler,
) -> rekindle_status {
    guard("rekindle_sampler_copy", || {
        let s = get::<Mutex<Sampler>, _>(sampler)?;
        let out = place(copy, "copy")?;
        let other = only_user(&s, "sampler")?.copy()?;
        let handle = create(Arc::new(Mutex::new(other)))?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// A token and the natural logarithm of its probability; -INFINITY if it had none.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_logprob {
    pub token: i32,
    pub logprob: f32,
}

/// By the model's own distribution, before biases and steps.
pub const REKINDLE_LOGPROBS_MODEL: i32 = 0;
/// By the distribution behind all steps, from which the token was drawn. A greedy sampler has one token there.
pub const REKINDLE_LOGPROBS_DRAWN: i32 = 1;

/// Writes what a caller asks for of the probabilities of a sampling.
///
/// # Safety
/// `chosen` is null or writable; the others as for `output::array`.
pub(super) unsafe fn give_logprobs(
    logprobs: Option<&Logprobs>,
    distribution: i32,
    chosen: *mut rekindle_logprob,
    buffer: *mut rekindle_logprob,
    capacity: usize,
    needed: *mut usize,
) -> Result<()> {
    let none = "there are no log-probabilities: n_logprobs is 0, nothing was sampled, or the last sampling failed";
    let l = logprobs.ok_or_else(|| Error::not_found(none).subject("n_logprobs"))?;
    let (token, best) = match distribution {
        REKINDLE_LOGPROBS_MODEL => (&l.model, &l.model_best),
        REKINDLE_LOGPROBS_DRAWN => (&l.drawn, &l.drawn_best),
        _ => {
            let text = format!("distribution is {distribution}, expected a REKINDLE_LOGPROBS_…, 0 or 1");
            return Err(Error::invalid(text).subject("distribution"));
        }
    };
    let entry = |l: &Logprob| rekindle_logprob { token: l.token, logprob: l.logprob };
    let best: Vec<rekindle_logprob> = best.iter().map(entry).collect();
    if !chosen.is_null() {
        // SAFETY: not null, so the caller's place for the result.
        unsafe { chosen.write(entry(token)) };
        if buffer.is_null() && capacity == 0 && needed.is_null() {
            return Ok(());
        }
    }
    // SAFETY: the caller's buffer.
    unsafe { output::array(&best, buffer, capacity, needed) }
}

/// Tells how probable the last sampled token was, by one of the REKINDLE_LOGPROBS_… distributions: `*chosen` gets the
/// token and may be NULL, `buffer` the n_logprobs most likely tokens (fewer if fewer are left), the likeliest first.
/// Array: buffer, capacity, needed; all three may be NULL or 0 if only `chosen` is wanted.
///
/// REKINDLE_NOT_FOUND: n_logprobs of the sampler's parameters is 0, or there was no sampling since it was created or
/// reset, or the last one failed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_sampler_logprobs(
    sampler: *const rekindle_sampler,
    distribution: i32,
    chosen: *mut rekindle_logprob,
    buffer: *mut rekindle_logprob,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_sampler_logprobs", || {
        let s = get::<Mutex<Sampler>, _>(sampler)?;
        let s = only_user(&s, "sampler")?;
        // SAFETY: the caller's places and buffer.
        unsafe { give_logprobs(s.logprobs(), distribution, chosen, buffer, capacity, needed) }
    })
}
