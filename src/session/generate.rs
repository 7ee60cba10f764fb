//! Generate: a prompt in, tokens out one by one, until something ends it.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::batch::Batch;
use super::draft::Ahead;
use super::model::Model;
use super::perf::{Counters, since};
use super::room::make_room;
use crate::error::{Error, Result, Status};
use crate::graph::Outcome;
use crate::sample::{Row, Sampler};
use crate::vocab::{Stream, Vocab};

/// The prompt of a generation.
#[derive(Debug, Clone, Copy)]
pub enum Prompt<'a> {
    /// A text, which is tokenised with the model's vocabulary.
    Text(&'a str),
    Tokens(&'a [i32]),
}

/// The caller's wishes for a generation.
#[derive(Debug, Clone, Copy)]
pub struct GenerateParams<'a> {
    pub prompt: Prompt<'a>,
    /// The sequence, which goes on at its end.
    pub seq_id: i32,
    /// 0: until something else ends it.
    pub max_tokens: u32,
    /// Add no BOS or EOS to a text.
    pub no_special: bool,
    /// Read special tokens in a text. Never for text from strangers.
    pub parse_special: bool,
    /// Go on past tokens that end a generation.
    pub ignore_eog: bool,
    /// Make drafts even while they lose time.
    pub all_drafts: bool,
}

/// The reason for the end of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum StopReason {
    /// A token that ends a generation.
    Eog = 1,
    /// max_tokens.
    Limit = 2,
    /// The callback.
    Callback = 3,
    /// The KV cache is full. The sequence can be shortened, and then goes on.
    ContextFull = 4,
    /// A stop text.
    Text = 5,
    /// It was cancelled.
    Cancelled = 6,
    /// An error of its own.
    Error = 7,
}

/// The result of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerateResult {
    pub n_prompt: u32,
    /// Tokens given to the callback.
    pub n_generated: u32,
    pub stop: StopReason,
}

impl Model {
    /// Decodes the prompt, then samples and decodes token after token. Each goes to `on_piece` with the text that it
    /// completes (whole characters, often none); false stops. The sequence holds the prompt and every token given but
    /// the last.
    ///
    /// # Errors
    /// Those of `tokenize`, `decode` and `sample` (`Unsupported` if decodes leave no logits); a prompt that finds no
    /// room is `ContextFull`.
    pub fn generate(
        &self,
        sampler: &mut Sampler,
        params: &GenerateParams<'_>,
        on_piece: &mut dyn FnMut(i32, &[u8]) -> bool,
    ) -> Result<GenerateResult> {
        self.leaves_logits()?;
        let _write = self.write()?;
        self.cancelled.store(false, Ordering::Relaxed);
        {
            let caches = &mut self.state.write().caches;
            let seq = caches.whole().check_seq(params.seq_id)?;
            self.claim(caches, seq)?;
        }
        // Without a tokeniser there is no text, but ids come all the same.
        let vocab = self.vocab();
        let tokenised;
        let prompt = match params.prompt {
            Prompt::Tokens(tokens) => tokens,
            Prompt::Text(text) => {
                let vocab = vocab.as_ref().map_err(Error::clone)?;
                let fresh = self.seq_length(params.seq_id)? == 0;
                tokenised = vocab.tokenize(text.as_bytes(), fresh && !params.no_special, params.parse_special)?;
                &tokenised
            }
        };
        if prompt.is_empty() {
            return Err(Error::invalid("the prompt has no tokens").subject("prompt"));
        }
        self.decode_prompt(prompt, params.seq_id)?;
        prompt.iter().for_each(|t| sampler.accept(*t));
        let n_prompt = prompt.len() as u32;
        let mut ahead = Ahead::new(params.all_drafts);
        let outcome = self.go_on(sampler, params, vocab.as_deref().ok(), &mut ahead, on_piece);
        self.end_drafts(params.seq_id, &mut ahead)?;
        let (n_generated, stop) = outcome?;
        Ok(GenerateResult { n_prompt, n_generated, stop })
    }

