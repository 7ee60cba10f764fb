//! Drafts by a model's prediction layer: whatever it guesses, the text, the sequence and the logits behind it are those
//! of single tokens, bit by bit.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rekindle::Status;
use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::plan::{DraftSource, Params, Plan};
use rekindle::sample::{Sampler, SamplerParams};
use rekindle::session::{GenerateParams, Model, Prompt, StopReason};
use support::{exact_kv, fixture, row};

/// The fixtures with prediction layers that the reference computes, too.
fn models() -> Vec<PathBuf> {
    let index = support::json(&fixture("logits/nextn.json"));
    let name = |m: &serde_json::Value| fixture(&format!("models/{}.gguf", m["model"].as_str().unwrap()));
    index.as_array().unwrap().iter().map(name).collect()
}

/// A file whose prediction layer agrees with its trunk, but for a share of what the layers add: both map a token to the
/// next one. At a share of 0 they agree always.
fn agreeing(path: &Path, share: f32) -> PathBuf {
    let file = Gguf::open(path).unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let mut change = |name: &str, change: &dyn Fn(usize, f32) -> f32| {
        let t = file.tensor(name).unwrap();
        let at = t.offset as usize;
        for (i, x) in bytes[at..at + t.n_bytes as usize].chunks_exact_mut(4).enumerate() {
            let new = change(i, f32::from_le_bytes(x.try_into().unwrap()));
            x.copy_from_slice(&new.to_le_bytes());
        }
    };
    let floats = |name: &str| -> Vec<f32> {
        let data = file.tensor_data(file.tensor(name).unwrap());
        data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    for t in file.tensors() {
        let ends =
            ["attn_output.weight", "ssm_out.weight", "ffn_down.weight", "ffn_down_exps.weight", "down_shexp.weight"];
        if ends.iter().any(|e| t.name.ends_with(e)) {
            change(&t.name, &|_, x| x * share);
        }
        if t.name.ends_with("nextn.eh_proj.weight") {
            let n = t.ne[0] as usize;
            change(&t.name, &|i, _| if i % n == i / n { 1.0 } else { 0.0 });
        }
        if t.name.ends_with("nextn.enorm.weight") {
            change(&t.name, &|_, _| 1.0);
        }
        if t.name.ends_with("nextn.shared_head_norm.weight") {
            let norm = floats("output_norm.weight");
            change(&t.name, &|i, _| norm[i]);
        }
    }
    let name = path.file_stem().unwrap().to_string_lossy();
    // Tests run side by side.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let to = std::env::temp_dir().join(format!("rekindle-{name}-{n}-{}.gguf", std::process::id()));
    std::fs::write(&to, bytes).unwrap();
    to
}

/// One thread: the models are so small that several would only wait for each other.
fn load(path: &Path, params: &Params) -> Arc<Model> {
    let context = Context::new("cpu", 1, None, LogLevel::Error).unwrap();
    let plan = Plan::new(&context, &Arc::new(Gguf::open(path).unwrap()), params).unwrap();
    Model::load(&context, &Arc::new(plan), Default::default()).unwrap()
}

fn drafting(path: &Path, n_draft: u32) -> Arc<Model> {
    load(path, &Params { n_draft, n_seq_max: 2, ..exact_kv() })
}

fn sampler(seed: u64) -> Sampler {
    let temperature = if seed == 0 { 0.0 } else { 0.7 };
    Sampler::new(SamplerParams { temperature, seed, ..SamplerParams::default() }).unwrap()
}

const PROMPT: [i32; 9] = [51, 3, 58, 26, 8, 9, 11, 3, 22];

/// The outcome of a generation, and everything that it leaves.
#[derive(Debug, PartialEq)]
struct Left {
    tokens: Vec<i32>,
    end: Result<StopReason, Status>,
    length: u32,
    logits: Vec<u32>,
}

/// Generates `n` tokens. `each` is called with the number of tokens so far; false stops.
fn generate(
    model: &Model,
    sampler: &mut Sampler,
    seq_id: i32,
    prompt: &[i32],
    n: u32,
    each: &dyn Fn(usize) -> bool,
) -> Left {
    let mut tokens = Vec::new();
    let params = GenerateParams {
        prompt: Prompt::Tokens(prompt),
        seq_id,
        max_tokens: n,
        no_special: true,
        parse_special: false,
        ignore_eog: true,
        all_drafts: true,
    };
    let outcome = model.generate(sampler, &params, &mut |token, _| {
        tokens.push(token);
        each(tokens.len())
    });
    let logits = if outcome.is_ok() { row(model, 0) } else { Vec::new() };
    Left {
        tokens,
        end: outcome.map(|r| r.stop).map_err(|e| e.status),
        length: model.seq_length(seq_id).unwrap(),
        logits: logits.iter().map(|x| x.to_bits()).collect(),
    }
}

#[test]
fn text_is_that_of_single_tokens() {
    for path in models() {
        for share in [1.0, 0.2] {
            let changed = agreeing(&path, share);
            let file = if share == 1.0 { &path } else { &changed };
            let plain = load(file, &Params { n_seq_max: 2, ..exact_kv() });
            for n_draft in [1, 4, 15] {
                let model = drafting(file, n_draft);
                for seed in 0..2 {
                    let (mut a, mut b) = (sampler(seed), sampler(seed));
                    for (model, sampler) in [(&plain, &mut a), (&model, &mut b)] {
                        model.seq_remove(-1, 0, -1).unwrap();
                        sampler.reset();
                    }
                    // Three turns, of which the second goes on in a copy.
                    let mut prompt = PROMPT.to_vec();
                    for turn in 0..3 {
                        let seq = turn % 2;
                        for m in [&plain, &model] {
                            if turn > 0 {
                                m.seq_copy(1 - seq, seq, 0, -1).unwrap();
                            }
                        }
                        let want = generate(&plain, &mut a, seq, &prompt, 24, &|_| true);
                        let got = generate(&model, &mut b, seq, &prompt, 24, &|_| true);
                        assert_eq!(got, want, "{} n_draft {n_draft} seed {seed} turn {turn}", path.display());
                        prompt = vec![*want.tokens.last().unwrap(), 5, 6];
                    }
                }
                assert!(model.perf().n_drafted > 0 && plain.perf().n_drafted == 0);
            }
            std::fs::remove_file(changed).unwrap();
        }
    }
}

/// Drafts from the text so far, which serve any model: full attention, windows, latent attention, recurrent layers.
#[test]
fn text_that_guesses_itself_is_that_of_single_tokens() {
    let names = ["llama-F32", "gemma3-pattern", "deepseek2-yarn", "qwen35-nextn", "lfm2-gqa", "mamba2-groups"];
    let mut n_agreed = 0;
    for path in names.map(|n| fixture(&format!("models/{n}.gguf"))) {
        let plain = load(&path, &Params { n_seq_max: 2, ..exact_kv() });
        for n_draft in [2, 15] {
            let draft_source = DraftSource::Text;
            let model = load(&path, &Params { n_draft, draft_source, n_seq_max: 2, ..exact_kv() });
            for seed in 0..3 {
                let (mut a, mut b) = (sampler(seed), sampler(seed));
                let prompt = PROMPT.repeat(3);
                for turn in 0..2 {
                    let want = generate(&plain, &mut a, 0, &prompt, 40, &|_| true);
                    let got = generate(&model, &mut b, 0, &prompt, 40, &|_| true);
                    assert_eq!(got, want, "{} n_draft {n_draft} seed {seed} turn {turn}", path.display());
                }
                [&plain, &model].iter().for_each(|m| m.seq_remove(-1, 0, -1).unwrap());
            }
            assert!(model.perf().n_drafted > 0, "{}", path.display());
            n_agreed += model.perf().n_draft_agreed;
        }
    }
    assert!(n_agreed > 100, "{n_agreed} guesses were right");
}

fn of_second(path: &Path, n_draft: u32) -> Arc<Model> {
    load(path, &Params { n_draft, draft_source: DraftSource::Model, n_seq_max: 2, ..exact_kv() })
}

/// Drafts from a second model: itself, whose guesses are right, and one that knows nothing of this one. Sequences are
/// cut, copied and changed in between, and the second model follows.
#[test]
fn text_that_another_model_guesses_is_that_of_single_tokens() {
    let file = |n: &str| fixture(&format!("models/{n}.gguf"));
    let pairs = [
        ("llama-F32", "llama-F32", 15, true),
        ("llama-F32", "llama-Q4_0", 5, false),
        ("llama-F32", "llama-yarn", 3, false),
        ("gemma3-pattern", "gemma3-default", 4, false),
        ("qwen35-nextn", "qwen35-nextn", 4, true),
        ("mamba2-groups", "mamba2-groups", 2, true),
    ];
    for (name, guesser, n_draft, is_right) in pairs {
        let (plain, model) =
            (load(&file(name), &Params { n_seq_max: 2, ..exact_kv() }), of_second(&file(name), n_draft));
        model.set_draft(Some(load(&file(guesser), &Params { n_seq_max: 2, ..exact_kv() }))).unwrap();
        for seed in 0..3 {
            let (mut a, mut b) = (sampler(seed), sampler(seed));
            for turn in 0..3 {
                let seq = turn % 2;
                let want = generate(&plain, &mut a, seq, &PROMPT, 20, &|_| true);
                let got = generate(&model, &mut b, seq, &PROMPT, 20, &|_| true);
                assert_eq!(got, want, "{name} by {guesser} seed {seed} turn {turn}");
                for m in [&plain, &model] {
                    let _ = m.seq_cut(seq, 25).unwrap();
                }
            }
            [&plain, &model].iter().for_each(|m| m.seq_remove(-1, 0, -1).unwrap());
        }
        let perf = model.perf();
        println!("{name} by {guesser}: {} of {} guesses were right", perf.n_draft_agreed, perf.n_drafted);
        assert!(perf.n_drafted > 0, "{name} by {guesser}");
        // Of greedy text; sampled text goes other ways than the likeliest.
        assert!(!is_right || perf.n_draft_agreed * 4 > perf.n_drafted, "{name} by {guesser}");
    }
}

/// Without a second model, with one that is in use and with one without room there are no drafts, and the same text.
#[test]
fn a_second_model_may_be_missing() {
    let file = fixture("models/llama-F32.gguf");
    let plain = load(&file, &Params { n_seq_max: 2, ..exact_kv() });
    let want = generate(&plain, &mut sampler(0), 0, &PROMPT, 20, &|_| true);
    let model = of_second(&file, 4);
    let same = |what: &str| {
        let got = generate(&model, &mut sampler(0), 0, &PROMPT, 20, &|_| true);
        assert_eq!(got, want, "{what}");
        model.seq_remove(-1, 0, -1).unwrap();
    };
    same("none was set");
    assert_eq!(model.perf().n_drafted, 0);
    model.set_draft(Some(load(&file, &Params { n_ctx: 8, n_batch: 8, n_outputs_max: 1, ..exact_kv() }))).unwrap();
    same("one has no room");
    assert_eq!(model.perf().n_drafted, 0);
    let second = load(&file, &Params { n_seq_max: 2, ..exact_kv() });
    model.set_draft(Some(Arc::clone(&second))).unwrap();
    // It serves somebody else: its callback generates with the first one.
    let params = GenerateParams {
        prompt: Prompt::Tokens(&PROMPT),
        seq_id: 0,
        max_tokens: 1,
        no_special: true,
        parse_special: false,
        ignore_eog: true,
        all_drafts: true,
    };
    let mut greedy = sampler(0);
    second
        .generate(&mut greedy, &params, &mut |_, _| {
            same("one is in use");
            true
        })
        .unwrap();
    assert_eq!(model.perf().n_drafted, 0);
    same("one is there");
    assert!(model.perf().n_drafted > 0);
    model.set_draft(None).unwrap();
    // Refused, by name.
    for (model, draft) in [(&model, Arc::clone(&model)), (&plain, Arc::clone(&second))] {
        let e = model.set_draft(Some(draft)).unwrap_err();
        assert_eq!((e.status, e.detail.subject.as_str()), (Status::InvalidArgument, "draft"));
    }
    let bible = load(&support::root().join("models/bible-5M-Q8_0.gguf"), &exact_kv());
    let e = model.set_draft(Some(bible)).unwrap_err();
    assert!(e.to_string().contains("tokens"), "{e}");
    model.set_draft(Some(Arc::clone(&second))).unwrap();
    let third = of_second(&file, 2);
    assert!(third.set_draft(Some(model)).is_err());
}

/// Another vocabulary of as many tokens is refused, and the token is named.
#[test]
fn vocabularies_must_be_the_same() {
    let bible = support::root().join("models/bible-5M-Q8_0.gguf");
    let mut bytes = std::fs::read(&bible).unwrap();
    let at = bytes.windows(5).position(|w| w == b"Moses").unwrap();
    bytes[at..at + 5].copy_from_slice(b"mOSES");
    let other = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("other-vocabulary.gguf");
    std::fs::write(&other, bytes).unwrap();
    let model = load(&bible, &Params { n_draft: 2, draft_source: DraftSource::Model, ..exact_kv() });
    let e = model.set_draft(Some(load(&other, &exact_kv()))).unwrap_err();
    assert!(e.to_string().contains("another token"), "{e}");
    model.set_draft(Some(load(&bible, &exact_kv()))).unwrap();
}

/// Guesses that are always right: each draft brings all of its tokens, and no token is computed in vain.
#[test]
fn right_guesses_are_kept() {
    for path in models() {
        let file = agreeing(&path, 0.0);
        let model = drafting(&file, 4);
        let left = generate(&model, &mut sampler(0), 0, &PROMPT, 101, &|_| true);
        let perf = model.perf();
        println!("{}: {} of {} guesses were right", path.display(), perf.n_draft_agreed, perf.n_drafted);
        assert_eq!((left.tokens.len(), perf.n_decode_tokens), (101, 100));
        assert_eq!(perf.n_draft_agreed, perf.n_drafted);
        // Two, three, four, then four each: 3 + 4 + 5 tokens, and 17 times 5, and the rest.
        assert!(perf.n_drafted >= 77, "{}", perf.n_drafted);
        std::fs::remove_file(file).unwrap();
    }
}

/// The callback ends it, or cancels it, at each token in turn: nothing stays but what single tokens leave.
#[test]
fn a_generation_may_end_anywhere() {
    for path in models() {
        let file = agreeing(&path, 0.2);
        let (plain, model) = (load(&file, &Params { n_seq_max: 2, ..exact_kv() }), drafting(&file, 5));
        for at in 1..9 {
            for cancel in [false, true] {
                let mut outcomes = [&plain, &model].map(|m| {
                    m.seq_remove(-1, 0, -1).unwrap();
                    let mut s = sampler(3);
                    let each = |n: usize| {
                        if n == at && cancel {
                            m.cancel();
                        }
                        n < at || cancel
                    };
                    let first = generate(m, &mut s, 0, &PROMPT, 40, &each);
                    // The sequence and the sampler are those of single tokens: they go on in the same way.
                    let last = first.tokens[at - 1];
                    (first, generate(m, &mut s, 0, &[last], 10, &|_| true))
                });
                let [want, got] = &mut outcomes;
                let end = if cancel { Err(Status::Cancelled) } else { Ok(StopReason::Callback) };
                assert_eq!((&want.0.end, &*want), (&end, &*got), "{} token {at}", path.display());
            }
        }
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_full_context_ends_it_at_the_same_token() {
    for path in models() {
        let file = agreeing(&path, 0.0);
        for n_ctx in [20, 21, 22, 23] {
            let params = Params { n_ctx, n_batch: 16, n_outputs_max: 1, ..exact_kv() };
            let [want, got] = [0, 4].map(|n_draft| {
                let m = load(&file, &Params { n_draft, ..params.clone() });
                generate(&m, &mut sampler(0), 0, &PROMPT, 0, &|_| true)
            });
            assert_eq!(want.end, Ok(StopReason::ContextFull));
            assert_eq!(got, want, "{} n_ctx {n_ctx}", path.display());
        }
        std::fs::remove_file(file).unwrap();
    }
}

/// Sequences that are cut, copied and filled again between generations.
#[test]
fn sequences_may_change_in_between() {
    for path in models() {
        let file = agreeing(&path, 0.2);
        let plain = load(&file, &Params { n_seq_max: 2, ..exact_kv() });
        let model = drafting(&file, 3);
        let step = |m: &Model, what: usize| {
            match what % 4 {
                0 => m.seq_checkpoint(0).unwrap(),
                1 => drop(m.seq_cut(0, m.seq_length(0).unwrap() - 7).unwrap()),
                2 => m.seq_remove(0, 0, -1).unwrap(),
                _ => m.seq_copy(0, 1, 0, -1).unwrap(),
            }
            let mut text: Vec<i32> = (0..1 + what as i32 * 5).map(|i| (7 * i + what as i32) % 60).collect();
            text.truncate(30);
            generate(m, &mut sampler(what as u64), 0, &text, 12, &|_| true)
        };
        for what in [2, 0, 1, 3, 5, 2, 7, 4, 9] {
            let (want, got) = (step(&plain, what), step(&model, what));
            assert_eq!(got, want, "{} step {what}", path.display());
        }
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn drafts_are_planned_to_the_byte() {
    let context = Context::new("cpu", 2, None, LogLevel::Error).unwrap();
    let plan = |path: &Path, params: &Params| Plan::new(&context, &Arc::new(Gguf::open(path).unwrap()), params);
    for path in models() {
        let params = |n_draft| Params { n_ctx: 64, n_draft, ..Params::default() };
        let (without, with) = (plan(&path, &params(0)).unwrap(), plan(&path, &params(4)).unwrap());
        let asked = |p: &Plan| p.devices.iter().map(|d| d.memory.asked() + d.memory.mapped).sum::<u64>();
        assert!(asked(&with) > asked(&without));
        assert_eq!((without.n_draft, with.n_draft, with.n_outputs_max), (0, 4, 5));
        let planned = with.devices[0].memory;
        let model = Model::load(&context, &Arc::new(with), Default::default()).unwrap();
        let there = model.memory(0).unwrap();
        assert_eq!((there.weights, there.kv, there.compute), (planned.weights, planned.kv, planned.compute));
        for (n_draft, n_batch, words) in [(16, 64, "at most 15"), (8, 8, "less than the 8 tokens of a batch")] {
            let e = plan(&path, &Params { n_batch, n_ubatch: 0, ..params(n_draft) }).err().unwrap();
            assert_eq!((e.status, &e.detail.subject[..]), (Status::InvalidArgument, "n_draft"));
            assert!(e.message.contains(words), "{}", e.message);
        }
    }
    let e = plan(&fixture("models/qwen3-gqa.gguf"), &Params { n_draft: 1, ..Params::default() }).err().unwrap();
    assert_eq!((e.status, &e.detail.subject[..]), (Status::InvalidArgument, "n_draft"));
    assert!(e.message.contains("qwen3.nextn_predict_layers"), "{}", e.message);
}
