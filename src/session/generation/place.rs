//! Places for generations: a sequence for each, with the longest beginning of its prompt that the model has already,
//! and free cells.
//!
//! The beginning is looked for in all sequences: those of the host, of other generations and idle ones. Of a sequence
//! that has `n` tokens of it, so much is of use as it can go on from (`Caches::reach`): all `n` in layers that see
//! everything, as far as a window reaches, or up to a checkpoint. Rows of caches are shared, states copied.
//!
//! If another generation is reading a prompt that begins in the same way, a generation waits for that one rather than
//! reading the same.

use std::sync::Arc;

use super::super::model::State;
use super::super::room::make_room;
use super::super::slots::{Slots, User};
use super::generation::{Inner, Phase};
use crate::error::Result;

/// A beginning shorter than this is not worth waiting for.
const WORTH: usize = 32;

/// The longest beginning of a prompt that the model has, computed with these scales of adapters: in tokens, and the
/// sequence.
fn longest(state: &State, prompt: &[i32], scales: &[f32]) -> (usize, Option<u32>) {
    let caches = &state.caches;
    let of = |seq: u32| {
        // The last token of a prompt is always computed, for its logits.
        let same = caches.scales.of(seq) == scales;
        let common = if same { caches.history.common(seq, &prompt[..prompt.len() - 1]) } else { 0 };
        let n = if common > 0 { caches.reach(seq, common as i32) as usize } else { 0 };
        (n, Some(seq))
    };
    (0..caches.whole().n_seq_max()).map(of).filter(|(n, _)| *n > 0).max_by_key(|(n, _)| *n).unwrap_or((0, None))
}

/// A generation that reads its prompt.
pub(super) struct Reading {
    pub prompt: Arc<Vec<i32>>,
    /// Tokens of it that have been read.
    pub n_read: usize,
    pub scales: Arc<Vec<f32>>,
}

/// Others that a step computes for.
pub(super) struct Others {
    pub reading: Vec<Reading>,
    pub n_talking: usize,
}

/// Gives a generation that waits a sequence, if there is one for it now. While others are at work, the whole prompt
/// must find room beside them: else the cells that it fills would be taken from it again.
///
/// # Errors
/// `OutOfMemory`; it waits on.
pub(super) fn place(state: &mut State, slots: &mut Slots, g: &mut Inner, others: &Others) -> Result<()> {
    let (n, source) = if g.no_reuse { (0, None) } else { longest(state, &g.prompt, &g.scales) };
    let comes = |r: &Reading| {
        let common = r.prompt.iter().zip(g.prompt.iter()).take_while(|(a, b)| a == b).count();
        r.scales == g.scales && common > r.n_read && common >= n + WORTH
    };
    if !g.no_reuse && others.reading.iter().any(comes) {
        return Ok(());
    }
    let unread: usize = others.reading.iter().map(|r| r.prompt.len() - r.n_read).sum();
    let at_work = others.n_talking + unread;
    let needed = at_work + g.prompt.len() - n;
    if make_room(state, slots, needed, source) < needed && at_work > 0 {
        return Ok(());
    }
    let Some(seq) = sequence(state, slots, n, source) else { return Ok(()) };
    let caches = &mut state.caches;
    if let Some(source) = source.filter(|s| *s != seq) {
        caches.copy(source, seq, 0, i32::MAX)?;
    }
    let reached = caches.cut(seq, n as i32)?;
    caches.scales.set(seq, &g.scales);
    slots.give(seq, User::Generation);
    g.seq = Some(seq);
    (g.n_read, g.n_reused) = (reached as usize, reached as usize);
    Ok(())
}

/// A sequence for a generation that goes on from the first `n` tokens of `source`; `None` if all are in use.
fn sequence(state: &mut State, slots: &mut Slots, n: usize, source: Option<u32>) -> Option<u32> {
    let idle = source.filter(|s| slots.is_idle(*s));
    // Nothing is lost if it goes on where an idle sequence ends.
    if let Some(seq) = idle.filter(|s| state.caches.length(*s) as usize == n) {
        return Some(seq);
    }
    let is_empty = |s: &u32| slots.of(*s) != User::Generation && state.caches.length(*s) == 0;
    // A host that has set adapters for a sequence is about to use it.
    let is_meant = |s: u32| slots.of(s) == User::Host && !state.caches.scales.are_zero(s);
    let is_free = |s: &u32| is_empty(s) && !is_meant(*s);
    if let Some(seq) = (0..state.caches.whole().n_seq_max()).rev().find(is_free) {
        return Some(seq);
    }
    let Some(oldest) = slots.oldest(source) else {
        // At last one that the host has set adapters for and does not use yet.
        return idle.or_else(|| (0..state.caches.whole().n_seq_max()).rev().find(is_empty));
    };
    state.caches.clear(oldest);
    Some(oldest)
}

/// Takes the sequence of a generation that reads, for others that need its cells. It begins anew later.
pub(super) fn give_back(state: &mut State, slots: &mut Slots, g: &mut Inner) {
    if g.is(Phase::Reads)
        && let Some(seq) = g.seq.take()
    {
        state.caches.release(seq);
        slots.give(seq, User::Host);
        (g.n_read, g.n_reused) = (0, 0);
    }
}
