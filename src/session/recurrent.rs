//! The bookkeeping of recurrent states: the cell in which each sequence's state lies, and the checkpoints.
//!
//! # Problem
//!
//! A recurrent layer keeps a state per sequence in place of rows per token. Every token changes it, and no token can be
//! taken out again. So a sequence that is cut would have to be decoded again from its start, a failed batch would leave
//! a half-changed state, and a copy of a sequence would cost as much as the state.
//!
//! # Idea: nobody writes to a state that somebody holds
//!
//! A cell holds the state of one sequence after one of its tokens. A batch reads the cell that a sequence has and
//! writes to a new one; when the batch has succeeded, the sequence takes the new cell and leaves the old. Cells are
//! counted, so several may hold one:
//!
//! - An error leaves the old cell, and so the sequence, as it was.
//! - A copy of a sequence holds the same cell. It costs nothing.
//! - A checkpoint holds the cell of some position after the sequence has gone on. A sequence that is cut goes on from
//!   the last checkpoint at or before the cut.
//!
//! ```text
//! tokens of a sequence     0 . . . . . . . 500 . . . . 516 . 517 . 518
//! checkpoints                              |           |
//! its own cell                                                     |
//! ```
//!
//! # Checkpoints that are taken by themselves
//!
//! A batch with more than `PROMPT` tokens of a sequence is a piece of a prompt. It leaves a checkpoint where it begins
//! and where it ends, one `BEFORE_END` tokens before that (a template often ends a prompt in another way once the reply
//! is there), and in a long prompt one every `SPACING` tokens. While a prompt comes in pieces, the checkpoints at the
//! end of a piece go when the next one begins. If there are too many, those of the spacing go first, then the oldest,
//! and those that the host took last.

#[cfg(test)]
mod tests;

use crate::error::{Error, Result, Status, try_vec};
use crate::graph::{NO_CELL, Run, Span};

/// More tokens of a sequence than this in one batch are a piece of a prompt.
const PROMPT: usize = 16;
/// Tokens between the last two checkpoints of a prompt.
const BEFORE_END: usize = 16;
/// Tokens between checkpoints of a long prompt.
const SPACING: i32 = 4096;

/// The reasons for a checkpoint, in the order in which checkpoints are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// Behind a token of a draft. They stand beside all others, in cells of their own, and go when it has been checked.
    Draft,
    Spacing,
    Prompt,
    Host,
}

/// A state that sequences can go back to.
#[derive(Debug)]
struct Checkpoint {
    cell: u32,
    /// The position of the next token.
    pos: i32,
    /// The sequences that have these tokens; more than one after a copy.
    seqs: Vec<u32>,
    reason: Reason,
    /// True if it is at the end of a piece of a prompt that may go on.
    open: bool,
}

/// The state of a sequence.
#[derive(Debug, Clone, Copy, Default)]
struct Own {
    /// `None` at the start.
    cell: Option<u32>,
    /// The position of the next token. If the sequence has another length, it was cut, and the state is of no use.
    next: i32,
}

pub(super) struct Recurrent {
    /// By cell: the number of sequences and checkpoints that hold it.
    holders: Vec<u16>,
    seqs: Vec<Own>,
    /// The oldest first.
    checkpoints: Vec<Checkpoint>,
    n_checkpoints: usize,
}

/// The cells of a batch that is under way.
pub(super) struct Taken {
    /// By token: the cell of a checkpoint after it, or `NO_CELL`.
    kept: Vec<u32>,
    /// By sequence: the cell that its new state goes to.
    target: Vec<Option<u32>>,
    /// By sequence: the cell that its state is in by now.
    now: Vec<Option<u32>>,
    /// By sequence: the position behind its last token, and true if the batch has a piece of a prompt.
    ends: Vec<Option<(i32, bool)>>,
    /// Checkpoints that exist once the batch has succeeded.
    new: Vec<Checkpoint>,
}

