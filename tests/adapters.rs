//! Adapters: LoRAs and control vectors change a model as the reference's do, row by row, and leave everything else as
//! it was. (On dies: rig.rs.)

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle::Status;
use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::plan::{EstimatorKind, Params, Plan, Weights};
use rekindle::sample::{Sampler, SamplerParams};
use rekindle::session::{Batch, GenerateParams, Generation, GenerationParams, LoadParams, Model, Prompt, StopReason};
use support::*;

struct Case {
    name: String,
    model: PathBuf,
    adapters: Vec<PathBuf>,
    scales: Vec<f32>,
    tokens: Vec<i32>,
    reference: Vec<f32>,
}

fn adapter(name: &str) -> PathBuf {
    fixture(&format!("adapters/{name}.gguf"))
}

fn cases() -> Vec<Case> {
    let read = |c: &serde_json::Value| Case {
        name: c["name"].as_str().unwrap().to_owned(),
        model: fixture(&format!("models/{}.gguf", c["model"].as_str().unwrap())),
        adapters: c["adapters"].as_array().unwrap().iter().map(|a| adapter(a.as_str().unwrap())).collect(),
        scales: c["scales"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap() as f32).collect(),
        tokens: ids(&c["tokens"]),
        reference: floats(&fixture(&format!("adapters/{}.bin", c["name"].as_str().unwrap()))),
    };
    json(&fixture("adapters/index.json")).as_array().unwrap().iter().map(read).collect()
}

fn adapted(model: &Path, adapters: &[PathBuf]) -> rekindle::Result<Gguf> {
    let paths: Vec<&Path> = adapters.iter().map(PathBuf::as_path).collect();
    Gguf::open(model).unwrap().with_adapters(&paths)
}

fn planned(file: Gguf, params: &Params) -> (Arc<Context>, Arc<Plan>) {
    let context = Context::new("cpu", 2, None, LogLevel::Error).unwrap();
    let plan = Plan::new(&context, &Arc::new(file), params).unwrap();
    assert!(plan.fits, "{}", plan.text());
    (context, Arc::new(plan))
}

fn load_adapted(model: &Path, adapters: &[PathBuf], params: &Params) -> Arc<Model> {
    let (context, plan) = planned(adapted(model, adapters).unwrap(), params);
    Model::load(&context, &plan, LoadParams::default()).unwrap()
}

fn params() -> Params {
    Params { n_seq_max: 4, ..exact_kv() }
}

/// F32 weights and 1e-6 as for models without adapters: both round in float32.
#[test]
fn logits_are_those_of_the_reference() {
    for case in cases() {
        let model = load_adapted(&case.model, &case.adapters, &params());
        model.seq_set_adapters(0, &case.scales).unwrap();
        let all = decode_at(&model, 0, 0, &case.tokens);
        let error = nmse(&all.concat(), &case.reference);
        let without = nmse(&decode_at(&model, 1, 0, &case.tokens).concat(), &case.reference);
        println!("{:14} {error:10.2e}, without the adapters {without:.2}", case.name);
        assert!(error <= 1e-6 && without > 0.1, "{}: {error:e}, {without:e}", case.name);
        // Token by token as in one batch.
        model.seq_set_adapters(2, &case.scales).unwrap();
        let single: Vec<Vec<f32>> =
            case.tokens[..8].iter().zip(0..).flat_map(|(t, i)| decode_at(&model, 2, i, &[*t])).collect();
        model.seq_set_adapters(3, &case.scales).unwrap();
        assert!(same_bits(&single, &decode_at(&model, 3, 0, &case.tokens[..8])), "{}", case.name);
    }
}

/// Rows that use no adapter have the bits that they have without one in the file.
#[test]
fn without_a_scale_nothing_changes() {
    for case in cases() {
        let model = load_adapted(&case.model, &case.adapters, &params());
        let plain = load(&case.model, &params());
        let (a, b) = (decode_at(&model, 0, 0, &case.tokens), decode_at(&plain, 0, 0, &case.tokens));
        assert!(same_bits(&a, &b), "{}", case.name);
    }
}

