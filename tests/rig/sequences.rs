//! Caches, batches and sequences on dies: what the CPU gives.

use std::sync::Arc;

use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::plan::{Params, Plan};
use rekindle::quant::Type;
use rekindle::session::{Batch, LoadParams, Model};

use crate::cases::*;
use crate::support::*;
use crate::virtual_rig::*;

/// Caches of F16, Q8_0 and Q4_0 hold rounded keys and values, the same ones that the CPU's hold but where a rounding
/// falls the other way.
#[test]
fn caches_of_every_type_are_the_cpus() {
    with_dies("sequences::caches_of_every_type_are_the_cpus", FOUR, |rig| {
        let types = [Type::F32, Type::F16, Type::Q8_0, Type::Q4_0];
        let each: Vec<String> = one_of_each(plain_cases()).into_iter().map(|case| case.name).collect();
        let mut n = 0;
        for (i, case) in plain_cases().into_iter().enumerate() {
            // A model of each kind has all pairs; of the others the virtual rig has one each, which changes from one to
            // the next. Opening a die takes a card a good part of a second.
            let whole = each.contains(&case.name);
            if !whole && !rig.is_virtual() {
                continue;
            }
            // Of Q4_0 the pairs that somebody has a reason to use, and one that has no form of its own.
            let used = |(k, v): &(Type, Type)| match (k, v) {
                (Type::F32, Type::Q4_0) => false,
                (Type::Q4_0, _) => matches!(v, Type::Q4_0 | Type::F16),
                _ => true,
            };
            let pairs: Vec<_> = types.iter().flat_map(|k| types.iter().map(move |v| (*k, *v))).filter(used).collect();
            let own = if whole { 0..pairs.len() } else { i % pairs.len()..i % pairs.len() + 1 };
            for (k, v) in pairs[own].iter().copied() {
                let params = Params { type_k: Some(k), type_v: Some(v), ..exact_kv() };
                let gguf = Arc::new(Gguf::open(&case.file).unwrap());
                let cpu = Context::new("cpu", 2, None, LogLevel::Error).unwrap();
                // Heads that are no whole number of blocks are refused everywhere.
                if Plan::new(&cpu, &gguf, &params).is_err() {
                    continue;
                }
                let expected = decode_at(&load(&case.file, &params), 0, 0, &case.tokens).concat();
                let (context, plan) = plan(rig, "cuda:2", &case.file, &params, true, false);
                let model = load_on(rig, &context, &plan, &case.name);
                let error = nmse(&decode_at(&model, 0, 0, &case.tokens).concat(), &expected);
                // If float32 falls to the other side of a rounding, the difference is a part of what the rounding
                // itself costs.
                let rounding = nmse(&expected, &decode_at(&load(&case.file, &exact_kv()), 0, 0, &case.tokens).concat());
                println!(
                    "{:26} {:5} {:5} {error:10.2e}, of the rounding {rounding:10.2e}",
                    case.name,
                    k.name(),
                    v.name()
                );
                assert!(error <= 1e-6f64.max(rounding / 10.0), "{} {} {}: {error:e}", case.name, k.name(), v.name());
                n += 1;
            }
            rig.check(&case.name);
        }
        assert!(n > 40, "{n} pairs");
    });
}

/// Batches of 1 to 512 tokens, of every architecture: other kernels for few rows and for many, replayed and not.
#[test]
fn batches_of_every_size_are_the_cpus() {
    with_dies("sequences::batches_of_every_size_are_the_cpus", FOUR, |rig| {
        let cases = one_of_each(plain_cases());
        assert!(cases.len() >= 11, "{}", cases.len());
        for (i, case) in cases.into_iter().enumerate() {
            // The virtual rig takes seconds for 512 tokens, which go by the same kernels as 130.
            let long = if i == 0 || !rig.is_virtual() { 512 } else { 130 };
            let n_vocab = case.exact.len() / case.rows.len();
            let tokens: Vec<i32> = (0..640).map(|i| (i * 7919 + 13) % n_vocab as i32).collect();
            let params = Params { n_ctx: 700, n_outputs_max: 1, n_batch: 512, n_ubatch: 512, ..exact_kv() };
            let run = |model: &Model| {
                let (mut at, mut rows) = (0, Vec::new());
                // From the third step of a size on, it is replayed.
                for n in [1, 1, 1, 1, 2, 2, 2, 3, 5, 8, 8, 8, 9, 16, 17, 33, long, 1, 1] {
                    let positions: Vec<i32> = (at as i32..(at + n) as i32).collect();
                    let mut outputs = vec![0u8; n];
                    outputs[n - 1] = 1;
                    let tokens = &tokens[at..at + n];
                    let batch = rekindle::session::Batch {
                        tokens,
                        positions: Some(&positions),
                        seq_ids: None,
                        outputs: Some(&outputs),
                    };
                    model.decode(&batch).unwrap_or_else(|e| panic!("{} at {at}: {e}\n{}", case.name, rig.report()));
                    rows.push(row(model, 0));
                    at += n;
                }
                rows
            };
            let expected = run(&load(&case.file, &params));
            let (context, plan) = plan(rig, "cuda:1", &case.file, &params, false, false);
            let own = run(&load_on(rig, &context, &plan, &case.name));
            for (i, (own, expected)) in own.iter().zip(&expected).enumerate() {
                let error = nmse(own, expected);
                assert!(error <= 1e-6, "{} step {i}: {error:e}", case.name);
            }
            rig.check(&case.name);
        }
    });
}