impl Recurrent {
    pub fn new(n_cells: usize, n_seq_max: u32, n_draft: usize) -> Result<Recurrent> {
        let n = n_seq_max as usize;
        Ok(Recurrent {
            holders: try_vec("cells of recurrent states", n_cells, 0)?,
            seqs: try_vec("sequences of recurrent states", n, Own::default())?,
            checkpoints: Vec::new(),
            // The plan gives each sequence two cells, each checkpoint one, and each token of a draft.
            n_checkpoints: n_cells.saturating_sub(2 * n + n_draft),
        })
    }

    /// True if a sequence of this length can go on.
    pub fn can_go_on(&self, seq: u32, length: i32) -> bool {
        self.seqs[seq as usize].next == length
    }

    /// The cell of a sequence's state; `None` if it is empty.
    pub fn cell(&self, seq: u32) -> Option<u32> {
        self.seqs[seq as usize].cell
    }

    /// A cell that nobody holds.
    pub fn free(&self) -> Option<u32> {
        self.holders.iter().position(|n| *n == 0).map(|cell| cell as u32)
    }

    /// Lets an empty sequence of so many tokens have the state in a free cell.
    pub fn restore(&mut self, seq: u32, cell: u32, length: i32) {
        self.set(seq, Own { cell: Some(cell), next: length });
    }

    fn hold(&mut self, cell: u32) -> u32 {
        self.holders[cell as usize] += 1;
        cell
    }

    fn leave(&mut self, cell: u32) {
        self.holders[cell as usize] -= 1;
    }

    /// Holds a cell that nobody holds.
    ///
    /// # Errors
    /// `Internal`: there are cells for all sequences, batches and checkpoints.
    fn fresh(&mut self) -> Result<u32> {
        match self.free() {
            Some(cell) => Ok(self.hold(cell)),
            None => Err(Error::new(Status::Internal, "no cell is free for a recurrent state")),
        }
    }

    fn checkpoint_at(&self, seq: u32, pos: i32) -> Option<usize> {
        self.checkpoints.iter().position(|c| c.pos == pos && c.seqs.contains(&seq))
    }

    fn drop_checkpoint(&mut self, i: usize) {
        let cell = self.checkpoints.remove(i).cell;
        self.leave(cell);
    }

    /// Makes room for a checkpoint; `pending` are to come already. Returns false if there is none for this reason.
    fn room_for(&mut self, reason: Reason, pending: usize) -> bool {
        let others = || self.checkpoints.iter().enumerate().filter(|(_, c)| c.reason != Reason::Draft);
        if others().count() + pending < self.n_checkpoints {
            return true;
        }
        let first = others().min_by_key(|(i, c)| (c.reason, *i)).map(|(i, c)| (i, c.reason));
        match first {
            // Those of the spacing take the place of nothing else.
            Some((i, old)) if old <= reason => {
                self.drop_checkpoint(i);
                true
            }
            _ => false,
        }
    }

    /// Lets the state of a sequence, at its end, be a checkpoint.
    ///
    /// # Errors
    /// `InvalidArgument` if the plan has no room for checkpoints.
    pub fn checkpoint(&mut self, seq: u32) -> Result<()> {
        if self.n_checkpoints == 0 {
            return Err(
                Error::invalid("the plan has no room for checkpoints: n_checkpoints is 0").subject("n_checkpoints")
            );
        }
        let own = self.seqs[seq as usize];
        let Some(cell) = own.cell else { return Ok(()) };
        if let Some(i) = self.checkpoint_at(seq, own.next) {
            (self.checkpoints[i].reason, self.checkpoints[i].open) = (Reason::Host, false);
            return Ok(());
        }
        if self.room_for(Reason::Host, 0) {
            self.hold(cell);
            let c = Checkpoint { cell, pos: own.next, seqs: vec![seq], reason: Reason::Host, open: false };
            self.checkpoints.push(c);
        }
        Ok(())
    }

    /// The positions at or before `pos` from which a sequence can go on, besides its own end: the checkpoints, the last
    /// first.
    pub fn checkpoints(&self, seq: u32, pos: i32) -> Vec<i32> {
        let own = self.checkpoints.iter().filter(|c| c.pos <= pos && c.seqs.contains(&seq));
        let mut all: Vec<i32> = own.map(|c| c.pos).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all
    }

