//! Logits and greedy text against the reference (llama.cpp) and a float64 forward pass; see tests/reference/README.md.

#[path = "support/headers/mod.rs"]
mod headers;
mod support;

use std::path::PathBuf;

use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::plan::{EstimatorKind, Params, Plan};
use rekindle::sample::{Sampler, SamplerParams};
use rekindle::session::{GenerateParams, Prompt};
use rekindle::vocab::Vocab;
use support::*;

struct Case {
    name: String,
    file: PathBuf,
    n_vocab: usize,
    tokens: Vec<i32>,
    rows: Vec<usize>,
    reference: Vec<f32>,
    /// None where the reference rounds in float32 alone.
    exact: Option<Vec<f32>>,
    cut: Option<(i32, i32)>,
}

fn cases() -> Vec<Case> {
    let index = json(&fixture("logits/index.json"));
    let read = |m: &serde_json::Value| {
        let name = m["model"].as_str().unwrap().to_owned();
        let file = model_file(m["path"].as_str().unwrap())?;
        let has_exact = m.get("f64").is_none_or(|f| f.as_bool().unwrap());
        let cut = m.get("cut").map(|c| (c[0].as_i64().unwrap() as i32, c[1].as_i64().unwrap() as i32));
        Some(Case {
            n_vocab: m["n_vocab"].as_u64().unwrap() as usize,
            tokens: ids(&m["tokens"]),
            rows: ids(&m["rows"]).into_iter().map(|r| r as usize).collect(),
            reference: floats(&fixture(&format!("logits/{name}.ref.bin"))),
            exact: has_exact.then(|| floats(&fixture(&format!("logits/{name}.f64.bin")))),
            name,
            file,
            cut,
        })
    };
    index.as_array().unwrap().iter().filter_map(read).collect()
}

/// The type of the first layer's feed-forward matrices; of the embedding, where that layer has none.
fn weight_type(case: &Case) -> String {
    let file = Gguf::open(&case.file).unwrap();
    let names = ["blk.0.ffn_gate", "blk.0.ffn_down_exps", "blk.0.ffn_up", "token_embd"];
    let tensor = names.iter().find_map(|n| file.tensor(&format!("{n}.weight")));
    tensor.unwrap().ty.name().to_owned()
}

/// Tolerances (normalised mean squared error over all stored logits): F32 weights: 1e-6 against the reference; both
/// round in float32, observed 1e-13. For gemma the reference looks GELU up in a table of F16, which is 1e-8 to 2e-7
/// from float64. F16, BF16: 1e-5 against float64: activations may be rounded to the weights' type on the way, 2^-9 each
/// at worst. Quantised: no further from float64 than the reference, which quantises activations as well.
#[test]
fn logits_are_those_of_the_reference() {
    let mut bad = Vec::new();
    println!("{:26} {:5} {:>12} {:>12} {:>16}", "model", "type", "to reference", "to float64", "reference to f64");
    for case in cases() {
        let model = load(&case.file, &exact_kv());
        let all = decode_at(&model, 0, 0, &case.tokens);
        let own: Vec<f32> = case.rows.iter().flat_map(|r| all[*r].iter().copied()).collect();
        assert_eq!(own.len(), case.rows.len() * case.n_vocab, "{}", case.name);
        let ty = weight_type(&case);
        let to_ref = nmse(&own, &case.reference);
        let Some(exact) = &case.exact else {
            assert_eq!(ty, "F32", "{}: no float64 logits", case.name);
            println!("{:26} {ty:5} {to_ref:12.2e}", case.name);
            if to_ref > 1e-6 {
                bad.push(case.name);
            }
            continue;
        };
        let (to_exact, ref_to_exact) = (nmse(&own, exact), nmse(&case.reference, exact));
        println!("{:26} {ty:5} {to_ref:12.2e} {to_exact:12.2e} {ref_to_exact:16.2e}", case.name);
        let good = match ty.as_str() {
            "F32" => to_ref <= 1e-6 && to_exact <= 1e-6,
            "F16" | "BF16" => to_exact <= 1e-5,
            _ => to_exact <= ref_to_exact,
        };
        if !good {
            bad.push(case.name);
        }
    }
    assert!(bad.is_empty(), "out of tolerance: {bad:?}");
}

