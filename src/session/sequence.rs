//! Operations on cached sequences: remove, copy, keep, shift, length.

use super::caches::Caches;
use super::cells::Cells;
use super::model::{Model, State};
use super::scales::Scales;
use super::slots::User;
use crate::error::{Error, Result};
use crate::graph::{Move, Span};

/// `p1 < 0` stands for the end, `p0 < 0` for the start.
fn range(p0: i32, p1: i32) -> (i32, i32) {
    (p0.max(0), if p1 < 0 { i32::MAX } else { p1 })
}

impl Model {
    /// Forgets positions p0..p1 of a sequence; `seq < 0` stands for every sequence but those of generations. Layers
    /// with a window keep no more than that, and recurrent layers a state only where there is a checkpoint. A sequence
    /// that is cut elsewhere cannot go on there (`decode` says so); `seq_cut` cuts it where it can.
    ///
    /// # Errors
    /// `Unsupported` if recurrent layers would have to forget tokens before others. `InvalidArgument` for a sequence id
    /// out of range or of a sequence that a generation has; `OutOfMemory`; `Busy`. The functions below may return these
    /// too.
    pub fn seq_remove(&self, seq: i32, p0: i32, p1: i32) -> Result<()> {
        let _write = self.write()?;
        let caches = &mut self.state.write().caches;
        let (p0, p1) = range(p0, p1);
        if seq < 0 {
            return self.of_nobody_else().try_for_each(|s| caches.remove(s, p0, p1));
        }
        let seq = self.claimed(caches, seq)?;
        caches.remove(seq, p0, p1)
    }

    /// Cuts a sequence to at most `length` positions: to the longest part from whose end it can go on. Gives the length
    /// of that, from which the caller decodes the rest again. Layers that see everything can go on anywhere; recurrent
    /// ones at a checkpoint; those with a window where it still holds what the next token sees.
    pub fn seq_cut(&self, seq: i32, length: u32) -> Result<u32> {
        let _write = self.write()?;
        let caches = &mut self.state.write().caches;
        let seq = self.claimed(caches, seq)?;
        caches.cut(seq, i32::try_from(length).unwrap_or(i32::MAX)).map(|n| n as u32)
    }

    /// Keeps what recurrent layers remember at the end of a sequence as a checkpoint, to which `seq_cut` can go back.
    /// Other models need none, and nothing happens.
    ///
    /// # Errors
    /// `InvalidArgument` also if the sequence cannot go on at its end, or if the plan has no room for checkpoints.
    pub fn seq_checkpoint(&self, seq: i32) -> Result<()> {
        let _write = self.write()?;
        let caches = &mut self.state.write().caches;
        let seq = self.claimed(caches, seq)?;
        caches.checkpoint(seq)
    }

    /// Lets `dst` share positions p0..p1 of `src`, which costs no memory. `dst` forgets its own first.
    pub fn seq_copy(&self, src: i32, dst: i32, p0: i32, p1: i32) -> Result<()> {
        let _write = self.write()?;
        let caches = &mut self.state.write().caches;
        let (src, dst) = (caches.whole().check_seq(src)?, self.claimed(caches, dst)?);
        if src == dst {
            return Ok(());
        }
        let (p0, p1) = range(p0, p1);
        caches.copy(src, dst, p0, p1)
    }

    /// Forgets every sequence but this one, and those of generations.
    pub fn seq_keep(&self, seq: i32) -> Result<()> {
        let _write = self.write()?;
        let caches = &mut self.state.write().caches;
        let seq = self.claimed(caches, seq)?;
        self.of_nobody_else().filter(|s| *s != seq).for_each(|s| caches.clear(s));
        Ok(())
    }

    /// Moves positions p0..p1 of a sequence by `delta`, and turns the cached keys to match. Cells that other sequences
    /// see too are copied first, so these sequences do not change.
    ///
    /// # Errors
    /// `InvalidArgument` also if a position would leave 0..2^31 - 1 or meet another of the sequence; `ContextFull` if
    /// there are no free cells for the copies. No position changes then.
    pub fn seq_shift(&self, seq: i32, p0: i32, p1: i32, delta: i32) -> Result<()> {
        let _write = self.write()?;
        let mut state = self.state.write();
        let State { caches, machine, .. } = &mut *state;
        let seq = self.claimed(caches, seq)?;
        let (p0, p1) = range(p0, p1);
        if delta == 0 {
            return Ok(());
        }
        check_shift(caches.whole(), seq, p0, p1, delta)?;
        let mut shifts = caches.plan_shift(seq, p0, p1, delta)?;
        let moves: Vec<Vec<Move>> = shifts.iter_mut().map(|s| std::mem::take(&mut s.moves)).collect();
        machine.move_cells(&moves)?;
        caches.shift(seq, shifts);
        Ok(())
    }

