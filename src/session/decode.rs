//! Decode: a batch goes through the graph in micro-batches, and leaves rows of results.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::batch::{Batch, Checked};
use super::caches::BatchCells;
use super::cells::Cells;
use super::model::{Model, State};
use super::perf::{Counters, since};
use super::room::make_room;
use crate::error::{Error, Result};
use crate::graph::{CacheView, Micro, Outcome, Pick, Run, Span};

impl Model {
    /// Computes a batch. Its keys and values go into the KV cache, and the logits that were asked for can be read
    /// afterwards. An error leaves the cache as it was.
    ///
    /// # Errors
    /// `InvalidArgument` for a number out of range, `ContextFull` if the cache has too few free cells, `Busy`,
    /// `Cancelled`.
    pub fn decode(&self, batch: &Batch<'_>) -> Result<()> {
        let _write = self.write()?;
        self.cancelled.store(false, Ordering::Relaxed);
        self.decode_locked(batch)
    }

    /// Computes a batch for a caller who already has the right to write.
    pub(super) fn decode_locked(&self, batch: &Batch<'_>) -> Result<()> {
        let mut state = self.state.write();
        for run in batch.seq_ids.unwrap_or(&[0]).chunk_by(|a, b| a == b) {
            let seq = state.caches.whole().check_seq(run[0])?;
            self.claim(&mut state.caches, seq)?;
        }
        make_room(&mut state, &mut self.slots.lock(), batch.tokens.len(), None);
        let checked = batch.check(state.caches.whole(), &self.bounds())?;
        let n_single = if batch.tokens.len() == 1 { 1 } else { 0 };
        self.decode_checked(&mut state, batch.tokens, &checked, n_single)
    }

    /// Computes a batch whose numbers are good. The performance counters take `n_single` of its tokens as decoded one
    /// by one, the others as those of prompts; the time is that of prompts if there are any.
    ///
    /// # Errors
    /// As for `decode`.
    pub(super) fn decode_checked(&self, state: &mut State, tokens: &[i32], b: &Checked, n_single: usize) -> Result<()> {
        let start = Instant::now();
        if self.whole_texts {
            self.encode(state, tokens, b)?;
        } else {
            let mut cells = state.caches.take(&b.positions, &b.seqs)?;
            state.n_outputs = 0;
            if let Err(e) = self.micro_batches(state, tokens, b, &mut cells) {
                state.caches.give_back(&b.seqs, cells);
                return Err(e);
            }
            state.caches.commit(cells, tokens, &b.positions, &b.seqs);
        }
        state.n_outputs = b.outputs.len() as u32;
        state.row_seqs = b.outputs.iter().map(|i| b.seqs[*i as usize]).collect();
        let c = &self.counters;
        let n_prompt = tokens.len() - n_single;
        Counters::add(&c.n_decode_tokens, n_single as u64);
        Counters::add(&c.n_prompt_tokens, n_prompt as u64);
        Counters::add(if n_prompt > 0 { &c.prompt_us } else { &c.decode_us }, since(start));
        Ok(())
    }

    pub(super) fn micro_batches(
        &self,
        state: &mut State,
        tokens: &[i32],
        b: &Checked,
        cells: &mut BatchCells,
    ) -> Result<()> {
        let mut parts: Vec<(Vec<Run>, Vec<Span>)> = cells.tokens.iter().map(|_| Default::default()).collect();
        let (mut kept, mut runs, mut spans) = Default::default();
        let mut first_output = 0;
        let mut first = 0;
        while first < tokens.len() {
            let mut range = first..tokens.len().min(first + self.n_ubatch);
            loop {
                for (cache, (runs, spans)) in state.caches.iter().zip(&mut parts) {
                    split_runs(cache, &b.seqs[range.clone()], runs, spans);
                }
                // Sequences that share cells may have more spans together than there are cells. One sequence alone
                // never has, so halving ends.
                if range.len() == 1 || state.machine.has_room(parts.iter().map(|(_, spans)| spans.len())) {
                    break;
                }
                range.end = first + range.len() / 2;
            }
            let mut views: Vec<CacheView> = cells
                .tokens
                .iter()
                .zip(&parts)
                .map(|(cells, (runs, spans))| CacheView { cells: &cells[range.clone()], runs, spans })
                .collect();
            let now = cells
                .recurrent
                .as_ref()
                .map(|taken| taken.part(first, &b.seqs[range.clone()], &mut kept, &mut runs, &mut spans));
            if now.is_some() {
                views.push(CacheView { cells: &kept, runs: &runs, spans: &spans });
            }
            let (outputs, n_before) = match self.pick {
                Pick::Mean => {
                    let part = part_of_texts(&b.seqs, &range);
                    first_output = part.first_text;
                    (part.ends, part.n_before)
                }
                _ => {
                    let here = b.outputs.iter().filter(|i| range.contains(&(**i as usize)));
                    (here.map(|i| i - first as u32).collect(), 0)
                }
            };
            let adapters = state.caches.scales.rows(&b.seqs[range.clone()]);
            let micro = Micro {
                tokens: &tokens[range.clone()],
                positions: &b.positions[range.clone()],
                caches: &views,
                outputs: &outputs,
                first_output,
                adapters: &adapters,
                n_before,
            };
            state.machine.run(&micro, &self.cancelled)?;
            if let (Some(taken), Some(now)) = (&mut cells.recurrent, now) {
                taken.went_on(now);
            }
            let (positions, seqs) = (&b.positions[range.clone()], &b.seqs[range.clone()]);
            self.take_hidden(state, &tokens[range.clone()], positions, seqs)?;
            first_output += outputs.len();
            first = range.end;
        }
        Ok(())
    }

