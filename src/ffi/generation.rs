//! Generations that are stepped: many conversations at once, whose text the host pulls.

use std::ffi::c_char;
use std::sync::Arc;

use crate::sync::Mutex;

use super::error::rekindle_status;
use super::grammar::rekindle_grammar;
use super::guard::guard;
use super::handle::{HostGeneration, create, destroy, get, only_user};
use super::model::rekindle_model;
use super::sampler::{give_logprobs, rekindle_logprob, rekindle_sampler};
use super::structs::{Struct, check_out, place, read, slice, text, write};
use crate::error::{Error, Result};
use crate::grammar::Grammar;
use crate::sample::{Sampler, SamplerParams};
use crate::session::{Generation, GenerationParams, Model, Prompt};

/// A text that a model writes, step by step (rekindle_step). One call at a time may use it; a second one gets
/// REKINDLE_BUSY. It keeps its model, also when the model's handle is destroyed.
pub struct rekindle_generation {
    _private: (),
}

/// Add neither BOS nor EOS to the prompt's text.
pub const REKINDLE_GENERATION_NO_SPECIAL: u32 = 1;
/// Read special tokens in the prompt's text. Never use this for text from strangers: it could end its own turn.
pub const REKINDLE_GENERATION_PARSE_SPECIAL: u32 = 2;
/// Go on past tokens that end a generation.
pub const REKINDLE_GENERATION_IGNORE_EOG: u32 = 4;
/// Keep the sequence until the generation is destroyed, also after its end.
pub const REKINDLE_GENERATION_PIN: u32 = 8;
/// Read the whole prompt, even if a sequence has its beginning already.
pub const REKINDLE_GENERATION_NO_REUSE: u32 = 16;

/// For rekindle_generation_create. The prompt is given by either prompt or prompt_tokens. All is copied.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_generation_params {
    /// sizeof(rekindle_generation_params), set by the caller.
    pub struct_size: u32,
    /// REKINDLE_GENERATION_… added up.
    pub flags: u32,
    /// UTF-8 text of prompt_len bytes.
    pub prompt: *const c_char,
    pub prompt_len: usize,
    /// The prompt as token ids.
    pub prompt_tokens: *const i32,
    pub n_prompt_tokens: usize,
    /// Its settings and its state are copied; the copy gets the prompt's tokens. NULL: a greedy one.
    pub sampler: *const rekindle_sampler,
    /// UTF-8 texts that end the generation, n_stop_texts of them with the lengths stop_text_lens. They are found across
    /// tokens, and nothing of them is shown. At most 256, and 1 MiB together.
    pub stop_texts: *const *const c_char,
    pub stop_text_lens: *const usize,
    pub n_stop_texts: u32,
    /// 0 means no limit: something else ends the generation.
    pub max_tokens: u32,
    /// The texts that it may write; copied as it is now. NULL: all. It must be of the model's vocabulary. Where the
    /// grammar lets nothing follow, the generation ends with REKINDLE_STOP_EOG. Tokens that it forces are taken without
    /// a row of logits, up to 16 in one step; tokens and text are those of sampling. Where the sampler keeps
    /// probabilities or has a step of the host's own, logits are needed, and each token takes a step.
    pub grammar: *const rekindle_grammar,
    /// The scales of the model's adapters, n_adapter_scales numbers in their order; those that are not given are 0.
    /// See rekindle_file_adapt.
    pub adapter_scales: *const f32,
    pub n_adapter_scales: usize,
}

// SAFETY: repr(C), no padding, zero is valid in every field.
unsafe impl Struct for rekindle_generation_params {
    const NAME: &'static str = "rekindle_generation_params";
}

