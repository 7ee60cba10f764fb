//! Generations that are stepped together: tokens per second of eight, beside eight sequences that a host decodes and
//! samples by itself; the time to the first token of a prompt whose beginning another one has; and drafts from a text
//! that repeats itself, and from one that does not.
//!
//! `cargo bench --bench generations -- [MODEL.gguf]`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::plan::{DraftSource, Params, Plan};
use rekindle::sample::{Sampler, SamplerParams};
use rekindle::session::{Batch, GenerateParams, Generation, GenerationParams, LoadParams, Model, Prompt};

const N: usize = 8;
const TOKENS: u32 = 64;
/// Each figure is the median of so many rounds, in turn with what it is compared with.
const ROUNDS: usize = 5;

fn load(path: &Path, params: Params) -> Arc<Model> {
    let context = Context::new("cpu", 0, None, LogLevel::Error).expect("devices");
    let file = Arc::new(Gguf::open(path).expect("the model"));
    let plan = Plan::new(&context, &file, &params).expect("a plan");
    Model::load(&context, &Arc::new(plan), LoadParams::default()).expect("a model")
}

fn greedy() -> Sampler {
    Sampler::new(SamplerParams::default()).expect("a sampler")
}

fn generation(model: &Arc<Model>, prompt: &[i32], max_tokens: u32, no_reuse: bool) -> Arc<Generation> {
    let params = GenerationParams {
        prompt: Prompt::Tokens(prompt),
        sampler: greedy(),
        grammar: None,
        scales: &[],
        stop_texts: &["a text that never comes"],
        max_tokens,
        no_special: true,
        parse_special: false,
        ignore_eog: true,
        pin: false,
        no_reuse,
    };
    Arc::new(Generation::new(model, params).expect("a generation"))
}

fn prompt(model: &Model, seed: usize, n: usize) -> Vec<i32> {
    let n_vocab = model.info().n_vocab as usize;
    (0..n).map(|i| ((i * 7919 + seed * 104_729 + 13) % n_vocab) as i32).collect()
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn clear(model: &Model) {
    model.seq_remove(-1, 0, -1).expect("nothing runs");
}

/// Tokens per second of eight generations.
fn stepped(model: &Arc<Model>) -> f64 {
    clear(model);
    let all: Vec<_> = (0..N).map(|s| generation(model, &prompt(model, s, 8), TOKENS, true)).collect();
    model.step(&all).expect("a step");
    let start = Instant::now();
    while model.step(&all).expect("a step").n_going > 0 {}
    N as f64 * f64::from(TOKENS - 1) / start.elapsed().as_secs_f64()
}

/// The same by decode and sample.
fn by_hand(model: &Model) -> f64 {
    clear(model);
    let mut samplers: Vec<Sampler> = (0..N).map(|_| greedy()).collect();
    let (mut tokens, mut seqs) = (Vec::new(), Vec::new());
    for s in 0..N {
        tokens.extend(prompt(model, s, 8));
        seqs.extend([s as i32; 8]);
    }
    let mut time = 0.0;
    for i in 0..TOKENS {
        let start = Instant::now();
        model.decode(&Batch { tokens: &tokens, seq_ids: Some(&seqs), ..Batch::default() }).expect("room");
        tokens = (0..N).map(|s| model.sample(&mut samplers[s], s as u32).expect("a token")).collect();
        seqs = (0..N as i32).collect();
        time += if i > 0 { start.elapsed().as_secs_f64() } else { 0.0 };
    }
    N as f64 * f64::from(TOKENS - 1) / time
}

/// Seconds to the first token of a prompt, alone and then with the same beginning as one that was read.
fn first_token(model: &Arc<Model>, shared: &[i32]) -> (f64, f64) {
    clear(model);
    let seconds = |last: i32| {
        let g = generation(model, &[shared, &[last]].concat(), 1, false);
        let start = Instant::now();
        while model.step(std::slice::from_ref(&g)).expect("a step").n_going > 0 {}
        start.elapsed().as_secs_f64()
    };
    (seconds(5), seconds(6))
}

/// Tokens per second behind a prompt.
fn generated(model: &Model, prompt: &[i32], n: u32) -> f64 {
    clear(model);
    let params = GenerateParams {
        prompt: Prompt::Tokens(prompt),
        seq_id: 0,
        max_tokens: n,
        no_special: true,
        parse_special: false,
        ignore_eog: true,
        all_drafts: false,
    };
    let (mut first, mut count) = (None, 0);
    model
        .generate(&mut greedy(), &params, &mut |_, _| {
            first.get_or_insert_with(Instant::now);
            count += 1;
            true
        })
        .expect("room");
    f64::from(count - 1) / first.expect("a token").elapsed().as_secs_f64()
}

fn main() {
    let given = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let path =
        given.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf"), PathBuf::from);
    let n_seq_max = N as u32;
    let model = load(&path, Params { n_ctx: 8192, n_seq_max, n_outputs_max: n_seq_max, ..Params::default() });
    let rounds: Vec<_> = (0..ROUNDS).map(|_| (stepped(&model), by_hand(&model))).collect();
    let (a, b) = (median(rounds.iter().map(|r| r.0).collect()), median(rounds.iter().map(|r| r.1).collect()));
    println!("eight generations: {a:.1} tokens/s stepped, {b:.1} by hand, {:.3}", a / b);
    let shared = prompt(&model, 3, 4096);
    let (first, second) = first_token(&model, &shared);
    println!(
        "prompt of 4097 tokens: {first:.3} s to the first token, {second:.4} s if 4096 were read, {:.4}",
        second / first
    );
    drop(model);

    let params = || Params { n_ctx: 2048, ..Params::default() };
    let plain = load(&path, params());
    let drafts = load(&path, Params { n_draft: 8, draft_source: DraftSource::Text, ..params() });
    let repeated = plain.vocab().map_or_else(
        |_| prompt(&plain, 1, 32).repeat(8),
        |v| {
            v.tokenize(b"And God said, Let there be light: and there was light. ".repeat(12).as_slice(), true, false)
                .expect("tokens")
        },
    );
    for (what, text) in [("repeats itself", repeated), ("does not", prompt(&plain, 9, 256))] {
        let rounds: Vec<_> =
            (0..ROUNDS).map(|_| (generated(&drafts, &text, 256), generated(&plain, &text, 256))).collect();
        let (a, b) = (median(rounds.iter().map(|r| r.0).collect()), median(rounds.iter().map(|r| r.1).collect()));
        let perf = drafts.perf();
        println!(
            "text that {what}: {a:.1} tokens/s with drafts, {b:.1} without, {:.3}; {} of {} guesses were right",
            a / b,
            perf.n_draft_agreed,
            perf.n_drafted
        );
        drafts.perf_reset();
    }
}
