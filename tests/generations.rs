//! Generations that are stepped together write the text that each writes alone.
//!
//! The tests are exact: bits of logits do not depend on what else is in a batch. Recurrent layers compute runs of more
//! than 16 tokens in another order, so models that have them get micro-batches of 16.

#[path = "generations/grammars.rs"]
mod grammars;
#[path = "support/headers/mod.rs"]
mod headers;
#[path = "generations/random.rs"]
mod random;
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle::Status;
use rekindle::grammar::Grammar;
use rekindle::plan::Params;
use rekindle::sample::{Logprobs, Sampler, SamplerParams};
use rekindle::session::{Batch, Event, Generation, GenerationParams, Model, Phase, Prompt, StopReason};
use support::{decode_at, exact_kv, fixture, load_with_threads, root, same_bits};

/// The wishes of a generation.
#[derive(Clone, Default)]
struct Wish {
    prompt: Vec<i32>,
    sampler: SamplerParams,
    grammar: Option<Grammar>,
    /// The grammar's text, for messages.
    what: String,
    stops: Vec<&'static str>,
    max_tokens: u32,
    pin: bool,
}

impl std::fmt::Debug for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Wish { prompt, sampler, what, stops, max_tokens, .. } = self;
        write!(f, "{prompt:?}, seed {}, {what}, {stops:?}, at most {max_tokens}", sampler.seed)
    }
}

impl Wish {
    fn of(prompt: &[i32], max_tokens: u32) -> Wish {
        Wish { prompt: prompt.to_vec(), max_tokens, ..Wish::default() }
    }

    fn create(&self, model: &Arc<Model>, no_reuse: bool) -> rekindle::Result<Arc<Generation>> {
        let params = GenerationParams {
            prompt: Prompt::Tokens(&self.prompt),
            sampler: Sampler::new(self.sampler.clone()).unwrap(),
            grammar: self.grammar.clone(),
            scales: &[],
            stop_texts: &self.stops,
            max_tokens: self.max_tokens,
            no_special: false,
            parse_special: false,
            ignore_eog: false,
            pin: self.pin,
            no_reuse,
        };
        Generation::new(model, params).map(Arc::new)
    }

    /// All that it tells when nothing else is there. Each token is sampled from a row of logits: probabilities are
    /// kept, also if nobody wants them.
    fn alone(&self, model: &Arc<Model>) -> Told {
        model.seq_remove(-1, 0, -1).unwrap();
        let wanted = self.sampler.n_logprobs;
        let sampler = SamplerParams { n_logprobs: wanted.max(1), ..self.sampler.clone() };
        let g = Wish { sampler, ..self.clone() }.create(model, true).unwrap();
        let mut told = Told::default();
        while told.end.is_none() {
            model.step(std::slice::from_ref(&g)).unwrap();
            told.take(&g);
        }
        assert_eq!(g.info().unwrap().n_forced, 0);
        if wanted == 0 {
            told.logprobs.clear();
        }
        told
    }
}

/// All that a generation has told so far.
#[derive(Debug, Clone, Default, PartialEq)]
struct Told {
    tokens: Vec<i32>,
    logprobs: Vec<Logprobs>,
    text: String,
    end: Option<StopReason>,
}

impl Told {
    fn take(&mut self, g: &Generation) {
        while let Some(Event { token, text, logprobs, end, error }) = g.next().unwrap() {
            assert_eq!(error, None);
            self.logprobs.extend(logprobs);
            assert!(self.end.is_none(), "something follows the end");
            self.tokens.extend(token);
            self.text.push_str(&text);
            self.end = end;
        }
    }

    /// True if `self` is the beginning of `whole`.
    fn begins(&self, whole: &Told) -> bool {
        whole.tokens.starts_with(&self.tokens) && whole.text.starts_with(&self.text)
    }
}

/// With one thread, since steps are short and the tests run beside each other.
fn load(file: &Path, params: &Params) -> Arc<Model> {
    load_with_threads(file, params, 1)
}

fn bible() -> PathBuf {
    root().join("models/bible-5M-Q8_0.gguf")
}

fn params(n_ctx: u32, n_seq_max: u32, n_ubatch: u32) -> Params {
    Params { n_ctx, n_seq_max, n_outputs_max: n_seq_max.min(n_ubatch), n_batch: n_ubatch, n_ubatch, ..exact_kv() }
}

fn prompt(model: &Model, text: &str) -> Vec<i32> {
    model.vocab().unwrap().tokenize(text.as_bytes(), true, false).unwrap()
}

/// Steps until all have ended.
fn run(model: &Arc<Model>, all: &[Arc<Generation>]) -> Vec<Told> {
    let mut told = vec![Told::default(); all.len()];
    for _ in 0..10_000 {
        let going = model.step(all).unwrap().n_going;
        told.iter_mut().zip(all).for_each(|(t, g)| t.take(g));
        if going == 0 {
            return told;
        }
    }
    panic!("they do not end: {told:?}");
}

