//! Generations that are stepped together write the text that each writes alone.
//!
//! The tests are exact: bits of logits do not depend on what else is in a batch. Recurrent layers compute runs of more
//! than 16 tokens in another order, so models that have them get micro-batches of 16.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle::Status;
use rekindle::grammar::{self, Grammar};
use rekindle::plan::Params;
use rekindle::sample::{Logprobs, Sampler, SamplerParams};
use rekindle::session::{Batch, Event, Generation, GenerationParams, Model, Phase, Prompt, StopReason};
use support::{exact_kv, fixture, load, root};

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below as u64) as usize
    }
}

/// The wishes of a generation.
#[derive(Clone, Default)]
struct Wish {
    prompt: Vec<i32>,
    sampler: SamplerParams,
    grammar: Option<Grammar>,
    stops: Vec<&'static str>,
    max_tokens: u32,
    pin: bool,
}

impl std::fmt::Debug for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Wish { prompt, sampler, stops, max_tokens, .. } = self;
        write!(f, "{prompt:?}, seed {}, {stops:?}, at most {max_tokens}", sampler.seed)
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

    /// All that it tells when nothing else is there.
    fn alone(&self, model: &Arc<Model>) -> Told {
        model.seq_remove(-1, 0, -1).unwrap();
        let g = self.create(model, true).unwrap();
        let mut told = Told::default();
        while told.end.is_none() {
            model.step(std::slice::from_ref(&g)).unwrap();
            told.take(&g);
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

/// Random wishes: prompts that share beginnings, samplers, stop texts.
fn wish(random: &mut Random, bases: &[Vec<i32>], n_vocab: usize) -> Wish {
    let base = &bases[random.next(bases.len())];
    let mut prompt = base[..1 + random.next(base.len())].to_vec();
    prompt.extend((0..random.next(6)).map(|_| random.next(n_vocab) as i32));
    let sampler = match random.next(3) {
        0 => SamplerParams::default(),
        _ => SamplerParams {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            repeat_penalty: 1.1,
            seed: random.next(1000) as u64,
            n_logprobs: 3,
            ..SamplerParams::default()
        },
    };
    let stops = [vec![], vec!["the LORD"], vec![":", " of the"], vec!["and\n", "e", "unto him"]];
    Wish {
        prompt,
        sampler,
        grammar: None,
        stops: stops[random.next(4)].clone(),
        max_tokens: 1 + random.next(40) as u32,
        pin: random.next(8) == 0,
    }
}

/// Up to 16 generations that join, leave and are cancelled at random: what each tells is what it tells alone. Gives the
/// tokens that were not read again.
fn at_random(file: &Path, n_ubatch: u32, n_rounds: usize) -> u32 {
    let mut random = Random(n_ubatch as u64);
    let (model, alone) = (load(file, &params(512, 6, n_ubatch)), load(file, &params(256, 1, n_ubatch)));
    let n_vocab = model.info().n_vocab as usize;
    let texts = [
        "In the beginning God created the heaven and the earth. And the earth was without form, and void",
        "And it came to pass, when men began to multiply on the face of the earth",
        "Blessed is the man",
    ];
    let bases: Vec<Vec<i32>> = match model.vocab() {
        Ok(_) if file == bible() => texts.iter().map(|t| prompt(&model, t)).collect(),
        _ => (0..3).map(|s| (0..20).map(|i| 3 + (i * i * 7 + i * 13 + s * 29) % 57).collect()).collect(),
    };
    let mut going: Vec<(Wish, Arc<Generation>, Told, bool)> = Vec::new();
    let (mut n_ended, mut n_reused, mut n_cancelled, mut n_stopped) = (0, 0, 0, 0);
    for _ in 0..n_rounds {
        if going.len() < 16 && random.next(3) == 0 {
            let w = wish(&mut random, &bases, n_vocab);
            let g = w.create(&model, false).unwrap();
            going.push((w, g, Told::default(), false));
        }
        if !going.is_empty() && random.next(20) == 0 {
            let i = random.next(going.len());
            going[i].1.cancel();
            going[i].3 = true;
        }
        // Some stand aside, in any order.
        let mut named: Vec<Arc<Generation>> =
            going.iter().filter(|_| random.next(5) > 0).map(|(_, g, ..)| Arc::clone(g)).collect();
        if random.next(2) == 0 {
            named.reverse();
        }
        let step = model.step(&named).unwrap();
        assert!(step.n_tokens <= n_ubatch);
        let mut left = Vec::new();
        for (w, g, mut told, cancelled) in going {
            told.take(&g);
            let leaves = random.next(200) == 0;
            match told.end {
                None if !leaves => {
                    left.push((w, g, told, cancelled));
                    continue;
                }
                None => assert!(told.begins(&w.alone(&alone)), "{w:?}"),
                Some(StopReason::Cancelled) => {
                    assert!(cancelled);
                    let whole = w.alone(&alone);
                    assert!(whole.tokens.starts_with(&told.tokens), "{w:?}");
                    n_cancelled += 1;
                }
                Some(end) => {
                    assert_eq!(told, w.alone(&alone), "{w:?}");
                    n_stopped += usize::from(end == StopReason::Text);
                    n_ended += 1;
                    n_reused += g.info().unwrap().n_reused;
                }
            }
        }
        going = left;
    }
    println!(
        "{}: {n_ended} ended, {n_stopped} by a stop text, {n_cancelled} cancelled, {n_reused} tokens reused",
        file.display()
    );
    assert!(n_ended > n_rounds / 40 && n_cancelled > 0);
    n_reused
}

#[test]
fn together_as_alone() {
    assert!(at_random(&bible(), 32, 500) > 100);
    assert!(at_random(&bible(), 5, 250) > 0);
}

/// Windows, latent attention, shared caches; recurrent layers of three kinds.
#[test]
fn together_as_alone_in_every_kind_of_memory() {
    let mut n_reused = 0;
    for name in [
        "gemma3-pattern",
        "deepseek2-yarn",
        "gemma4-layers",
        "gpt-oss-bare",
        "qwen35-nextn",
        "mamba2-groups",
        "lfm2-gqa",
    ] {
        let file = fixture(&format!("models/{name}.gguf"));
        n_reused += at_random(&file, 16, 150);
    }
    assert!(n_reused > 100, "{n_reused}");
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

/// Grammars beside others without: each text is one of its grammar, drawn as alone.
#[test]
fn grammars_hold_beside_others() {
    let model = load(&bible(), &params(256, 4, 32));
    let vocab = model.vocab().unwrap();
    let regex = |text: &str| Grammar::new(&vocab, grammar::Kind::Regex, text, &grammar::Params::default()).unwrap();
    let patterns = ["(Moses|Aaron) (went|came) (up|down)", "[a-z]{3,8}( [a-z]{1,6}){2}\\."];
    let mut wishes: Vec<Wish> = Vec::new();
    for seed in 0..6 {
        let mut w = Wish::of(&prompt(&model, "And it came to pass, that"), 60);
        w.sampler = SamplerParams { temperature: 1.0, seed, ..SamplerParams::default() };
        w.grammar = patterns.get(seed as usize % 3).map(|p| regex(p));
        wishes.push(w);
    }
    let all: Vec<_> = wishes.iter().map(|w| w.create(&model, false).unwrap()).collect();
    let told = run(&model, &all);
    drop(all);
    for (w, told) in wishes.iter().zip(told) {
        if let Some(grammar) = &w.grammar {
            let verdict = grammar.check(told.text.as_bytes()).unwrap();
            assert_eq!(verdict, grammar::Verdict::Complete, "{}", told.text);
            assert_eq!(told.end, Some(StopReason::Eog), "{}", told.text);
        }
        assert_eq!(told, w.alone(&model));
    }
}
