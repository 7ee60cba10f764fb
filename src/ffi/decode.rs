//! Decode: tokens in, logits out; and what can be done with cached sequences.

use super::error::rekindle_status;
use super::guard::guard;
use super::handle::get;
use super::model::rekindle_model;
use super::structs::{Struct, place, read, slice};
use crate::error::{Error, Result};
use crate::session::{Batch, Model};

/// Tokens to decode. The arrays belong to the caller and are read during the call only; each has n_tokens elements.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_batch {
    /// sizeof(rekindle_batch), set by the caller.
    pub struct_size: u32,
    /// 1 to n_batch.
    pub n_tokens: u32,
    /// Token ids, each below the model's n_vocab.
    pub tokens: *const i32,
    /// Positions, ascending within a sequence and past its end; NULL: each sequence goes on where it ends.
    pub positions: *const i32,
    /// Sequence ids, each below n_seq_max; NULL: all 0.
    pub seq_ids: *const i32,
    /// Non-zero where logits are wanted; NULL: for the last token of each sequence.
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

/// Computes a batch: keys and values go into the KV cache, the logits asked for can be read afterwards. If it fails, the cache is
/// as it was, but the logits of the batch before may be gone (rekindle_n_outputs is 0 then).
///
/// REKINDLE_INVALID_ARGUMENT: a token, position, sequence id or number of outputs out of range; the message names the field and
/// index. REKINDLE_CONTEXT_FULL: too few free cells. REKINDLE_CANCELLED: by rekindle_cancel. REKINDLE_BUSY.
/// REKINDLE_IO: the last of the file, which is read after the load, cannot be read; then nor can any later batch be computed.
/// REKINDLE_OUT_OF_MEMORY: for small buffers. REKINDLE_DEVICE: a device failed; if it does not survive that, every later call says so
/// again, and the model can only be destroyed.
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

/// How many rows of logits the last decode left.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_n_outputs(model: *const rekindle_model, n_outputs: *mut u32) -> rekindle_status {
    guard("rekindle_n_outputs", || {
        let m = get::<Model, _>(model)?;
        let out = place(n_outputs, "n_outputs")?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(m.n_outputs()) };
        Ok(())
    })
}

/// Row `row` of the logits, in the order of the batch: `*logits` points to `*n` floats, `n_vocab` of them. They belong to the
/// model and are valid until the next call that writes it. `n` may be NULL.
///
/// REKINDLE_INVALID_ARGUMENT: the last decode left no such row.
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

/// The hidden state behind row `row` of the logits, after the output norm: `*embeddings` points to `*n` floats, `n_embd` of
/// them. Otherwise as rekindle_logits.
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

/// Forgets positions p0 to p1 - 1 of a sequence. p0 below 0 stands for the start and p1 below 0 for the end, here and below, seq_id below
/// 0 for every sequence. Layers that see a window only (gemma, gpt-oss) keep no more than that: a sequence cut further back cannot go on
/// there, and rekindle_decode says so; remove the whole sequence then.
///
/// REKINDLE_INVALID_ARGUMENT: a sequence id out of range, here and below. REKINDLE_BUSY, here and below.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_seq_remove(
    model: *mut rekindle_model,
    seq_id: i32,
    p0: i32,
    p1: i32,
) -> rekindle_status {
    guard("rekindle_seq_remove", || get::<Model, _>(model)?.seq_remove(seq_id, p0, p1))
}

/// Makes sequence `dst` the same as positions p0 to p1 - 1 of `src`; both share the cells, so this costs no memory. What `dst`
/// had before is forgotten. The same for both changes nothing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_seq_copy(
    model: *mut rekindle_model,
    src: i32,
    dst: i32,
    p0: i32,
    p1: i32,
) -> rekindle_status {
    guard("rekindle_seq_copy", || get::<Model, _>(model)?.seq_copy(src, dst, p0, p1))
}

/// Forgets every sequence but this one.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_seq_keep(model: *mut rekindle_model, seq_id: i32) -> rekindle_status {
    guard("rekindle_seq_keep", || get::<Model, _>(model)?.seq_keep(seq_id))
}

/// Adds `delta` to positions p0 to p1 - 1 of a sequence and turns its cached keys to match. To drop the oldest n tokens of a full
/// context: rekindle_seq_remove(model, s, 0, n), then rekindle_seq_shift(model, s, n, -1, -n). Cells that other sequences share
/// are copied first.
///
/// REKINDLE_INVALID_ARGUMENT: a position would be negative or meet another. REKINDLE_CONTEXT_FULL: no free cells for the copies.
/// REKINDLE_OUT_OF_MEMORY: for small buffers. REKINDLE_DEVICE: a device failed; the KV cache is lost, and the model can only be destroyed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_seq_shift(
    model: *mut rekindle_model,
    seq_id: i32,
    p0: i32,
    p1: i32,
    delta: i32,
) -> rekindle_status {
    guard("rekindle_seq_shift", || get::<Model, _>(model)?.seq_shift(seq_id, p0, p1, delta))
}

/// The last position of a sequence plus one; 0 if it is empty.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_seq_length(
    model: *const rekindle_model,
    seq_id: i32,
    length: *mut u32,
) -> rekindle_status {
    guard("rekindle_seq_length", || {
        let m = get::<Model, _>(model)?;
        let out = place(length, "length")?;
        let n = m.seq_length(seq_id)?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(n) };
        Ok(())
    })
}

/// How many more tokens the KV cache has room for, of all sequences together.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_n_free(model: *const rekindle_model, n_free: *mut u32) -> rekindle_status {
    guard("rekindle_n_free", || {
        let m = get::<Model, _>(model)?;
        let out = place(n_free, "n_free")?;
        let n = u32::try_from(m.n_free()).map_err(|_| Error::invalid("the KV cache is too large to count"))?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(n) };
        Ok(())
    })
}
