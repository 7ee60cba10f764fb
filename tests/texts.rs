//! Rows of texts: embeddings and scores against the reference, batches of many texts against each text alone, plans
//! without a KV cache and without an output matrix. tests/reference/make_texts.py makes the models and the reference.

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use rekindle::Status;
use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::plan::{Params, Plan, PoolBy, Pooling};
use rekindle::quant::Type;
use rekindle::session::{Batch, Model};
use support::*;

struct Case {
    name: String,
    file: PathBuf,
    texts: Vec<Vec<i32>>,
    /// The pooling that the file names.
    own: Pooling,
    /// By pooling: the reference's rows.
    rows: Vec<(Pooling, Vec<f32>)>,
}

const POOLINGS: [Pooling; 5] = [Pooling::None, Pooling::Mean, Pooling::Cls, Pooling::Last, Pooling::Rank];

fn cases() -> Vec<Case> {
    let index = json(&fixture("texts/index.json"));
    let pooling = |name: &str| *POOLINGS.iter().find(|p| p.name() == name).unwrap();
    let read = |m: &serde_json::Value| {
        let name = m["model"].as_str().unwrap().to_owned();
        let of = |kind: &String| (pooling(kind), floats(&fixture(&format!("texts/{name}.{kind}.bin"))));
        Case {
            file: fixture(&format!("texts/{name}.gguf")),
            texts: m["texts"].as_array().unwrap().iter().map(ids).collect(),
            own: pooling(m["file"].as_str().unwrap()),
            rows: m["rows"].as_object().unwrap().keys().map(of).collect(),
            name,
        }
    };
    index.as_array().unwrap().iter().map(read).collect()
}

fn params(pooling: PoolBy) -> Params {
    Params {
        n_ctx: 256,
        n_seq_max: 8,
        n_batch: 256,
        n_ubatch: 64,
        n_outputs_max: 128,
        type_k: Some(Type::F32),
        type_v: Some(Type::F32),
        pooling,
        ..Params::default()
    }
}

fn plan(file: &std::path::Path, params: &Params) -> rekindle::Result<Plan> {
    let context = Context::new("cpu", 2, None, LogLevel::Error).unwrap();
    Plan::new(&context, &Arc::new(Gguf::open(file).unwrap()), params)
}

/// Rows of texts in one batch: a sequence each, numbered from `first` on. Of rows of tokens all, text by text.
fn rows(model: &Model, texts: &[&[i32]], first: i32) -> Vec<Vec<f32>> {
    model.seq_remove(-1, 0, -1).unwrap();
    let tokens: Vec<i32> = texts.iter().flat_map(|t| t.iter().copied()).collect();
    let seqs: Vec<i32> = texts.iter().enumerate().flat_map(|(i, t)| t.iter().map(move |_| first + i as i32)).collect();
    let all = vec![1; tokens.len()];
    let of_tokens = model.info().pooling == Some(Pooling::None);
    let batch =
        Batch { tokens: &tokens, positions: None, seq_ids: Some(&seqs), outputs: of_tokens.then_some(&all[..]) };
    model.decode(&batch).unwrap();
    if !of_tokens {
        assert_eq!(model.n_outputs().unwrap() as usize, texts.len());
        return (0..texts.len()).map(|i| model.pooled(first + i as i32, false).unwrap()).collect();
    }
    let row = |i: usize| {
        let (at, n) = model.embeddings(i as u32).unwrap();
        // SAFETY: good until the next call that writes the model, and copied at once.
        unsafe { std::slice::from_raw_parts(at, n as usize) }.to_vec()
    };
    (0..tokens.len()).map(row).collect()
}

fn cosine(x: &[f32], y: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()
}

/// Both round in float32. The reference looks GELU up in a table of halves, which is up to 8e-7 off as NMSE, and up to
/// 2e-6 in scores, of which there is one for a text.
#[test]
fn rows_are_those_of_the_reference() {
    let mut bad = Vec::new();
    for case in cases() {
        for (pooling, reference) in &case.rows {
            let model = load(&case.file, &params(PoolBy::Caller(*pooling)));
            let texts: Vec<&[i32]> = case.texts.iter().map(Vec::as_slice).collect();
            let own = rows(&model, &texts, 0);
            let n = model.info().n_embd_out as usize;
            let off = nmse(&own.concat(), reference);
            let least = own.iter().zip(reference.chunks(n)).map(|(x, y)| cosine(x, y)).fold(1.0, f64::min);
            println!("{:24} {:5} nmse {off:9.2e}  1 - cosine {:9.2e}", case.name, pooling.name(), 1.0 - least);
            let most = if *pooling == Pooling::Rank { 5e-6 } else { 1e-6 };
            if off > most || least < 0.99999 {
                bad.push(format!("{} {}", case.name, pooling.name()));
            }
        }
    }
    assert!(bad.is_empty(), "out of tolerance: {bad:?}");
}

