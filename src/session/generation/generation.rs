//! A generation: its prompt, what it has said, and the events that nobody has taken yet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::sync::{Mutex, MutexGuard};

use super::super::generate::{Prompt, StopReason};
use super::super::model::Model;
use super::super::scales::Scales;
use super::stop::Stops;
use crate::error::{Error, Result, Status, try_vec};
use crate::grammar::Grammar;
use crate::graph::Outcome;
use crate::sample::{Logprobs, Row, Sampler};
use crate::vocab::{Stream, Vocab};

/// The caller's wishes for a generation.
pub struct GenerationParams<'a> {
    pub prompt: Prompt<'a>,
    /// It is the generation's own.
    pub sampler: Sampler,
    /// The texts that it may write, if not all; its own, too.
    pub grammar: Option<Grammar>,
    /// The scales of the model's adapters; those that are not given are 0.
    pub scales: &'a [f32],
    /// Texts that end the generation. They are not shown.
    pub stop_texts: &'a [&'a str],
    /// 0: until something else ends it.
    pub max_tokens: u32,
    /// Add no BOS or EOS to a text.
    pub no_special: bool,
    /// Read special tokens in a text. Never for text from strangers.
    pub parse_special: bool,
    /// Go on past tokens that end a generation.
    pub ignore_eog: bool,
    /// Keep the sequence from being given up while the generation exists, also after its end.
    pub pin: bool,
    /// Read the whole prompt, even if a sequence has its beginning.
    pub no_reuse: bool,
}

/// The state of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Phase {
    /// It has no sequence yet.
    Waits = 1,
    /// Some of its prompt is still to be read.
    Reads = 2,
    Talks = 3,
    Ended = 4,
}

/// One thing that a generation has to tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `None`: there is text left over, or the end.
    pub token: Option<i32>,
    /// Text that can be shown by now: whole characters, and nothing that may be the beginning of a stop text.
    pub text: String,
    /// The probabilities of the token, if the sampler keeps them.
    pub logprobs: Option<Logprobs>,
    /// The end; nothing follows.
    pub end: Option<StopReason>,
    /// The error that ended it, if one of its own did.
    pub error: Option<Error>,
}

/// Facts about a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerationInfo {
    pub phase: Phase,
    pub n_prompt: u32,
    /// Tokens of the prompt that another sequence had already.
    pub n_reused: u32,
    /// Tokens of the prompt that have been read, those among them.
    pub n_read: u32,
    pub n_generated: u32,
    /// The sequence that it has.
    pub seq_id: Option<u32>,
    pub end: Option<StopReason>,
    /// Tokens that were taken without a row of logits, because the grammar left no choice.
    pub n_forced: u32,
}

/// A text that a model writes. One call at a time may use it; a second one gets `Busy`. It keeps its model.
pub struct Generation {
    pub(super) model: Arc<Model>,
    pub(super) cancelled: AtomicBool,
    inner: Mutex<Inner>,
}

