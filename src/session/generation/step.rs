//! A step: one micro-batch for many generations.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::sync::MutexGuard;

use super::super::batch::Checked;
use super::super::generate::StopReason;
use super::super::model::{Model, State};
use super::super::perf::{Counters, since};
use super::super::room::make_room;
use super::generation::{Generation, Inner, Phase};
use super::place::{Others, Reading, give_back, place};
use crate::error::{Error, Result};
use crate::graph::Outcome;

/// The result of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepResult {
    /// Tokens that were computed. 0: nobody had work, or some have given up their cells for others.
    pub n_tokens: u32,
    /// Generations that are not at their end.
    pub n_going: u32,
    /// Those of them that wait for a sequence.
    pub n_waiting: u32,
}

/// The most tokens of one generation that talks in a step: the one that it said, and those that its grammar forces
/// behind it. Recurrent layers compute so many in the order of single tokens, and do not take them for a prompt.
const LONGEST_RUN: usize = 16;

/// The micro-batch of a step.
#[derive(Default)]
struct Plan {
    tokens: Vec<i32>,
    batch: Checked,
    /// Of generations with tokens in it.
    parts: Vec<Part>,
    /// The index of the generation that each row of logits is for.
    rows: Vec<usize>,
}

/// Some tokens of a generation.
struct Part {
    /// The index of the generation.
    of: usize,
    n: usize,
    /// They are of the prompt; else of what it said.
    is_prompt: bool,
}

impl Plan {
    fn add(&mut self, i: usize, seq: u32, first: i32, tokens: &[i32], is_prompt: bool, ends: bool) {
        self.tokens.extend_from_slice(tokens);
        self.batch.seqs.extend(tokens.iter().map(|_| seq));
        self.batch.positions.extend(first..first + tokens.len() as i32);
        self.parts.push(Part { of: i, n: tokens.len(), is_prompt });
        if ends {
            self.batch.outputs.push(self.tokens.len() as u32 - 1);
            self.rows.push(i);
        }
    }
}

/// The tokens of a step that each generation reads which has so many left; the oldest stands first. It has a right to
/// half of the room, so it comes to its end whoever joins. The others have the rest, and those with the least left come
/// first, so a short prompt need not wait for a long one.
fn shares(room: usize, left: &[usize]) -> Vec<usize> {
    let mut shares = vec![0; left.len()];
    let mut spare = room;
    let mut take = |i: usize, most: usize| {
        let n = most.min(left[i] - shares[i]).min(spare);
        shares[i] += n;
        spare -= n;
    };
    let mut others: Vec<usize> = (1..left.len()).collect();
    others.sort_by_key(|i| left[*i]);
    if !left.is_empty() {
        take(0, room.div_ceil(2));
        others.into_iter().for_each(|i| take(i, room));
        take(0, room);
    }
    shares
}

type Locked<'a> = Vec<MutexGuard<'a, Inner>>;

impl Model {
    /// Computes one micro-batch for generations of this model: a token of each that talks, with those that its grammar
    /// forces behind it, then pieces of prompts. What comes of it is taken with `Generation::next`.
    ///
    /// # Errors
    /// `InvalidArgument` for a generation of another model or one that is named twice, `Busy`, `Cancelled` (by
    /// `cancel`), `Device`, `OutOfMemory`. Then no generation has changed, and the step can be taken again. An error of
    /// one generation alone (of its sampler, say) ends that one; the others go on.
    pub fn step(self: &Arc<Model>, generations: &[Arc<Generation>]) -> Result<StepResult> {
        let _write = self.write()?;
        self.cancelled.store(false, Ordering::Relaxed);
        for (i, g) in generations.iter().enumerate() {
            let bad = match (Arc::ptr_eq(&g.model, self), generations[..i].iter().any(|h| Arc::ptr_eq(g, h))) {
                (false, _) => "is of another model",
                (_, true) => "is named twice",
                _ => continue,
            };
            return Err(Error::invalid(format!("generations[{i}] {bad}")).subject("generations"));
        }
        let mut all: Locked = generations.iter().map(|g| g.lock()).collect::<Result<_>>()?;
        for (g, of) in all.iter_mut().zip(generations) {
            if !g.is(Phase::Ended) && of.cancelled.load(Ordering::Relaxed) {
                g.finish(self, StopReason::Cancelled);
            }
        }
        let mut state = self.state.write();
        self.place_all(&mut state, &mut all)?;
        let plan = self.plan_step(&mut state, &mut all);
        if !plan.tokens.is_empty() {
            let n_single = plan.parts.iter().filter(|p| !p.is_prompt).map(|p| p.n).sum();
            self.decode_checked(&mut state, &plan.tokens, &plan.batch, n_single)?;
            self.take_results(&mut state, &mut all, &plan);
        }
        let going = || all.iter().filter(|g| !g.is(Phase::Ended));
        Ok(StepResult {
            n_tokens: plan.tokens.len() as u32,
            n_going: going().count() as u32,
            n_waiting: going().filter(|g| g.is(Phase::Waits)).count() as u32,
        })
    }

    /// Gives sequences to generations that wait, the oldest first.
    fn place_all(&self, state: &mut State, all: &mut Locked) -> Result<()> {
        for i in by_age(all, Phase::Waits) {
            let of =
                |g: &Inner| Reading { prompt: Arc::clone(&g.prompt), n_read: g.n_read, scales: Arc::clone(&g.scales) };
            let reading = all.iter().filter(|g| g.is(Phase::Reads)).map(|g| of(g)).collect();
            let others = Others { reading, n_talking: all.iter().filter(|g| g.is(Phase::Talks)).count() };
            place(state, &mut self.slots.lock(), &mut all[i], &others)?;
        }
        Ok(())
    }