/// The reference's two best logits are never closer than 0.004 there, a thousand times rounding.
#[test]
fn greedy_text_is_that_of_the_reference() {
    for name in ["stories260K", "tiny1m-F32"] {
        let about = json(&fixture(&format!("greedy/{name}.json")));
        let Some(path) = model_file(about["path"].as_str().unwrap()) else { continue };
        let vocab = Vocab::from_gguf(&Gguf::open(&path).unwrap()).unwrap();
        let prompt = vocab.tokenize(about["prompt"].as_str().unwrap().as_bytes(), true, false).unwrap();
        assert_eq!(prompt, ids(&about["prompt_tokens"]), "{name}");
        let model = load(&path, &exact_kv());
        let (mut at, mut written) = (prompt.len() as i32, Vec::new());
        let mut token = argmax(decode_at(&model, 0, 0, &prompt).last().unwrap());
        while written.len() < 200 && !vocab.is_eog(token) {
            written.push(token);
            token = argmax(&decode_at(&model, 0, at, &[token])[0]);
            at += 1;
        }
        assert_eq!(written, ids(&about["tokens"]), "{name}");
        let text: Vec<u8> = written.iter().flat_map(|t| vocab.piece(*t, false).unwrap()).collect();
        let expected = std::fs::read(fixture(&format!("greedy/{name}.txt"))).unwrap();
        assert_eq!(String::from_utf8_lossy(&text), String::from_utf8_lossy(&expected), "{name}");
        let mut streamed = Vec::new();
        let params = GenerateParams {
            prompt: Prompt::Text(about["prompt"].as_str().unwrap()),
            seq_id: 0,
            max_tokens: 200,
            no_special: false,
            parse_special: false,
            ignore_eog: false,
            all_drafts: false,
        };
        let mut greedy = Sampler::new(SamplerParams::default()).unwrap();
        load(&path, &exact_kv())
            .generate(&mut greedy, &params, &mut |_, piece| {
                streamed.extend_from_slice(piece);
                true
            })
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&streamed), String::from_utf8_lossy(&expected), "{name}, streamed");
        println!("{name}: {} tokens equal", written.len());
    }
}

/// A token's logits are the same bits however the tokens are batched: every kernel sums in one order, whatever its
/// shape. Recurrent layers compute more than 16 tokens in chunks; what they have of short batches is compared here, and
/// recurrent.rs compares both.
#[test]
fn one_by_one_is_as_in_a_batch() {
    for case in cases() {
        let n_batch = if is_recurrent(&case.file) { 16 } else { case.tokens.len() };
        let batched = |n: usize| {
            let model = load(&case.file, &exact_kv());
            let part = |(i, part): (usize, &[i32])| decode_at(&model, 0, (i * n) as i32, part);
            case.tokens.chunks(n).enumerate().flat_map(part).collect::<Vec<_>>()
        };
        let together = batched(n_batch);
        let check = |what: &str, own: &[Vec<f32>]| {
            let worst = own.iter().zip(&together).map(|(own, expected)| relative(own, expected)).fold(0f32, f32::max);
            println!("{:18} {what:16}: worst {worst:.1e}", case.name);
            assert!(same_bits(own, &together), "{}: {what} differs by {worst} of the largest logit", case.name);
        };
        check("one by one", &batched(1));
        let model =
            load(&case.file, &rekindle::plan::Params { n_batch: 16, n_ubatch: 7, n_outputs_max: 16, ..exact_kv() });
        let part = |(i, part): (usize, &[i32])| decode_at(&model, 0, i as i32 * 16, part);
        check("in small batches", &case.tokens.chunks(16).enumerate().flat_map(part).collect::<Vec<_>>());
    }
}