    /// Sets the scales of the adapters that tokens of a sequence are computed with from now on, one for each adapter;
    /// those that are not given are 0. The sequence must be empty.
    ///
    /// # Errors
    /// `InvalidArgument` also for too many scales, for one that is no finite number, and for a sequence with tokens.
    pub fn seq_set_adapters(&self, seq: i32, scales: &[f32]) -> Result<()> {
        let scales = Scales::checked(scales, self.info.n_adapters as usize, "scales")?;
        let _write = self.write()?;
        let caches = &mut self.state.write().caches;
        let seq = self.claimed(caches, seq)?;
        let length = caches.length(seq);
        if length > 0 && caches.scales.of(seq) != scales {
            let text =
                format!("sequence {seq} has {length} tokens, which were computed with other adapters; remove it first");
            return Err(Error::invalid(text).subject("seq_id"));
        }
        caches.scales.set(seq, &scales);
        Ok(())
    }

    /// Leaves a sequence to generations, as one of them does at its end: they may go on from its tokens, until the room
    /// is needed.
    ///
    /// # Errors
    /// `InvalidArgument` for an id out of range, or if a generation has it.
    pub fn seq_leave(&self, seq: i32) -> Result<()> {
        let _write = self.write()?;
        let state = self.state.read();
        let seq = state.caches.whole().check_seq(seq)?;
        let mut slots = self.slots.lock();
        match slots.of(seq) {
            User::Host if state.caches.length(seq) > 0 => slots.leave(seq),
            User::Host | User::Idle(_) => {}
            User::Generation => {
                return Err(Error::invalid(format!("sequence {seq} belongs to a generation")).subject("seq_id"));
            }
        }
        Ok(())
    }

    /// A sequence that the host names.
    ///
    /// # Errors
    /// `InvalidArgument` for an id out of range, or if a generation has it.
    fn claimed(&self, caches: &mut Caches, seq: i32) -> Result<u32> {
        let seq = caches.whole().check_seq(seq)?;
        self.claim(caches, seq)?;
        Ok(seq)
    }

    /// The sequences that no generation has.
    fn of_nobody_else(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.info.n_seq_max).filter(|s| self.slots.lock().of(*s) != User::Generation)
    }

    /// The last position of a sequence plus one; 0 if it is empty.
    pub fn seq_length(&self, seq: i32) -> Result<u32> {
        let state = self.look()?;
        let seq = state.caches.whole().check_seq(seq)?;
        Ok(state.caches.whole().last(seq).map_or(0, |p| p as u32 + 1))
    }
}

/// Refuses a shift that cannot be made.
///
/// # Errors
/// `InvalidArgument` if a position would leave its range or meet another of the sequence.
fn check_shift(cells: &Cells, seq: u32, p0: i32, p1: i32, delta: i32) -> Result<()> {
    let positions = |p0, p1| cells.of(seq, p0, p1).flat_map(|s| s.pos..s.pos + s.len as i32);
    let stays: Vec<Span> = cells.of(seq, 0, p0).chain(cells.of(seq, p1, i32::MAX)).collect();
    let taken = |pos: i32| {
        let next = stays.partition_point(|s| s.pos <= pos);
        next > 0 && i64::from(pos) < i64::from(stays[next - 1].pos) + i64::from(stays[next - 1].len)
    };
    for pos in positions(p0, p1) {
        let to = pos.checked_add(delta).filter(|p| *p >= 0 && *p < i32::MAX).ok_or_else(|| {
            Error::invalid(format!("position {pos} shifted by {delta} is out of range, expected 0 to {}", i32::MAX - 1))
                .subject("delta")
        })?;
        if taken(to) {
            return Err(Error::invalid(format!(
                "position {pos} shifted by {delta} meets position {to} of the same sequence"
            ))
            .subject("delta"));
        }
    }
    Ok(())
}