    /// Chooses the tokens of a step. Generations for which there is no room end.
    fn plan_step(&self, state: &mut State, all: &mut Locked) -> Plan {
        let n_positions = self.n_positions;
        for g in all.iter_mut().filter(|g| g.is(Phase::Talks)) {
            if g.seq.is_some_and(|seq| state.caches.length(seq) >= n_positions) {
                g.finish(self, StopReason::ContextFull);
            }
        }
        let n_rows = self.info.n_outputs_max as usize;
        // Those that have waited longest come first, if not all can have a row of logits.
        let mut talkers = by_age(all, Phase::Talks);
        talkers.sort_by_key(|i| all[*i].served);
        talkers.truncate(self.n_ubatch.min(n_rows));
        let mut readers = by_age(all, Phase::Reads);
        let left = |all: &Locked, i: usize| all[i].prompt.len() - all[i].n_read;
        let unread: usize = readers.iter().map(|i| left(all, *i)).sum();
        let said: usize = talkers.iter().map(|i| all[*i].next.len()).sum();
        let wanted = (said + unread).min(self.n_ubatch);
        let mut free = make_room(state, &mut self.slots.lock(), wanted, None);
        // Those that talk go on first. The youngest reader gives its cells to the others, and reads again later.
        let least = |talkers: &[usize]| if talkers.is_empty() { 1 } else { talkers.len() };
        while free < least(&talkers) && readers.len() > usize::from(talkers.is_empty()) {
            if let Some(i) = readers.pop() {
                give_back(state, &mut self.slots.lock(), &mut all[i]);
            }
            free = state.caches.whole().n_free();
        }
        let without = talkers.split_off(talkers.len().min(free));
        for i in without.into_iter().chain(readers.iter().copied().filter(|_| free == 0 && talkers.is_empty())) {
            all[i].finish(self, StopReason::ContextFull);
        }
        let mut plan = Plan::default();
        let all_room = self.n_ubatch.min(free);
        // What grammars force comes with at most half of the room that prompts wait for.
        let spare = all_room.saturating_sub(talkers.len());
        let mut more = if readers.is_empty() { spare } else { spare / 2 };
        for i in talkers {
            let g = &all[i];
            let n = g.next.len().min(1 + more);
            if let (Some(seq), 1..) = (g.seq, n) {
                more -= n - 1;
                plan.add(i, seq, state.caches.length(seq), &g.next[..n], false, n == g.next.len());
            }
        }
        readers.retain(|i| all[*i].is(Phase::Reads));
        let unread: Vec<usize> = readers.iter().map(|i| left(all, *i)).collect();
        let shares = shares(all_room - plan.tokens.len(), &unread);
        for (i, mut n) in readers.into_iter().zip(shares) {
            let g = &all[i];
            let ends = n == left(all, i) && plan.rows.len() < n_rows;
            // The last token is for the logits.
            n -= usize::from(n == left(all, i) && !ends);
            if let (Some(seq), true) = (g.seq, n > 0) {
                plan.add(i, seq, g.n_read as i32, &g.prompt[g.n_read..g.n_read + n], true, ends);
            }
        }
        plan
    }

    /// Samples for all that have a row of logits.
    fn take_results(&self, state: &mut State, all: &mut Locked, plan: &Plan) {
        let start = Instant::now();
        let now = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        for part in &plan.parts {
            let g = &mut all[part.of];
            match part.is_prompt {
                true => g.n_read += part.n,
                false => drop(g.next.drain(..part.n)),
            }
            g.served = now;
        }
        let vocab = self.vocab().ok();
        let mut spare = self.spare_cells(state, all, plan);
        for (row, i) in plan.rows.iter().enumerate() {
            let g = &mut all[*i];
            let logits = state.machine.result_row(Outcome::Logits, row);
            let taken = match g.choose(logits, &self.suppressed) {
                Ok(Some(token)) => g.take(token, vocab.as_deref()),
                Ok(None) => Ok(Some(StopReason::Eog)),
                Err(e) => Err(e),
            };
            let taken = match taken {
                // What it could not decode is not told before: a full context ends it where it would without.
                Ok(None) => {
                    let left = g.seq.map_or(0, |seq| self.n_positions - state.caches.length(seq)).max(0) as usize;
                    let most = LONGEST_RUN.min(self.n_ubatch).min(left).min(1 + spare);
                    g.take_forced(most, &self.suppressed, self.info.n_vocab, vocab.as_deref())
                }
                ended => ended,
            };
            spare = spare.saturating_sub(g.next.len().saturating_sub(1));
            match taken {
                Ok(None) => {}
                Ok(Some(reason)) => g.finish(self, reason),
                Err(e) => g.fail(self, e),
            }
        }
        Counters::add(&self.counters.sample_us, since(start));
    }

    /// Free cells beyond those for a token of each that has a row of logits, and for what others have said already: for
    /// tokens that grammars force. Idle sequences make room for some.
    fn spare_cells(&self, state: &mut State, all: &Locked, plan: &Plan) -> usize {
        if plan.rows.iter().all(|i| all[*i].grammar.is_none()) {
            return 0;
        }
        let said: usize = all.iter().map(|g| g.next.len()).sum();
        let needed = plan.rows.len() + said;
        make_room(state, &mut self.slots.lock(), needed + LONGEST_RUN, None).saturating_sub(needed)
    }
}

/// The generations of a phase, the oldest first.
fn by_age(all: &Locked, phase: Phase) -> Vec<usize> {
    let mut of: Vec<usize> = (0..all.len()).filter(|i| all[*i].is(phase)).collect();
    of.sort_by_key(|i| all[*i].number);
    of
}