/// Tokens of several sequences in one batch, each with scales of its own, as each sequence alone.
#[test]
fn rows_of_a_batch_use_different_adapters() {
    for case in cases() {
        let model = load_adapted(&case.model, &case.adapters, &params());
        let doubled: Vec<f32> = case.scales.iter().map(|s| -2.0 * s).collect();
        let first: Vec<f32> = case.scales[..1].to_vec();
        let wishes: [&[f32]; 4] = [&case.scales, &doubled, &[], &first];
        let t = &case.tokens[..12];
        let alone: Vec<Vec<Vec<f32>>> = wishes
            .iter()
            .map(|scales| {
                model.seq_remove(-1, 0, -1).unwrap();
                model.seq_set_adapters(0, scales).unwrap();
                decode_at(&model, 0, 0, t)
            })
            .collect();
        model.seq_remove(-1, 0, -1).unwrap();
        for (seq, scales) in wishes.iter().enumerate() {
            model.seq_set_adapters(seq as i32, scales).unwrap();
        }
        // Token i of all four, then the next.
        for (i, token) in t.iter().enumerate() {
            let (tokens, positions, outputs) = ([*token; 4], [i as i32; 4], [1u8; 4]);
            let batch = Batch {
                tokens: &tokens,
                positions: Some(&positions),
                seq_ids: Some(&[0, 1, 2, 3]),
                outputs: Some(&outputs),
            };
            model.decode(&batch).unwrap();
            for seq in 0..4 {
                let own = vec![row(&model, seq)];
                assert!(same_bits(&own, &alone[seq as usize][i..i + 1]), "{}: {seq} at {i}", case.name);
            }
        }
    }
}

fn told(model: &Arc<Model>, all: &[Arc<Generation>]) -> Vec<Vec<i32>> {
    let mut out = vec![Vec::new(); all.len()];
    while model.step(all).unwrap().n_going > 0 {}
    for (g, out) in all.iter().zip(&mut out) {
        while let Some(e) = g.next().unwrap() {
            out.extend(e.token);
            assert!(e.end.is_none_or(|end| matches!(end, StopReason::Limit | StopReason::Eog)), "{e:?}");
        }
    }
    out
}

fn generation(model: &Arc<Model>, prompt: &[i32], scales: &[f32], no_reuse: bool) -> Arc<Generation> {
    let params = GenerationParams {
        prompt: Prompt::Tokens(prompt),
        sampler: Sampler::new(SamplerParams::default()).unwrap(),
        grammar: None,
        scales,
        stop_texts: &[],
        max_tokens: 12,
        no_special: false,
        parse_special: false,
        ignore_eog: true,
        pin: false,
        no_reuse,
    };
    Arc::new(Generation::new(model, params).unwrap())
}

/// Each writes what it writes alone, and goes on only from tokens that were computed with its scales.
#[test]
fn generations_have_adapters_of_their_own() {
    let [model, all] = [fixture("models/llama-F32.gguf"), adapter("llama-all")];
    // A sequence that another generation goes on from is copied, so there are twice as many.
    let p = Params { n_seq_max: 8, n_ctx: 512, ..exact_kv() };
    let model = load_adapted(&model, &[all, adapter("llama-some")], &p);
    let prompt: Vec<i32> = (0..40).map(|i| 3 + (i * i * 7 + i * 13) % 57).collect();
    let wishes: [&[f32]; 4] = [&[], &[1.0], &[0.0, 1.5], &[1.0, 0.5]];
    let alone: Vec<Vec<i32>> =
        wishes.iter().map(|s| told(&model, &[generation(&model, &prompt, s, true)])[0].clone()).collect();
    assert!((1..4).all(|i| alone[..i].iter().all(|other| *other != alone[i])), "{alone:?}");
    let together: Vec<Arc<Generation>> = wishes.iter().map(|s| generation(&model, &prompt, s, false)).collect();
    assert_eq!(told(&model, &together), alone);
    drop(together);
    // All four sequences are idle now, and each is found by the one with its scales.
    for (scales, expected) in wishes.iter().zip(&alone) {
        let again = generation(&model, &prompt, scales, false);
        assert_eq!(told(&model, std::slice::from_ref(&again)), std::slice::from_ref(expected));
        assert_eq!(again.info().unwrap().n_reused, 39, "{scales:?}");
    }
    let other = generation(&model, &prompt, &[0.25], false);
    told(&model, std::slice::from_ref(&other));
    assert_eq!(other.info().unwrap().n_reused, 0);
}

