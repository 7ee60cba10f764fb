//! The bookkeeping of a KV cache: the cell of each position of each sequence. Keys and values lie elsewhere.
//!
//! Each sequence has a list of its spans (`spans`), each cell a count of the sequences that share it, and the free
//! cells are found through a tree (`free`). So a token costs the same however many cells and sequences there are.

mod free;
mod spans;
#[cfg(test)]
mod tests;

use free::FreeCells;
use spans::Spans;

use crate::error::{Error, Result, Status, try_vec};
use crate::graph::{Move, Span};

/// The bookkeeping of a cache.
pub(super) struct Cells {
    seqs: Vec<Spans>,
    store: Store,
}

/// The cells, without the positions in them.
struct Store {
    /// By cell: number of sequences that share it; 0: it is free.
    sharers: Vec<u16>,
    free: FreeCells,
}

/// A shift of positions that was prepared. Nothing of it can fail any more.
pub(super) struct Shift {
    pub moves: Vec<Move>,
    /// The sequence's spans after the shift.
    after: Spans,
    /// (cell that other sequences see too, free cell that it is copied to)
    copied: Vec<(u32, u32)>,
}

impl Cells {
    pub fn new(n_cells: usize, n_seq_max: u32) -> Result<Cells> {
        Ok(Cells {
            seqs: try_vec("sequences of the KV cache", n_seq_max as usize, Spans::default())?,
            store: Store { sharers: try_vec("cells of the KV cache", n_cells, 0)?, free: FreeCells::new(n_cells)? },
        })
    }

    pub fn n_cells(&self) -> usize {
        self.store.sharers.len()
    }
    pub fn n_seq_max(&self) -> u32 {
        self.seqs.len() as u32
    }
    pub fn n_free(&self) -> usize {
        self.store.free.n()
    }

    /// The caller's sequence id, checked.
    ///
    /// # Errors
    /// `InvalidArgument` for a sequence id out of range.
    pub fn check_seq(&self, seq: i32) -> Result<u32> {
        u32::try_from(seq).ok().filter(|s| *s < self.n_seq_max()).ok_or_else(|| {
            Error::invalid(format!("sequence id {seq} is out of range, expected 0 to {}", self.n_seq_max() - 1))
                .subject("seq_id")
        })
    }

