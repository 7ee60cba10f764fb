//! Grammars: which tokens a text may go on with.

use std::ffi::c_char;
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::rekindle_status;
use super::guard::guard;
use super::handle::{TextVocab, create, destroy, get, only_user};
use super::output;
use super::steps::rekindle_text;
use super::structs::{Struct, check_out, place, read_or_default, slice, text, write};
use super::vocab::rekindle_vocab;
use crate::error::{Error, Result};
use crate::grammar::{Grammar, Kind, Params, Verdict};

/// A grammar for the tokens of a vocabulary, and how far one text has come in it.
pub struct rekindle_grammar {
    _private: (),
}

/// A JSON schema (draft 2020-12, 2019-09, 7, 6 or 4). The properties of an object come in the schema's order, whole
/// numbers have no fraction and no exponent, and between the tokens of JSON white space is allowed. Supported are
/// type, const, enum, anyOf, allOf, oneOf (of schemas that exclude each other), $ref within the schema, properties,
/// required, additionalProperties, patternProperties, minProperties and maxProperties (where all of properties are
/// required), items, prefixItems, minItems, maxItems, minLength, maxLength, pattern, format, minimum, maximum,
/// exclusiveMinimum, exclusiveMaximum and multipleOf. A schema with another keyword that restricts values is refused.
pub const REKINDLE_GRAMMAR_JSON_SCHEMA: i32 = 1;
/// A regular expression that the whole text matches, in the syntax of Rust's regex crate, without flags and assertions
/// inside it.
pub const REKINDLE_GRAMMAR_REGEX: i32 = 2;
/// Lark's language for grammars, with the additions of llguidance: %json {…}, <special_token>, stop="…" and so on. It
/// begins with the rule `start`.
pub const REKINDLE_GRAMMAR_LARK: i32 = 3;
/// llama.cpp's GBNF. It begins with the rule `root`. Left recursion is allowed.
pub const REKINDLE_GRAMMAR_GBNF: i32 = 4;

/// The grammar describes the text from the trigger on. Without it, the text behind the trigger.
pub const REKINDLE_GRAMMAR_FROM_TRIGGER: u32 = 1;

/// For rekindle_grammar_create. With triggers a grammar waits: it allows everything until one of them was written, and
/// from then on what it describes. A text that ends before is fine. While it waits, it refuses those tokens that bring
/// a trigger to its end and go on in a way that the grammar would refuse.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_grammar_params {
    /// sizeof(rekindle_grammar_params), set by the caller.
    pub struct_size: u32,
    /// REKINDLE_GRAMMAR_FROM_TRIGGER or 0.
    pub flags: u32,
    /// The name of the rule to begin with, for REKINDLE_GRAMMAR_LARK (whose text then has no rule `start`) and
    /// REKINDLE_GRAMMAR_GBNF; NULL means the one named there.
    pub start: *const c_char,
    pub start_len: usize,
    /// Texts that arm the grammar, 1 to 256 bytes each; the text of control tokens counts. At most 64 of both kinds.
    /// Copied during the call.
    pub trigger_texts: *const rekindle_text,
    /// Tokens that arm it.
    pub trigger_tokens: *const i32,
    pub n_trigger_texts: u32,
    pub n_trigger_tokens: u32,
}

// SAFETY: repr(C), no padding, zero is valid in every field.
unsafe impl Struct for rekindle_grammar_params {
    const NAME: &'static str = "rekindle_grammar_params";
}

fn kind(number: i32) -> Result<Kind> {
    match number {
        REKINDLE_GRAMMAR_JSON_SCHEMA => Ok(Kind::JsonSchema),
        REKINDLE_GRAMMAR_REGEX => Ok(Kind::Regex),
        REKINDLE_GRAMMAR_LARK => Ok(Kind::Lark),
        REKINDLE_GRAMMAR_GBNF => Ok(Kind::Gbnf),
        _ => Err(Error::invalid(format!("kind is {number}, expected REKINDLE_GRAMMAR_…, 1 to 4")).subject("kind")),
    }
}