/// Creates a generation. Nothing is computed before a step. On success `*generation` is a handle that
/// rekindle_generation_destroy ends.
///
/// It gets a sequence at its first step, of those that are empty: from the last one down, so hosts that decode by
/// themselves use low ids. There it goes on from the longest beginning of the prompt that any sequence of the model has
/// already, be it the host's, another generation's, or one that a generation has left; so a chat that goes on, or one
/// with the same instructions as another, is not read again. Rows of caches are shared and states copied: the text is
/// that of a fresh run. (With recurrent layers, rows of a prompt that is cut elsewhere differ as those of
/// rekindle_decode do.)
///
/// REKINDLE_INVALID_ARGUMENT: a prompt without tokens or with ids out of range, bad stop texts, more adapter_scales
/// than adapters or one that is no finite number. REKINDLE_CONTEXT_FULL: the prompt is longer than the context.
/// REKINDLE_UNSUPPORTED: the prompt is a text and the model has no known tokeniser.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_generation_create(
    model: *mut rekindle_model,
    params: *const rekindle_generation_params,
    generation: *mut *mut rekindle_generation,
) -> rekindle_status {
    guard("rekindle_generation_create", || {
        let m = get::<Model, _>(model)?;
        let out = place(generation, "generation")?;
        // SAFETY: the caller's struct, texts and arrays.
        let (p, prompt, tokens, stops, lens, scales) = unsafe {
            let p = read(params)?;
            let n_stops = p.n_stop_texts as usize;
            (
                p,
                text(p.prompt, p.prompt_len, "prompt")?,
                slice(p.prompt_tokens, p.n_prompt_tokens, "prompt_tokens")?,
                slice(p.stop_texts, n_stops, "stop_texts")?,
                slice(p.stop_text_lens, n_stops, "stop_text_lens")?,
                slice(p.adapter_scales, p.n_adapter_scales, "adapter_scales")?,
            )
        };
        let known = 2 * REKINDLE_GENERATION_NO_REUSE - 1;
        if p.flags & !known != 0 {
            return Err(Error::invalid(format!("flags is {:#x}, known are {known:#x}", p.flags)).subject("flags"));
        }
        if !p.prompt_tokens.is_null() && tokens.is_empty() && prompt.is_empty() {
            return Err(Error::invalid("prompt_tokens has no tokens").subject("prompt_tokens"));
        }
        if !prompt.is_empty() && !tokens.is_empty() {
            return Err(Error::invalid("both prompt and prompt_tokens are given").subject("prompt"));
        }
        // SAFETY: the caller's texts.
        let stop = |(p, n): (&*const c_char, &usize)| unsafe { text(*p, *n, "stop_texts") };
        let stops = stops.iter().zip(lens).map(stop).collect::<Result<Vec<&str>>>()?;
        let has = |flag: u32| p.flags & flag != 0;
        let given = (!p.sampler.is_null()).then(|| get::<Mutex<Sampler>, _>(p.sampler)).transpose()?;
        let sampler = match &given {
            None => Sampler::new(SamplerParams::default())?,
            Some(s) => only_user(s, "sampler")?.copy()?,
        };
        let grammar = (!p.grammar.is_null()).then(|| get::<Mutex<Grammar>, _>(p.grammar)).transpose()?;
        let params = GenerationParams {
            prompt: if tokens.is_empty() { Prompt::Text(prompt) } else { Prompt::Tokens(tokens) },
            sampler,
            grammar: grammar.map(|g| only_user(&g, "grammar").map(|g| g.clone())).transpose()?,
            scales,
            stop_texts: &stops,
            max_tokens: p.max_tokens,
            no_special: has(REKINDLE_GENERATION_NO_SPECIAL),
            parse_special: has(REKINDLE_GENERATION_PARSE_SPECIAL),
            ignore_eog: has(REKINDLE_GENERATION_IGNORE_EOG),
            pin: has(REKINDLE_GENERATION_PIN),
            no_reuse: has(REKINDLE_GENERATION_NO_REUSE),
        };
        let generation = Arc::new(Generation::new(&m, params)?);
        let handle = create(Arc::new(HostGeneration { generation, taken: Mutex::default() }))?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// Destroys a generation, at any time. Its sequence is left to other generations: they may go on from its tokens, until
/// the room is needed. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rekindle_generation_destroy(generation: *mut rekindle_generation) -> rekindle_status {
    guard("rekindle_generation_destroy", || destroy::<HostGeneration, _>(generation))
}

/// Ends a generation with REKINDLE_STOP_CANCELLED at the next step that names it. Others are not touched. It may be
/// called from any thread, also during a step.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_generation_cancel(generation: *const rekindle_generation) -> rekindle_status {
    guard("rekindle_generation_cancel", || {
        get::<HostGeneration, _>(generation)?.generation.cancel();
        Ok(())
    })
}

/// The kinds of events: nothing has come, a token has, or the end.
pub const REKINDLE_EVENT_NONE: i32 = 0;
pub const REKINDLE_EVENT_TOKEN: i32 = 1;
pub const REKINDLE_EVENT_END: i32 = 2;

/// One thing that a generation has to tell.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_event {
    /// sizeof(rekindle_event), set by the caller.
    pub struct_size: u32,
    /// REKINDLE_EVENT_…
    pub kind: i32,
    /// The token; -1 at the end.
    pub token: i32,
    /// REKINDLE_STOP_… at the end, else 0.
    pub stop: i32,
    /// UTF-8 text of text_len bytes that can be shown by now, not NUL-terminated: whole characters, often none. Text
    /// that may be the beginning of a stop text waits; the end brings it if it was none. It is valid until the next
    /// rekindle_generation_next or rekindle_generation_destroy of this generation.
    pub text: *const c_char,
    pub text_len: usize,
}

