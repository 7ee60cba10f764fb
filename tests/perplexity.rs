//! Perplexity of the shipped model over held-out text: hardly more than its F32 weights have, which the training code
//! measured.
//!
//! `tests/fixtures/heldout.json` says how it is defined and what F32 gives. The whole text is measured, so that the
//! figures of the model card are what is tested.

mod support;

use std::sync::Arc;

use rekindle::context::{Context, LogLevel};
use rekindle::gguf::{Gguf, Value};
use rekindle::plan::{Params, Plan};
use rekindle::quant::{Type, dequantize, quantize};
use rekindle::session::{LoadParams, Model};
use rekindle::vocab::Vocab;
use support::{decode_at, fixture, ids, json, root};

fn shipped() -> Arc<Gguf> {
    Arc::new(Gguf::open(&root().join("models/bible-5M-Q8_0.gguf")).unwrap())
}

struct HeldOut {
    /// Windows of token ids, without BOS.
    windows: Vec<Vec<i32>>,
    bos: i32,
    f32_perplexity: f64,
}

fn held_out(file: &Gguf) -> HeldOut {
    let about = json(&fixture("heldout.json"));
    let vocab = Vocab::from_gguf(file).unwrap();
    let tokens = vocab.tokenize(&std::fs::read(fixture("heldout.txt")).unwrap(), false, false).unwrap();
    let first = ids(&about["first_tokens"]);
    assert_eq!(tokens[..first.len()], first, "other tokens than those the F32 figure is for");
    assert_eq!(tokens.len() as u64, about["n_tokens"].as_u64().unwrap());
    let windows: Vec<_> =
        tokens.chunks_exact(about["window"].as_u64().unwrap() as usize).map(<[i32]>::to_vec).collect();
    assert_eq!(windows.len() as u64, about["n_windows"].as_u64().unwrap());
    HeldOut { windows, bos: vocab.bos().unwrap(), f32_perplexity: about["perplexity"].as_f64().unwrap() }
}

fn load(file: &Arc<Gguf>, n_ctx: usize) -> Arc<Model> {
    let context = Context::new("cpu", 0, None, LogLevel::Warn).unwrap();
    let n = n_ctx as u32;
    let params = Params { n_ctx: n, n_outputs_max: n, n_batch: n, n_ubatch: n, ..Params::default() };
    let plan = Plan::new(&context, file, &params).unwrap();
    Model::load(&context, &Arc::new(plan), LoadParams::default()).unwrap()
}

/// -ln p of `token` under the logits, in nats.
fn surprise(logits: &[f32], token: i32) -> f64 {
    let top = logits.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x));
    let sum: f64 = logits.iter().map(|x| f64::from(x - top).exp()).sum();
    sum.ln() - f64::from(logits[token as usize] - top)
}

fn perplexity(model: &Model, text: &HeldOut) -> f64 {
    let (mut total, mut n) = (0.0, 0);
    for window in &text.windows {
        model.seq_remove(-1, 0, -1).unwrap();
        // The last token predicts nothing that is in the window.
        let tokens: Vec<i32> = [text.bos].iter().chain(&window[..window.len() - 1]).copied().collect();
        for (logits, &token) in decode_at(model, 0, 0, &tokens).iter().zip(window) {
            total += surprise(logits, token);
            n += 1;
        }
    }
    (total / f64::from(n)).exp()
}

#[test]
fn q8_0_hardly_moves() {
    let file = shipped();
    let text = held_out(&file);
    let found = perplexity(&load(&file, text.windows[0].len()), &text);
    let rise = found / text.f32_perplexity - 1.0;
    println!("perplexity Q8_0 {found:.4}, F32 {:.4}: {:+.3} %", text.f32_perplexity, 100.0 * rise);
    // llama.cpp finds +0.035 %; activations rounded to 8 bits and an F16 cache are in it.
    assert!(rise.abs() < 0.003, "Q8_0 has {found}, F32 {}", text.f32_perplexity);
}

#[test]
fn q4_k_moves_by_a_little() {
    let file = shipped();
    let text = held_out(&file);
    let bytes = requantized(&file, Type::Q4_K);
    assert!(bytes.len() < 3_100_000, "{} bytes", bytes.len());
    let small = Arc::new(Gguf::from_bytes("bible-5M-Q4_K.gguf", bytes).unwrap());
    let found = perplexity(&load(&small, text.windows[0].len()), &text);
    let rise = found / text.f32_perplexity - 1.0;
    println!("perplexity Q4_K {found:.4}, F32 {:.4}: {:+.3} %", text.f32_perplexity, 100.0 * rise);
    // Observed: +1.2 %, with scales that are not searched for.
    assert!(rise > 0.0 && rise < 0.02, "Q4_K has {found}, F32 {}", text.f32_perplexity);
}

/// The file with all matrices of another type and without its tokeniser.
fn requantized(file: &Gguf, ty: Type) -> Vec<u8> {
    const ALIGNMENT: usize = 32;
    let kept: Vec<_> = file.keys().iter().filter(|k| !k.name.starts_with("tokenizer.")).collect();
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend((file.tensors().len() as u64).to_le_bytes());
    let mut keys: Vec<(&str, u32, Vec<u8>)> = Vec::new();
    for k in kept {
        match file.value(k).unwrap() {
            Value::U32(x) => keys.push((&k.name, 4, x.to_le_bytes().to_vec())),
            Value::F32(x) => keys.push((&k.name, 6, x.to_le_bytes().to_vec())),
            Value::Str(s) => keys.push((&k.name, 8, [&(s.len() as u64).to_le_bytes()[..], s].concat())),
            // Lists of languages and the like, which no hyper-parameter is.
            _ => {}
        }
    }
    out.extend((keys.len() as u64).to_le_bytes());
    for (name, number, value) in keys {
        out.extend((name.len() as u64).to_le_bytes());
        out.extend(name.as_bytes());
        out.extend(number.to_le_bytes());
        out.extend(value);
    }
    let mut data = Vec::new();
    for t in file.tensors() {
        let (n, matrix) = (t.ne.iter().product::<u64>() as usize, t.ne[1] > 1);
        let to = if matrix { ty } else { t.ty };
        let mut values = vec![0f32; n];
        dequantize(t.ty, file.tensor_data(t), &mut values);
        let mut stored = vec![0u8; to.row_bytes(n).unwrap()];
        quantize(to, &values, &mut stored);
        out.extend((t.name.len() as u64).to_le_bytes());
        out.extend(t.name.as_bytes());
        let n_dims: u32 = if matrix { 2 } else { 1 };
        out.extend(n_dims.to_le_bytes());
        t.ne[..n_dims as usize].iter().for_each(|n| out.extend(n.to_le_bytes()));
        out.extend(to.gguf().to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        data.extend(stored);
        data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out.extend(data);
    out
}

/// The measure itself: wrong tokens must cost, or the tests above would pass with any logits.
#[test]
fn perplexity_sees_wrong_text() {
    let file = shipped();
    let mut text = held_out(&file);
    text.windows.truncate(2);
    for window in &mut text.windows {
        window.reverse();
    }
    let n_ctx = text.windows[0].len();
    let found = perplexity(&load(&file, n_ctx), &text);
    assert!(found > 10.0 * text.f32_perplexity, "reversed text has {found}");
}