/// # Safety
/// The arrays and texts are as long as the struct says.
unsafe fn params(p: &rekindle_grammar_params) -> Result<Params> {
    if p.flags & !REKINDLE_GRAMMAR_FROM_TRIGGER != 0 {
        let known = REKINDLE_GRAMMAR_FROM_TRIGGER;
        return Err(Error::invalid(format!("flags is {:#x}, known are {known:#x}", p.flags)).subject("flags"));
    }
    // SAFETY: as the caller says.
    unsafe {
        let texts = slice(p.trigger_texts, p.n_trigger_texts as usize, "trigger_texts")?;
        let texts = texts
            .iter()
            .enumerate()
            .map(|(i, t)| text(t.text, t.len, &format!("trigger_texts[{i}]")).map(|t| t.as_bytes().to_vec()));
        let start =
            if p.start.is_null() && p.start_len == 0 { None } else { Some(text(p.start, p.start_len, "start")?) };
        Ok(Params {
            start: start.map(str::to_owned),
            trigger_texts: texts.collect::<Result<_>>()?,
            trigger_tokens: slice(p.trigger_tokens, p.n_trigger_tokens as usize, "trigger_tokens")?.to_vec(),
            from_trigger: p.flags & REKINDLE_GRAMMAR_FROM_TRIGGER != 0,
            apart: None,
        })
    }
}

/// Compiles a grammar for the tokens of a vocabulary. `kind` is REKINDLE_GRAMMAR_…; `text` is UTF-8 with text_len
/// bytes; `params` may be NULL. On success `*grammar` is a handle that rekindle_grammar_destroy ends. It does not need
/// the vocabulary's handle any more. The first grammar of a vocabulary takes longer: what it makes of the tokens
/// (some 100 bytes for each) serves all later ones.
///
/// A text from a stranger may be compiled: it may have 1 MiB, 200 brackets in each other, 10,000 rules (or references
/// of a schema) and 2,000 properties of an object, and what compiling and masks take is counted. So compiling takes
/// seconds and some hundred MiB at worst, a mask milliseconds. Memory comes in small pieces; if one of them cannot be
/// had, the process ends, as in any program of Rust. The compiler runs on a thread of its own, which has a stack of
/// 256 MiB (of which the system gives what is used) and ends with the call.
///
/// REKINDLE_INVALID_ARGUMENT: the text is no such grammar (the message says where), a rule of it never comes to an end
/// (as a schema that requires itself), it is too long, or a parameter is out of range. REKINDLE_UNSUPPORTED: the schema
/// has a keyword that is not supported, or the grammar is too complex. REKINDLE_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_grammar_create(
    vocab: *const rekindle_vocab,
    kind: i32,
    text: *const c_char,
    text_len: usize,
    params: *const rekindle_grammar_params,
    grammar: *mut *mut rekindle_grammar,
) -> rekindle_status {
    guard("rekindle_grammar_create", || {
        let v = get::<TextVocab, _>(vocab)?;
        let out = place(grammar, "grammar")?;
        let kind = self::kind(kind)?;
        // SAFETY: the caller's text, struct and arrays.
        let (text, params) =
            unsafe { (super::structs::text(text, text_len, "text")?, self::params(&read_or_default(params)?)?) };
        let handle = create(Arc::new(Mutex::new(Grammar::new(&v.vocab, kind, text, &params)?)))?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// Destroys a grammar. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rekindle_grammar_destroy(grammar: *mut rekindle_grammar) -> rekindle_status {
    guard("rekindle_grammar_destroy", || destroy::<Mutex<Grammar>, _>(grammar))
}

/// Copies a grammar as it stands: the copy shares what was compiled and goes its own way from here. It waits for a
/// call that is using the grammar. On success `*copy` is a handle that rekindle_grammar_destroy ends.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_grammar_copy(
    grammar: *const rekindle_grammar,
    copy: *mut *mut rekindle_grammar,
) -> rekindle_status {
    guard("rekindle_grammar_copy", || {
        let g = get::<Mutex<Grammar>, _>(grammar)?;
        let out = place(copy, "copy")?;
        let copied = g.lock().clone();
        let handle = create(Arc::new(Mutex::new(copied)))?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// Goes back to the beginning: nothing was written, and triggers are waited for again.
///
/// REKINDLE_BUSY: another call is using the grammar, here and below.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_grammar_reset(grammar: *mut rekindle_grammar) -> rekindle_status {
    guard("rekindle_grammar_reset", || {
        let g = get::<Mutex<Grammar>, _>(grammar)?;
        only_user(&g, "grammar")?.reset();
        Ok(())
    })
}

/// Writes which tokens may come next, a bit for each: bit `id % 32` of word `id / 32` is 1 if the text may go on with
/// token `id`. `*needed` gets the number of words, (n_tokens + 31) / 32, also if `capacity` is too small; a NULL mask
/// with capacity 0 only asks. End tokens have a 1 only where the text is complete. All bits are 0 behind an end token,
/// and where a text is complete for a vocabulary without one.
///
/// REKINDLE_INVALID_ARGUMENT: the text is not complete, and no token of the vocabulary can continue it.
/// REKINDLE_UNSUPPORTED: the grammar is too complex at this point (a limit was met); every call says so until
/// rekindle_grammar_reset. REKINDLE_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_grammar_mask(
    grammar: *mut rekindle_grammar,
    mask: *mut u32,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_grammar_mask", || {
        let g = get::<Mutex<Grammar>, _>(grammar)?;
        let mut g = only_user(&g, "grammar")?;
        let words = g.mask()?;
        // SAFETY: the caller's buffer.
        unsafe { output::array(words, mask, capacity, needed) }
    })
}