    /// Cuts a sequence to `length` tokens. If there is a checkpoint, it can go on from there.
    pub fn cut(&mut self, seq: u32, length: i32) {
        for i in (0..self.checkpoints.len()).rev() {
            let c = &mut self.checkpoints[i];
            if !c.seqs.contains(&seq) {
                continue;
            }
            c.open = false;
            if c.pos > length {
                c.seqs.retain(|s| *s != seq);
                if c.seqs.is_empty() {
                    self.drop_checkpoint(i);
                }
            }
        }
        let own = self.seqs[seq as usize];
        if own.next == length {
            return;
        }
        match self.checkpoint_at(seq, length) {
            Some(i) => {
                // It was of use, so it is the youngest now.
                let c = self.checkpoints.remove(i);
                self.set(seq, Own { cell: Some(c.cell), next: length });
                self.checkpoints.push(c);
            }
            None if length == 0 => self.set(seq, Own::default()),
            None => {}
        }
    }

    fn set(&mut self, seq: u32, own: Own) {
        if let Some(cell) = own.cell {
            self.hold(cell);
        }
        if let Some(old) = std::mem::replace(&mut self.seqs[seq as usize], own).cell {
            self.leave(old);
        }
    }

    /// Lets `dst` share the first `length` tokens of `src`, in place of what it had.
    pub fn copy(&mut self, src: u32, dst: u32, length: i32) {
        self.cut(dst, 0);
        for c in self.checkpoints.iter_mut().filter(|c| c.pos <= length && c.seqs.contains(&src)) {
            c.seqs.push(dst);
        }
        let own = self.seqs[src as usize];
        self.set(dst, own);
        if own.next > length {
            self.cut(dst, length);
        }
    }