/// A text's row is the same bits alone, among others, in another order, and in micro-batches of other sizes. A mean
/// over several micro-batches is added up in parts, so it may round differently.
#[test]
fn a_batch_of_texts_is_its_texts() {
    for case in cases() {
        for (pooling, _) in case.rows.iter().filter(|(p, _)| *p != Pooling::None) {
            let wish = params(PoolBy::Caller(*pooling));
            let model = load(&case.file, &wish);
            let texts: Vec<&[i32]> = case.texts.iter().map(Vec::as_slice).collect();
            let together = rows(&model, &texts, 2);
            let alone: Vec<Vec<f32>> = texts.iter().flat_map(|t| rows(&model, &[t], 5)).collect();
            assert!(same_bits(&together, &alone), "{} {}", case.name, pooling.name());
            let turned: Vec<&[i32]> = texts.iter().rev().copied().collect();
            let mut again = rows(&model, &turned, 0);
            again.reverse();
            assert!(same_bits(&together, &again), "{} {}: reversed", case.name, pooling.name());
            let small = load(&case.file, &Params { n_ubatch: 41, ..wish.clone() });
            let cut = rows(&small, &texts, 0);
            let encoder = rekindle::arch::is_encoder(&model.info().architecture);
            match encoder || *pooling != Pooling::Mean {
                true => assert!(same_bits(&together, &cut), "{} {}: cut", case.name, pooling.name()),
                false => assert!(nmse(&cut.concat(), &together.concat()) < 1e-12, "{}: cut", case.name),
            }
            if !encoder {
                let tiny = load(&case.file, &Params { n_ubatch: 3, ..wish });
                let cut = rows(&tiny, &texts, 0).concat();
                assert!(nmse(&cut, &together.concat()) < 1e-12, "{} {}: tiny", case.name, pooling.name());
            }
        }
    }
}

#[test]
fn normalised_rows_have_the_length_1() {
    let case = cases().into_iter().find(|c| c.own == Pooling::Mean).unwrap();
    let model = load(&case.file, &params(PoolBy::File));
    let row = rows(&model, &[&case.texts[0]], 3).remove(0);
    let one = model.pooled(3, true).unwrap();
    assert!((one.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() - 1.0).abs() < 1e-6);
    assert!(1.0 - cosine(&row, &one) < 1e-12);
    assert_eq!(model.pooled(2, true).unwrap_err().detail.subject, "seq_id");
}

/// An encoder takes its pooling from the file and has no KV cache; a decoder leaves logits until it is asked for rows,
/// and then has no output matrix.
#[test]
fn plans_say_what_is_left_and_what_is_not_kept() {
    for case in cases() {
        let default = plan(&case.file, &Params::default()).unwrap();
        let encoder = rekindle::arch::is_encoder(&default.architecture);
        assert_eq!(default.pooling, encoder.then_some(case.own), "{}", case.name);
        let by_file = plan(&case.file, &params(PoolBy::File)).unwrap();
        assert_eq!(by_file.pooling, Some(case.own), "{}", case.name);
        let kv: u64 = default.devices.iter().map(|d| d.memory.kv).sum();
        assert_eq!(kv == 0, encoder, "{}: {kv} bytes of KV", case.name);
        assert_eq!(default.reasons.iter().any(|r| r.contains("no KV cache")), encoder, "{:?}", default.reasons);
        if !encoder {
            let bytes = |p: &Plan| p.layers.last().unwrap().weights;
            let logits = plan(&case.file, &params(PoolBy::Family)).unwrap();
            let head: u64 = if case.own == Pooling::Rank { 2 * 32 * 4 } else { 0 };
            // The output matrix, tied or not, has 64 rows of 32 floats.
            assert_eq!(bytes(&logits) - bytes(&by_file) + head, 64 * 32 * 4, "{}", case.name);
        }
    }
}

/// Things that cannot be done are refused by name, and the model goes on.
#[test]
fn bad_texts_are_refused() {
    let find = |name: &str| cases().into_iter().find(|c| c.name == name).unwrap();
    let case = find("bert-mean");
    let model = load(&case.file, &params(PoolBy::File));
    let good = rows(&model, &[&case.texts[0]], 0);
    let decode = |n: usize, seqs: Option<&[i32]>, outputs: Option<&[u8]>| {
        let tokens = vec![5; n];
        model.decode(&Batch { tokens: &tokens, positions: None, seq_ids: seqs, outputs }).unwrap_err()
    };
    let long = decode(65, None, None);
    assert_eq!((long.status, long.detail.subject.as_str()), (Status::InvalidArgument, "n_ubatch"));
    assert!(long.message.contains("65") && long.message.contains("64"), "{}", long.message);
    assert_eq!(decode(3, Some(&[0, 1, 0]), None).detail.subject, "seq_ids");
    assert_eq!(decode(2, None, Some(&[1, 1])).detail.subject, "outputs");
    assert_eq!(model.logits(0).unwrap_err().status, Status::Unsupported);
    assert!(same_bits(&rows(&model, &[&case.texts[0]], 0), &good));
    // Positions beyond the table of positions.
    let far = model.decode(&Batch { tokens: &[5], positions: Some(&[256]), seq_ids: None, outputs: None });
    assert_eq!(far.unwrap_err().detail.subject, "positions");

    let e = plan(&case.file, &params(PoolBy::Caller(Pooling::Rank))).err().unwrap();
    assert_eq!((e.status, e.detail.subject.as_str()), (Status::InvalidArgument, "pooling"));
    let drafts = Params { n_draft: 2, ..params(PoolBy::File) };
    assert_eq!(plan(&find("llama-mean").file, &drafts).err().unwrap().detail.subject, "n_draft");
    let model = load(&find("llama-mean").file, &params(PoolBy::Family));
    assert_eq!(model.pooled(0, false).unwrap_err().status, Status::Unsupported);
}