// SAFETY: repr(C), no padding, zero is valid in every field.
unsafe impl Struct for rekindle_event {
    const NAME: &'static str = "rekindle_event";
}

/// Takes what a generation has to tell: event by event, in order. If there is nothing now, `event->kind` is
/// REKINDLE_EVENT_NONE; after REKINDLE_EVENT_END nothing follows.
///
/// An error of this generation alone is the status of the call that brings REKINDLE_EVENT_END with
/// REKINDLE_STOP_ERROR; the event is filled all the same.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_generation_next(
    generation: *mut rekindle_generation,
    event: *mut rekindle_event,
) -> rekindle_status {
    guard("rekindle_generation_next", || {
        let g = get::<HostGeneration, _>(generation)?;
        check_out(event)?;
        let mut taken = only_user(&g.taken, "generation")?;
        let none = rekindle_event {
            struct_size: 0,
            kind: REKINDLE_EVENT_NONE,
            token: -1,
            stop: 0,
            text: std::ptr::null(),
            text_len: 0,
        };
        let Some(e) = g.generation.next()? else {
            // SAFETY: the caller's struct.
            return unsafe { write(event, &none) };
        };
        taken.0 = e.text;
        if e.token.is_some() {
            taken.1 = e.logprobs;
        }
        let shown = &taken.0;
        let value = rekindle_event {
            kind: if e.end.is_some() { REKINDLE_EVENT_END } else { REKINDLE_EVENT_TOKEN },
            token: e.token.unwrap_or(-1),
            stop: e.end.map_or(0, |end| end as i32),
            text: shown.as_ptr().cast(),
            text_len: shown.len(),
            ..none
        };
        // SAFETY: the caller's struct.
        unsafe { write(event, &value) }?;
        e.error.map_or(Ok(()), Err)
    })
}

/// Tells how probable the last token was that rekindle_generation_next has given, as rekindle_sampler_logprobs does.
///
/// REKINDLE_NOT_FOUND: n_logprobs of its sampler is 0, or there was no token yet.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_generation_logprobs(
    generation: *const rekindle_generation,
    distribution: i32,
    chosen: *mut rekindle_logprob,
    buffer: *mut rekindle_logprob,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_generation_logprobs", || {
        let g = get::<HostGeneration, _>(generation)?;
        let taken = only_user(&g.taken, "generation")?;
        // SAFETY: the caller's places and buffer.
        unsafe { give_logprobs(taken.1.as_ref(), distribution, chosen, buffer, capacity, needed) }
    })
}

/// The phases of a generation: it waits for a sequence, reads its prompt, talks, or has ended.
pub const REKINDLE_PHASE_WAITS: i32 = 1;
pub const REKINDLE_PHASE_READS: i32 = 2;
pub const REKINDLE_PHASE_TALKS: i32 = 3;
pub const REKINDLE_PHASE_ENDED: i32 = 4;

