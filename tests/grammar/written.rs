//! 300 schemas, each kept to by a generation of a model with random weights: each text ends by itself and is valid by
//! another implementation (`tests/tools`).
//!
//! Such a model has no idea of an end. So the sampler adds to the logits of the tokens that open and close strings,
//! arrays and objects, and of the end token: the same for every schema, and only where the grammar allows them. All
//! else is drawn from the model's distribution.
//!
//! The schemas and texts are left in `written.txt` under target/tmp, for the package `jsonschema` of Python:
//! `tests/grammar/validate.py`.

use rekindle::grammar::Verdict;
use rekindle::plan;
use rekindle::quant::Type;
use rekindle::sample::{Sampler, SamplerParams};
use rekindle::session::{Event, Generation, GenerationParams, Prompt, StopReason};
use serde_json::Value;

use super::*;
use crate::random::{Random, document};

#[path = "../support/headers/mod.rs"]
mod headers;
#[path = "../support/mod.rs"]
mod support;

const SCHEMAS: usize = 300;
/// One of the suite's has keys that must match this. A model that has no idea of the word never comes to it, if it once
/// begins a key.
const NEVER: &str = "[a-z]cole";
/// Of each group that is stepped together.
const TOGETHER: usize = 10;
/// The most tokens of a text.
const LONGEST: u32 = 1000;
/// Added to the logits of the tokens that open and close.
const BIAS: f32 = 5.0;

/// The shipped model's vocabulary and shape, with one layer and with random weights.
fn random_model() -> PathBuf {
    let file = Gguf::open(&root().join("models/bible-5M-Q8_0.gguf")).unwrap();
    let mut header = headers::of_file(&file);
    header.tensors.retain(|t| !t.name.starts_with("blk.") || t.name.starts_with("blk.0."));
    header.keys.iter_mut().filter(|k| k.0 == "llama.block_count").for_each(|k| k.1 = headers::Value::U32(1));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("random-weights.gguf");
    let data = |t: &headers::Tensor| -> Vec<u8> {
        let mut r = Random(t.name.bytes().fold(1, |seed: u64, b| seed.wrapping_mul(31).wrapping_add(b.into())));
        let mut block = || {
            // Of Q8_0: a scale in half precision, here 0.0014, and 32 numbers of 8 bits.
            let mut bytes = 0x15bc_u16.to_le_bytes().to_vec();
            bytes.extend((0..32).map(|_| r.below(255) as u8));
            bytes
        };
        match t.ty {
            Type::F32 => (0..t.elements()).flat_map(|_| 1f32.to_le_bytes()).collect(),
            _ => (0..t.elements() / 32).flat_map(|_| block()).collect(),
        }
    };
    header.write_with(&path, data).unwrap();
    path
}

/// The suite's schemas that compile, and random ones.
fn schemas() -> Vec<Value> {
    let compiles = |schema: &Value| grammar(Kind::JsonSchema, &schema.to_string()).is_ok();
    let mut all: Vec<Value> = suite::cases().iter().map(|case| case[2].clone()).filter(compiles).collect();
    // The validator would have to fetch the meta schemas that these name.
    all.retain(|s| {
        s.get("$schema").is_none_or(|s| s.as_str().is_some_and(|s| s.starts_with("https://json-schema.org/")))
    });
    // Python's expressions do not know these classes.
    all.retain(|s| !s.to_string().contains(r"\\p{"));
    assert!(all.len() > 200 && all.len() < SCHEMAS, "{}", all.len());
    let mut r = Random(0x1234_5678_9abc_def1);
    while all.len() < SCHEMAS {
        all.extend(Some(document(&mut r)).filter(compiles));
    }
    all
}

fn sampler(vocab: &Vocab, seed: u64) -> Sampler {
    let marks = ["\"", "{", "}", "[", "]"];
    let is_mark =
        |id: &i32| marks.iter().any(|m| vocab.piece(*id, false).unwrap() == m.as_bytes()) || vocab.is_eog(*id);
    let logit_bias = (0..vocab.n_tokens() as i32).filter(is_mark).map(|id| (id, BIAS)).collect();
    Sampler::new(SamplerParams { temperature: 1.0, seed, logit_bias, ..SamplerParams::default() }).unwrap()
}

#[test]
fn texts_of_a_random_model_satisfy_their_schemas() {
    let params = plan::Params {
        n_ctx: TOGETHER as u32 * (LONGEST + 10),
        n_seq_max: TOGETHER as u32,
        n_outputs_max: TOGETHER as u32,
        n_ubatch: 64,
        ..support::exact_kv()
    };
    let model = support::load(&random_model(), &params);
    let vocab = model.vocab().unwrap();
    let schemas = schemas();
    let mut texts: Vec<(String, Option<StopReason>)> = Vec::new();
    let mut n_tokens = 0;
    for (group, some) in schemas.chunks(TOGETHER).enumerate() {
        let create = |(i, schema): (usize, &Value)| {
            let number = (group * TOGETHER + i) as u64;
            let params = GenerationParams {
                scales: &[],
                prompt: Prompt::Tokens(&[1, 100 + i as i32]),
                sampler: sampler(&vocab, number),
                grammar: Some(grammar(Kind::JsonSchema, &schema.to_string()).unwrap()),
                stop_texts: &[],
                max_tokens: LONGEST,
                no_special: false,
                parse_special: false,
                ignore_eog: false,
                pin: false,
                no_reuse: true,
            };
            Arc::new(Generation::new(&model, params).unwrap())
        };
        let all: Vec<_> = some.iter().enumerate().map(create).collect();
        while model.step(&all).unwrap().n_going > 0 {}
        for g in &all {
            let (mut whole, mut ended) = (String::new(), None);
            while let Some(Event { text, end, error, .. }) = g.next().unwrap() {
                assert_eq!(error, None);
                whole += &text;
                ended = end;
            }
            n_tokens += g.info().unwrap().n_generated;
            texts.push((whole, ended));
        }
    }
    let n_ended = texts.iter().filter(|(_, end)| *end == Some(StopReason::Eog)).count();
    let (mut lines, mut written) = (String::new(), String::new());
    for (schema, (text, end)) in schemas.iter().zip(&texts) {
        let verdict = grammar(Kind::JsonSchema, &schema.to_string()).unwrap().check(text.as_bytes()).unwrap();
        if *end != Some(StopReason::Eog) {
            println!("{end:?} after {} bytes: {schema}: {text:.300}", text.len());
            assert_eq!(verdict, Verdict::Prefix, "{schema}: {text}");
            assert!(schema.to_string().contains(NEVER), "{schema}: {text}");
            continue;
        }
        assert_eq!(verdict, Verdict::Complete, "{schema}: {text}");
        let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{schema}: {text}: {e}"));
        lines.push_str(&format!("{schema}\n{value}\n\n"));
        // As it is, with its white space.
        written.push_str(&format!("{schema}\n{}\n\n", Value::from(text.as_str())));
    }
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("written.txt"), &written).unwrap();
    println!("{n_ended} of {} texts ended by themselves, {n_tokens} tokens", texts.len());
    let verdicts = tools::tool("schema", &[], &lines);
    let bad: Vec<_> = verdicts.lines().zip(lines.split("\n\n")).filter(|(errors, _)| *errors != "[]").collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(n_ended >= SCHEMAS - 1 && verdicts.lines().count() == n_ended);
}
