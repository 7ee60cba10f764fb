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
/// than that window, and recurrent layers (qwen3.5, mamba) a state only where there is a checkpoint. A sequence that is
/// cut elsewhere cannot go on there, and rekindle_decode says so. rekindle_seq_cut cuts it where it can.
///
/// REKINDLE_UNSUPPORTED: recurrent layers would have to forget tokens before others (rekindle_model_info.can_shift
/// tells beforehand). REKINDLE_INVALID_ARGUMENT: a sequence id out of range, here and below. REKINDLE_BUSY, here and
/// below.
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

/// Cuts the tail of a sequence: to the longest part of its first `length` positions from whose end it can go on.
/// `*reached` gets the length of that part, and the caller decodes the rest again from there.
///
/// Layers that see all tokens can go on anywhere, so mostly `*reached` is `length`, or the sequence's own length if
/// that is less. Layers with a window can go on where the window still holds what the next token sees. Recurrent layers
/// remember a sequence as a whole, so they go on from a checkpoint. Checkpoints are taken by themselves: where a prompt
/// (a batch with more than 16 tokens of a sequence) begins, where it ends, 16 tokens before that, and every 4096 tokens
/// in between. rekindle_seq_checkpoint takes one more. When there are more than n_checkpoints of the plan, those in the
/// middle of prompts go first, then the oldest. If none is left, `*reached` is 0 and the sequence is empty.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_seq_cut(
    model: *mut rekindle_model,
    seq_id: i32,
    length: u32,
    reached: *mut u32,
) -> rekindle_status {
    guard("rekindle_seq_cut", || {
        let m = get::<Model, _>(model)?;
        let out = place(reached, "reached")?;
        let n = m.seq_cut(seq_id, length)?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(n) };
        Ok(())
    })
}

/// Takes a checkpoint of a sequence at its end, to which rekindle_seq_cut can go back. It costs no copy and lasts until
/// the sequence is cut before it, or until more than n_checkpoints of the plan were taken; those of the host are given
/// up last. Models without recurrent layers need none, and nothing happens.
///
/// REKINDLE_INVALID_ARGUMENT: the plan has no room for checkpoints, or the sequence cannot go on at its end.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_seq_checkpoint(model: *mut rekindle_model, seq_id: i32) -> rekindle_status {
    guard("rekindle_seq_checkpoint", || get::<Model, _>(model)?.seq_checkpoint(seq_id))
}

/// Leaves a sequence to generations, as one of them does at its end: they may go on from its tokens, and forget it when
/// they need the room. A sequence that the host has filled, as by rekindle_seq_load, stays the host's until then, and no
/// generation takes it. A later call that names it makes it the host's again, and empty.
///
/// REKINDLE_INVALID_ARGUMENT also for a sequence that a generation has.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_seq_leave(model: *mut rekindle_model, seq_id: i32) -> rekindle_status {
    guard("rekindle_seq_leave", || get::<Model, _>(model)?.seq_leave(seq_id))
}

/// Makes sequence `dst` the same as positions p0 to p1 - 1 of `src`. Both share the cells, so this costs no memory. The
/// former contents of `dst` are forgotten. If `dst` is `src`, nothing changes. Recurrent states and checkpoints are
/// shared too.
///
/// REKINDLE_UNSUPPORTED: recurrent layers would have to forget the positions before p0.
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
/// REKINDLE_UNSUPPORTED: recurrent layers cannot (rekindle_model_info.can_shift tells beforehand).
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
        let n = u32::try_from(m.n_free()?).map_err(|_| Error::invalid("the KV cache is too large to count"))?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(n) };
        Ok(())
    })
}