/// Goes on by a token, which was written.
///
/// REKINDLE_INVALID_ARGUMENT: the grammar does not allow the token here, the text has ended, or there is no such token;
/// the grammar stays as it was. REKINDLE_UNSUPPORTED: as for rekindle_grammar_mask.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_grammar_accept(grammar: *mut rekindle_grammar, token: i32) -> rekindle_status {
    guard("rekindle_grammar_accept", || {
        let g = get::<Mutex<Grammar>, _>(grammar)?;
        only_user(&g, "grammar")?.accept(token)
    })
}

/// Writes the tokens that must come next because the grammar leaves one way to go on, often none. They are not
/// accepted yet; a host may accept them one after the other without a look at the mask. `*needed` gets their number,
/// also if the buffer is too small; a NULL buffer with capacity 0 only asks.
///
/// REKINDLE_UNSUPPORTED: as for rekindle_grammar_mask. REKINDLE_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_grammar_forced(
    grammar: *mut rekindle_grammar,
    tokens: *mut i32,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_grammar_forced", || {
        let g = get::<Mutex<Grammar>, _>(grammar)?;
        let forced = only_user(&g, "grammar")?.forced()?;
        // SAFETY: the caller's buffer.
        unsafe { output::array(&forced, tokens, capacity, needed) }
    })
}

/// Tells if the text may end here: `*complete` is 1 or 0. A grammar that waits for a trigger allows it.
///
/// REKINDLE_UNSUPPORTED: as for rekindle_grammar_mask.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_grammar_is_complete(
    grammar: *mut rekindle_grammar,
    complete: *mut u32,
) -> rekindle_status {
    guard("rekindle_grammar_is_complete", || {
        let g = get::<Mutex<Grammar>, _>(grammar)?;
        let out = place(complete, "complete")?;
        let is = only_user(&g, "grammar")?.is_complete()?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(u32::from(is)) };
        Ok(())
    })
}

/// The text is one of the grammar's.
pub const REKINDLE_VERDICT_COMPLETE: u32 = 1;
/// It is none yet, and one of the grammar's texts begins with it.
pub const REKINDLE_VERDICT_PREFIX: u32 = 2;
/// No text of the grammar begins so.
pub const REKINDLE_VERDICT_REFUSED: u32 = 3;

/// The verdict of a grammar on a text.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_grammar_verdict {
    /// sizeof(rekindle_grammar_verdict), set by the caller.
    pub struct_size: u32,
    /// REKINDLE_VERDICT_…
    pub verdict: u32,
    /// With REKINDLE_VERDICT_REFUSED the first byte that does not fit, counted from 0; else the text's length.
    pub at: u64,
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_grammar_verdict {
    const NAME: &'static str = "rekindle_grammar_verdict";
}

/// Holds a text (text_len bytes, at most 16 MiB, not necessarily UTF-8) against a grammar, from its beginning and
/// without triggers. What was accepted so far stays as it is. A token that a grammar names, rather than spells, stands
/// in no text. It waits for a call that is using the grammar.
///
/// REKINDLE_UNSUPPORTED: as for rekindle_grammar_mask.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_grammar_check(
    grammar: *const rekindle_grammar,
    text: *const c_char,
    text_len: usize,
    verdict: *mut rekindle_grammar_verdict,
) -> rekindle_status {
    guard("rekindle_grammar_check", || {
        let g = get::<Mutex<Grammar>, _>(grammar)?;
        check_out(verdict)?;
        // SAFETY: the caller's text.
        let text = unsafe { slice(text.cast::<u8>(), text_len, "text") }?;
        let found = g.lock().check(text)?;
        let (number, at) = match found {
            Verdict::Complete => (REKINDLE_VERDICT_COMPLETE, text.len()),
            Verdict::Prefix => (REKINDLE_VERDICT_PREFIX, text.len()),
            Verdict::Refused(at) => (REKINDLE_VERDICT_REFUSED, at),
        };
        let value = rekindle_grammar_verdict { struct_size: 0, verdict: number, at: at as u64 };
        // SAFETY: the caller's struct.
        unsafe { write(verdict, &value) }
    })
}
