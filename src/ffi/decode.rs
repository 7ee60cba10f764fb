//! Decoding: tokens in, logits out.

use super::error::rekindle_status;
use super::guard::guard;
use super::handle::get;
use super::model::rekindle_model;
use super::output;
use super::structs::{Struct, place, read, slice};
use crate::error::{Error, Result};
use crate::session::{Batch, Model};

/// Tokens to decode. The arrays belong to the caller and are read during the call only. Each has n_tokens elements.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_batch {
    /// sizeof(rekindle_batch), set by the caller.
    pub struct_size: u32,
    /// 1 to n_batch.
    pub n_tokens: u32,
    /// Token ids, each below the model's n_vocab.
    pub tokens: *const i32,
    /// Positions, ascending within a sequence and past its end. NULL means that each sequence goes on at its end.
    pub positions: *const i32,
    /// Sequence ids, each below n_seq_max. NULL means that all are 0.
    pub seq_ids: *const i32,
    /// Non-zero where logits (or rows of tokens) are wanted. NULL means: for the last token of each sequence. It must
    /// be NULL if the plan's pooling leaves rows of texts.
    pub outputs: *const u8,
}

// SAFETY: repr(C), no padding, zero is valid in every field.
unsafe impl Struct for rekindle_batch {
    const NAME: &'static str = "rekindle_batch";
}

/// # Safety
/// `p` is null or has `n` elements.
unsafe fn optional<'a, T>(p: *const T, n: usize, name: &str) -> Result<Option<&'a [T]>> {
    if p.is_null() {
        return Ok(None);
    }
    // SAFETY: as the caller says.
    unsafe { slice(p, n, name) }.map(Some)
}

/// Computes a batch: its keys and values go into the KV cache, and the logits that it asked for can be read afterwards.
/// If it fails, the cache is as it was, but the logits of the batch before may be gone (rekindle_n_outputs is 0 then).
///
/// REKINDLE_INVALID_ARGUMENT: a token, position, sequence id or number of outputs out of range; the message names the
/// field and index. REKINDLE_CONTEXT_FULL: too few free cells. REKINDLE_CANCELLED: by rekindle_cancel. REKINDLE_BUSY.
/// REKINDLE_OUT_OF_MEMORY: there is no room for small buffers. REKINDLE_DEVICE: a device failed; if it does not survive
/// that, every later call says so again, and the model can only be destroyed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_decode(model: *mut rekindle_model, batch: *const rekindle_batch) -> rekindle_status {
    guard("rekindle_decode", || {
        let m = get::<Model, _>(model)?;
        // SAFETY: the caller's struct and its arrays.
        let batch = unsafe {
            let b = read(batch)?;
            let n = b.n_tokens as usize;
            Batch {
                tokens: slice(b.tokens, n, "tokens")?,
                positions: optional(b.positions, n, "positions")?,
                seq_ids: optional(b.seq_ids, n, "seq_ids")?,
                outputs: optional(b.outputs, n, "outputs")?,
            }
        };
        m.decode(&batch)
    })
}

/// Counts the rows of logits that the last decode left.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_n_outputs(model: *const rekindle_model, n_outputs: *mut u32) -> rekindle_status {
    guard("rekindle_n_outputs", || {
        let m = get::<Model, _>(model)?;
        let out = place(n_outputs, "n_outputs")?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(m.n_outputs()?) };
        Ok(())
    })
}

/// Gives row `row` of the logits, in the order of the batch: `*logits` points to `*n` floats, `n_vocab` of them. They
/// belong to the model and are valid until the next call that writes it. `n` may be NULL.
///
/// REKINDLE_INVALID_ARGUMENT: the last decode left no such row. REKINDLE_UNSUPPORTED: the plan's pooling leaves no
/// logits.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_logits(
    model: *const rekindle_model,
    row: u32,
    logits: *mut *const f32,
    n: *mut u32,
) -> rekindle_status {
    guard("rekindle_logits", || {
        let m = get::<Model, _>(model)?;
        // SAFETY: the caller's places.
        unsafe { row_out(m.logits(row), logits, n) }
    })
}

/// Gives the hidden state behind row `row` of the logits, after the output norm: `*embeddings` points to `*n` floats,
/// `n_embd` of them. With a plan's pooling it is the row of a token or a text, in the order of the batch, with
/// `n_embd_out` floats. Otherwise it is as rekindle_logits.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_embeddings(
    model: *const rekindle_model,
    row: u32,
    embeddings: *mut *const f32,
    n: *mut u32,
) -> rekindle_status {
    guard("rekindle_embeddings", || {
        let m = get::<Model, _>(model)?;
        // SAFETY: the caller's places.
        unsafe { row_out(m.embeddings(row), embeddings, n) }
    })
}

/// For rekindle_pooled: divide the row by its length, the root of the sum of its squares.
pub const REKINDLE_POOLED_NORMALIZE: u32 = 1;

/// Gives what the last decode made of the text of sequence `seq_id`: `n_embd_out` floats, copied to `buffer`. It is for
/// models whose plan pools texts (REKINDLE_POOLING_MEAN, CLS, LAST or RANK). A text is the sequence's tokens in that
/// one batch; they stand together. Many texts, each a sequence of its own, may be in one batch. `flags` is
/// REKINDLE_POOLED_NORMALIZE or 0.
///
/// `*needed` gets the number of floats. To ask for it alone, pass NULL and 0. REKINDLE_BUFFER_TOO_SMALL: nothing was
/// written. REKINDLE_INVALID_ARGUMENT: the last decode had no text of that sequence. REKINDLE_UNSUPPORTED: the model
/// leaves logits or rows of tokens.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_pooled(
    model: *const rekindle_model,
    seq_id: i32,
    flags: u32,
    buffer: *mut f32,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_pooled", || {
        let m = get::<Model, _>(model)?;
        if flags & !REKINDLE_POOLED_NORMALIZE != 0 {
            let text = format!("flags are {flags:#x}, expected REKINDLE_POOLED_NORMALIZE or 0");
            return Err(Error::invalid(text).subject("flags"));
        }
        let row = m.pooled(seq_id, flags & REKINDLE_POOLED_NORMALIZE != 0)?;
        // SAFETY: the caller's buffer.
        unsafe { output::array(&row, buffer, capacity, needed) }
    })
}

/// # Safety
/// Both are null or writable.
unsafe fn row_out(row: Result<(*const f32, u32)>, to: *mut *const f32, n: *mut u32) -> Result<()> {
    let to = place(to, "the place for the row")?;
    let (p, len) = row?;
    // SAFETY: not null, so the caller's places.
    unsafe {
        to.write(p);
        if !n.is_null() {
            n.write(len);
        }
    }
    Ok(())
}
