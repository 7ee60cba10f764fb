//! Drafts from a second, smaller model with the same vocabulary.
//!
//! The second model has a sequence for each of the first one's, which follows it: before it guesses, the tokens that it
//! does not have yet are decoded there, from the longest beginning on that both have. So it may be set at any time, a
//! sequence may be cut or copied, and a guess that was wrong is simply cut off. Then it goes on by itself, greedily.
//!
//! Guesses that cannot be had (the second model is in use, or has no room) are none, and the first model goes on token
//! by token.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::batch::Batch;
use super::model::Model;
use super::room::make_room;
use crate::error::{Error, Result, Status};
use crate::graph::Outcome;
use crate::plan::DraftSource;

/// Vocabularies of one family differ at their ends at most, by ids that no text has.
const MOST_AT_THE_END: u32 = 256;

impl Model {
    /// Sets the model that guesses for this one; `None`: nobody does any more. It is kept until then.
    ///
    /// # Errors
    /// `InvalidArgument` if this model was not planned for drafts of a second one, or if the other is this one, has a
    /// second one itself, leaves no logits, or has another vocabulary.
    pub fn set_draft(&self, draft: Option<Arc<Model>>) -> Result<()> {
        let _write = self.write()?;
        if let Some(other) = &draft {
            self.may_guess(other)?;
        }
        *self.second.lock() = draft;
        Ok(())
    }

    fn may_guess(&self, other: &Model) -> Result<()> {
        let refuse = |text: String| Err(Error::invalid(text).subject("draft"));
        if self.info.n_draft == 0 || self.plan().draft_source != DraftSource::Model {
            return refuse("this model was not planned with n_draft and drafts of a second model".into());
        }
        if std::ptr::eq(self, other) || other.second.lock().is_some() {
            return refuse("the model that guesses is this one, or has a model that guesses for it".into());
        }
        other.leaves_logits()?;
        let (a, b) = (self.info.n_vocab, other.info.n_vocab);
        if a.abs_diff(b) > MOST_AT_THE_END {
            return refuse(format!("the model that guesses has {b} tokens, this one {a}"));
        }
        let (Ok(own), Ok(others)) = (self.vocab(), other.vocab()) else { return Ok(()) };
        let n = own.n_tokens().min(others.n_tokens()) as i32;
        match (0..n).find(|id| own.token_text(*id).ok() != others.token_text(*id).ok()) {
            None => Ok(()),
            Some(id) => refuse(format!("the model that guesses has another token {id}: the vocabularies differ")),
        }
    }

    /// At most `n` tokens that the second model lets follow `token`, which stands behind the tokens of a sequence.
    ///
    /// # Errors
    /// `Cancelled`, and those of the second model's devices.
    pub(super) fn guess_from_second(&self, token: i32, seq_id: i32, n: usize) -> Result<Vec<i32>> {
        let second = self.second.lock().clone();
        let Some(second) = second.filter(|_| n > 0) else { return Ok(Vec::new()) };
        let mut text = {
            let caches = &self.state.read().caches;
            let seq = caches.whole().check_seq(seq_id)?;
            match caches.history.of(seq) {
                Some(tokens) if tokens.len() as i32 == caches.length(seq) => tokens.to_vec(),
                _ => return Ok(Vec::new()),
            }
        };
        text.push(token);
        let Ok(_write) = second.write() else { return Ok(Vec::new()) };
        second.cancelled.store(false, Ordering::Relaxed);
        match second.follow(&text, seq_id, n, &|| self.not_cancelled("guessing")) {
            Err(e) if matches!(e.status, Status::ContextFull | Status::InvalidArgument) => Ok(Vec::new()),
            outcome => outcome.map(|mut guesses| {
                let known = |t: &i32| (*t as u32) < self.info.n_vocab;
                guesses.truncate(guesses.iter().take_while(|t| known(t)).count());
                guesses
            }),
        }
    }

    /// Makes a sequence of this model the text, and lets it go on for `n` tokens.
    fn follow(&self, text: &[i32], seq_id: i32, n: usize, go_on: &dyn Fn() -> Result<()>) -> Result<Vec<i32>> {
        let seq = seq_id.unsigned_abs() % self.info.n_seq_max;
        let seq_id = seq as i32;
        let reached = {
            let mut state = self.state.write();
            self.claim(&mut state.caches, seq)?;
            // The last token is always decoded, for its logits.
            let common = state.caches.history.common(seq, &text[..text.len() - 1]);
            let reached = state.caches.cut(seq, common as i32)? as usize;
            let needed = text.len() - reached + n;
            let free = make_room(&mut state, &mut self.slots.lock(), needed, None);
            if free < needed {
                return Err(Error::new(Status::ContextFull, "the model that guesses has no room"));
            }
            reached
        };
        for tokens in text[reached..].chunks(self.info.n_batch as usize) {
            go_on()?;
            let seqs = vec![seq_id; tokens.len()];
            self.decode_locked(&Batch { tokens, seq_ids: Some(&seqs), ..Batch::default() })?;
        }
        let mut guesses = Vec::with_capacity(n);
        loop {
            guesses.push(largest(self.state.read().machine.result_row(Outcome::Logits, 0)));
            if guesses.len() == n {
                return Ok(guesses);
            }
            go_on()?;
            let last = [guesses[guesses.len() - 1]];
            self.decode_locked(&Batch { tokens: &last, seq_ids: Some(&[seq_id]), ..Batch::default() })?;
        }
    }
}

/// The token with the largest logit.
pub(super) fn largest(logits: &[f32]) -> i32 {
    let first = (0, f32::NEG_INFINITY);
    logits.iter().enumerate().fold(first, |best, (i, x)| if *x > best.1 { (i, *x) } else { best }).0 as i32
}
