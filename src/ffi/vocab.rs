//! Vocabularies: text becomes tokens and tokens become text, all at once or as they come.

use std::ffi::c_char;
use std::sync::Arc;

use crate::sync::Mutex;

use super::error::rekindle_status;
use super::file::rekindle_file;
use super::guard::guard;
use super::handle::{TextStream, TextVocab, create, destroy, get, only_user};
use super::model::rekindle_model;
use super::output;
use super::structs::{Struct, chars, place, slice, write};
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::session::Model;
use crate::vocab::{Stream, Vocab};

/// A vocabulary with its tokeniser. It never changes, and all its functions may run at the same time.
pub struct rekindle_vocab {
    _private: (),
}

fn tokeniser(handle: *const rekindle_vocab) -> Result<Arc<Vocab>> {
    get::<TextVocab, _>(handle).map(|v| v.vocab.clone())
}

/// Reads the vocabulary of a file; no model needs to be loaded. On success `*vocab` is a handle that
/// rekindle_vocab_destroy ends.
///
/// REKINDLE_UNSUPPORTED: the tokeniser's kind is not known. REKINDLE_BAD_FILE.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_vocab_create(
    file: *const rekindle_file,
    vocab: *mut *mut rekindle_vocab,
) -> rekindle_status {
    guard("rekindle_vocab_create", || {
        let f = get::<Gguf, _>(file)?;
        let out = place(vocab, "vocab")?;
        let handle = create(TextVocab::new(Arc::new(Vocab::from_gguf(&f)?), &f)?)?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// Gives the vocabulary of a model, as rekindle_vocab_create does. It outlives the model.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_model_vocab(
    model: *const rekindle_model,
    vocab: *mut *mut rekindle_vocab,
) -> rekindle_status {
    guard("rekindle_model_vocab", || {
        let m = get::<Model, _>(model)?;
        let out = place(vocab, "vocab")?;
        let handle = create(TextVocab::new(m.vocab()?, m.file())?)?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// Destroys a vocabulary's handle. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rekindle_vocab_destroy(vocab: *mut rekindle_vocab) -> rekindle_status {
    guard("rekindle_vocab_destroy", || destroy::<TextVocab, _>(vocab))
}

/// A vocabulary. Ids are -1 where there is no such token.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_vocab_info {
    /// sizeof(rekindle_vocab_info), set by the caller.
    pub struct_size: u32,
    pub n_tokens: u32,
    /// The tokens that begin a text, end one, end a turn of a chat and end a message; those for unknown text,
    /// separation and padding.
    pub bos: i32,
    pub eos: i32,
    pub eot: i32,
    pub eom: i32,
    pub unk: i32,
    pub sep: i32,
    pub pad: i32,
    /// Non-zero: tokenising adds BOS, EOS, and a space before the text.
    pub add_bos: u32,
    pub add_eos: u32,
    pub add_space_prefix: u32,
    /// tokenizer.ggml.model and tokenizer.ggml.pre
    pub model: [c_char; 32],
    pub pre: [c_char; 64],
    /// To fill in the middle of a text: the tokens before the part that precedes it, before the part that follows, and
    /// before the middle; padding; those before a repository's and a file's name.
    pub fim_prefix: i32,
    pub fim_suffix: i32,
    pub fim_middle: i32,
    pub fim_pad: i32,
    pub fim_repository: i32,
    pub fim_separator: i32,
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_vocab_info {
    const NAME: &'static str = "rekindle_vocab_info";
}

/// Tells what a vocabulary has.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_vocab_get_info(
    vocab: *const rekindle_vocab,
    info: *mut rekindle_vocab_info,
) -> rekindle_status {
    guard("rekindle_vocab_get_info", || {
        let v = tokeniser(vocab)?;
        let s = v.special();
        let id = |id: Option<i32>| id.unwrap_or(-1);
        let value = rekindle_vocab_info {
            struct_size: 0,
            n_tokens: v.n_tokens() as u32,
            bos: id(s.bos),
            eos: id(s.eos),
            eot: id(s.eot),
            eom: id(s.eom),
            unk: id(s.unk),
            sep: id(s.sep),
            pad: id(s.pad),
            add_bos: u32::from(v.add_bos()),
            add_eos: u32::from(v.add_eos()),
            add_space_prefix: u32::from(v.add_space_prefix()),
            model: chars(v.model()),
            pre: chars(v.pre()),
            fim_prefix: id(s.fim_pre),
            fim_suffix: id(s.fim_suf),
            fim_middle: id(s.fim_mid),
            fim_pad: id(s.fim_pad),
            fim_repository: id(s.fim_rep),
            fim_separator: id(s.fim_sep),
        };
        // SAFETY: the caller's struct.
        unsafe { write(info, &value) }
    })
}

/// The uses of tokens, by GGUF's numbers.
pub const REKINDLE_TOKEN_UNDEFINED: i32 = 0;
pub const REKINDLE_TOKEN_NORMAL: i32 = 1;
pub const REKINDLE_TOKEN_UNKNOWN: i32 = 2;
pub const REKINDLE_TOKEN_CONTROL: i32 = 3;
pub const REKINDLE_TOKEN_USER_DEFINED: i32 = 4;
pub const REKINDLE_TOKEN_UNUSED: i32 = 5;
pub const REKINDLE_TOKEN_BYTE: i32 = 6;

/// A token.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_token_info {
    /// sizeof(rekindle_token_info), set by the caller.
    pub struct_size: u32,
    /// REKINDLE_TOKEN_…
    pub token_type: i32,
    /// 0 if the file has no scores.
    pub score: f32,
    /// Non-zero: it ends a generation.
    pub is_eog: u32,
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_token_info {
    const NAME: &'static str = "rekindle_token_info";
}

/// Tells what token `token` is.
///
/// REKINDLE_INVALID_ARGUMENT: there is no such token, here and below.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_vocab_get_token(
    vocab: *const rekindle_vocab,
    token: i32,
    info: *mut rekindle_token_info,
) -> rekindle_status {
    guard("rekindle_vocab_get_token", || {
        let v = tokeniser(vocab)?;
        let value = rekindle_token_info {
            struct_size: 0,
            token_type: v.token_type(token)? as i32,
            score: v.token_score(token)?,
            is_eog: u32::from(v.is_eog(token)),
        };
        // SAFETY: the caller's struct.
        unsafe { write(info, &value) }
    })
}

/// To tokenise: add BOS and EOS if the file wants them. To detokenise: leave them away again.
pub const REKINDLE_TEXT_SPECIAL: u32 = 1;
/// To tokenise: read the texts of control tokens as these tokens; never use this for text from strangers. To
/// detokenise, and for pieces: show control tokens as their text.
pub const REKINDLE_TEXT_PARSE_SPECIAL: u32 = 2;

fn flags(n: u32) -> Result<(bool, bool)> {
    let known = REKINDLE_TEXT_SPECIAL | REKINDLE_TEXT_PARSE_SPECIAL;
    if n & !known != 0 {
        return Err(Error::invalid(format!("flags is {n:#x}, known are {known:#x}")).subject("flags"));
    }
    Ok((n & REKINDLE_TEXT_SPECIAL != 0, n & REKINDLE_TEXT_PARSE_SPECIAL != 0))
}

/// Writes the tokens of a text (UTF-8, text_len bytes). `flags` are REKINDLE_TEXT_… added up. `*needed` gets the number
/// of tokens, also if the buffer is too small; a NULL buffer with capacity 0 only asks.
///
/// REKINDLE_INVALID_ARGUMENT: the text is no UTF-8, or longer than 1 GiB. REKINDLE_OUT_OF_MEMORY: some 100 bytes are
/// needed for each byte of the text. REKINDLE_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_tokenize(
    vocab: *const rekindle_vocab,
    text: *const c_char,
    text_len: usize,
    flags: u32,
    tokens: *mut i32,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_tokenize", || {
        let v = tokeniser(vocab)?;
        let (add, parse) = self::flags(flags)?;
        // SAFETY: the caller's text and buffer.
        unsafe {
            let text = slice(text.cast::<u8>(), text_len, "text")?;
            output::array(&v.tokenize(text, add, parse)?, tokens, capacity, needed)
        }
    })
}