    /// Takes cells for a batch. Of a draft the state is kept behind every token.
    ///
    /// # Errors
    /// `Internal`, as `fresh`. No sequence changes; checkpoints may have gone.
    pub fn take(&mut self, positions: &[i32], seqs: &[u32], draft: bool) -> Result<Taken> {
        let n_seq = self.seqs.len();
        let mut taken = Taken {
            kept: vec![NO_CELL; seqs.len()],
            target: vec![None; n_seq],
            now: self.seqs.iter().map(|s| s.cell).collect(),
            ends: vec![None; n_seq],
            new: Vec::new(),
        };
        let mut counts = vec![0; n_seq];
        seqs.iter().for_each(|s| counts[*s as usize] += 1);
        for (seq, n) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            self.close(seq as u32, *n > PROMPT);
        }
        let outcome = self.take_all(&mut taken, positions, seqs, &counts, draft);
        match outcome {
            Ok(()) => Ok(taken),
            Err(e) => {
                self.give_back(taken);
                Err(e)
            }
        }
    }

    /// Closes the checkpoints at the end of the piece that came before. If the prompt goes on, they go.
    fn close(&mut self, seq: u32, goes_on: bool) {
        for i in (0..self.checkpoints.len()).rev() {
            let c = &mut self.checkpoints[i];
            if !c.open || !c.seqs.contains(&seq) {
                continue;
            }
            c.open = false;
            if goes_on && c.seqs.len() == 1 {
                self.drop_checkpoint(i);
            }
        }
    }

    fn take_all(
        &mut self,
        taken: &mut Taken,
        positions: &[i32],
        seqs: &[u32],
        counts: &[usize],
        draft: bool,
    ) -> Result<()> {
        for (seq, _) in counts.iter().enumerate().filter(|(_, n)| **n > PROMPT) {
            let own = self.seqs[seq];
            if let Some(cell) = own.cell
                && self.checkpoint_at(seq as u32, own.next).is_none()
                && self.room_for(Reason::Prompt, taken.new.len())
            {
                self.hold(cell);
                taken.new.push(Checkpoint {
                    cell,
                    pos: own.next,
                    seqs: vec![seq as u32],
                    reason: Reason::Prompt,
                    open: false,
                });
            }
        }
        let mut left = counts.to_vec();
        for (i, (seq, pos)) in seqs.iter().zip(positions).enumerate() {
            let s = *seq as usize;
            left[s] -= 1;
            taken.ends[s] = Some((pos + 1, counts[s] > PROMPT));
            if taken.target[s].is_none() {
                taken.target[s] = Some(self.fresh()?);
            }
            if draft && left[s] > 0 {
                let cell = self.fresh()?;
                taken.kept[i] = cell;
                let seqs = vec![*seq];
                taken.new.push(Checkpoint { cell, pos: pos + 1, seqs, reason: Reason::Draft, open: false });
            }
            let near_end = left[s] == BEFORE_END;
            let spaced = (pos + 1) % SPACING == 0 && left[s] > BEFORE_END;
            if counts[s] <= PROMPT || !(near_end || spaced) {
                continue;
            }
            let reason = if near_end { Reason::Prompt } else { Reason::Spacing };
            if self.room_for(reason, taken.new.len()) {
                let cell = self.fresh()?;
                taken.kept[i] = cell;
                taken.new.push(Checkpoint { cell, pos: pos + 1, seqs: vec![*seq], reason, open: near_end });
            }
        }
        Ok(())
    }

    /// Drops the states that were kept within a draft.
    pub fn end_draft(&mut self) {
        for i in (0..self.checkpoints.len()).rev() {
            if self.checkpoints[i].reason == Reason::Draft {
                self.drop_checkpoint(i);
            }
        }
    }

    /// Gives the cells of a failed batch back.
    pub fn give_back(&mut self, taken: Taken) {
        taken.new.iter().for_each(|c| self.leave(c.cell));
        taken.target.iter().flatten().for_each(|c| self.leave(*c));
    }

    /// Lets the sequences of a batch that has succeeded have their new states.
    pub fn commit(&mut self, taken: Taken) {
        self.checkpoints.extend(taken.new);
        for (seq, end) in taken.ends.iter().enumerate() {
            let Some((next, prompt)) = *end else { continue };
            let cell = taken.now[seq];
            self.set(seq as u32, Own { cell, next });
            if let (true, Some(cell)) = (prompt, cell)
                && self.room_for(Reason::Prompt, 0)
            {
                self.hold(cell);
                let seqs = vec![seq as u32];
                self.checkpoints.push(Checkpoint { cell, pos: next, seqs, reason: Reason::Prompt, open: true });
            }
        }
        taken.target.iter().flatten().for_each(|c| self.leave(*c));
    }
}

impl Taken {
    /// The part of a micro-batch: the cell after each token, and the runs with the cells that they go on from. Returns
    /// what `now` is after it.
    pub fn part(
        &self,
        first: usize,
        seqs: &[u32],
        cells: &mut Vec<u32>,
        runs: &mut Vec<Run>,
        spans: &mut Vec<Span>,
    ) -> Vec<Option<u32>> {
        cells.clear();
        runs.clear();
        spans.clear();
        cells.extend_from_slice(&self.kept[first..first + seqs.len()]);
        let mut now = self.now.clone();
        let mut start = 0;
        while start < seqs.len() {
            let seq = seqs[start] as usize;
            let n = seqs[start..].iter().take_while(|s| **s as usize == seq).count();
            let last = &mut cells[start + n - 1];
            if *last == NO_CELL {
                *last = self.target[seq].unwrap_or(NO_CELL);
            }
            let first_span = spans.len() as u32;
            spans.extend(now[seq].map(|cell| Span { cell, pos: 0, len: 1 }));
            let n_spans = spans.len() as u32 - first_span;
            runs.push(Run { first: start as u32, n: n as u32, first_span, n_spans });
            now[seq] = Some(*last);
            start += n;
        }
        now
    }

    /// The cells that states are in after a micro-batch, as `part` gave them.
    pub fn went_on(&mut self, now: Vec<Option<u32>>) {
        self.now = now;
    }
}