pub(super) struct Inner {
    /// Generations are numbered in the order of their creation.
    pub number: u64,
    pub prompt: Arc<Vec<i32>>,
    /// One for each adapter.
    pub scales: Arc<Vec<f32>>,
    /// The tokens of the prompt that its sequence has.
    pub n_read: usize,
    pub n_reused: usize,
    /// The token that was sampled last, and those that the grammar forces behind it: they are to be decoded next.
    pub next: Vec<i32>,
    pub seq: Option<u32>,
    pub sampler: Sampler,
    pub grammar: Option<Grammar>,
    pub stream: Stream,
    pub stops: Stops,
    pub max_tokens: u32,
    pub ignore_eog: bool,
    pub pin: bool,
    pub no_reuse: bool,
    pub n_generated: u32,
    pub n_forced: u32,
    /// The step that has computed a token of it last.
    pub served: u64,
    pub events: VecDeque<Event>,
    pub end: Option<StopReason>,
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

impl Generation {
    /// Creates a generation. Nothing is computed before a step.
    ///
    /// # Errors
    /// `InvalidArgument` for a prompt without tokens, with ids out of range or with more tokens than there are
    /// positions, and for bad stop texts; `ContextFull` for a prompt that never fits; those of `tokenize`.
    pub fn new(model: &Arc<Model>, params: GenerationParams<'_>) -> Result<Generation> {
        let prompt = match params.prompt {
            Prompt::Tokens(tokens) => {
                let mut own = try_vec("the prompt", tokens.len(), 0)?;
                own.copy_from_slice(tokens);
                own
            }
            Prompt::Text(text) => model.vocab()?.tokenize(text.as_bytes(), !params.no_special, params.parse_special)?,
        };
        check_prompt(model, &prompt)?;
        let scales = Scales::checked(params.scales, model.info().n_adapters as usize, "adapter_scales")?;
        let mut sampler = params.sampler;
        prompt.iter().for_each(|t| sampler.accept(*t));
        let inner = Inner {
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            prompt: Arc::new(prompt),
            scales: Arc::new(scales),
            n_read: 0,
            n_reused: 0,
            next: Vec::new(),
            seq: None,
            sampler,
            grammar: params.grammar,
            stream: Stream::new(false),
            stops: Stops::new(params.stop_texts)?,
            max_tokens: params.max_tokens,
            ignore_eog: params.ignore_eog,
            pin: params.pin,
            no_reuse: params.no_reuse,
            n_generated: 0,
            n_forced: 0,
            served: 0,
            events: VecDeque::new(),
            end: None,
        };
        Ok(Generation { model: Arc::clone(model), cancelled: AtomicBool::new(false), inner: Mutex::new(inner) })
    }

    /// Ends it at the next step that it takes part in. From any thread, at any time.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Takes the next event; `None` if there is none now.
    ///
    /// # Errors
    /// `Busy`.
    pub fn next(&self) -> Result<Option<Event>> {
        Ok(self.lock()?.events.pop_front())
    }

    /// # Errors
    /// `Busy`.
    pub fn info(&self) -> Result<GenerationInfo> {
        let g = self.lock()?;
        Ok(GenerationInfo {
            phase: g.phase(),
            n_prompt: g.prompt.len() as u32,
            n_reused: g.n_reused as u32,
            n_read: g.n_read as u32,
            n_generated: g.n_generated,
            seq_id: g.seq,
            end: g.end,
            n_forced: g.n_forced,
        })
    }

    pub(super) fn lock(&self) -> Result<MutexGuard<'_, Inner>> {
        let busy = || Error::new(Status::Busy, "the generation is in use by another call").subject("generation");
        self.inner.try_lock().ok_or_else(busy)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if let Some(seq) = self.inner.get_mut().seq.take() {
            self.model.slots.lock().leave(seq);
        }
    }
}

/// # Errors
/// As for `Generation::new`.
fn check_prompt(model: &Model, prompt: &[i32]) -> Result<()> {
    let info = model.info();
    if model.plan().exact.as_ref().is_some_and(|e| e.graph.result(Outcome::Logits).is_none()) {
        return Err(Error::unsupported(
            "this model was planned to leave embeddings: it has no logits to write a text by",
        ));
    }
    if prompt.is_empty() {
        return Err(Error::invalid("the prompt has no tokens").subject("prompt"));
    }
    let bad = prompt.iter().enumerate().find(|(_, t)| u32::try_from(**t).map_or(true, |t| t >= info.n_vocab));
    if let Some((i, t)) = bad {
        let text = format!("token {i} of the prompt is {t}, expected 0 to {}", info.n_vocab - 1);
        return Err(Error::invalid(text).subject("prompt_tokens"));
    }
    let most = (info.n_ctx as usize).min(model.n_positions as usize);
    if prompt.len() > most {
        let text = format!("the prompt has {} tokens, the context {most}", prompt.len());
        return Err(Error::new(Status::ContextFull, text).amounts(prompt.len() as u64, most as u64));
    }
    Ok(())
}

impl Inner {
    pub fn phase(&self) -> Phase {
        match (self.end, self.seq, &self.next[..]) {
            (Some(_), ..) => Phase::Ended,
            (_, None, _) => Phase::Waits,
            (_, _, []) => Phase::Reads,
            (..) => Phase::Talks,
        }
    }