/// Writes the text of `n` tokens. `flags` are REKINDLE_TEXT_… added up. Text: buffer, capacity, needed. The bytes of
/// byte tokens come as they are, so the text may be no UTF-8 and may hold NULs.
///
/// REKINDLE_INVALID_ARGUMENT: there is no such token, or their texts have more than 1 GiB together.
/// REKINDLE_OUT_OF_MEMORY: a file's tokens may be of any length.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_detokenize(
    vocab: *const rekindle_vocab,
    tokens: *const i32,
    n: usize,
    flags: u32,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_detokenize", || {
        let v = tokeniser(vocab)?;
        let (remove, show) = self::flags(flags)?;
        // SAFETY: the caller's array and buffer.
        unsafe {
            let tokens = slice(tokens, n, "tokens")?;
            output::text(&v.detokenize(tokens, remove, show)?, buffer, capacity, needed)
        }
    })
}

/// Writes the bytes that one token adds to a text. They may end inside a character (those of a rekindle_stream do not).
/// Otherwise it is as rekindle_detokenize.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_token_piece(
    vocab: *const rekindle_vocab,
    token: i32,
    flags: u32,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_token_piece", || {
        let v = tokeniser(vocab)?;
        let (_, show) = self::flags(flags)?;
        // SAFETY: the caller's buffer.
        unsafe { output::text(&v.piece(token, show)?, buffer, capacity, needed) }
    })
}

