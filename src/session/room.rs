//! Room in the caches: idle sequences are kept as long as nobody needs their cells.

use super::model::State;
use super::slots::{Slots, User};

/// Gives idle sequences but `except` up, the oldest first, until `n` cells are free. Gives the number of free cells.
pub(super) fn make_room(state: &mut State, slots: &mut Slots, n: usize, except: Option<u32>) -> usize {
    while state.caches.whole().n_free() < n
        && let Some(seq) = slots.oldest(except)
    {
        state.caches.release(seq);
        slots.give(seq, User::Host);
    }
    state.caches.whole().n_free()
}