/// Sequences that are copied, cut, kept apart in one batch, and shifted: what the CPU gives.
#[test]
fn sequences_are_the_cpus() {
    with_dies("sequences::sequences_are_the_cpus", FOUR, |rig| {
        for case in plain_cases() {
            let params = Params { n_ctx: 96, n_seq_max: 4, n_outputs_max: 8, n_batch: 32, n_ubatch: 16, ..exact_kv() };
            let t = &case.tokens;
            let together = |model: &Model, tokens: &[i32], at: &[i32], seqs: &[i32]| {
                let outputs = vec![1u8; tokens.len()];
                let batch = rekindle::session::Batch {
                    tokens,
                    positions: Some(at),
                    seq_ids: Some(seqs),
                    outputs: Some(&outputs),
                };
                model.decode(&batch).unwrap_or_else(|e| panic!("{}: {e}\n{}", case.name, rig.report()));
                (0..tokens.len() as u32).flat_map(|i| row(model, i)).collect::<Vec<f32>>()
            };
            let run = |model: &Model| {
                let mut all = Vec::new();
                all.push(decode_at(model, 0, 0, &t[..7]).concat());
                // Three that share what was said, and one of its own; all in one batch, more spans than cells at times.
                (1..3).for_each(|seq| model.seq_copy(0, seq, 0, -1).unwrap());
                all.push(together(model, &t[7..11], &[7, 7, 7, 0], &[0, 1, 2, 3]));
                model.seq_checkpoint(1).unwrap();
                all.push(together(model, &t[7..15], &[8, 8, 8, 1, 9, 9, 9, 2], &[0, 1, 2, 3, 0, 1, 2, 3]));
                // Recurrent layers go back to the checkpoint, and read a token again.
                if model.seq_cut(1, 9).unwrap() == 8 {
                    together(model, &t[8..9], &[8], &[1]);
                }
                all.push(together(model, &t[3..5], &[9, 10], &[1, 1]));
                let by = if is_recurrent(&case.file) { [0, 0] } else { [3, 2] };
                // Models with windows cannot go on from a shift far from where they were; keys turn all the same.
                model.seq_shift(3, 0, -1, by[0]).unwrap();
                all.push(together(model, &t[5..6], &[3 + by[0]], &[3]));
                model.seq_shift(2, 4, -1, by[1]).unwrap();
                all.push(together(model, &t[5..6], &[10 + by[1]], &[2]));
                model.seq_keep(2).unwrap();
                all.push(together(model, &t[6..7], &[11 + by[1]], &[2]));
                all
            };
            let expected = run(&load(&case.file, &params));
            let (context, plan) = plan(rig, "cuda:2", &case.file, &params, true, false);
            for (i, (own, expected)) in
                run(&load_on(rig, &context, &plan, &case.name)).iter().zip(&expected).enumerate()
            {
                let error = nmse(own, expected);
                assert!(error <= 1e-6, "{} step {i}: {error:e}", case.name);
            }
            rig.check(&case.name);
        }
    });
}

/// Greedy text of the models that were trained: the CPU's, token by token.
#[test]
fn greedy_text_is_the_cpus() {
    with_dies("sequences::greedy_text_is_the_cpus", FOUR, |rig| {
        for (path, n) in [("models/bible-5M-Q8_0.gguf", 40), ("shared:models/stories260K.gguf", 120)] {
            let Some(file) = model_file(path) else { continue };
            let params = Params { n_ctx: 256, ..Params::default() };
            let run = |model: &Model| {
                let vocab = model.vocab().unwrap();
                let prompt = vocab.tokenize(b"And the LORD said unto", true, false).unwrap();
                let (mut at, mut token) = (prompt.len() as i32, argmax(&last(model, 0, &prompt)));
                let mut written = vec![token];
                for _ in 1..n {
                    token = argmax(&last(model, at, &[token]));
                    at += 1;
                    written.push(token);
                }
                written
            };
            let expected = run(&load(&file, &params));
            let (context, plan) = plan(rig, "cuda:2", &file, &params, true, false);
            assert_eq!(run(&load_on(rig, &context, &plan, path)), expected, "{path}");
            rig.check(path);
        }
    });
}