/// A copy and a saved sequence go on with the same scales; a sequence that is in use keeps its own.
#[test]
fn scales_belong_to_a_sequence() {
    let file = fixture("models/llama-F32.gguf");
    let model = load_adapted(&file, &[adapter("llama-all")], &params());
    let t: Vec<i32> = (5..25).collect();
    model.seq_set_adapters(0, &[0.5]).unwrap();
    let expected = decode_at(&model, 0, 0, &t);
    model.seq_cut(0, 10).unwrap();
    model.seq_copy(0, 1, 0, -1).unwrap();
    assert!(same_bits(&decode_at(&model, 1, 10, &t[10..]), &expected[10..]));
    let mut saved = Vec::new();
    model
        .seq_save(0, &mut |piece, _| {
            saved.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
    model.seq_load(2, &mut saved.as_slice(), saved.len() as u64, &mut |_| true).unwrap();
    assert!(same_bits(&decode_at(&model, 2, 10, &t[10..]), &expected[10..]));
    let e = model.seq_set_adapters(0, &[1.0]).unwrap_err();
    assert_eq!((e.status, e.detail.subject.as_str()), (Status::InvalidArgument, "seq_id"));
    // The same ones, or others once it is empty, are fine.
    model.seq_set_adapters(0, &[0.5]).unwrap();
    model.seq_remove(0, 0, -1).unwrap();
    model.seq_set_adapters(0, &[1.0]).unwrap();
    // Without the adapter it is another model.
    let plain = load(&file, &params());
    let e = plain.seq_load(0, &mut saved.as_slice(), saved.len() as u64, &mut |_| true).unwrap_err();
    assert!(e.status == Status::Unsupported && e.to_string().contains("another model"), "{e}");
    for (scales, named) in [(vec![0.0; 2], "2 numbers"), (vec![f32::NAN], "NaN"), (vec![f32::INFINITY], "inf")] {
        let e = model.seq_set_adapters(0, &scales).unwrap_err();
        assert!(e.status == Status::InvalidArgument && e.to_string().contains(named), "{e}");
    }
}

/// A prediction layer guesses with the adapter too; the text is that of a run without drafts.
#[test]
fn drafts_write_the_same_text() {
    let file = fixture("models/qwen35-nextn.gguf");
    let text = |n_draft| {
        let p = Params { n_draft, ..params() };
        let model = load_adapted(&file, &[adapter("qwen35")], &p);
        model.seq_set_adapters(1, &[1.0]).unwrap();
        let mut sampler = Sampler::new(SamplerParams::default()).unwrap();
        let p = GenerateParams {
            prompt: Prompt::Tokens(&[5, 9, 23, 7]),
            seq_id: 1,
            max_tokens: 40,
            no_special: true,
            parse_special: false,
            ignore_eog: true,
            all_drafts: true,
        };
        let mut tokens = Vec::new();
        model
            .generate(&mut sampler, &p, &mut |token, _| {
                tokens.push(token);
                true
            })
            .unwrap();
        tokens
    };
    assert_eq!(text(3), text(0));
}

/// The adapters' bytes are the model's: planned where its weights are, and allocated as planned.
#[test]
fn bytes_are_planned() {
    let file = fixture("models/llama-F32.gguf");
    let own: u64 = Gguf::open(&adapter("llama-all")).unwrap().tensors().iter().map(|t| t.n_bytes).sum();
    for weights in [Weights::Mapped, Weights::Copied] {
        let p = Params { weights, ..params() };
        let (_, plain) = planned(Gguf::open(&file).unwrap(), &p);
        let (context, with) = planned(adapted(&file, &[adapter("llama-all")]).unwrap(), &p);
        let (a, b) = (plain.devices[0].memory, with.devices[0].memory);
        let more = (b.mapped + b.weights) - (a.mapped + a.weights);
        // Copied tensors begin at multiples of 64 bytes.
        assert!(more >= own && more < own + 64 * 40, "{more} bytes for {own}");
        let model = Model::load(&context, &with, LoadParams::default()).unwrap();
        let got = model.memory(0).unwrap();
        assert_eq!((got.weights, got.mapped, got.kv, got.compute), (b.weights, b.mapped, b.kv, b.compute));
    }
}

/// Writes a changed copy of a file of the fixtures.
fn changed(name: &str, from: &str, to: &str) -> PathBuf {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(adapter(name)).unwrap();
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{to}.gguf"));
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn what_does_not_fit_is_named() {
    let llama = fixture("models/llama-F32.gguf");
    let cases = [
        (fixture("models/llama-F32.gguf"), Status::Unsupported, "general.type"),
        (adapter("qwen35"), Status::Unsupported, "general.architecture"),
        (adapter("moe"), Status::BadFile, "attn_v"),
        (adapter("gemma3-steer"), Status::BadFile, "direction.1"),
        (adapter("missing"), Status::Io, "missing"),
        (changed("llama-some", "lora_a", "lora_c"), Status::BadFile, "lora_c"),
        (changed("llama-some", "attn_q.weight.lora_a", "attn_k.weight.lora_a"), Status::BadFile, "attn_"),
        (changed("llama-some", "attn_q.weight.lora_a", "attn_z.weight.lora_a"), Status::BadFile, "attn_"),
        (changed("llama-some", "lora", "dora"), Status::Unsupported, "adapter.type"),
        (changed("llama-steer", "direction.1", "direction.0"), Status::BadFile, "direction.0"),
    ];
    for (path, status, named) in cases {
        let Err(e) = adapted(&llama, std::slice::from_ref(&path)) else { panic!("{} was taken", path.display()) };
        assert!(e.status == status && e.to_string().contains(named), "{}: {e}", path.display());
    }
    // One that the graph would not compute with is refused by the plan, and not planned by formulas.
    let file = adapted(&fixture("models/deepseek2-yarn.gguf"), &[adapter("unread")]).unwrap();
    let context = Context::new("cpu", 1, None, LogLevel::Error).unwrap();
    for estimator in [EstimatorKind::Auto, EstimatorKind::Family] {
        let p = Params { estimator, ..params() };
        let Err(e) = Plan::new(&context, &Arc::new(file.with_adapters(&[]).unwrap()), &p) else { panic!("planned") };
        let named = e.to_string().contains("attn_k_b") || e.detail.subject == "adapters";
        assert!(e.status == Status::Unsupported && named, "{e}");
    }
    let many = vec![adapter("llama-steer"); 33];
    let Err(e) = adapted(&llama, &many) else { panic!("33 adapters") };
    assert_eq!(e.status, Status::InvalidArgument);
    assert_eq!(adapted(&llama, &many[..32]).unwrap().adapters().len(), 32);
}

/// An adapter with numbers so large that products with it overflow changes no row that does not use it; one with what
/// is no number is refused.
#[test]
fn large_numbers_stay_where_they_are_asked_for() {
    let llama = fixture("models/llama-F32.gguf");
    let with = |number: f32, name: &str| {
        let mut bytes = std::fs::read(adapter("llama-some")).unwrap();
        let data = bytes.len() - 4096;
        bytes[data..].chunks_exact_mut(4).for_each(|b| b.copy_from_slice(&number.to_le_bytes()));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let model = load_adapted(&llama, &[with(3e38, "large.gguf"), adapter("llama-all")], &params());
    let t: Vec<i32> = (5..17).collect();
    let plain = decode_at(&load(&llama, &params()), 0, 0, &t);
    model.seq_set_adapters(1, &[1.0]).unwrap();
    assert!(decode_at(&model, 1, 0, &t).concat().iter().any(|x| !x.is_finite()), "nothing overflows");
    assert!(same_bits(&decode_at(&model, 0, 0, &t), &plain));
    // In one batch with it, too.
    let (tokens, seqs, outputs) = ([5, 5], [1, 2], [1u8; 2]);
    let batch = Batch { tokens: &tokens, positions: Some(&[12, 0]), seq_ids: Some(&seqs), outputs: Some(&outputs) };
    model.decode(&batch).unwrap();
    assert!(same_bits(&[row(&model, 1)], &plain[..1]));
    for (number, name) in [(f32::NAN, "nan.gguf"), (f32::NEG_INFINITY, "infinite.gguf")] {
        let Err(e) = adapted(&llama, &[with(number, name)]) else { panic!("{number} was taken") };
        assert!(e.status == Status::BadFile && e.to_string().contains("finite"), "{e}");
    }
}

/// A sequence that the host has set adapters for is given to a generation if there is no other, and a saved sequence
/// knows the adapter's alpha.
#[test]
fn scales_keep_nobody_waiting_and_are_not_mistaken() {
    let llama = fixture("models/llama-F32.gguf");
    let model = load_adapted(&llama, &[adapter("llama-all")], &Params { n_seq_max: 1, ..exact_kv() });
    model.seq_set_adapters(0, &[1.0]).unwrap();
    let g = generation(&model, &[5, 9, 23], &[], true);
    assert_eq!(told(&model, std::slice::from_ref(&g))[0].len(), 12);
    drop(g);
    model.seq_remove(0, 0, -1).unwrap();
    model.seq_set_adapters(0, &[1.0]).unwrap();
    decode_at(&model, 0, 0, &[5, 6, 7]);
    let mut saved = Vec::new();
    model
        .seq_save(0, &mut |piece, _| {
            saved.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
    let mut bytes = std::fs::read(adapter("llama-all")).unwrap();
    let at = bytes.windows(8).position(|w| w == b"ra.alpha").unwrap() + 12;
    assert_eq!(bytes[at..at + 4], 8f32.to_le_bytes());
    bytes[at..at + 4].copy_from_slice(&16f32.to_le_bytes());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("other-alpha.gguf");
    std::fs::write(&path, bytes).unwrap();
    let other = load_adapted(&llama, &[path], &params());
    let e = other.seq_load(0, &mut saved.as_slice(), saved.len() as u64, &mut |_| true).unwrap_err();
    assert!(e.status == Status::Unsupported, "{e}");
}

/// Facts about a file and a model are those of the model, whatever is beside it.
#[test]
fn adapters_are_no_part_of_the_model() {
    let llama = fixture("models/llama-F32.gguf");
    let (plain, with) = (Gguf::open(&llama).unwrap(), adapted(&llama, &[adapter("llama-all")]).unwrap());
    let facts = |f: &Gguf| (f.n_files(), f.n_bytes(), f.own_tensors().len());
    assert_eq!(facts(&plain), facts(&with));
    assert!(with.tensors().len() > with.own_tensors().len());
    let (a, b) = (load(&llama, &params()), load_adapted(&llama, &[adapter("llama-all")], &params()));
    assert_eq!(a.info().n_params, b.info().n_params);
}

/// Every prefix of an adapter's file, and every byte of its header changed, is refused or loads.
#[test]
fn hostile_files_do_no_harm() {
    let llama = Gguf::open(&fixture("models/llama-F32.gguf")).unwrap();
    let bytes = std::fs::read(adapter("llama-some")).unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile-adapter.gguf");
    let (mut refused, mut taken) = (0, 0);
    let header = bytes.len() - 4096;
    for i in 0..header {
        let mut other = bytes.clone();
        if i % 2 == 0 {
            other.truncate(i / 2 * 3);
        }
        other.get_mut(i).into_iter().for_each(|b| *b ^= 1 << (i % 8));
        std::fs::write(&path, &other).unwrap();
        match llama.with_adapters(&[&path]) {
            Err(e) => {
                assert!(matches!(e.status, Status::BadFile | Status::Unsupported), "{i}: {e}");
                refused += 1;
            }
            Ok(file) => {
                let context = Context::new("cpu", 1, None, LogLevel::Error).unwrap();
                let _ = Plan::new(&context, &Arc::new(file), &params());
                taken += 1;
            }
        }
    }
    println!("{refused} refused, {taken} taken");
    assert!(refused > taken && taken > 0);
}
