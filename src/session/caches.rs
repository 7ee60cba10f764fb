//! The bookkeeping of all caches: that of the whole context, one for each window that some layers see, and that of
//! recurrent states.
//!
//! A cache of a window has fewer cells than the context. So positions that a window has moved past are forgotten, batch
//! by batch, and their cells used again. A sequence that is then cut may lack positions that its next token sees; it
//! cannot go on there, unless recurrent layers have a checkpoint further back (`recurrent`).

use super::cells::{Cells, Shift};
use super::hidden::Hidden;
use super::history::History;
use super::recurrent::{Recurrent, Taken};
use super::scales::Scales;
use crate::error::{Error, Result, Status};
use crate::graph::{Cache, CacheKind};

pub(super) struct Caches {
    /// (window, cells) of the caches of tokens, as the plan lists them; the first is that of the whole context.
    all: Vec<(Option<u32>, Cells)>,
    /// The plan lists it behind them.
    pub(super) recurrent: Option<Recurrent>,
    /// Tokens and rows that the prediction layer, if there is one, has not seen yet.
    pub(super) hidden: Option<Hidden>,
    pub(super) history: History,
    pub(super) scales: Scales,
}

/// Positions of a sequence in a cache, and free cells that have their rows.
pub(super) struct Filled {
    pub positions: Vec<i32>,
    pub cells: Vec<u32>,
}

/// The cells of a batch.
pub(super) struct BatchCells {
    /// By cache of tokens: the cell of each token.
    pub tokens: Vec<Vec<u32>>,
    pub recurrent: Option<Taken>,
}

impl Caches {
    /// The caches of a plan; a draft has at most `n_draft` tokens.
    pub fn new(
        caches: &[Cache],
        n_seq_max: u32,
        n_draft: u32,
        hidden: Option<Hidden>,
        n_adapters: usize,
    ) -> Result<Caches> {
        let (mut all, mut recurrent) = (Vec::new(), None);
        for c in caches {
            match c.kind {
                CacheKind::Context => all.push((None, Cells::new(c.n_cells, n_seq_max)?)),
                CacheKind::Window(n) => all.push((Some(n), Cells::new(c.n_cells, n_seq_max)?)),
                CacheKind::Recurrent => recurrent = Some(Recurrent::new(c.n_cells, n_seq_max, n_draft as usize)?),
            }
        }
        let scales = Scales::new(n_seq_max, n_adapters)?;
        Ok(Caches { all, recurrent, hidden, history: History::new(n_seq_max)?, scales })
    }

    pub fn whole(&self) -> &Cells {
        &self.all[0].1
    }
    pub fn iter(&self) -> impl Iterator<Item = &Cells> {
        self.all.iter().map(|(_, cells)| cells)
    }
    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Cells> {
        self.all.iter_mut().map(|(_, cells)| cells)
    }

    /// True if there are layers that remember sequences as a whole.
    pub fn is_recurrent(&self) -> bool {
        self.recurrent.is_some()
    }

    /// The number of positions up to the end of a sequence.
    pub fn length(&self, seq: u32) -> i32 {
        self.whole().last(seq).map_or(0, |p| p.saturating_add(1))
    }

    /// A window that lacks some of the positions that a token of `seq` at `next` sees, if there is one.
    fn lacking(&self, seq: u32, next: i32) -> Option<u32> {
        let windows = self.all.iter().filter_map(|(w, c)| Some(((*w)?, c)));
        let lacks = |(window, windowed): &(u32, &Cells)| {
            let first = next.saturating_sub(*window as i32 - 1).max(0);
            windowed.count(seq, first, next) < self.whole().count(seq, first, next)
        };
        windows.into_iter().find(lacks).map(|(window, _)| window)
    }

    /// True if a sequence has all of `n` positions from `first` on, in every cache of tokens.
    pub fn has(&self, seq: u32, first: i32, n: usize) -> bool {
        self.iter().all(|cells| cells.count(seq, first, first.saturating_add(n as i32)) == n as u32)
    }

