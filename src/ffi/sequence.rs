//! Sequences: the texts whose keys and values the KV cache holds.

use super::error::rekindle_status;
use super::guard::guard;
use super::handle::get;
use super::model::rekindle_model;
use super::structs::place;
use crate::error::Error;
use crate::session::Model;

/// Forgets positions p0 to p1 - 1 of a sequence. A p0 below 0 stands for the start and a p1 below 0 for the end, here
/// and below; a seq_id below 0 stands for every sequence. Layers that see a window only (gemma, gpt-oss) keep no more
/// than that window. A sequence that is cut further back cannot go on there, and rekindle_decode says so; remove the
/// whole sequence then.
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

/// Makes sequence `dst` the same as positions p0 to p1 - 1 of `src`. Both share the cells, so this costs no memory. The
/// former contents of `dst` are forgotten. If `dst` is `src`, nothing changes.
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

/// Adds `delta` to positions p0 to p1 - 1 of a sequence and turns its cached keys to match. To drop the oldest n tokens
/// of a full context, call rekindle_seq_remove(model, s, 0, n) and then rekindle_seq_shift(model, s, n, -1, -n). Cells
/// that other sequences share are copied first.
///
/// REKINDLE_INVALID_ARGUMENT: a position would be negative or meet another. REKINDLE_CONTEXT_FULL: no free cells for
/// the copies. REKINDLE_OUT_OF_MEMORY: there is no room for small buffers. REKINDLE_DEVICE: a device failed; the KV
/// cache is lost, and the model can only be destroyed.
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

/// Gives the last position of a sequence plus one, or 0 if it is empty.
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

/// Counts the tokens that the KV cache still has room for, of all sequences together.
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