    /// Cells of the KV cache that are free, in tokens.
    ///
    /// # Errors
    /// `Busy` within a callback of a call that saves or loads a sequence; so it is for all that look at a model.
    pub fn n_free(&self) -> Result<usize> {
        Ok(self.look()?.caches.whole().n_free())
    }

    /// Rows of logits that the last decode left.
    ///
    /// # Errors
    /// `Busy` as for `n_free`.
    pub fn n_outputs(&self) -> Result<u32> {
        Ok(self.look()?.n_outputs)
    }

    /// True if a decode leaves logits.
    ///
    /// # Errors
    /// `Unsupported` if it leaves rows of tokens or texts in their place.
    pub(super) fn leaves_logits(&self) -> Result<()> {
        let Some(pooling) = self.info.pooling else { return Ok(()) };
        let text = format!("this model leaves no logits: it was planned with pooling {}", pooling.name());
        Err(Error::unsupported(text).subject("pooling"))
    }

    /// The logits of output row `row`, `[n_vocab]`; valid until the next call that writes the model.
    ///
    /// # Errors
    /// `InvalidArgument` if the last decode left no such row; `Unsupported` if decodes leave no logits.
    pub fn logits(&self, row: u32) -> Result<(*const f32, u32)> {
        self.leaves_logits()?;
        let state = self.look()?;
        state.check_row(row)?;
        Ok((state.machine.result_row(Outcome::Logits, row as usize).as_ptr(), self.info.n_vocab))
    }

    /// Output row `row`, `[n_embd_out]`: the hidden state after the output norm, or what pooling makes of a text.
    ///
    /// # Errors
    /// `InvalidArgument` if the last decode left no such row.
    pub fn embeddings(&self, row: u32) -> Result<(*const f32, u32)> {
        let state = self.look()?;
        state.check_row(row)?;
        Ok((state.machine.result_row(Outcome::Embeddings, row as usize).as_ptr(), self.info.n_embd_out))
    }

    /// The row of a sequence's text, `[n_embd_out]`; with `normalise`, divided by its length (the root of the sum of
    /// squares).
    ///
    /// # Errors
    /// `InvalidArgument` if the last decode left no row of the sequence; `Unsupported` if decodes leave rows of tokens.
    pub fn pooled(&self, seq_id: i32, normalise: bool) -> Result<Vec<f32>> {
        if self.pick == Pick::Asked {
            let text = "this model leaves rows of tokens: plan it with a pooling of texts (mean, cls, last or rank)";
            return Err(Error::unsupported(text).subject("pooling"));
        }
        let state = self.look()?;
        let row = (0..state.n_outputs as usize).find(|i| i32::try_from(state.row_seqs[*i]) == Ok(seq_id));
        let row = row.ok_or_else(|| {
            let text = format!("the last decode left no row of sequence {seq_id}; it had {} texts", state.n_outputs);
            Error::invalid(text).subject("seq_id")
        })?;
        let mut row = state.machine.result_row(Outcome::Embeddings, row).to_vec();
        if normalise {
            let length = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
            if length > 0.0 {
                row.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
            }
        }
        Ok(row)
    }
}

impl State {
    /// # Errors
    /// `InvalidArgument` if the last decode left no such row.
    pub(super) fn check_row(&self, row: u32) -> Result<()> {
        if row < self.n_outputs {
            return Ok(());
        }
        Err(Error::invalid(format!("output row {row} is out of range, the last decode left {}", self.n_outputs))
            .subject("row"))
    }
}

/// The texts of a micro-batch whose rows are added up.
struct PartOfTexts {
    /// The number of the first one among the batch's texts.
    first_text: usize,
    /// Its tokens in earlier micro-batches.
    n_before: usize,
    /// The last token of each text that is here, counted from the micro-batch's first.
    ends: Vec<u32>,
}

/// The texts in a part of a batch. Each stands together, as the batch's check has seen.
fn part_of_texts(seqs: &[u32], part: &Range<usize>) -> PartOfTexts {
    let begins = |i: usize| i == 0 || seqs[i - 1] != seqs[i];
    let ends = |i: &usize| *i + 1 == part.end || seqs[*i + 1] != seqs[*i];
    let own = seqs[part.start];
    PartOfTexts {
        first_text: (1..=part.start).filter(|i| begins(*i)).count(),
        n_before: seqs[..part.start].iter().rev().take_while(|s| **s == own).count(),
        ends: part.clone().filter(ends).map(|i| (i - part.start) as u32).collect(),
    }
}

/// Cuts a micro-batch into runs, where the sequence changes. Each sequence's spans are listed once.
fn split_runs(cells: &Cells, seqs: &[u32], runs: &mut Vec<Run>, spans: &mut Vec<Span>) {
    runs.clear();
    spans.clear();
    let mut known: Vec<Option<(u32, u32)>> = vec![None; cells.n_seq_max() as usize];
    for (i, seq) in seqs.iter().enumerate() {
        if i > 0 && seqs[i - 1] == *seq {
            if let Some(run) = runs.last_mut() {
                run.n += 1;
            }
            continue;
        }
        let (first_span, n_spans) = *known[*seq as usize].get_or_insert_with(|| {
            let first = spans.len() as u32;
            (first, cells.spans(*seq, spans) as u32)
        });
        runs.push(Run { first: i as u32, n: 1, first_span, n_spans });
    }
}