    /// Decodes the prompt in batches. If one fails, the sequence is left as it was; or empty, if windows have moved
    /// past positions that it would need to go on.
    fn decode_prompt(&self, prompt: &[i32], seq_id: i32) -> Result<()> {
        let before = self.seq_length(seq_id)?;
        let n_free = make_room(&mut self.state.write(), &mut self.slots.lock(), prompt.len(), None);
        let could_go_on = {
            let caches = &self.state.read().caches;
            caches.can_go_on(caches.whole().check_seq(seq_id)?)
        };
        if prompt.len() > n_free {
            return Err(Error::new(
                Status::ContextFull,
                format!(
                    "the context is full: the prompt has {} tokens, {n_free} of {} cells are free",
                    prompt.len(),
                    self.info.n_ctx
                ),
            )
            .amounts(prompt.len() as u64, n_free as u64));
        }
        let n_batch = self.info.n_batch as usize;
        let mut flags = vec![0u8; n_batch.min(prompt.len())];
        let seqs = vec![seq_id; flags.len()];
        for (i, tokens) in prompt.chunks(n_batch).enumerate() {
            let n = tokens.len();
            // Only the prompt's last token is asked for.
            flags[n - 1] = u8::from((i + 1) * n_batch >= prompt.len());
            let batch = Batch { tokens, positions: None, seq_ids: Some(&seqs[..n]), outputs: Some(&flags[..n]) };
            if let Err(e) = self.decode_locked(&batch) {
                let caches = &mut self.state.write().caches;
                let seq = caches.whole().check_seq(seq_id)?;
                caches.remove(seq, before as i32, i32::MAX)?;
                // Windows may have moved past positions from before the prompt, and the checkpoint at its beginning may
                // have gone. Half a sequence is of no use.
                if could_go_on && !caches.can_go_on(seq) {
                    caches.clear(seq);
                }
                return Err(e);
            }
            flags[n - 1] = 0;
        }
        Ok(())
    }

    /// # Errors
    /// `Cancelled`, saying that `what` was.
    pub(super) fn not_cancelled(&self, what: &str) -> Result<()> {
        match self.cancelled.load(Ordering::Relaxed) {
            true => Err(Error::new(Status::Cancelled, format!("{what} was cancelled"))),
            false => Ok(()),
        }
    }

    fn go_on(
        &self,
        sampler: &mut Sampler,
        params: &GenerateParams<'_>,
        vocab: Option<&Vocab>,
        ahead: &mut Ahead,
        on_piece: &mut dyn FnMut(i32, &[u8]) -> bool,
    ) -> Result<(u32, StopReason)> {
        let mut stream = Stream::new(false);
        let mut n = 0;
        let mut stop = loop {
            self.not_cancelled("generate")?;
            let token = self.sample(sampler, ahead.row())?;
            if !params.ignore_eog && vocab.is_some_and(|v| v.is_eog(token)) {
                break StopReason::Eog;
            }
            sampler.accept(token);
            let text = match vocab {
                // A vocabulary may have fewer tokens than the output has rows; such an id has no text.
                Some(v) if (token as usize) < v.n_tokens() => stream.push(v, token)?,
                _ => String::new(),
            };
            n += 1;
            let wanted = on_piece(token, text.as_bytes());
            self.not_cancelled("generate")?;
            if !wanted {
                break StopReason::Callback;
            }
            if params.max_tokens > 0 && n == params.max_tokens {
                break StopReason::Limit;
            }
            // Behind the next token none is of use, if that is the last.
            let most = if params.max_tokens > 0 { (params.max_tokens - n - 1) as usize } else { usize::MAX };
            match self.go_on_with(token, params.seq_id, most, ahead) {
                Err(e) if e.status == Status::ContextFull => break StopReason::ContextFull,
                other => other?,
            }
        };
        let rest = stream.flush();
        // These are the bytes of a character that never came to its end.
        if !rest.is_empty() && stop != StopReason::Callback && !on_piece(-1, rest.as_bytes()) {
            stop = StopReason::Callback;
        }
        Ok((n, stop))
    }

    /// Samples from a row of the logits that the last decode left. Tokens that the file suppresses are not chosen.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no such row; those of `Sampler::sample`.
    pub fn sample(&self, sampler: &mut Sampler, row: u32) -> Result<i32> {
        self.leaves_logits()?;
        let start = Instant::now();
        let state = self.state.read();
        state.check_row(row)?;
        let logits = state.machine.result_row(Outcome::Logits, row as usize);
        let token = sampler.sample_row(&Row { logits, allowed: None, suppressed: &self.suppressed })?;
        Counters::add(&self.counters.sample_us, since(start));
        Ok(token)
    }
}
