//! Samplers, and generation with them.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::{UserData, rekindle_status};
use super::guard::guard;
use super::handle::{create, destroy, get, only_user};
use super::model::rekindle_model;
use super::structs::{Struct, check_out, place, read, read_or_default, slice, text, write};
use crate::error::Error;
use crate::sample::{Sampler, SamplerParams};
use crate::session::{GenerateParams, Model, Prompt};

/// Chooses tokens. Belongs to one conversation; a second call at the same time gets REKINDLE_BUSY.
pub struct rekindle_sampler {
    _private: (),
}

/// Added to a token's logit; -INFINITY forbids the token.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_logit_bias {
    pub token: i32,
    pub bias: f32,
}

/// For rekindle_sampler_create. Zero in a field: off, or the default that is named. The order: logit_bias, penalties, temperature,
/// top_k, min_p, top_p, draw.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_sampler_params {
    /// sizeof(rekindle_sampler_params), set by the caller.
    pub struct_size: u32,
    /// 0: greedy, always the most likely token.
    pub temperature: f32,
    /// Only the top_k most likely tokens.
    pub top_k: u32,
    /// Only the most likely tokens that together have this probability, 0 to 1.
    pub top_p: f32,
    /// Only tokens with at least this share of the most likely one's probability, 0 to 1.
    pub min_p: f32,
    /// Divides (negative ones: multiplies) the logits of recent tokens; 0 or 1: off.
    pub repeat_penalty: f32,
    /// Taken off a recent token's logit for each time it occurs, and once.
    pub frequency_penalty: f32,
    pub presence_penalty: f32,
    /// How many of the accepted tokens are recent; 0: 64.
    pub penalty_last_n: u32,
    /// Elements of logit_bias.
    pub n_logit_bias: u32,
    /// The same seed gives the same draws.
    pub seed: u64,
    /// Copied. May be NULL with n_logit_bias 0.
    pub logit_bias: *const rekindle_logit_bias,
}

// SAFETY: repr(C), no padding, zero is valid in every field.
unsafe impl Struct for rekindle_sampler_params {
    const NAME: &'static str = "rekindle_sampler_params";
}

/// Add no BOS or EOS to the prompt's text.
pub const REKINDLE_GENERATE_NO_SPECIAL: u32 = 1;
/// Read special tokens in the prompt's text. Never for text from strangers: it could end its own turn.
pub const REKINDLE_GENERATE_PARSE_SPECIAL: u32 = 2;
/// Go on past tokens that end a generation.
pub const REKINDLE_GENERATE_IGNORE_EOG: u32 = 4;

/// For rekindle_generate. Either prompt or prompt_tokens.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_generate_params {
    /// sizeof(rekindle_generate_params), set by the caller.
    pub struct_size: u32,
    /// The sequence that goes on where it ends.
    pub seq_id: i32,
    /// UTF-8 text of prompt_len bytes.
    pub prompt: *const c_char,
    pub prompt_len: usize,
    /// Or token ids.
    pub prompt_tokens: *const i32,
    pub n_prompt_tokens: usize,
    /// 0: until something else ends it.
    pub max_tokens: u32,
    /// REKINDLE_GENERATE_… added up.
    pub flags: u32,
}

// SAFETY: repr(C), no padding, zero is valid in every field.
unsafe impl Struct for rekindle_generate_params {
    const NAME: &'static str = "rekindle_generate_params";
}

/// What ended a generation: a token that does so; max_tokens; the callback; a full KV cache.
pub const REKINDLE_STOP_EOG: i32 = 1;
pub const REKINDLE_STOP_LIMIT: i32 = 2;
pub const REKINDLE_STOP_CALLBACK: i32 = 3;
pub const REKINDLE_STOP_CONTEXT_FULL: i32 = 4;

/// What a generation did.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_generate_result {
    /// sizeof(rekindle_generate_result), set by the caller.
    pub struct_size: u32,
    /// Tokens of the prompt, and tokens given to the callback.
    pub n_prompt: u32,
    pub n_generated: u32,
    /// REKINDLE_STOP_…
    pub stop: i32,
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_generate_result {
    const NAME: &'static str = "rekindle_generate_result";
}

