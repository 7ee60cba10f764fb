//! Generations that keep to grammars, and tokens that a grammar forces.

use std::sync::atomic::{AtomicU32, Ordering};

use rekindle::gguf::Gguf;
use rekindle::grammar::{Kind, Params, Verdict};
use rekindle::vocab::Vocab;

use super::*;
use crate::headers::Value;

fn temporary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A fixture with a vocabulary: 64 tokens with which grammars, stop texts and JSON can be written.
pub fn speaking(name: &str) -> PathBuf {
    let words = "th he the and an in er ing ▁a ▁the ▁and on \": \", ▁\" {\" }]";
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>", "▁"].map(String::from).to_vec();
    tokens.extend("{}[]\":,".chars().chain('a'..='z').chain('0'..='9').map(String::from));
    tokens.extend(words.split(' ').map(String::from));
    assert_eq!(tokens.len(), 64);
    let file = Gguf::open(&fixture(&format!("models/{name}.gguf"))).unwrap();
    let mut header = headers::of_file(&file);
    header.keys.retain(|k| k.0 != "tokenizer.ggml.model");
    header.key("tokenizer.ggml.model", "llama");
    header.key("tokenizer.ggml.scores", (0..64).map(|i| i as f32).collect::<Vec<f32>>());
    header.key("tokenizer.ggml.token_type", [2, 3, 3].into_iter().chain([1; 61]).collect::<Vec<i32>>());
    header.key("tokenizer.ggml.tokens", tokens);
    header
        .keys
        .extend([("bos", 1), ("eos", 2)].map(|(k, id)| (format!("tokenizer.ggml.{k}_token_id"), Value::U32(id))));
    // Tests write it at the same time, and one may have mapped it already: so it is put in place whole.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let unique = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let (written, path) = (temporary(&format!("speaking-{unique}.gguf")), temporary(&format!("speaking-{name}.gguf")));
    header.write_with(&written, |t| file.tensor_data(file.tensor(&t.name).unwrap()).to_vec()).unwrap();
    std::fs::rename(&written, &path).unwrap();
    path
}

const KEYS: &str = r#"{"type": "object", "properties": {
    "the name and the thing": {"enum": ["the heaven", "the earth"]},
    "in the beginning": {"type": "integer", "minimum": 1, "maximum": 99}},
    "required": ["the name and the thing", "in the beginning"], "additionalProperties": false}"#;