    /// True if a sequence can go on at its end.
    pub fn can_go_on(&self, seq: u32) -> bool {
        let length = self.length(seq);
        self.lacking(seq, length).is_none() && self.recurrent.as_ref().is_none_or(|r| r.can_go_on(seq, length))
    }

    /// Forgets all positions that windows have moved past. Sequences still can go on at their ends.
    ///
    /// # Errors
    /// `OutOfMemory`, as `Cells::remove`.
    pub fn forget_passed(&mut self) -> Result<()> {
        let ends: Vec<i32> = (0..self.whole().n_seq_max()).map(|s| self.length(s)).collect();
        for (window, windowed) in self.all.iter_mut().filter_map(|(w, c)| Some(((*w)?, c))) {
            for (seq, end) in ends.iter().enumerate() {
                windowed.remove(seq as u32, 0, end.saturating_sub(window as i32 - 1))?;
            }
        }
        Ok(())
    }

    /// Gives each token of a batch a cell in every cache. Positions that windows have moved past are forgotten first.
    ///
    /// # Errors
    /// `ContextFull`; `InvalidArgument` if a window lacks positions before a token, or if recurrent layers remember
    /// tokens that were cut; `OutOfMemory`. No sequence loses anything that it could still use; a checkpoint may go.
    pub fn take(&mut self, positions: &[i32], seqs: &[u32]) -> Result<BatchCells> {
        self.take_all(positions, seqs, false)
    }

    /// The same. A sequence can be cut behind every token of a `draft`, until `end_draft`.
    ///
    /// # Errors
    /// As for `take`.
    pub fn take_all(&mut self, positions: &[i32], seqs: &[u32], draft: bool) -> Result<BatchCells> {
        if let Some(recurrent) = &self.recurrent
            && let Some(seq) = seqs.iter().find(|s| !recurrent.can_go_on(**s, self.length(**s)))
        {
            return Err(Error::invalid(format!(
                "sequence {seq} cannot go on at its end: it was cut, and recurrent layers remember what was there; cut \
                 it to a checkpoint, or remove the whole sequence and decode it again"
            ))
            .subject("seq_ids"));
        }
        let mut cells = vec![self.whole().find_free(positions.len())?];
        if self.all.len() > 1 {
            let mut seen = vec![false; self.whole().n_seq_max() as usize];
            for (seq, next) in seqs.iter().zip(positions) {
                if std::mem::replace(&mut seen[*seq as usize], true) {
                    continue;
                }
                if let Some(window) = self.lacking(*seq, *next) {
                    return Err(Error::invalid(format!(
                        "sequence {seq} cannot go on at position {next}: of the {window} positions in the window of \
                         some layers, some were forgotten when the sequence was longer; remove the whole sequence and \
                         decode it again"
                    ))
                    .subject("positions"));
                }
            }
            self.forget_passed()?;
            for windowed in self.iter().skip(1) {
                cells.push(windowed.find_free(positions.len())?);
            }
        }
        self.iter_mut().try_for_each(|cache| cache.reserve(seqs))?;
        self.history.reserve(seqs)?;
        let recurrent = self.recurrent.as_mut().map(|r| r.take(positions, seqs, draft)).transpose()?;
        for ((_, cache), cells) in self.all.iter_mut().zip(&cells) {
            for ((cell, pos), seq) in cells.iter().zip(positions).zip(seqs) {
                cache.fill(*cell, *pos, *seq);
            }
        }
        Ok(BatchCells { tokens: cells, recurrent })
    }

    /// Forgets that a draft could be cut anywhere.
    pub fn end_draft(&mut self) {
        if let Some(r) = &mut self.recurrent {
            r.end_draft();
        }
    }

