//! Generation: a prompt in, text out, token by token, in one call.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use crate::sync::Mutex;

use super::error::{UserData, rekindle_status};
use super::guard::guard;
use super::handle::{get, only_user};
use super::model::rekindle_model;
use super::sampler::rekindle_sampler;
use super::structs::{Struct, check_out, read, slice, text, write};
use crate::error::Error;
use crate::sample::{Sampler, SamplerParams};
use crate::session::{GenerateParams, Model, Prompt};

/// Add neither BOS nor EOS to the prompt's text.
pub const REKINDLE_GENERATE_NO_SPECIAL: u32 = 1;
/// Read special tokens in the prompt's text. Never use this for text from strangers: it could end its own turn.
pub const REKINDLE_GENERATE_PARSE_SPECIAL: u32 = 2;
/// Go on past tokens that end a generation.
pub const REKINDLE_GENERATE_IGNORE_EOG: u32 = 4;
/// Make drafts even while they lose time; for measurements.
pub const REKINDLE_GENERATE_ALL_DRAFTS: u32 = 8;

/// For rekindle_generate. The prompt is given by either prompt or prompt_tokens.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_generate_params {
    /// sizeof(rekindle_generate_params), set by the caller.
    pub struct_size: u32,
    /// The sequence that the prompt and the generated tokens are added to.
    pub seq_id: i32,
    /// UTF-8 text of prompt_len bytes.
    pub prompt: *const c_char,
    pub prompt_len: usize,
    /// The prompt as token ids.
    pub prompt_tokens: *const i32,
    pub n_prompt_tokens: usize,
    /// 0 means no limit: something else ends the generation.
    pub max_tokens: u32,
    /// REKINDLE_GENERATE_… added up.
    pub flags: u32,
}

// SAFETY: repr(C), no padding, zero is valid in every field.
unsafe impl Struct for rekindle_generate_params {
    const NAME: &'static str = "rekindle_generate_params";
}

/// The reason why a generation ended: a token that ends one, max_tokens, the callback, or a full KV cache. Those that
/// are stepped also end by a stop text, by being cancelled, or by an error of their own.
pub const REKINDLE_STOP_EOG: i32 = 1;
pub const REKINDLE_STOP_LIMIT: i32 = 2;
pub const REKINDLE_STOP_CALLBACK: i32 = 3;
pub const REKINDLE_STOP_CONTEXT_FULL: i32 = 4;
pub const REKINDLE_STOP_TEXT: i32 = 5;
pub const REKINDLE_STOP_CANCELLED: i32 = 6;
pub const REKINDLE_STOP_ERROR: i32 = 7;

/// The outcome of a generation.
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

/// Gets each token, in the calling thread, with the text that it completes: `piece_len` bytes of whole UTF-8
/// characters, often none. They are not NUL-terminated and are valid during the call. Text that is left over at the end
/// comes with token -1, unless the callback ended the generation. It returns 0 to go on and anything else to stop. It
/// may call rekindle_cancel and the functions that read the model; those that write it give REKINDLE_BUSY.
pub type rekindle_piece_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, token: i32, piece: *const c_char, piece_len: usize) -> i32>;

/// Decodes a prompt, then samples and decodes token after token until one of the REKINDLE_STOP_… reasons ends it.
/// `sampler` may be NULL for a greedy one; `on_piece` and `result` may be NULL. BOS is added only if the sequence is
/// empty. The sampler accepts the prompt's tokens and each one generated; it is not reset.
///
/// Afterwards the sequence holds the prompt and all generated tokens except the last one, which is not decoded yet: to
/// go on, pass it as the next call's prompt_tokens. After REKINDLE_STOP_EOG it holds them all; the token that ended the
/// generation is neither given nor decoded.
///
/// If the plan has n_draft, tokens are guessed (draft_source says by whom) and checked in batches. Neither the text nor
/// what the sequence holds afterwards changes by it. During the callback the sequence may be longer, by guesses that
/// are not checked yet, and the rows of logits are those of the batch.
///
/// The errors are those of rekindle_decode. A prompt that finds no room is REKINDLE_CONTEXT_FULL and changes nothing.
/// If a prompt of several batches fails or is cancelled, the sequence is as it was before, or empty if layers with a
/// window have moved past that. After a later failure or cancellation the sequence holds prompt and tokens as far as
/// they were decoded (rekindle_seq_length tells how far).
///
/// REKINDLE_INVALID_ARGUMENT: the prompt has no tokens. REKINDLE_UNSUPPORTED: the prompt is a text and the model has no
/// known tokeniser (token ids work).
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
        let known = REKINDLE_GENERATE_NO_SPECIAL
            | REKINDLE_GENERATE_PARSE_SPECIAL
            | REKINDLE_GENERATE_IGNORE_EOG
            | REKINDLE_GENERATE_ALL_DRAFTS;
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
            all_drafts: p.flags & REKINDLE_GENERATE_ALL_DRAFTS != 0,
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