/// The same without white space between its tokens, of which a model may write any number.
fn compact() -> String {
    KEYS.replacen('{', r#"{"x-guidance": {"whitespace_flexible": false}, "#, 1)
}

fn made(vocab: &Arc<Vocab>, kind: Kind, text: &str, params: Params) -> (String, Grammar) {
    let name = format!("{kind:?} {text} {params:?}");
    (name, Grammar::new(vocab, kind, text, &params).unwrap())
}

/// Grammars of several kinds, with and without a lazy start.
pub fn grammars(vocab: &Arc<Vocab>) -> Vec<(String, Grammar)> {
    let words = r#"{"type": "array", "items": {"type": "string", "maxLength": 4}, "maxItems": 3}"#;
    let tree = "root ::= \"[\" (root (\",\" root)?)? \"]\"";
    let verse = "root ::= item{1,4} \" and the end\"\nitem ::= (\" the \" | \" and \") [a-z]{1,5}";
    let always = [
        (Kind::JsonSchema, KEYS),
        (Kind::JsonSchema, words),
        (Kind::JsonSchema, "{}"),
        (Kind::Gbnf, tree),
        (Kind::Gbnf, verse),
        (Kind::Regex, " (the|and) [a-z]{2,6}( in the beginning| on the earth)?"),
        (Kind::Regex, "the heaven and the earth and the (heaven|earth)"),
    ];
    let mut all: Vec<_> = always.map(|(kind, text)| made(vocab, kind, text, Params::default())).into();
    let texts = |texts: &[&str]| texts.iter().map(|t| t.as_bytes().to_vec()).collect();
    let token = vocab.tokenize_inside("the").unwrap();
    let lazy = [
        (Kind::JsonSchema, KEYS, Params { trigger_texts: texts(&["e", "and"]), ..Params::default() }),
        (Kind::Gbnf, verse, Params { trigger_texts: texts(&["o"]), trigger_tokens: token, ..Params::default() }),
        (
            Kind::Regex,
            "th[a-z]+ in the beginning",
            Params { trigger_texts: texts(&["th"]), from_trigger: true, ..Params::default() },
        ),
        (Kind::JsonSchema, words, Params { trigger_tokens: (20..40).collect(), ..Params::default() }),
    ];
    all.extend(lazy.map(|(kind, text, params)| made(vocab, kind, text, params)));
    all
}

/// Beside others without: each text is one of its grammar, drawn as alone.
#[test]
fn grammars_hold_beside_others() {
    let model = load(&bible(), &super::params(256, 4, 32));
    let vocab = model.vocab().unwrap();
    let patterns = ["(Moses|Aaron) (went|came) (up|down)", "[a-z]{3,8}( [a-z]{1,6}){2}\\."];
    let mut wishes: Vec<Wish> = Vec::new();
    for seed in 0..6 {
        let mut w = Wish::of(&prompt(&model, "And it came to pass, that"), 60);
        w.sampler = SamplerParams { temperature: 1.0, seed, ..SamplerParams::default() };
        w.grammar = patterns.get(seed as usize % 3).map(|p| made(&vocab, Kind::Regex, p, Params::default()).1);
        wishes.push(w);
    }
    let all: Vec<_> = wishes.iter().map(|w| w.create(&model, false).unwrap()).collect();
    let told = run(&model, &all);
    drop(all);
    for (w, told) in wishes.iter().zip(told) {
        if let Some(grammar) = &w.grammar {
            assert_eq!(grammar.check(told.text.as_bytes()).unwrap(), Verdict::Complete, "{}", told.text);
            assert_eq!(told.end, Some(StopReason::Eog), "{}", told.text);
        }
        assert_eq!(told, w.alone(&model));
    }
}

/// All that it tells, the steps that it took, the tokens that were not sampled, and logits of two tokens behind it.
fn measured(model: &Arc<Model>, w: &Wish) -> (Told, usize, u32, Vec<Vec<f32>>) {
    model.seq_remove(-1, 0, -1).unwrap();
    let g = w.create(model, true).unwrap();
    let (mut told, mut n_steps, mut seq) = (Told::default(), 0, None);
    while told.end.is_none() {
        seq = g.info().unwrap().seq_id.or(seq);
        model.step(std::slice::from_ref(&g)).unwrap();
        told.take(&g);
        n_steps += 1;
    }
    // Its sequence is the host's again.
    let seq = seq.unwrap() as i32;
    let rows = decode_at(model, seq, model.seq_length(seq).unwrap() as i32, &[7, 8]);
    (told, n_steps, g.info().unwrap().n_forced, rows)
}

/// Tokens that a grammar forces are taken without sampling, many in a step: fewer steps, and the same text, draws and
/// states, bit by bit.
#[test]
fn forced_tokens_need_fewer_steps() {
    let sampled = |seed| SamplerParams { temperature: 1.1, seed, ..SamplerParams::default() };
    let samplers = [
        SamplerParams::default(),
        sampled(1),
        SamplerParams { repeat_penalty: 1.2, top_k: 20, min_p: 0.01, ..sampled(2) },
        SamplerParams { mirostat: 1, ..sampled(3) },
        SamplerParams { mirostat: 2, ..sampled(4) },
        SamplerParams { xtc_probability: 0.5, typical_p: 0.9, dynatemp_range: 0.3, ..sampled(5) },
        SamplerParams { adaptive_target: 0.3, ..sampled(6) },
    ];
    for file in [bible(), speaking("gemma3-pattern"), speaking("qwen35-nextn"), speaking("mamba2-groups")] {
        let model = load(&file, &super::params(256, 2, 32));
        let (what, grammar) = made(&model.vocab().unwrap(), Kind::JsonSchema, &compact(), Params::default());
        for sampler in &samplers {
            let w = Wish {
                prompt: vec![1, 40, 41],
                sampler: sampler.clone(),
                grammar: Some(grammar.clone()),
                what: what.clone(),
                max_tokens: 200,
                ..Wish::default()
            };
            let (told, n_steps, n_forced, rows) = measured(&model, &w);
            let slow = Wish { sampler: SamplerParams { n_logprobs: 1, ..sampler.clone() }, ..w.clone() };
            let (mut by_rows, n_slow, none, same) = measured(&model, &slow);
            by_rows.logprobs.clear();
            assert_eq!(told, by_rows, "{w:?}");
            assert!(same_bits(&rows, &same), "{}: {w:?} goes on otherwise", file.display());
            assert_eq!((none, n_slow), (0, told.tokens.len() + 1));
            println!("{}: {} tokens, {n_forced} forced, {n_steps} steps", file.display(), told.tokens.len());
            assert!(told.end == Some(StopReason::Eog) && n_steps * 2 <= n_slow, "{n_steps} of {n_slow}: {told:?}");
        }
    }
}

/// Where a context, a limit or a stop text ends a generation, it ends at the same token.
#[test]
fn forced_tokens_end_where_others_do() {
    let model = load(&bible(), &super::params(48, 1, 16));
    let (what, grammar) = made(&model.vocab().unwrap(), Kind::JsonSchema, &compact(), Params::default());
    let w = |n_prompt: usize, max_tokens, stops: &[&'static str]| Wish {
        prompt: (0..n_prompt as i32).map(|i| 40 + i).collect(),
        grammar: Some(grammar.clone()),
        what: what.clone(),
        max_tokens,
        stops: stops.to_vec(),
        ..Wish::default()
    };
    let mut ends = Vec::new();
    for n in (1..48).step_by(3) {
        ends.push((w(n, 0, &[]), StopReason::ContextFull));
    }
    for max_tokens in (1..20).step_by(2) {
        ends.push((w(4, max_tokens, &[]), StopReason::Limit));
    }
    for stop in ["n", "the", "name and", "\":", "g\": \"the"] {
        ends.push((w(4, 0, &[stop]), StopReason::Text));
    }
    let (mut n_forced, mut n_as_expected) = (0, 0);
    for (w, expected) in ends {
        model.seq_remove(-1, 0, -1).unwrap();
        let g = w.create(&model, true).unwrap();
        let told = run(&model, &[Arc::clone(&g)]).remove(0);
        n_forced += g.info().unwrap().n_forced;
        drop(g);
        n_as_expected += usize::from(told.end == Some(expected));
        assert_eq!(told, w.alone(&model), "{w:?}");
    }
    assert!(n_forced > 300 && n_as_expected >= 18, "{n_forced} {n_as_expected}");
}

/// A long prompt and a forced text share steps: neither waits for the other's end.
#[test]
fn forced_tokens_leave_room_for_prompts() {
    let model = load(&bible(), &super::params(512, 2, 16));
    let (_, grammar) =
        made(&model.vocab().unwrap(), Kind::Regex, "in the beginning ".repeat(40).trim(), Params::default());
    let talker = Wish { grammar: Some(grammar), ..Wish::of(&prompt(&model, "And God said"), 0) };
    let talker = talker.create(&model, false).unwrap();
    model.step(&[Arc::clone(&talker)]).unwrap();
    let long: Vec<i32> = prompt(&model, "And it came to pass").repeat(20);
    let both = [Wish::of(&long, 1).create(&model, false).unwrap(), talker];
    let (said, mut n_steps) = (both[1].info().unwrap().n_generated, 0);
    while both[0].info().unwrap().phase != Phase::Ended {
        let read = both[0].info().unwrap().n_read;
        assert!(model.step(&both).unwrap().n_tokens <= 16);
        let info = both[0].info().unwrap();
        assert!(info.n_read >= read + 8 || info.n_read == info.n_prompt, "{info:?}");
        n_steps += 1;
    }
    // It has said what the steps computed, and at most one run more.
    let more = (both[1].info().unwrap().n_generated - said) as usize;
    assert!((8 * (n_steps - 1)..8 * n_steps + 16).contains(&more), "{more} in {n_steps} steps");
    assert_eq!(run(&model, &both)[1].end, Some(StopReason::Eog));
}
