//! Drafts: a small layer of the model, the text so far (`ngram`) or a smaller model (`second`) guesses the next tokens,
//! and the trunk checks them all in one batch.
//!
//! # Problem
//!
//! A token takes as long as its weights take to read, and a batch of a few tokens hardly longer. But a sequence has one
//! next token only.
//!
//! # Idea
//!
//! The prediction layer guesses tokens, one after the other, at a small part of the trunk's cost. The trunk decodes the
//! last token and these guesses as one batch, with logits of each. Then the sampler goes through the rows as it would
//! go through single tokens. While it chooses what was guessed, the next row is there already. Where it chooses another
//! token, the rest of the batch is cut off.
//!
//! ```text
//! the last token     t
//! the layer guesses    a  b  c
//! the trunk decodes  t a  b  c
//! rows of logits     0 1  2  3
//! sampled            a b  x           x is not c: the sequence is cut behind b, and x is the next last token
//! ```
//!
//! # Why no text changes
//!
//! Each token is sampled from the trunk's logits behind the tokens before it, by the same calls of the sampler in the
//! same order. A batch of up to 16 tokens gives the same bits as single tokens. Recurrent layers keep their state after
//! every token of such a batch, so the sequence is cut anywhere. The guesses only decide how much of this is done
//! ahead.

#[cfg(test)]
mod tests;

use std::time::Instant;

use super::batch::{Batch, Checked};
use super::model::{Model, State};
use super::ngram;
use super::perf::{Counters, since};
use super::second::largest;
use crate::error::{Error, Result, Status};
use crate::graph::{CacheView, Micro, NO_CELL, Outcome, Run, Span};
use crate::plan::DraftSource;

/// Tokens that wait for the prediction layer until they are given to it together.
const TOGETHER: usize = 64;

/// Tokens that a batch has decoded ahead of the sampler.
pub(super) struct Ahead {
    /// Drafts are made even while they lose.
    all: bool,
    tokens: Vec<i32>,
    /// The sampler has chosen so many of them.
    agreed: usize,
    /// The time that they took, in microseconds.
    us: u64,
}

impl Ahead {
    pub fn new(all: bool) -> Ahead {
        Ahead { all, tokens: Vec::new(), agreed: 0, us: 0 }
    }

    /// The row of logits that the next token is sampled from.
    pub fn row(&self) -> u32 {
        self.agreed as u32
    }
}

impl Model {
    /// Lets a sequence go on with `token`: if the last batch has it ahead, nothing is computed. At most `most` tokens
    /// behind it are of use.
    ///
    /// # Errors
    /// As for `decode`.
    pub(super) fn go_on_with(&self, token: i32, seq_id: i32, most: usize, ahead: &mut Ahead) -> Result<()> {
        if ahead.tokens.get(ahead.agreed) == Some(&token) {
            ahead.agreed += 1;
            return Ok(());
        }
        let row = ahead.agreed;
        self.cut_behind(seq_id, ahead, true)?;
        let outcome = self.compute(token, seq_id, most, ahead);
        if matches!(&outcome, Err(e) if e.status == Status::ContextFull) {
            // The rows of the last batch are still there.
            self.only_row(row)?;
        }
        outcome
    }

    /// Computes the logits behind a token, and of guesses behind it while these win.
    fn compute(&self, token: i32, seq_id: i32, most: usize, ahead: &mut Ahead) -> Result<()> {
        let n = self.draft_length(most, ahead.all);
        let start = Instant::now();
        let (given, prompt_us) = self.guess_elsewhere(token, seq_id, n)?;
        let n = given.as_ref().map_or(n, Vec::len);
        if n > 0 {
            ahead.tokens = self.decode_draft(token, seq_id, n, given)?;
            ahead.us = since(start).saturating_sub(prompt_us);
            Counters::add(&self.counters.decode_us, ahead.us);
            return Ok(());
        }
        self.decode_locked(&Batch { tokens: &[token], seq_ids: Some(&[seq_id]), ..Batch::default() })?;
        if let Some(gain) = &mut self.state.write().gain {
            gain.plain(since(start) as f64);
            Counters::add(&self.counters.n_draft_off, u64::from(gain.lost()));
        }
        Ok(())
    }

    /// Ends a generation: the sequence has no token that the sampler has not chosen, and the last row of logits is the
    /// first.
    ///
    /// # Errors
    /// `OutOfMemory`, as `Cells::remove`.
    pub(super) fn end_drafts(&self, seq_id: i32, ahead: &mut Ahead) -> Result<()> {
        if ahead.tokens.is_empty() {
            return Ok(());
        }
        let row = ahead.agreed;
        self.cut_behind(seq_id, ahead, false)?;
        self.only_row(row)
    }