/// Facts about a generation.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_generation_info {
    /// sizeof(rekindle_generation_info), set by the caller.
    pub struct_size: u32,
    /// REKINDLE_PHASE_…
    pub phase: i32,
    /// Tokens of the prompt; those of them that a sequence had already; and those that have been read, with these.
    pub n_prompt: u32,
    pub n_reused: u32,
    pub n_read: u32,
    pub n_generated: u32,
    /// The sequence that it has; -1 if none.
    pub seq_id: i32,
    /// REKINDLE_STOP_… after the end, else 0.
    pub stop: i32,
    /// Of the tokens generated those that were taken without a row of logits, because the grammar left no choice.
    pub n_forced: u32,
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_generation_info {
    const NAME: &'static str = "rekindle_generation_info";
}

/// Tells about a generation. REKINDLE_BUSY during a step that it takes part in.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_generation_get_info(
    generation: *const rekindle_generation,
    info: *mut rekindle_generation_info,
) -> rekindle_status {
    guard("rekindle_generation_get_info", || {
        let i = get::<HostGeneration, _>(generation)?.generation.info()?;
        let value = rekindle_generation_info {
            struct_size: 0,
            phase: i.phase as i32,
            n_prompt: i.n_prompt,
            n_reused: i.n_reused,
            n_read: i.n_read,
            n_generated: i.n_generated,
            seq_id: i.seq_id.map_or(-1, u32::cast_signed),
            stop: i.end.map_or(0, |end| end as i32),
            n_forced: i.n_forced,
        };
        // SAFETY: the caller's struct.
        unsafe { write(info, &value) }
    })
}

/// The result of a step.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_step_result {
    /// sizeof(rekindle_step_result), set by the caller.
    pub struct_size: u32,
    /// Tokens that were computed. 0: nobody had work, or some have given up their cells for others.
    pub n_tokens: u32,
    /// Generations that are not at their end, and those of them that wait for a sequence.
    pub n_going: u32,
    pub n_waiting: u32,
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_step_result {
    const NAME: &'static str = "rekindle_step_result";
}

/// Computes one micro-batch for some generations of a model: a token of each that talks, with those that its grammar
/// forces behind it, and with the room that is left (n_ubatch tokens in all, at least half of it) pieces of the prompts
/// of those that read. Half of that room is the oldest reader's; the others share the rest, the least left to read
/// first. So a long prompt never keeps who talks waiting for more than this step, nor who has a short prompt. At most
/// n_outputs_max of them get a token; then it is the others' turn. A step is a call of the host's thread, which ends
/// with the micro-batch. Generations may join and leave at any step, and those that are not named stand still. Take
/// what came with rekindle_generation_next. `result` may be NULL.
///
/// While others are at work, a generation waits until there are cells for its whole prompt. If cells become few,
/// sequences that were left go first, then those that read give theirs back and read again later; then who talks ends
/// with REKINDLE_STOP_CONTEXT_FULL. A token's bits do not depend on who else is in a step.
///
/// After an error no generation has changed, and the step can be taken again. REKINDLE_INVALID_ARGUMENT: a generation
/// of another model, or one that is named twice. REKINDLE_BUSY; REKINDLE_CANCELLED (by rekindle_cancel); those of
/// rekindle_decode.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_step(
    model: *mut rekindle_model,
    generations: *const *mut rekindle_generation,
    n_generations: usize,
    result: *mut rekindle_step_result,
) -> rekindle_status {
    guard("rekindle_step", || {
        let m = get::<Model, _>(model)?;
        if !result.is_null() {
            check_out(result)?;
        }
        // SAFETY: the caller's array.
        let handles = unsafe { slice(generations, n_generations, "generations") }?;
        let mut all = Vec::new();
        all.try_reserve_exact(handles.len())
            .map_err(|_| Error::out_of_memory("the generations of a step", 8 * handles.len() as u64))?;
        for h in handles {
            all.push(Arc::clone(&get::<HostGeneration, _>(*h)?.generation));
        }
        let r = m.step(&all)?;
        if result.is_null() {
            return Ok(());
        }
        let value =
            rekindle_step_result { struct_size: 0, n_tokens: r.n_tokens, n_going: r.n_going, n_waiting: r.n_waiting };
        // SAFETY: the caller's struct.
        unsafe { write(result, &value) }
    })
}
