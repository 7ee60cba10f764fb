//! Operations on cached sequences: remove, copy, keep, shift, length.

use super::model::{Model, State};
use crate::cpu::{Move, move_cells};
use crate::error::{Error, Result};

/// `p1 < 0` stands for the end, `p0 < 0` for the start.
fn range(p0: i32, p1: i32) -> (i32, i32) {
    (p0.max(0), if p1 < 0 { i32::MAX } else { p1 })
}

impl Model {
    /// Forgets positions p0..p1 of a sequence; `seq < 0` stands for every sequence.
    ///
    /// # Errors
    /// `InvalidArgument` for a sequence id out of range, here and below; `Busy`.
    pub fn seq_remove(&self, seq: i32, p0: i32, p1: i32) -> Result<()> {
        let _write = self.write()?;
        let cells = &mut self.state.write().cells;
        let (p0, p1) = range(p0, p1);
        let seqs = if seq < 0 { 0..self.info.n_seq_max } else { cells.check_seq(seq).map(|s| s..s + 1)? };
        seqs.for_each(|s| cells.remove(s, p0, p1));
        Ok(())
    }

    /// Lets `dst` share positions p0..p1 of `src`; costs no memory. What `dst` had is forgotten first.
    pub fn seq_copy(&self, src: i32, dst: i32, p0: i32, p1: i32) -> Result<()> {
        let _write = self.write()?;
        let cells = &mut self.state.write().cells;
        let (src, dst) = (cells.check_seq(src)?, cells.check_seq(dst)?);
        if src == dst {
            return Ok(());
        }
        let (p0, p1) = range(p0, p1);
        cells.remove(dst, 0, i32::MAX);
        let shared: Vec<usize> = cells.of(src, p0, p1).collect();
        shared.into_iter().for_each(|c| cells.add(c, dst));
        Ok(())
    }

    /// Forgets every sequence but this one.
    pub fn seq_keep(&self, seq: i32) -> Result<()> {
        let _write = self.write()?;
        let cells = &mut self.state.write().cells;
        let seq = cells.check_seq(seq)?;
        cells.keep(seq);
        Ok(())
    }

    /// Moves positions p0..p1 of a sequence by `delta`, turning the cached keys to match. Cells that other sequences see too
    /// are copied first, so those do not change.
    ///
    /// # Errors
    /// `InvalidArgument` also if a position would leave 0..2^31 - 1 or meet another of the sequence; `ContextFull` if there are
    /// no free cells for the copies. Nothing changes then.
    pub fn seq_shift(&self, seq: i32, p0: i32, p1: i32, delta: i32) -> Result<()> {
        let _write = self.write()?;
        let mut state = self.state.write();
        let State { cells, executor, .. } = &mut *state;
        let seq = cells.check_seq(seq)?;
        let (p0, p1) = range(p0, p1);
        let (own, shared) = cells.plan_shift(seq, p0, p1);
        if delta == 0 || own.is_empty() && shared.is_empty() {
            return Ok(());
        }
        let mut taken: Vec<i32> = cells.of(seq, 0, i32::MAX).map(|c| cells.pos(c)).filter(|p| !(p0..p1).contains(p)).collect();
        taken.sort_unstable();
        for c in own.iter().chain(&shared) {
            let pos = cells.pos(*c);
            let to = pos.checked_add(delta).filter(|p| *p >= 0 && *p < i32::MAX).ok_or_else(|| {
                Error::invalid(format!("position {pos} shifted by {delta} is out of range, expected 0 to {}", i32::MAX - 1))
                    .subject("delta")
            })?;
            if taken.binary_search(&to).is_ok() {
                return Err(Error::invalid(format!(
                    "position {pos} shifted by {delta} meets position {to} of the same sequence"
                ))
                .subject("delta"));
            }
        }
        let copies = if shared.is_empty() { Vec::new() } else { cells.find_free(shared.len())? };
        let moves: Vec<Move> = own
            .iter()
            .map(|c| Move { from: *c as u32, to: *c as u32, delta })
            .chain(shared.iter().zip(&copies).map(|(c, copy)| Move { from: *c as u32, to: *copy, delta }))
            .collect();
        move_cells(executor, &self.pool, &moves)?;
        own.iter().for_each(|c| cells.shift(*c, delta));
        for (c, copy) in shared.iter().zip(&copies) {
            let pos = cells.pos(*c);
            cells.drop_from(*c, seq);
            cells.fill(*copy, pos + delta, seq);
        }
        Ok(())
    }

    /// The last position of a sequence plus one; 0 if it is empty.
    pub fn seq_length(&self, seq: i32) -> Result<u32> {
        let state = self.state.read();
        let seq = state.cells.check_seq(seq)?;
        Ok(state.cells.last(seq).map_or(0, |p| p as u32 + 1))
    }
}