    /// Makes a row of the last batch its only one.
    fn only_row(&self, row: usize) -> Result<()> {
        let mut state = self.state.write();
        state.n_outputs = 1;
        state.machine.make_first(Outcome::Logits, row)?;
        state.machine.make_first(Outcome::Embeddings, row)
    }

    /// The number of tokens to guess.
    fn draft_length(&self, most: usize, all: bool) -> usize {
        let state = self.state.read();
        let Some(gain) = &state.gain else { return 0 };
        gain.length(all).min(most).min(state.caches.whole().n_free().saturating_sub(1))
    }

    /// Cuts off what the sampler has not chosen of the last batch.
    fn cut_behind(&self, seq_id: i32, ahead: &mut Ahead, measure: bool) -> Result<()> {
        let all = ahead.all;
        let Ahead { tokens, agreed, us, .. } = std::mem::replace(ahead, Ahead::new(all));
        if tokens.is_empty() {
            return Ok(());
        }
        let mut state = self.state.write();
        let State { caches, gain, .. } = &mut *state;
        let seq = caches.whole().check_seq(seq_id)?;
        let length = caches.length(seq) - (tokens.len() - agreed) as i32;
        let reached = caches.cut(seq, length)?;
        caches.end_draft();
        if reached != length {
            let text = format!("sequence {seq_id} was cut to {reached} tokens, not to {length}");
            return Err(Error::new(Status::Internal, text));
        }
        if let Some(gain) = gain.as_mut().filter(|_| measure) {
            gain.draft(us as f64, tokens.len(), agreed);
        }
        let c = &self.counters;
        Counters::add(&c.n_decode_tokens, agreed as u64 + 1);
        Counters::add(&c.n_drafted, tokens.len() as u64);
        Counters::add(&c.n_draft_agreed, agreed as u64);
        Ok(())
    }

    /// Guesses of the text so far or of a second model, `None` if a prediction layer makes them; and the time that the
    /// second model has read a prompt for.
    fn guess_elsewhere(&self, token: i32, seq_id: i32, n: usize) -> Result<(Option<Vec<i32>>, u64)> {
        match self.plan().draft_source {
            DraftSource::Layer => return Ok((None, 0)),
            DraftSource::Model => {
                return self.guess_from_second(token, seq_id, n).map(|g| (Some(g.tokens), g.prompt_us));
            }
            DraftSource::Text => {}
        }
        let caches = &self.state.read().caches;
        let seq = caches.whole().check_seq(seq_id)?;
        Ok((Some(ngram::guess(caches.history.of(seq).unwrap_or_default(), token, n).to_vec()), 0))
    }

    /// Decodes a token and `n` guesses behind it, and gives these. They are made here unless they are given.
    fn decode_draft(&self, token: i32, seq_id: i32, n: usize, given: Option<Vec<i32>>) -> Result<Vec<i32>> {
        let mut state = self.state.write();
        let seq = state.caches.whole().check_seq(seq_id)?;
        let first = state.caches.length(seq);
        let positions: Vec<i32> = (first..=first.saturating_add(n as i32)).collect();
        let checked = Checked { seqs: vec![seq; n + 1], positions, outputs: (0..=n as u32).collect() };
        let mut cells = state.caches.take_all(&checked.positions, &checked.seqs, true)?;
        state.n_outputs = 0;
        let mut tokens = vec![token];
        let outcome = match given {
            Some(guesses) => {
                tokens.extend(guesses);
                Ok(())
            }
            None => self.guess(&mut state, seq, n, &mut tokens),
        };
        match outcome.and_then(|()| self.micro_batches(&mut state, &tokens, &checked, &mut cells)) {
            Ok(()) => {
                state.caches.commit(cells, &tokens, &checked.positions, &checked.seqs);
                state.n_outputs = n as u32 + 1;
                tokens.remove(0);
                Ok(tokens)
            }
            Err(e) => {
                state.caches.give_back(&checked.seqs, cells);
                Err(e)
            }
        }
    }