/// Makes text from tokens as they come.
pub struct rekindle_stream {
    _private: (),
}

/// Creates a stream for a vocabulary's tokens. With REKINDLE_TEXT_PARSE_SPECIAL in `flags` it shows control tokens as
/// their text. On success `*stream` is a handle that rekindle_stream_destroy ends; it does not need the vocabulary's
/// handle any more.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_stream_create(
    vocab: *const rekindle_vocab,
    flags: u32,
    stream: *mut *mut rekindle_stream,
) -> rekindle_status {
    guard("rekindle_stream_create", || {
        let v = tokeniser(vocab)?;
        let out = place(stream, "stream")?;
        let (_, show) = self::flags(flags)?;
        let handle = create(Arc::new(TextStream { vocab: v, stream: Mutex::new(Stream::new(show)) }))?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// Destroys a stream. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rekindle_stream_destroy(stream: *mut rekindle_stream) -> rekindle_status {
    guard("rekindle_stream_destroy", || destroy::<TextStream, _>(stream))
}

/// Adds a token and writes the characters that are complete by now, often none. It never cuts a character. Text:
/// buffer, capacity, needed. If the buffer is too small, or only the size is asked for, the token is not taken: call
/// again.
///
/// REKINDLE_BUSY: another call is using the stream, here and below.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_stream_push(
    stream: *mut rekindle_stream,
    token: i32,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_stream_push", || {
        let s = get::<TextStream, _>(stream)?;
        let mut current = only_user(&s.stream, "stream")?;
        let mut next = current.clone();
        let text = next.push(&s.vocab, token)?;
        // SAFETY: the caller's buffer.
        unsafe { output::text(text.as_bytes(), buffer, capacity, needed) }?;
        if !buffer.is_null() {
            *current = next;
        }
        Ok(())
    })
}

/// Writes the rest (U+FFFD for a character that never came to its end) and makes the stream empty. Text: buffer,
/// capacity, needed, as rekindle_stream_push.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_stream_flush(
    stream: *mut rekindle_stream,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_stream_flush", || {
        let s = get::<TextStream, _>(stream)?;
        let mut current = only_user(&s.stream, "stream")?;
        let mut next = current.clone();
        let text = next.flush();
        // SAFETY: the caller's buffer.
        unsafe { output::text(text.as_bytes(), buffer, capacity, needed) }?;
        if !buffer.is_null() {
            *current = next;
        }
        Ok(())
    })
}
