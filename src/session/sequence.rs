//! Operations on cached sequences: remove, copy, keep, shift, length.

use super::caches::Caches;
use super::cells::Cells;
use super::model::{Model, State};
use crate::error::{Error, Result, Status};
use crate::graph::Move;

/// `p1 < 0` stands for the end, `p0 < 0` for the start.
fn range(p0: i32, p1: i32) -> (i32, i32) {
    (p0.max(0), if p1 < 0 { i32::MAX } else { p1 })
}

impl Model {
    /// Forgets positions p0..p1 of a sequence; `seq < 0` stands for every sequence. Layers with a window keep no more
    /// than that, so a sequence cut further back than its window cannot go on there (`decode` says so).
    ///
    /// # Errors
    /// `InvalidArgument` for a sequence id out of range, here and below; `Busy`.
    pub fn seq_remove(&self, seq: i32, p0: i32, p1: i32) -> Result<()> {
        let _write = self.write()?;
        let caches = &mut self.state.write().caches;
        let (p0, p1) = range(p0, p1);
        let seqs = if seq < 0 { 0..self.info.n_seq_max } else { caches.whole().check_seq(seq).map(|s| s..s + 1)? };
        for cells in caches.iter_mut() {
            seqs.clone().for_each(|s| cells.remove(s, p0, p1));
        }
        Ok(())
    }

    /// Lets `dst` share positions p0..p1 of `src`; costs no memory. What `dst` had is forgotten first.
    pub fn seq_copy(&self, src: i32, dst: i32, p0: i32, p1: i32) -> Result<()> {
        let _write = self.write()?;
        let caches = &mut self.state.write().caches;
        let (src, dst) = (caches.whole().check_seq(src)?, caches.whole().check_seq(dst)?);
        if src == dst {
            return Ok(());
        }
        let (p0, p1) = range(p0, p1);
        for cells in caches.iter_mut() {
            cells.remove(dst, 0, i32::MAX);
            let shared: Vec<usize> = cells.of(src, p0, p1).collect();
            shared.into_iter().for_each(|c| cells.add(c, dst));
        }
        Ok(())
    }

    /// Forgets every sequence but this one.
    pub fn seq_keep(&self, seq: i32) -> Result<()> {
        let _write = self.write()?;
        let caches = &mut self.state.write().caches;
        let seq = caches.whole().check_seq(seq)?;
        caches.iter_mut().for_each(|cells| cells.keep(seq));
        Ok(())
    }

    /// Moves positions p0..p1 of a sequence by `delta`, turning the cached keys to match. Cells that other sequences
    /// see too are copied first, so those do not change.
    ///
    /// # Errors
    /// `InvalidArgument` also if a position would leave 0..2^31 - 1 or meet another of the sequence; `ContextFull` if
    /// there are no free cells for the copies. No position changes then.
    pub fn seq_shift(&self, seq: i32, p0: i32, p1: i32, delta: i32) -> Result<()> {
        let _write = self.write()?;
        let mut state = self.state.write();
        let State { caches, machine, .. } = &mut *state;
        let seq = caches.whole().check_seq(seq)?;
        let (p0, p1) = range(p0, p1);
        if delta == 0 {
            return Ok(());
        }
        check_shift(caches.whole(), seq, p0, p1, delta)?;
        let plan =
            |caches: &Caches| caches.iter().map(|cells| Shift::plan(cells, seq, p0, p1)).collect::<Result<Vec<_>>>();
        let shifts = match plan(caches) {
            // Caches of windows may still hold what no token sees any more.
            Err(e) if e.status == Status::ContextFull => {
                caches.forget_passed();
                plan(caches)?
            }
            other => other?,
        };
        let moves: Vec<Vec<Move>> = shifts.iter().map(|s| s.moves(delta)).collect();
        machine.move_cells(&moves)?;
        for (cells, shift) in caches.iter_mut().zip(&shifts) {
            shift.apply(cells, seq, delta);
        }
        Ok(())
    }

    /// The last position of a sequence plus one; 0 if it is empty.
    pub fn seq_length(&self, seq: i32) -> Result<u32> {
        let state = self.state.read();
        let seq = state.caches.whole().check_seq(seq)?;
        Ok(state.caches.whole().last(seq).map_or(0, |p| p as u32 + 1))
    }
}

/// # Errors
/// `InvalidArgument` if a position would leave its range or meet another of the sequence.
fn check_shift(cells: &Cells, seq: u32, p0: i32, p1: i32, delta: i32) -> Result<()> {
    let mut taken: Vec<i32> =
        cells.of(seq, 0, i32::MAX).map(|c| cells.pos(c)).filter(|p| !(p0..p1).contains(p)).collect();
    taken.sort_unstable();
    for pos in cells.of(seq, p0, p1).map(|c| cells.pos(c)) {
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
    Ok(())
}

/// What a shift does in one cache.
struct Shift {
    /// Cells that the sequence has alone.
    own: Vec<usize>,
    /// Cells that others see too, and the free ones that they are copied to.
    copied: Vec<(usize, u32)>,
}

impl Shift {
    fn plan(cells: &Cells, seq: u32, p0: i32, p1: i32) -> Result<Shift> {
        let (own, shared) = cells.plan_shift(seq, p0, p1);
        let free = if shared.is_empty() { Vec::new() } else { cells.find_free(shared.len())? };
        Ok(Shift { own, copied: shared.into_iter().zip(free).collect() })
    }

    fn moves(&self, delta: i32) -> Vec<Move> {
        let own = self.own.iter().map(|c| Move { from: *c as u32, to: *c as u32, delta });
        own.chain(self.copied.iter().map(|(c, copy)| Move { from: *c as u32, to: *copy, delta })).collect()
    }

    fn apply(&self, cells: &mut Cells, seq: u32, delta: i32) {
        self.own.iter().for_each(|c| cells.shift(*c, delta));
        for (c, copy) in &self.copied {
            let pos = cells.pos(*c);
            cells.drop_from(*c, seq);
            cells.fill(*copy, pos + delta, seq);
        }
    }
}