    /// Takes a failed batch's cells back: its tokens are the last of their sequences.
    pub fn give_back(&mut self, seqs: &[u32], cells: BatchCells) {
        for cache in self.iter_mut() {
            seqs.iter().for_each(|seq| cache.pop(*seq));
        }
        for seq in seqs {
            self.cut_hidden(*seq);
        }
        if let (Some(r), Some(taken)) = (&mut self.recurrent, cells.recurrent) {
            r.give_back(taken);
        }
    }

    /// Lets the sequences of a batch that has succeeded keep its cells.
    pub fn commit(&mut self, cells: BatchCells, tokens: &[i32], positions: &[i32], seqs: &[u32]) {
        for ((token, pos), seq) in tokens.iter().zip(positions).zip(seqs) {
            self.history.add(*seq, *pos, *token);
        }
        if let (Some(r), Some(taken)) = (&mut self.recurrent, cells.recurrent) {
            r.commit(taken);
        }
    }

    /// Forgets positions p0..p1 of a sequence.
    ///
    /// # Errors
    /// `Unsupported` if recurrent layers would have to forget tokens before others; nothing changes. `OutOfMemory`, as
    /// `Cells::remove`.
    pub fn remove(&mut self, seq: u32, p0: i32, p1: i32) -> Result<()> {
        let length = self.length(seq);
        let n = self.whole().count(seq, p0, p1);
        if self.is_recurrent() && n > 0 && p1 < length {
            return Err(recurrent_layers(&format!("forget positions {p0} to {} of sequence {seq} alone", p1 - 1)));
        }
        self.iter_mut().try_for_each(|cells| cells.remove(seq, p0, p1))?;
        let length = self.length(seq);
        if let Some(r) = self.recurrent.as_mut().filter(|_| n > 0) {
            r.cut(seq, length);
        }
        self.history.remove(seq, p0, p1, length);
        self.cut_hidden(seq);
        Ok(())
    }

    /// Forgets a sequence.
    pub fn clear(&mut self, seq: u32) {
        self.iter_mut().for_each(|cells| cells.clear(seq));
        if let Some(r) = &mut self.recurrent {
            r.cut(seq, 0);
        }
        self.history.remove(seq, 0, i32::MAX, 0);
        self.cut_hidden(seq);
    }

    /// Forgets a sequence and the adapters that it used, so that somebody else may have it.
    pub fn release(&mut self, seq: u32) {
        self.clear(seq);
        self.scales.reset(seq);
    }

    /// Lets the prediction layer forget what a sequence no longer has.
    fn cut_hidden(&mut self, seq: u32) {
        let length = self.length(seq);
        if let Some(hidden) = &mut self.hidden {
            hidden.cut(seq, length);
        }
    }

    /// The length of the longest part of a sequence's first `length` positions from whose end it can go on.
    pub fn reach(&self, seq: u32, length: i32) -> i32 {
        let end = self.length(seq).min(length);
        let mut ends = match &self.recurrent {
            Some(r) if !r.can_go_on(seq, end) => Vec::new(),
            _ => vec![end],
        };
        ends.extend(self.recurrent.iter().flat_map(|r| r.checkpoints(seq, end)));
        // A cut at a position that the sequence has not would end before that.
        let reached = |p: &i32| self.lacking(seq, *p).is_none() && (*p == 0 || self.whole().count(seq, *p - 1, *p) > 0);
        ends.into_iter().find(reached).unwrap_or(0)
    }

    /// Cuts a sequence to the longest part of its first `length` positions from whose end it can go on, and gives the
    /// length of that.
    ///
    /// # Errors
    /// `OutOfMemory`, as `Cells::remove`.
    pub fn cut(&mut self, seq: u32, length: i32) -> Result<i32> {
        let to = self.reach(seq, length);
        self.remove(seq, to, i32::MAX)?;
        Ok(to)
    }