/// The float64 logits of the last token after a part of the cache was removed and the rest moved up. 1e-6: as for F32
/// weights; the key cache is turned once more, in float32.
#[test]
fn a_cut_and_shifted_cache_is_as_exact_arithmetic_has_it() {
    let mut n = 0;
    for case in cases() {
        let Some((p0, p1)) = case.cut else { continue };
        let (last, first) = case.tokens.split_last().unwrap();
        let model = load(&case.file, &exact_kv());
        decode_at(&model, 0, 0, first);
        model.seq_remove(0, p0, p1).unwrap();
        model.seq_shift(0, p1, -1, p0 - p1).unwrap();
        let at = first.len() as i32 - (p1 - p0);
        assert_eq!(model.seq_length(0).unwrap() as i32, at);
        let own = decode_at(&model, 0, at, &[*last]).remove(0);
        let distance = nmse(&own, &floats(&fixture(&format!("logits/{}.cut.bin", case.name))));
        println!("{:18} after a cut: {distance:.1e}", case.name);
        assert!(distance <= 1e-6, "{}: {distance}", case.name);
        n += 1;
    }
    assert!(n >= 4, "only {n} models with a cut");
}

/// A layer that predicts the token after the next stands behind the trunk: with it the model is the same, in memory and
/// in bits.
#[test]
fn layers_behind_the_trunk_change_nothing() {
    for name in ["deepseek2-sigmoid", "deepseek2-whole", "llama-F32"] {
        let path = fixture(&format!("models/{name}.gguf"));
        let file = std::sync::Arc::new(Gguf::open(&path).unwrap());
        let mut header = headers::of_file(&file);
        let arch = rekindle::arch::architecture(&file).unwrap();
        let count = format!("{arch}.block_count");
        let n = file.get_u32(&count).unwrap().unwrap();
        let copied = |t: &str| t.strip_prefix(&format!("blk.{n}.")).map(|role| format!("blk.{}.{role}", n - 1));
        let last = format!("blk.{}.", n - 1);
        let more: Vec<_> = header.tensors.iter().filter(|t| t.name.starts_with(&last)).cloned().collect();
        header.tensors.extend(more.into_iter().map(|mut t| {
            t.name = t.name.replace(&last, &format!("blk.{n}."));
            t
        }));
        let projection = format!("blk.{n}.nextn.eh_proj.weight");
        header.tensors.push(headers::Tensor::new(projection, rekindle::quant::Type::F32, &[8, 4]));
        header.keys.retain(|(k, _)| *k != count);
        header.key(count, n + 1);
        header.key(format!("{arch}.nextn_predict_layers"), 1u32);
        let longer = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("nextn-{name}.gguf"));
        let data = |t: &headers::Tensor| match file.tensor(&copied(&t.name).unwrap_or(t.name.clone())) {
            Some(t) => file.tensor_data(t).to_vec(),
            None => vec![0; t.bytes() as usize],
        };
        header.write_with(&longer, data).unwrap();
        let tokens: Vec<i32> = (3..23).collect();
        let run = |path: &std::path::Path| {
            let model = load(path, &exact_kv());
            (model.info().n_layer, model.memory(0).unwrap(), decode_at(&model, 0, 0, &tokens))
        };
        let (with, without) = (run(&longer), run(&path));
        assert_eq!((with.0, with.1), (n, without.1), "{name}");
        assert!(same_bits(&with.2, &without.2), "{name}: the bits differ");
        // The formulas count the same layers.
        let context = Context::new("k80:1", 1, None, LogLevel::Error).unwrap();
        let estimate = |path: &std::path::Path| {
            let file = std::sync::Arc::new(Gguf::open(path).unwrap());
            let params = Params { estimator: EstimatorKind::Family, n_ctx: 64, ..Params::default() };
            Plan::new(&context, &file, &params).unwrap()
        };
        let (with, without) = (estimate(&longer), estimate(&path));
        assert_eq!(with.n_layer, n, "{name}");
        assert!(with.devices.iter().zip(&without.devices).all(|(a, b)| a.memory == b.memory), "{name}");
        std::fs::remove_file(&longer).unwrap();
    }
}