#[test]
fn a_long_prompt_never_stalls_who_talks() {
    let model = load(&bible(), &params(512, 2, 16));
    let talker = Wish::of(&prompt(&model, "And God said"), 200).create(&model, false).unwrap();
    model.step(&[Arc::clone(&talker)]).unwrap();
    let long: Vec<i32> = prompt(&model, "In the beginning").repeat(20);
    let reader = Wish::of(&long, 4).create(&model, false).unwrap();
    let both = [reader, talker];
    let mut n_steps = 0;
    while both[0].info().unwrap().phase != Phase::Talks {
        let before = both[1].info().unwrap().n_generated;
        let step = model.step(&both).unwrap();
        assert_eq!(both[1].info().unwrap().n_generated, before + 1);
        assert!(step.n_tokens <= 16);
        n_steps += 1;
    }
    assert_eq!(n_steps, long.len().div_ceil(15));
}

/// Who has a short prompt gets its first token with the next step, however long another's prompt is; that one is read at
/// half the speed at least.
#[test]
fn a_short_prompt_does_not_wait_for_a_long_one() {
    let model = load(&bible(), &params(512, 4, 16));
    let tokens = |n: usize, salt: usize| (0..n).map(|i| 300 + ((i * i * 7 + salt) % 997) as i32).collect::<Vec<_>>();
    let long = Wish::of(&tokens(200, 1), 1).create(&model, false).unwrap();
    model.step(&[Arc::clone(&long)]).unwrap();
    assert_eq!(long.info().unwrap().n_read, 16);
    let mut read = 16;
    for n in 0..4 {
        let short = Wish::of(&tokens(4, 500 + n), 1).create(&model, true).unwrap();
        let rather = Wish::of(&tokens(60, 100 + n), 1).create(&model, true).unwrap();
        model.step(&[Arc::clone(&long), rather, Arc::clone(&short)]).unwrap();
        assert_eq!(short.info().unwrap().n_generated, 1, "{n}");
        assert_eq!(long.info().unwrap().n_read, read + 8, "{n}");
        read += 8;
    }
    assert_eq!(run(&model, &[long])[0].tokens.len(), 1);
}

#[test]
fn a_prompt_is_read_once() {
    let model = load(&bible(), &params(512, 8, 64));
    let shared = prompt(&model, "And it came to pass in those days, that there went out a decree").repeat(6);
    let all: Vec<Arc<Generation>> =
        (0..6).map(|i| Wish::of(&[shared.clone(), vec![30 + i]].concat(), 3).create(&model, false).unwrap()).collect();
    let told = run(&model, &all);
    // All wait for the first, which reads the whole.
    for (i, g) in all.iter().enumerate() {
        let info = g.info().unwrap();
        assert_eq!(info.n_reused as usize, if i == 0 { 0 } else { shared.len() }, "{i}");
    }
    // The sequence of one that is gone is found again, also past its prompt.
    let again = [shared.clone(), vec![30], told[0].tokens.clone(), vec![9]].concat();
    drop(all);
    let next = Wish::of(&again, 1).create(&model, false).unwrap();
    run(&model, &[Arc::clone(&next)]);
    // The last token was sampled, but never decoded.
    assert_eq!(next.info().unwrap().n_reused as usize, shared.len() + 1 + 2);
}

#[test]
fn idle_sequences_go_when_room_is_needed_and_pinned_ones_stay() {
    let model = load(&bible(), &params(128, 3, 32));
    let of = |text: &str, pin| Wish { pin, ..Wish::of(&prompt(&model, text).repeat(3), 2) };
    let texts = ["And God said, Let there be", "The book of the generation of", "Now king David was old and"];
    let pinned = of(texts[0], true).create(&model, false).unwrap();
    run(&model, &[Arc::clone(&pinned)]);
    assert!(pinned.info().unwrap().seq_id.is_some());
    for text in [texts[1], texts[2], texts[1], texts[2]] {
        let g = of(text, false).create(&model, false).unwrap();
        run(&model, &[Arc::clone(&g)]);
        assert_eq!(g.info().unwrap().seq_id, None);
    }
    let again = of(texts[0], false).create(&model, false).unwrap();
    run(&model, &[Arc::clone(&again)]);
    assert_eq!(again.info().unwrap().n_reused as usize, prompt(&model, texts[0]).len() * 3 - 1);
    // A prompt as long as what the pinned one leaves takes everything else.
    let n = 128 - 2 - prompt(&model, texts[0]).len() * 3;
    let long = Wish::of(&vec![40; n], 1).create(&model, false).unwrap();
    assert_eq!(run(&model, &[long])[0].end, Some(StopReason::Limit));
    assert!(pinned.info().unwrap().seq_id.is_some());
}