    pub fn is(&self, phase: Phase) -> bool {
        self.phase() == phase
    }

    /// Samples the next token; `None` if the grammar lets no token follow a text that is complete.
    ///
    /// # Errors
    /// Those of `Grammar::mask` and `Sampler::sample_row`.
    pub fn choose(&mut self, logits: &[f32], suppressed: &[i32]) -> Result<Option<i32>> {
        let allowed = match &mut self.grammar {
            None => None,
            Some(grammar) => match grammar.mask()? {
                mask if mask.iter().all(|word| *word == 0) => return Ok(None),
                mask => Some(mask),
            },
        };
        self.sampler.sample_row(&Row { logits, allowed, suppressed }).map(Some)
    }

    /// Takes the token that was sampled. Gives the reason if it is the last one.
    ///
    /// # Errors
    /// Those of `Stream::push` and `Grammar::accept`.
    pub fn take(&mut self, token: i32, vocab: Option<&Vocab>) -> Result<Option<StopReason>> {
        if !self.ignore_eog && vocab.is_some_and(|v| v.is_eog(token)) {
            return Ok(Some(StopReason::Eog));
        }
        let text = match vocab {
            // A vocabulary may have fewer tokens than the output has rows; such an id has no text.
            Some(v) if (token as usize) < v.n_tokens() => self.stream.push(v, token)?,
            _ => String::new(),
        };
        if let Some(grammar) = &mut self.grammar {
            grammar.accept(token)?;
        }
        let (text, stopped) = self.stops.push(&text)?;
        self.sampler.accept(token);
        self.n_generated += 1;
        let logprobs = self.sampler.logprobs().cloned();
        self.tell(Event { token: Some(token), text, logprobs, end: None, error: None })?;
        self.next.push(token);
        Ok(match stopped {
            true => Some(StopReason::Text),
            false if self.n_generated == self.max_tokens => Some(StopReason::Limit),
            false => None,
        })
    }

    /// Takes the tokens that the grammar forces behind the last one, until `most` are to be decoded. They are those
    /// that sampling would give, one by one, and leave the sampler as that would. But where the host sees logits there
    /// are none to show, so nothing is taken then. Gives the reason if one is the last.
    ///
    /// # Errors
    /// Those of `choose` and `take`.
    pub fn take_forced(
        &mut self,
        most: usize,
        suppressed: &[i32],
        n_vocab: u32,
        vocab: Option<&Vocab>,
    ) -> Result<Option<StopReason>> {
        while self.next.len() < most && !self.sampler.shows_logits() {
            let Some(grammar) = &mut self.grammar else { break };
            // A vocabulary may have more tokens than the output has rows.
            let Some(token) = grammar.forced_next()?.filter(|t| t.cast_unsigned() < n_vocab) else { break };
            self.sampler.sample_only(token, suppressed)?;
            let reason = self.take(token, vocab)?;
            self.n_forced += 1;
            if reason.is_some() {
                return Ok(reason);
            }
        }
        Ok(None)
    }

    fn tell(&mut self, event: Event) -> Result<()> {
        let bytes = size_of::<Event>() as u64;
        self.events.try_reserve(2).map_err(|_| Error::out_of_memory("events of a generation", bytes))?;
        self.events.push_back(event);
        Ok(())
    }

    /// Ends it. Text that waits is shown, unless it is the beginning of a stop text that came.
    pub fn finish(&mut self, model: &Model, reason: StopReason) {
        self.end_with(model, reason, None);
    }

    /// Ends it by an error of its own.
    pub fn fail(&mut self, model: &Model, e: Error) {
        self.end_with(model, StopReason::Error, Some(e));
    }

    fn end_with(&mut self, model: &Model, reason: StopReason, error: Option<Error>) {
        let mut text = String::new();
        if reason != StopReason::Text {
            // The bytes of a character that never came to its end are no part of a stop text.
            text = self.stops.flush() + &self.stream.flush();
        }
        self.next.clear();
        self.end = Some(reason);
        self.events.push_back(Event { token: None, text, logprobs: None, end: Some(reason), error });
        if !self.pin
            && let Some(seq) = self.seq.take()
        {
            model.slots.lock().leave(seq);
        }
    }
}