/// A sequence that was saved on a CPU goes on on two dies, and the reverse, in caches of every type: the logits are
/// what the other would have given, and the bytes that are saved again are the same.
#[test]
fn saved_sequences_change_devices() {
    with_dies("sequences::saved_sequences_change_devices", FOUR, |rig| {
        let all = one_of_each(plain_cases());
        let kinds = all.iter().flat_map(|c| [Type::F32, Type::F16, Type::Q8_0, Type::Q4_0].map(|ty| (c, ty)));
        let mut n = 0;
        for (case, ty) in kinds {
            let (k, v) = (Some(ty), Some(ty));
            let params = Params { n_ctx: 64, n_seq_max: 2, n_outputs_max: 1, type_k: k, type_v: v, ..exact_kv() };
            let gguf = Arc::new(Gguf::open(&case.file).unwrap());
            let context = Context::new("cpu", 2, None, LogLevel::Error).unwrap();
            // Heads that are no whole number of blocks are refused everywhere.
            if Plan::new(&context, &gguf, &params).is_err() {
                continue;
            }
            let cpu = load(&case.file, &params);
            let (context, plan) = plan(rig, "cuda:2", &case.file, &params, true, false);
            let dies = load_on(rig, &context, &plan, &case.name);
            for (from, to) in [(&cpu, &dies), (&dies, &cpu)] {
                last(from, 0, &case.tokens[..9]);
                let bytes = saved(from, 0);
                to.seq_load(1, &mut &bytes[..], bytes.len() as u64, &mut |_| true).unwrap();
                assert!(saved(to, 1) == bytes, "{} {}: other bytes", case.name, ty.name());
                let on = |model: &Model, seq: i32| decode_at(model, seq, 9, &case.tokens[9..10]).concat();
                let error = nmse(&on(to, 1), &on(from, 0));
                // The next token's own key and value may be rounded to the other side.
                let most = if ty == Type::F32 { 1e-6 } else { 1e-4 };
                assert!(error <= most, "{} {}: {error:e}", case.name, ty.name());
                from.seq_remove(0, 0, -1).unwrap();
                to.seq_remove(1, 0, -1).unwrap();
                n += 1;
            }
            drop((dies, plan, context));
            rig.check(&case.name);
        }
        assert!(n > 60, "{n}");
    });
}

/// LoRAs and control vectors: two sequences of one batch, each with scales of its own, and one that uses none.
#[test]
fn adapters_are_the_cpus() {
    with_dies("sequences::adapters_are_the_cpus", FOUR, |rig| {
        for (i, case) in json(&fixture("adapters/index.json")).as_array().unwrap().iter().enumerate() {
            let (name, tokens) = (case["name"].as_str().unwrap(), ids(&case["tokens"]));
            let file = fixture(&format!("models/{}.gguf", case["model"].as_str().unwrap()));
            let names = case["adapters"].as_array().unwrap().iter();
            let paths: Vec<_> = names.map(|a| fixture(&format!("adapters/{}.gguf", a.as_str().unwrap()))).collect();
            let paths: Vec<&std::path::Path> = paths.iter().map(|p| p.as_path()).collect();
            let adapted = || Gguf::open(&file).unwrap().with_adapters(&paths).unwrap();
            let scales: Vec<f32> =
                case["scales"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap() as f32).collect();
            let params = Params { n_seq_max: 3, ..exact_kv() };
            let rows = |model: &Model| {
                let half: Vec<f32> = scales.iter().map(|s| s / 2.0).collect();
                for (seq, scales) in [&[][..], &scales, &half].iter().enumerate() {
                    model.seq_set_adapters(seq as i32, scales).unwrap();
                }
                // A short batch of all three, then a long one of each.
                let (at, outputs) = ([0; 3], [1u8; 3]);
                let first = [tokens[0]; 3];
                let batch =
                    Batch { tokens: &first, positions: Some(&at), seq_ids: Some(&[0, 1, 2]), outputs: Some(&outputs) };
                model.decode(&batch).unwrap();
                let mut all: Vec<f32> = (0..3).flat_map(|i| row(model, i)).collect();
                (0..3).for_each(|seq| all.extend(decode_at(model, seq, 1, &tokens[1..]).concat()));
                all
            };
            let (context, plan_cpu) = {
                let context = Context::new("cpu", 2, None, LogLevel::Error).unwrap();
                let plan = Plan::new(&context, &Arc::new(adapted()), &params).unwrap();
                (context, Arc::new(plan))
            };
            let expected = rows(&Model::load(&context, &plan_cpu, LoadParams::default()).unwrap());
            // Each case one way, and all ways among the cases.
            let spreads = spreads(rig);
            for (spec, on_cpu) in spreads.iter().skip(i % spreads.len()).take(1) {
                let (context, plan) = plan_of(rig, spec, adapted(), &params, true, *on_cpu);
                let model = load_on(rig, &context, &plan, name);
                let error = nmse(&rows(&model), &expected);
                println!("{name:14} {spec:12} {error:10.2e}");
                // Both round in float32.
                assert!(error <= 1e-9, "{name} on {spec}: {error:e}");
                drop((model, plan, context));
                rig.check(name);
            }
        }
    });
}

fn saved(model: &Model, seq: i32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut take = |piece: &[u8], _| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    model.seq_save(seq, &mut take).unwrap();
    bytes
}