#[test]
fn who_finds_no_room_waits_and_the_rest_goes_on() {
    let model = load(&bible(), &params(64, 4, 16));
    let text = prompt(&model, "And the children of Israel did so");
    let all: Vec<Arc<Generation>> =
        (0..6).map(|i| Wish::of(&[vec![50 + i], text.clone()].concat(), 20).create(&model, true).unwrap()).collect();
    let first = model.step(&all).unwrap();
    assert!(first.n_waiting > 0 && first.n_going == 6, "{first:?}");
    let alone = load(&bible(), &params(64, 1, 16));
    for (i, told) in run(&model, &all).iter().enumerate() {
        let whole = Wish::of(&[vec![50 + i as i32], text.clone()].concat(), 20).alone(&alone);
        assert!(told.begins(&whole), "{i}");
        assert!(matches!(told.end, Some(StopReason::Limit | StopReason::ContextFull)), "{told:?}");
    }
    // One alone has the whole context, and then ends.
    let one = Wish::of(&text, 0);
    assert_eq!(one.alone(&alone).end, Some(StopReason::ContextFull));
    let long = vec![40; 65];
    assert_eq!(Wish::of(&long, 1).create(&model, false).err().unwrap().status, Status::ContextFull);
}

#[test]
fn hosts_and_generations_keep_apart() {
    let model = load(&bible(), &params(128, 2, 32));
    let text = prompt(&model, "And God said");
    model.decode(&Batch { tokens: &text, ..Batch::default() }).unwrap();
    let g = Wish::of(&[text.clone(), vec![40]].concat(), 3).create(&model, false).unwrap();
    model.step(&[Arc::clone(&g)]).unwrap();
    // It goes on from what the host has decoded, on a sequence of its own.
    let info = g.info().unwrap();
    assert_eq!((info.n_reused as usize, info.seq_id), (text.len(), Some(1)));
    let refused = [
        model.seq_remove(1, 0, -1),
        model.seq_cut(1, 0).map(|_| ()),
        model.seq_copy(0, 1, 0, -1),
        model.seq_keep(1),
        model.decode(&Batch { tokens: &text, seq_ids: Some(&vec![1; text.len()]), ..Batch::default() }),
    ];
    for r in refused {
        assert_eq!(r.unwrap_err().status, Status::InvalidArgument);
    }
    model.seq_keep(0).unwrap();
    assert_eq!(run(&model, &[g])[0].tokens.len(), 3);
    // It is idle now, and the host's again when the host names it.
    assert!(model.seq_length(1).unwrap() > 0);
    model.decode(&Batch { tokens: &text, seq_ids: Some(&vec![1; text.len()]), ..Batch::default() }).unwrap();
    assert_eq!(model.seq_length(1).unwrap() as usize, text.len());
}

/// A host that has filled all sequences keeps generations waiting, until it leaves one to them.
#[test]
fn sequences_that_the_host_leaves_are_gone_on_from() {
    let model = load(&bible(), &params(128, 2, 32));
    let text = prompt(&model, "And God said");
    for seq in 0..2 {
        model.decode(&Batch { tokens: &text, seq_ids: Some(&vec![seq; text.len()]), ..Batch::default() }).unwrap();
    }
    let g = Wish::of(&[text.clone(), vec![40]].concat(), 3).create(&model, false).unwrap();
    let step = model.step(&[Arc::clone(&g)]).unwrap();
    assert_eq!((step.n_tokens, g.info().unwrap().seq_id), (0, None));
    model.seq_leave(1).unwrap();
    model.seq_leave(1).unwrap();
    model.step(&[Arc::clone(&g)]).unwrap();
    let info = g.info().unwrap();
    assert_eq!((info.n_reused as usize, info.seq_id), (text.len(), Some(1)));
    assert_eq!(model.seq_leave(1).unwrap_err().status, Status::InvalidArgument);
    assert_eq!(run(&model, &[g])[0].tokens.len(), 3);
    assert_eq!(model.seq_leave(2).unwrap_err().status, Status::InvalidArgument);
    assert_eq!(model.seq_length(0).unwrap() as usize, text.len());
}

#[test]
fn wrong_calls_are_named_and_change_nothing() {
    let (model, other) = (load(&bible(), &params(128, 2, 32)), load(&bible(), &params(128, 1, 32)));
    let g = Wish::of(&[40, 41], 3).create(&model, false).unwrap();
    let message = |r: rekindle::Result<rekindle::session::StepResult>| r.unwrap_err().message;
    assert!(message(other.step(&[Arc::clone(&g)])).contains("generations[0] is of another model"));
    assert!(message(model.step(&[Arc::clone(&g), Arc::clone(&g)])).contains("generations[1] is named twice"));
    assert_eq!(model.step(&[]).unwrap().n_tokens, 0);
    for (prompt, stops) in [(vec![], vec![]), (vec![-1], vec![]), (vec![i32::MAX], vec![]), (vec![40], vec![""])] {
        let w = Wish { prompt, stops, ..Wish::default() };
        assert_eq!(w.create(&model, false).err().unwrap().status, Status::InvalidArgument);
    }
    assert_eq!(run(&model, &[g])[0].tokens.len(), 3);
}