    /// Keeps the state of a sequence at its end as a checkpoint.
    ///
    /// # Errors
    /// `InvalidArgument` if it cannot go on there, or if the plan has no room for checkpoints.
    pub fn checkpoint(&mut self, seq: u32) -> Result<()> {
        let can = self.can_go_on(seq);
        match &mut self.recurrent {
            Some(_) if !can => Err(Error::invalid(format!("sequence {seq} cannot go on at its end")).subject("seq_id")),
            Some(r) => r.checkpoint(seq),
            None => Ok(()),
        }
    }

    /// Lets `dst` share positions p0..p1 of `src`, in place of what it had.
    ///
    /// # Errors
    /// `Unsupported` if recurrent layers would have to forget the first tokens; `OutOfMemory`. Nothing changes.
    pub fn copy(&mut self, src: u32, dst: u32, p0: i32, p1: i32) -> Result<()> {
        if self.is_recurrent() && self.whole().count(src, 0, p0) > 0 {
            return Err(recurrent_layers(&format!("copy sequence {src} without its first {p0} positions")));
        }
        self.history.copy(src, dst, p0, p1)?;
        let copied = self.iter_mut().try_for_each(|cells| cells.copy(src, dst, p0, p1));
        copied.inspect_err(|_| self.history.lose(dst))?;
        let length = self.length(dst);
        if let Some(r) = &mut self.recurrent {
            r.copy(src, dst, length);
        }
        if let Some(hidden) = &mut self.hidden {
            hidden.copy(src, dst, length);
        }
        self.scales.copy(src, dst);
        Ok(())
    }

    /// Lets `seq` have positions whose rows lie in free cells, for each cache of tokens, and the recurrent state in a
    /// free cell, in place of what it had.
    ///
    /// # Errors
    /// `OutOfMemory`; nothing changes.
    pub fn restore(
        &mut self,
        seq: u32,
        filled: &[Filled],
        recurrent: Option<u32>,
        tokens: Option<Vec<i32>>,
        scales: &[f32],
    ) -> Result<()> {
        for (cells, filled) in self.iter_mut().zip(filled) {
            cells.reserve_for(seq, filled.cells.len())?;
        }
        self.clear(seq);
        for (cells, filled) in self.iter_mut().zip(filled) {
            filled.cells.iter().zip(&filled.positions).for_each(|(cell, pos)| cells.fill(*cell, *pos, seq));
        }
        let length = self.length(seq);
        if let (Some(r), Some(cell)) = (&mut self.recurrent, recurrent) {
            r.restore(seq, cell, length);
        }
        self.history.set(seq, tokens);
        self.scales.set(seq, scales);
        self.cut_hidden(seq);
        Ok(())
    }

    /// Prepares a shift of positions p0..p1 by `delta` in every cache of tokens.
    ///
    /// # Errors
    /// `Unsupported` with recurrent layers; those of `Cells::plan_shift`.
    pub fn plan_shift(&mut self, seq: u32, p0: i32, p1: i32, delta: i32) -> Result<Vec<Shift>> {
        if self.is_recurrent() {
            return Err(recurrent_layers("shift positions"));
        }
        let plan = |caches: &Caches| {
            caches.iter().map(|cells| cells.plan_shift(seq, p0, p1, delta)).collect::<Result<Vec<Shift>>>()
        };
        match plan(self) {
            // Caches of windows may still hold positions that no token sees any more.
            Err(e) if e.status == Status::ContextFull => {
                self.forget_passed()?;
                plan(self)
            }
            other => other,
        }
    }

    /// Makes a prepared shift.
    pub fn shift(&mut self, seq: u32, shifts: Vec<Shift>) {
        for (cells, shift) in self.iter_mut().zip(shifts) {
            cells.shift(seq, shift);
        }
        self.history.lose(seq);
    }
}

fn recurrent_layers(what: &str) -> Error {
    Error::unsupported(format!("this model cannot {what}: its recurrent layers remember a sequence as a whole"))
}