/// Gets each token, in the calling thread, with the text that it completes: `piece_len` bytes of whole UTF-8 characters, often
/// none; not NUL-terminated, valid during the call. Text left over at the end comes with token -1, unless the callback stopped
/// it. Return 0 to go on, anything
/// else to stop. It may call rekindle_cancel and what reads the model; what writes it is REKINDLE_BUSY.
pub type rekindle_piece_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, token: i32, piece: *const c_char, piece_len: usize) -> i32>;

/// Creates a sampler; `params` may be NULL for a greedy one. On success `*sampler` is a handle to be given to
/// rekindle_sampler_destroy.
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

/// Chooses a token from row `row` of a model's logits; does not accept it.
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

/// Chooses a token from `n` logits of the caller's; does not accept it.
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

/// Decodes a prompt, then samples and decodes token after token, until one of REKINDLE_STOP_… `sampler` may be NULL for a greedy
/// one, `on_piece` and `result` may be NULL. BOS is added only where the sequence is empty. The sampler accepts the prompt's tokens and
/// each one generated; it is not reset.
///
/// Afterwards the sequence holds the prompt and all tokens generated, but for the last one, which is yet to be decoded: to go on, it is the
/// next call's prompt_tokens. After REKINDLE_STOP_EOG it holds them all; the token that ended it is neither given nor decoded.
///
/// As rekindle_decode; a prompt that finds no room is REKINDLE_CONTEXT_FULL and changes nothing. A prompt of several batches that fails
/// or is cancelled leaves the sequence as it was, or empty where layers with a window have moved past it. What fails or is cancelled
/// after the prompt leaves prompt and tokens in the sequence, as far as they were decoded (rekindle_seq_length tells how far).
/// REKINDLE_INVALID_ARGUMENT: a prompt without tokens. REKINDLE_UNSUPPORTED: a text for a model without a known tokeniser (token ids
/// work).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_generate(
    model: *mut rekindle_model,
    sampler: *mut rekindle_sampler,
    params: *const rekindle_generate_params,
    on_piece: rekindle_piece_fn,
    user_data: *mut c_void,
    result: *mut rekindle_generate_result,
) -> rekindle_status {
    guard("rekindle_generate", || {
        let m = get::<Model, _>(model)?;
        let s = match sampler.is_null() {
            true => Arc::new(Mutex::new(Sampler::new(SamplerParams::default())?)),
            false => get::<Mutex<Sampler>, _>(sampler)?,
        };
        if !result.is_null() {
            check_out(result)?;
        }
        // SAFETY: the caller's struct, text and array.
        let (p, prompt, tokens) = unsafe {
            let p = read(params)?;
            (p, text(p.prompt, p.prompt_len, "prompt")?, slice(p.prompt_tokens, p.n_prompt_tokens, "prompt_tokens")?)
        };
        let known = REKINDLE_GENERATE_NO_SPECIAL | REKINDLE_GENERATE_PARSE_SPECIAL | REKINDLE_GENERATE_IGNORE_EOG;
        if p.flags & !known != 0 {
            return Err(Error::invalid(format!("flags is {:#x}, known are {known:#x}", p.flags)).subject("flags"));
        }
        if !prompt.is_empty() && !tokens.is_empty() {
            return Err(Error::invalid("both prompt and prompt_tokens are given").subject("prompt"));
        }
        let params = GenerateParams {
            prompt: if tokens.is_empty() { Prompt::Text(prompt) } else { Prompt::Tokens(tokens) },
            seq_id: p.seq_id,
            max_tokens: p.max_tokens,
            no_special: p.flags & REKINDLE_GENERATE_NO_SPECIAL != 0,
            parse_special: p.flags & REKINDLE_GENERATE_PARSE_SPECIAL != 0,
            ignore_eog: p.flags & REKINDLE_GENERATE_IGNORE_EOG != 0,
        };
        let data = UserData(user_data);
        let mut call = |token: i32, piece: &[u8]| match on_piece {
            None => true,
            // SAFETY: the host's function and its own pointer.
            Some(f) => unsafe { f(data.get(), token, piece.as_ptr().cast(), piece.len()) == 0 },
        };
        let mut s = only_user(&s, "sampler")?;
        let r = m.generate(&mut s, &params, &mut call)?;
        if !result.is_null() {
            let value = rekindle_generate_result {
                struct_size: 0,
                n_prompt: r.n_prompt,
                n_generated: r.n_generated,
                stop: r.stop as i32,
            };
            // SAFETY: the caller's struct.
            unsafe { write(result, &value) }?;
        }
        Ok(())
    })
}