    /// The positions p0..p1 of a sequence, span by span.
    pub fn of(&self, seq: u32, p0: i32, p1: i32) -> impl Iterator<Item = Span> + '_ {
        self.seqs[seq as usize].within(p0, p1)
    }

    /// The number of positions of p0..p1 that a sequence has.
    pub fn count(&self, seq: u32, p0: i32, p1: i32) -> u32 {
        self.seqs[seq as usize].count(p0, p1)
    }

    /// The last position of a sequence.
    pub fn last(&self, seq: u32) -> Option<i32> {
        self.seqs[seq as usize].last()
    }

    /// Appends the spans of a sequence, in the order of positions, and returns their number.
    pub fn spans(&self, seq: u32, into: &mut Vec<Span>) -> usize {
        let first = into.len();
        into.extend(self.of(seq, 0, i32::MAX));
        into.len() - first
    }

    /// Free cells: neighbours if there are enough anywhere, else the first ones.
    ///
    /// # Errors
    /// `ContextFull` with the tokens needed and free; nothing changes.
    pub fn find_free(&self, n: usize) -> Result<Vec<u32>> {
        if n > self.n_free() {
            return Err(Error::new(
                Status::ContextFull,
                format!(
                    "the context is full: {n} more tokens were to be cached, {} of {} cells are free",
                    self.n_free(),
                    self.n_cells()
                ),
            )
            .amounts(n as u64, self.n_free() as u64));
        }
        Ok(self.store.free.neighbours(n).map_or_else(|| self.store.free.first(n), |run| run.collect()))
    }

    /// Makes room in the lists, so that `fill` can take the tokens of a batch.
    ///
    /// # Errors
    /// `OutOfMemory`; nothing changes.
    pub fn reserve(&mut self, seqs: &[u32]) -> Result<()> {
        let mut counts = vec![0; self.seqs.len()];
        seqs.iter().for_each(|s| counts[*s as usize] += 1);
        self.seqs.iter_mut().zip(counts).filter(|(_, n)| *n > 0).try_for_each(|(list, n)| list.reserve(n))
    }

    /// Makes room for `n` positions in the list of a sequence, which stays when it is cleared.
    ///
    /// # Errors
    /// `OutOfMemory`; nothing changes.
    pub fn reserve_for(&mut self, seq: u32, n: usize) -> Result<()> {
        self.seqs[seq as usize].reserve(n)
    }

    /// Gives a free cell to a sequence, for a position behind its last.
    pub fn fill(&mut self, cell: u32, pos: i32, seq: u32) {
        self.store.take(cell);
        self.seqs[seq as usize].push(Span { cell, pos, len: 1 });
    }

    /// Takes back the last position of a sequence.
    pub fn pop(&mut self, seq: u32) {
        if let Some(cell) = self.seqs[seq as usize].pop() {
            self.store.leave(cell);
        }
    }

    /// Forgets positions p0..p1 of a sequence.
    ///
    /// # Errors
    /// `OutOfMemory` for positions in the middle of a span, of which two are left; nothing changes.
    pub fn remove(&mut self, seq: u32, p0: i32, p1: i32) -> Result<()> {
        self.seqs[seq as usize].remove(p0, p1, |span| self.store.leave_all(span))
    }

    /// Forgets a sequence.
    pub fn clear(&mut self, seq: u32) {
        let own = &mut self.seqs[seq as usize];
        own.within(0, i32::MAX).for_each(|span| self.store.leave_all(span));
        own.clear();
    }

    /// Lets `dst` share positions p0..p1 of `src`, in place of what it had.
    ///
    /// # Errors
    /// `OutOfMemory`; nothing changes.
    pub fn copy(&mut self, src: u32, dst: u32, p0: i32, p1: i32) -> Result<()> {
        let list = self.seqs[src as usize].part(p0, p1)?;
        self.clear(dst);
        for span in list.within(0, i32::MAX) {
            cells(span).for_each(|c| self.store.sharers[c as usize] += 1);
        }
        self.seqs[dst as usize] = list;
        Ok(())
    }

    /// Prepares a shift of positions p0..p1 by `delta`, which must meet no other position of the sequence. Cells that
    /// others see too are copied.
    ///
    /// # Errors
    /// `ContextFull` where there are too few free cells for that, `OutOfMemory`.
    pub fn plan_shift(&self, seq: u32, p0: i32, p1: i32, delta: i32) -> Result<Shift> {
        let shared = |c: &u32| self.store.sharers[*c as usize] > 1;
        let n_shared = self.of(seq, p0, p1).flat_map(cells).filter(shared).count();
        let mut copies = if n_shared > 0 { self.find_free(n_shared)? } else { Vec::new() }.into_iter();
        let (mut moves, mut copied) = (Vec::new(), Vec::new());
        let after = self.seqs[seq as usize].shifted(p0, p1, delta, |from| {
            // As many were counted as are shared.
            let to = if shared(&from) { copies.next().inspect(|to| copied.push((from, *to))) } else { None };
            let to = to.unwrap_or(from);
            moves.push(Move { from, to, delta });
            to
        })?;
        Ok(Shift { moves, after, copied })
    }

    /// Makes a prepared shift.
    pub fn shift(&mut self, seq: u32, shift: Shift) {
        for (from, to) in shift.copied {
            self.store.leave(from);
            self.store.take(to);
        }
        self.seqs[seq as usize] = shift.after;
    }
}

impl Store {
    /// Gives a free cell to its first sequence.
    fn take(&mut self, cell: u32) {
        self.sharers[cell as usize] = 1;
        self.free.set(cell, false);
    }

    /// Takes a sequence from a cell. The cell is free if it was the last.
    fn leave(&mut self, cell: u32) {
        let sharers = &mut self.sharers[cell as usize];
        *sharers -= 1;
        if *sharers == 0 {
            self.free.set(cell, true);
        }
    }

    fn leave_all(&mut self, span: Span) {
        cells(span).for_each(|c| self.leave(c));
    }
}

fn cells(span: Span) -> std::ops::Range<u32> {
    span.cell..span.cell + span.len
}
