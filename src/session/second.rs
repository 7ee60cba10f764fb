//! Drafts from a second, smaller model with the same vocabulary.
//!
//! The second model has a sequence for each of the first one's, which follows it: before it guesses, the tokens that it
//! does not have yet are decoded there, from the longest beginning on that both have. So it may be set at any time, a
//! sequence may be cut or copied, and a guess that was wrong is simply cut off. Then it goes on by itself, greedily.
//!
//! Guesses that cannot be had (the second model is in use, has no room, or its device is lost) are none, and the first
//! model goes on token by token.
//!
//! A prompt that the second model reads is read once, so its time counts for no draft: else the first one would look
//! like a loss that many drafts could not make good.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::batch::Batch;
use super::model::Model;
use super::perf::since;
use super::room::make_room;
use crate::error::{Error, Result, Status};
use crate::graph::Outcome;
use crate::plan::{DraftSource, MAX_DRAFT};

/// Vocabularies of one family differ at their ends at most, by ids that no text has.
const MOST_AT_THE_END: u32 = 256;

/// What a second model guesses.
#[derive(Default)]
pub(super) struct Guesses {
    pub tokens: Vec<i32>,
    /// The time that it took to read a prompt before, in microseconds.
    pub prompt_us: u64,
}

fn refuse(text: String) -> Result<()> {
    Err(Error::invalid(text).subject("draft"))
}

impl Model {
    /// Sets the model that guesses for this one; `None`: nobody does any more. It is kept until then.
    ///
    /// # Errors
    /// `InvalidArgument` if this model was not planned for drafts of a second one, or if the other is this one, has a
    /// second one itself, leaves no logits, or has another vocabulary; `Busy`.
    pub fn set_draft(&self, draft: Option<Arc<Model>>) -> Result<()> {
        if draft.as_ref().is_some_and(|other| std::ptr::eq(self, &**other)) {
            return refuse("a model cannot guess for itself".into());
        }
        let _write = self.write()?;
        // Nobody may make the other one guess for this one meanwhile: both would keep each other for ever.
        let _others = draft.as_ref().map(|other| other.write()).transpose()?;
        if let Some(other) = &draft {
            self.may_guess(other)?;
        }
        *self.second.lock() = draft.clone();
        Ok(())
    }

    fn may_guess(&self, other: &Model) -> Result<()> {
        if self.info.n_draft == 0 || self.plan().draft_source != DraftSource::Model {
            return refuse("this model was not planned with n_draft and drafts of a second model".into());
        }
        if other.second.lock().is_some() {
            return refuse("the model that guesses has one that guesses for it".into());
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
    /// `Cancelled`, if this model's call was.
    pub(super) fn guess_from_second(&self, token: i32, seq_id: i32, n: usize) -> Result<Guesses> {
        let second = self.second.lock().clone();
        let Some(second) = second.filter(|_| n > 0) else { return Ok(Guesses::default()) };
        let mut text = {
            let caches = &self.state.read().caches;
            let seq = caches.whole().check_seq(seq_id)?;
            match caches.history.of(seq) {
                Some(tokens) if tokens.len() as i32 == caches.length(seq) => tokens.to_vec(),
                _ => return Ok(Guesses::default()),
            }
        };
        text.push(token);
        let Ok(_write) = second.write() else { return Ok(Guesses::default()) };
        second.cancelled.store(false, Ordering::Relaxed);
        let mut guesses = second.follow(&text, seq_id, n, self).unwrap_or_default();
        self.not_cancelled("guessing")?;
        let known = |t: &i32| (*t as u32) < self.info.n_vocab;
        guesses.tokens.truncate(guesses.tokens.iter().take_while(|t| known(t)).count());
        Ok(guesses)
    }

    /// Makes a sequence of this model the text, and lets it go on for `n` tokens, unless the call of the model `of` is
    /// cancelled.
    fn follow(&self, text: &[i32], seq_id: i32, n: usize, of: &Model) -> Result<Guesses> {
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
        let start = Instant::now();
        // A cancelled call ends within a micro-batch.
        for tokens in text[reached..].chunks(self.n_ubatch) {
            of.not_cancelled("guessing")?;
            let seqs = vec![seq_id; tokens.len()];
            self.decode_locked(&Batch { tokens, seq_ids: Some(&seqs), ..Batch::default() })?;
        }
        // After a draft it has as many tokens to catch up with as there may be in one.
        let is_prompt = text.len() - reached > MAX_DRAFT as usize + 1;
        let mut guesses =
            Guesses { tokens: Vec::with_capacity(n), prompt_us: if is_prompt { since(start) } else { 0 } };
        loop {
            guesses.tokens.push(largest(self.state.read().machine.result_row(Outcome::Logits, 0)));
            if guesses.tokens.len() == n {
                return Ok(guesses);
            }
            of.not_cancelled("guessing")?;
            let last = [guesses.tokens[guesses.tokens.len() - 1]];
            self.decode_locked(&Batch { tokens: &last, seq_ids: Some(&[seq_id]), ..Batch::default() })?;
        }
    }
}

/// The token with the largest logit.
pub(super) fn largest(logits: &[f32]) -> i32 {
    let first = (0, f32::NEG_INFINITY);
    logits.iter().enumerate().fold(first, |best, (i, x)| if *x > best.1 { (i, *x) } else { best }).0 as i32
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::context::{Context, LogLevel};
    use crate::gguf::Gguf;
    use crate::plan::{Params, Plan};
    use crate::session::LoadParams;

    fn load(n_draft: u32) -> Arc<Model> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf");
        let context = Context::new("cpu", 1, None, LogLevel::Error).unwrap();
        let params = Params { n_ctx: 256, n_draft, draft_source: DraftSource::Model, ..Params::default() };
        let plan = Plan::new(&context, &Arc::new(Gguf::open(&path).unwrap()), &params).unwrap();
        Model::load(&context, &Arc::new(plan), LoadParams::default()).unwrap()
    }

    /// The time of a prompt is told apart, and that of catching up with a draft is not.
    #[test]
    fn a_prompt_counts_for_no_draft() {
        let (model, second) = (load(4), load(0));
        model.set_draft(Some(second)).unwrap();
        let prompt: Vec<i32> = (300..400).collect();
        model.decode(&Batch { tokens: &prompt, ..Batch::default() }).unwrap();
        let first = model.guess_from_second(7, 0, 4).unwrap();
        assert!(first.tokens.len() == 4 && first.prompt_us > 0, "{} us", first.prompt_us);
        // A guess was right, and the token behind it another one.
        model.decode(&Batch { tokens: &[7, first.tokens[0]], ..Batch::default() }).unwrap();
        let next = model.guess_from_second(9, 0, 4).unwrap();
        assert!(next.tokens.len() == 4 && next.prompt_us == 0, "{} us", next.prompt_us);
        assert_eq!(model.guess_from_second(9, 0, 4).unwrap().tokens, next.tokens);
    }
}