    /// Guesses `n` tokens behind the first one, which the trunk has not decoded yet.
    fn guess(&self, state: &mut State, seq: u32, n: usize, tokens: &mut Vec<i32>) -> Result<()> {
        self.catch_up(state, seq, self.n_ubatch - 1)?;
        let end = state.caches.length(seq) - n as i32 - 1;
        let caches = &mut state.caches;
        let Some(mut waiting) = caches.hidden.as_mut().map(|hidden| hidden.of(seq).clone()) else { return Ok(()) };
        let whole = waiting.ends_at(end) && caches.has(seq, waiting.first, waiting.tokens.len());
        if let Some(hidden) = &mut caches.hidden {
            if !whole {
                waiting = hidden.begin(seq, end).clone();
            }
            hidden.ahead(seq);
        }
        let mut first = waiting.first;
        let mut step = waiting.tokens;
        step.push(tokens[0]);
        let mut rows = waiting.rows;
        for i in 0..n {
            self.draft_step(state, seq, first, &step, &rows, &[step.len() as u32 - 1])?;
            let machine = &state.machine;
            tokens.push(largest(machine.result_row(Outcome::DraftLogits, 0)));
            if i + 1 < n {
                rows = machine.result_row(Outcome::DraftHidden, 0).to_vec();
                first += step.len() as i32;
                step = vec![tokens[i + 1]];
            }
        }
        Ok(())
    }

    /// Lets the prediction layer see waiting tokens of a sequence, until no more than `left` wait.
    ///
    /// # Errors
    /// As for `decode`.
    pub(super) fn catch_up(&self, state: &mut State, seq: u32, left: usize) -> Result<()> {
        let n_embd = self.info.n_embd as usize;
        loop {
            let Some(hidden) = &mut state.caches.hidden else { return Ok(()) };
            let w = hidden.of(seq);
            if w.tokens.len() <= left {
                return Ok(());
            }
            let n = w.tokens.len().min(self.n_ubatch);
            let (first, tokens, rows) = (w.first, w.tokens[..n].to_vec(), w.rows[..n * n_embd].to_vec());
            // A shift may have moved their cells away.
            if state.caches.has(seq, first, n) {
                self.draft_step(state, seq, first, &tokens, &rows, &[])?;
            }
            if let Some(hidden) = &mut state.caches.hidden {
                hidden.seen(seq, n);
            }
        }
    }

    /// Takes the hidden rows of a micro-batch that the trunk has computed.
    ///
    /// # Errors
    /// As for `decode`.
    pub(super) fn take_hidden(&self, state: &mut State, tokens: &[i32], positions: &[i32], seqs: &[u32]) -> Result<()> {
        if state.caches.hidden.is_none() {
            return Ok(());
        }
        let n_embd = self.info.n_embd as usize;
        let mut rows = Vec::new();
        state.machine.hidden(tokens.len(), &mut rows)?;
        let mut start = 0;
        while start < seqs.len() {
            let seq = seqs[start];
            let end = start + seqs[start..].iter().take_while(|s| **s == seq).count();
            // Positions may have gaps.
            let mut from = start;
            for i in start + 1..=end {
                if i < end && positions[i] == positions[i - 1] + 1 {
                    continue;
                }
                if let Some(hidden) = &mut state.caches.hidden {
                    hidden.add(seq, positions[from], &tokens[from..i], &rows[from * n_embd..i * n_embd]);
                }
                self.catch_up(state, seq, TOGETHER)?;
                from = i;
            }
            start = end;
        }
        Ok(())
    }

    /// Runs the prediction layer over tokens of a sequence whose cells are taken, from position `first` on.
    fn draft_step(
        &self,
        state: &mut State,
        seq: u32,
        first: i32,
        tokens: &[i32],
        rows: &[f32],
        outputs: &[u32],
    ) -> Result<()> {
        let n = tokens.len();
        let positions: Vec<i32> = (first..first + n as i32).collect();
        let mut parts: Vec<(Vec<u32>, Vec<Span>)> = Vec::new();
        for cells in state.caches.iter() {
            let own = cells.of(seq, first, first + n as i32).flat_map(|s| s.cell..s.cell + s.len).collect();
            let mut spans = Vec::new();
            cells.spans(seq, &mut spans);
            parts.push((own, spans));
        }
        let runs: Vec<[Run; 1]> = parts
            .iter()
            .map(|(_, s)| [Run { first: 0, n: n as u32, first_span: 0, n_spans: s.len() as u32 }])
            .collect();
        let mut views: Vec<CacheView> =
            parts.iter().zip(&runs).map(|((cells, spans), runs)| CacheView { cells, runs, spans }).collect();
        let none = vec![NO_CELL; n];
        if state.caches.is_recurrent() {
            views.push(CacheView { cells: &none, runs: &[], spans: &[] });
        }
        let adapters = state.caches.scales.rows(&vec![seq; n]);
        let micro = Micro {
            tokens,
            positions: &positions,
            caches: &views,
            outputs,
            first_output: 0,
            adapters: &adapters,
            n_before: 0,
        };
        state.machine.run_draft(&micro, rows, &self.cancelled)
    }
}
