//! The CUDA path down to the driver call, on a rig of virtual dies (tests/rig): a libcuda.so.1 that executes the
//! kernels on the host, keeps account of every byte, and detects what a card would punish. With REKINDLE_GPU=1, what
//! needs no rig runs on cards.

#[path = "rig/virtual_rig.rs"]
mod virtual_rig;

mod support;

#[path = "support/headers/mod.rs"]
mod headers;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle::context::{Context, LogLevel};
use rekindle::device::Kind;
use rekindle::gguf::Gguf;
use rekindle::graph::Node;
use rekindle::plan::{DeviceLimit, Params, Plan};
use rekindle::quant::Type;
use rekindle::session::{LoadParams, Model};
use support::*;
use virtual_rig::*;

/// What a test needs of a fixture: its file, token ids, and logits of some rows as nearest to exact as there are.
struct Case {
    name: String,
    file: PathBuf,
    tokens: Vec<i32>,
    rows: Vec<usize>,
    exact: Vec<f32>,
}

fn cases() -> Vec<Case> {
    let index = json(&fixture("logits/index.json"));
    let read = |m: &serde_json::Value| {
        let name = m["model"].as_str().unwrap().to_owned();
        let has_exact = m.get("f64").is_none_or(|f| f.as_bool().unwrap());
        Some(Case {
            file: model_file(m["path"].as_str().unwrap())?,
            tokens: ids(&m["tokens"]),
            rows: ids(&m["rows"]).into_iter().map(|r| r as usize).collect(),
            exact: floats(&fixture(&format!("logits/{name}.{}.bin", if has_exact { "f64" } else { "ref" }))),
            name,
        })
    };
    index.as_array().unwrap().iter().filter_map(read).collect()
}

/// A plan on dies, some layers of it on the CPU where `on_cpu` is not 0.
fn plan(rig: &Rig, spec: &str, file: &Path, params: &Params, spread: bool, on_cpu: bool) -> (Arc<Context>, Arc<Plan>) {
    let context = rig.context(spec);
    let gguf = Arc::new(Gguf::open(file).unwrap());
    let mut params = params.clone();
    let (_, graph) = rekindle::arch::build(&gguf).unwrap();
    let n_dies = context.devices().iter().filter(|d| d.kind == Kind::Cuda).count() as u32;
    if spread || on_cpu {
        // No die may take all, so that all take some.
        let parts = if on_cpu { n_dies + 1 } else { n_dies };
        let each = graph.n_layer.div_ceil(parts).max(1);
        // Layers that read another's cache are where that is: the first die has a layer, the last device all others.
        let state_of = |n: &Node| n.op.facts().reads.map(|s| graph.states[s.0 as usize].layer);
        let shares = graph.nodes.iter().any(|n| state_of(n).is_some_and(|layer| layer != n.layer));
        let most = |device| match (shares, device) {
            (false, _) => Some(each),
            (true, 0) => Some(1),
            (true, d) if d + 1 < parts => Some(0),
            (true, _) => Some(graph.n_layer - 1),
        };
        params.limits =
            (0..parts).map(|device| DeviceLimit { device, reserve_bytes: 0, max_layers: most(device) }).collect();
    }
    let plan = Plan::new(&context, &gguf, &params).unwrap();
    assert!(plan.fits, "{}", plan.text());
    (context, Arc::new(plan))
}

/// Loads, and holds every die's bytes against the plan's.
fn load_on(rig: &Rig, context: &Arc<Context>, plan: &Arc<Plan>, what: &str) -> Arc<Model> {
    let model =
        Model::load(context, plan, LoadParams::default()).unwrap_or_else(|e| panic!("{what}: {e}\n{}", rig.report()));
    let mut asked_of = [0; 24];
    for (i, d) in context.devices().iter().enumerate().filter(|(_, d)| d.kind == Kind::Cuda) {
        let planned = plan.devices[i].memory;
        asked_of[d.ordinal.unwrap() as usize] += planned.weights + planned.kv + planned.compute;
        assert_eq!(model.memory(i as u32).unwrap(), planned, "{what}: what the model says of die {i}");
    }
    for (die, asked) in asked_of.into_iter().enumerate().filter(|(_, asked)| rig.is_virtual() && *asked > 0) {
        assert_eq!(rig.bytes(die as i32), asked, "{what}: bytes of die {die}\n{}", plan.text());
    }
    model
}

/// The rig finds what it should: kernels that misbehave on purpose, wrong calls, failures on request.
#[test]
fn the_rig_finds_faults() {
    let text = make(&[]) + &make(&["check"]);
    println!("{}", text.lines().last().unwrap_or_default());
}

/// The library's table of kernels is that of `kernels/*.cu`: the same names, structs, their bytes, and threads.
#[test]
fn kernels_are_those_of_the_table() {
    with_rig("kernels_are_those_of_the_table", FOUR, |rig| {
        let row = |k: &rekindle::cuda::KernelEntry| {
            (k.name.to_owned(), k.args.to_owned(), k.args_bytes as i64, k.threads as i64)
        };
        let mut table: Vec<_> = rekindle::cuda::KERNELS.iter().map(row).collect();
        let mut compiled = rig.kernels();
        table.sort();
        compiled.sort();
        assert!(table.len() > 100, "{}", table.len());
        assert_eq!(table, compiled);
    });
}

/// A kernel that the images lack is told of by name when a die is opened, not when it is first launched.
#[test]
fn a_missing_kernel_is_told_at_once() {
    with_rig("a_missing_kernel_is_told_at_once", FOUR, |rig| {
        rig.config("dies = 1; memory = 256MiB; overhead = 1MiB; without = activation");
        let e = Context::new("cuda:1", 1, None, LogLevel::Error).err().expect("activation is missing");
        assert!(e.message.contains("activation") && e.message.contains("elementwise"), "{e}");
        rig.check_empty("without activation");
    });
}

const FOUR: &str = "dies = 4; memory = 256MiB; overhead = 1MiB";

/// Normalised mean squared error of 1e-6 at most to logits in float64 (or to the reference's in float32 where there are
/// none), over every type and architecture: the dies compute in float32, observed 1e-13 to 1e-8.
#[test]
fn logits_are_exact_on_one_die() {
    with_dies("logits_are_exact_on_one_die", FOUR, |rig| {
        for case in cases() {
            let (context, plan) = plan(rig, "cuda:1", &case.file, &exact_kv(), false, false);
            let model = load_on(rig, &context, &plan, &case.name);
            let all = decode_at(&model, 0, 0, &case.tokens);
            let own: Vec<f32> = case.rows.iter().flat_map(|r| all[*r].iter().copied()).collect();
            let error = nmse(&own, &case.exact);
            println!("{:26} {error:10.2e}", case.name);
            assert!(error <= 1e-6, "{}: {error:e}", case.name);
            drop((model, plan, context));
            rig.check_empty(&case.name);
        }
    });
}

/// Where parts of a model may go: devices, and whether the CPU takes layers.
fn spreads(rig: &Rig) -> Vec<(String, bool)> {
    let mut all: Vec<_> = ["cuda:2", "cuda:4"].iter().map(|spec| (rig.spec(spec), false)).collect();
    all.push((twice(), false));
    // With one card, two dies are that.
    all.sort();
    all.dedup();
    all.push((rig.spec("cuda:2,cpu"), true));
    all
}

/// Every fixture on 2 and 4 dies, on one die as two, and on dies with the CPU, token by token after a batch: what one
/// die gives, to the bit, but for layers on the CPU, which computes otherwise.
#[test]
fn logits_do_not_depend_on_the_dies() {
    with_dies("logits_do_not_depend_on_the_dies", FOUR, |rig| {
        let spreads = spreads(rig);
        for case in cases() {
            if rekindle::arch::build(&Gguf::open(&case.file).unwrap()).unwrap().1.n_layer < 2 {
                continue;
            }
            let n = case.tokens.len().min(24);
            let (head, tail) = case.tokens[..n].split_at(n - 2);
            let run = |spec: &str, spread: bool, on_cpu: bool| {
                let (context, plan) = plan(rig, spec, &case.file, &exact_kv(), spread, on_cpu);
                let n_used = context
                    .devices()
                    .iter()
                    .enumerate()
                    .filter(|(i, d)| d.kind == Kind::Cuda && plan.devices[*i].n_layers > 0);
                let n_used = n_used.count();
                let model = load_on(rig, &context, &plan, &case.name);
                let mut all = decode_at(&model, 0, 0, head);
                for (i, token) in tail.iter().enumerate() {
                    all.extend(decode_at(&model, 0, (head.len() + i) as i32, &[*token]));
                }
                (all, n_used, plan.n_cpu_layers())
            };
            let (one, ..) = run("cuda:1", false, false);
            for (spec, on_cpu) in &spreads {
                let on_cpu = *on_cpu;
                let (own, n_dies, n_cpu) = run(spec, true, on_cpu);
                let what = format!("{} on {spec}", case.name);
                assert!(
                    n_dies + usize::from(n_cpu > 0) > 1 && (n_cpu > 0) == on_cpu,
                    "{what}: {n_dies} dies, {n_cpu} layers on the CPU"
                );
                if on_cpu {
                    // The CPU quantises activations, at worst 2^-8 each.
                    let error = nmse(&own.concat(), &one.concat());
                    assert!(error <= 1e-3, "{what}: {error:e}");
                } else {
                    assert!(same_bits(&own, &one), "{what}");
                }
                rig.check_empty(&what);
            }
        }
    });
}

/// The fixtures with F32 weights: the CPU computes with them in float32 too.
fn plain_cases() -> Vec<Case> {
    let plain = |c: &Case| Gguf::open(&c.file).unwrap().tensors().iter().all(|t| t.ty == Type::F32);
    cases().into_iter().filter(plain).collect()
}

/// One of each architecture, and one more of those that have mixtures of experts.
fn one_of_each(cases: Vec<Case>) -> Vec<Case> {
    let mut seen = Vec::new();
    let mut is_new = |case: &Case| {
        let gguf = Gguf::open(&case.file).unwrap();
        let architecture = rekindle::arch::architecture(&gguf).unwrap().to_owned();
        let kind = (architecture, gguf.tensors().iter().any(|t| t.name.contains("_exps")));
        let is_new = !seen.contains(&kind);
        seen.push(kind);
        is_new
    };
    cases.into_iter().filter(|case| is_new(case)).collect()
}

/// Caches of F16, Q8_0 and Q4_0 hold rounded keys and values, the same ones that the CPU's hold but where a rounding falls
/// the other way.
#[test]
fn caches_of_every_type_are_the_cpus() {
    with_dies("caches_of_every_type_are_the_cpus", FOUR, |rig| {
        let types = [Type::F32, Type::F16, Type::Q8_0, Type::Q4_0];
        // Opening a die takes a card a good part of a second.
        let (cases, least) = if rig.is_virtual() { (plain_cases(), 100) } else { (one_of_each(plain_cases()), 40) };
        let mut n = 0;
        for case in cases {
            // Of Q4_0 the pairs that somebody has a reason to use, and one that has no form of its own.
            let used = |(k, v): &(Type, Type)| match (k, v) {
                (Type::F32, Type::Q4_0) => false,
                (Type::Q4_0, _) => matches!(v, Type::Q4_0 | Type::F16),
                _ => true,
            };
            for (k, v) in types.iter().flat_map(|k| types.iter().map(move |v| (*k, *v))).filter(used) {
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
        assert!(n > least, "{n} pairs");
    });
}

/// Batches of 1 to 512 tokens, of every architecture: other kernels for few rows and for many, replayed and not.
#[test]
fn batches_of_every_size_are_the_cpus() {
    with_dies("batches_of_every_size_are_the_cpus", FOUR, |rig| {
        let cases = one_of_each(plain_cases());
        assert!(cases.len() >= 11, "{}", cases.len());
        for case in cases {
            let n_vocab = case.exact.len() / case.rows.len();
            let tokens: Vec<i32> = (0..640).map(|i| (i * 7919 + 13) % n_vocab as i32).collect();
            let params = Params { n_ctx: 700, n_outputs_max: 1, n_batch: 512, n_ubatch: 512, ..exact_kv() };
            let run = |model: &Model| {
                let (mut at, mut rows) = (0, Vec::new());
                // From the third step of a size on, it is replayed.
                for n in [1, 1, 1, 1, 2, 2, 2, 3, 5, 8, 8, 8, 9, 16, 17, 33, 512, 1, 1] {
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
    with_dies("sequences_are_the_cpus", FOUR, |rig| {
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
    with_dies("greedy_text_is_the_cpus", FOUR, |rig| {
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

/// Logits of the last token.
fn last(model: &Model, at: i32, tokens: &[i32]) -> Vec<f32> {
    let positions: Vec<i32> = (at..at + tokens.len() as i32).collect();
    model.decode(&rekindle::session::Batch { tokens, positions: Some(&positions), ..Default::default() }).unwrap();
    row(model, 0)
}

/// Calls that may fail with nobody to tell: where a die or a model ends.
const SILENT: [&str; 10] = [
    "cuCtxSynchronize",
    "Destroy",
    "cuMemFree",
    "Unload",
    "Unregister",
    "cuCtxSetCurrent",
    "cuCtxGetCurrent",
    "cuCtxPopCurrent",
    "cuStreamSynchronize",
    "cuMemGetInfo",
];

/// Calls that the library does without: a second context on a die is not measured where there can be none, and steps
/// that cannot be recorded run as they are.
const SPARED: [&str; 2] = ["cuCtxCreate", "cuGraphInstantiate"];

/// Every call of `work` in turn fails, each in two ways. `work` fails with an error that names the call, or gives what
/// it gives without a failure; `after` is then to find everything as it should be. Both get a text that says which call
/// it was.
fn fail_each<T>(
    rig: &Rig,
    mut work: impl FnMut() -> rekindle::Result<T>,
    mut after: impl FnMut(rekindle::Result<T>, &str),
) {
    rig.reset();
    let outcome = work();
    let n = rig.calls();
    let names: Vec<String> = (1..=n).map(|k| rig.call_name(k)).collect();
    // Kernels are looked up one after the other: the first and the last of a row of them stand for all.
    let stands = |k: usize| {
        !names[k].contains("GetFunction")
            || names.get(k.wrapping_sub(1)) != Some(&names[k])
            || names.get(k + 1) != Some(&names[k])
    };
    after(outcome, "no failure");
    let (mut told, mut survived) = (0, 0);
    for k in (1..=n).filter(|k| stands(*k as usize - 1)) {
        // Out of memory; and a failed launch, seen later, that the die's context does not survive.
        for (code, delayed) in [(2, 0), (719, 1)] {
            rig.reset();
            rig.fail_at(k, code, delayed);
            let outcome = work();
            let name = &names[k as usize - 1];
            let what = format!("call {k} of {n}, {name}, code {code}");
            assert_eq!(rig.failed(), 1, "{what}");
            rig.fail_at(0, 0, 0);
            match &outcome {
                Err(e) if delayed == 1 => assert!(e.message.contains("cu"), "{what}: {}", e.message),
                Err(e) => {
                    assert!(e.message.contains(name.as_str()), "{what}: {}", e.message);
                    assert!(!e.detail.subject.is_empty(), "{what}");
                }
                Ok(_) => {
                    let may = SPARED.iter().chain(&SILENT).any(|s| name.contains(s));
                    assert!(may, "{what}: nobody was told");
                }
            }
            *(if outcome.is_err() { &mut told } else { &mut survived }) += 1;
            // Work of another die may have read what the failed work should have written; on a card, garbage that
            // nobody sees.
            if delayed == 1 && rig.report().contains("nobody wrote") {
                rig.reset();
            }
            after(outcome, &what);
        }
    }
    println!("{n} calls, failed two ways: {told} told, {survived} where nobody listens or it does without");
    assert!(told > survived);
}

/// A call that the driver refuses is told by name; nothing stays behind, and the next load on the same context
/// works. Every call of a whole run in turn: finding two dies; then, on one context, planning, loading, decoding,
/// ending.
#[test]
fn every_failing_call_is_told() {
    with_rig("every_failing_call_is_told", FOUR, |rig| {
        let file = fixture("models/llama-F32.gguf");
        let params = Params { n_ctx: 64, n_batch: 16, n_ubatch: 16, n_outputs_max: 16, ..exact_kv() };
        let work = |context: &Arc<Context>| -> rekindle::Result<Vec<Vec<f32>>> {
            let gguf = Arc::new(Gguf::open(&file)?);
            let limits = vec![DeviceLimit { device: 0, reserve_bytes: 0, max_layers: Some(1) }];
            let plan = Arc::new(Plan::new(context, &gguf, &Params { limits, ..params.clone() })?);
            let model = Model::load(context, &plan, LoadParams::default())?;
            let mut rows = Vec::new();
            let mut decode = |at: i32, tokens: &[i32]| {
                let positions: Vec<i32> = (at..at + tokens.len() as i32).collect();
                let batch = rekindle::session::Batch { tokens, positions: Some(&positions), ..Default::default() };
                model.decode(&batch)?;
                rows.push(row(&model, 0));
                Ok::<(), rekindle::Error>(())
            };
            decode(0, &(1..12).collect::<Vec<i32>>())?;
            (0..3).try_for_each(|i| decode(11 + i, &[5 + i]))?;
            model.seq_shift(0, 8, -1, 2)?;
            decode(16, &[9])?;
            Ok(rows)
        };
        let find = || Context::new("cuda:2", 1, None, LogLevel::Error);
        let expected = work(&find().unwrap()).unwrap();
        let right = |context: &Arc<Context>, what: &str| {
            let rows = work(context).unwrap_or_else(|e| panic!("after {what}: {e}\n{}", rig.report()));
            assert!(same_bits(&rows, &expected), "after {what}");
        };
        fail_each(rig, find, |found, what| {
            if let Ok(context) = found {
                right(&context, what);
            }
            rig.check_empty(what);
        });
        let context = find().unwrap();
        fail_each(
            rig,
            || work(&context),
            |outcome, what| {
                if let Ok(rows) = outcome {
                    assert!(same_bits(&rows, &expected), "{what}");
                }
                right(&context, what);
                rig.check_empty(what);
            },
        );
    });
}

/// A die that has less memory than it reports: the load fails and says so, or plans again and works.
#[test]
fn less_memory_than_reported_leads_to_a_new_plan() {
    let name = "less_memory_than_reported_leads_to_a_new_plan";
    with_rig(name, "dies = 2; memory = 64MiB; overhead = 1MiB; die.0.hidden = 58MiB", |rig| {
        let file = root().join("models/bible-5M-Q8_0.gguf");
        let params = Params { n_ctx: 256, n_batch: 32, n_ubatch: 32, ..Params::default() };
        let (context, plan) = plan(rig, "cuda:2", &file, &params, false, false);
        let before = plan.devices[0].memory;
        let Err(e) = Model::load(&context, &plan, LoadParams::default()) else { panic!("5 MiB that are not there") };
        assert_eq!((e.status, e.detail.device), (rekindle::Status::OutOfMemory, Some(0)), "{e}");
        assert!(e.detail.available < e.detail.needed, "{e}");
        let load = LoadParams { replan: true, ..LoadParams::default() };
        let model = Model::load(&context, &plan, load).unwrap();
        let after = model.plan();
        assert!(after.devices[0].memory.asked() < before.asked() && after.devices[1].memory.asked() > 0);
        assert_eq!(model.memory(0).unwrap(), after.devices[0].memory);
        decode_at(&model, 0, 0, &[5]);
        drop((model, plan, context));
        rig.check_empty(name);
    });
}

/// Peer copies are used only where a pattern arrived; results are the same either way.
#[test]
fn peers_are_proved() {
    with_rig("peers_are_proved", FOUR, |rig| {
        let file = fixture("models/llama-F32.gguf");
        let mut all = Vec::new();
        for (peer, proved) in [("yes", true), ("no", false), ("lies", false)] {
            rig.config(&format!("dies = 2; memory = 64MiB; overhead = 1MiB; peer = {peer}"));
            let (context, plan) = plan(rig, "cuda:2", &file, &exact_kv(), true, false);
            assert_eq!(context.inventory().link(0, 1).is_some(), proved, "{peer}");
            assert_eq!(
                plan.reasons.iter().any(|r| r.contains("does not arrive")),
                peer == "lies",
                "{:?}",
                plan.reasons
            );
            all.push(decode_at(&load_on(rig, &context, &plan, peer), 0, 0, &[1, 2, 3, 4, 5]));
            drop((context, plan));
            rig.check_empty(peer);
        }
        assert!(same_bits(&all[0], &all[1]) && same_bits(&all[0], &all[2]));
    });
}

/// Without a driver, `auto` gives the CPU, and the plan says why.
#[test]
fn no_driver_means_the_cpu() {
    with_library_path("no_driver_means_the_cpu", "/nonexistent", || {
        // A machine with a driver finds it all the same.
        if rekindle::device::Finder::all(&rekindle::cuda::Search, 1, true).is_ok() {
            println!("SKIPPED: this machine has CUDA devices");
            return;
        }
        no_gpu_because("is not there");
    });
}

fn no_gpu_because(why: &str) {
    let context = Context::new("auto", 1, None, LogLevel::Error).unwrap();
    assert_eq!(context.devices().len(), 1);
    let gguf = Arc::new(Gguf::open(&fixture("models/llama-F32.gguf")).unwrap());
    let plan = Plan::new(&context, &gguf, &Params::default()).unwrap();
    assert!(plan.reasons.iter().any(|r| r.contains("no GPU is used") && r.contains(why)), "{:?}", plan.reasons);
    let Err(e) = Context::new("cuda", 1, None, LogLevel::Error) else { panic!("there is no GPU") };
    assert!(e.status == rekindle::Status::Device && e.message.contains(why), "{e}");
}

#[test]
fn an_old_driver_is_told() {
    with_rig("an_old_driver_is_told", "driver = 10020", |_| no_gpu_because("10.2"));
}

#[test]
fn a_driver_without_devices_is_told() {
    with_rig("a_driver_without_devices_is_told", "dies = 0", |_| no_gpu_because("no device"));
}

/// A card that no image fits is left out of `auto`, and noted.
#[test]
fn a_card_that_is_too_old_is_left_out() {
    with_rig("a_card_that_is_too_old_is_left_out", "dies = 2; die.0.cc = 2.0; memory = 64MiB; overhead = 1MiB", |_| {
        let context = Context::new("auto", 1, None, LogLevel::Error).unwrap();
        assert_eq!(context.devices().len(), 2, "{:?}", context.inventory().notes);
        assert!(
            context.inventory().notes.iter().any(|n| n.contains("2.0 is too old")),
            "{:?}",
            context.inventory().notes
        );
    });
}

/// The real shape of deepseek-r1:14b, its weights zeros that take no room, loads as planned: on one die, and with a
/// longer context on two.
#[test]
fn a_real_shape_loads_as_planned() {
    let name = "a_real_shape_loads_as_planned";
    with_rig(name, "dies = 2; overhead = 95MiB", |rig| {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("deepseek-r1-14b-zeros.gguf");
        headers::from_row(headers::row("deepseek-r1:14b"), &path).unwrap();
        for (n_ctx, n_dies) in [(4096, 1), (32768, 2)] {
            let params = Params { n_ctx, type_k: Some(Type::F16), type_v: Some(Type::F16), ..Params::default() };
            let (context, plan) = plan(rig, "cuda:2", &path, &params, false, false);
            assert_eq!(plan.n_dies(), n_dies, "{}", plan.text());
            let model = load_on(rig, &context, &plan, name);
            for d in &plan.devices[..n_dies] {
                println!(
                    "n_ctx {n_ctx}: die {}: {} layers, {} bytes as planned",
                    d.device,
                    d.n_layers,
                    rig.bytes(d.device as i32)
                );
            }
            drop((model, plan, context));
            rig.check_empty(name);
        }
        std::fs::remove_file(&path).unwrap();
    });
}

/// Mixtures that a die is too small for: routed experts of some layers on the CPU, the rest of those layers on the die.
#[test]
fn experts_on_the_cpu_give_the_same() {
    with_dies("experts_on_the_cpu_give_the_same", FOUR, |rig| {
        let mut n = [0; 2];
        for case in plain_cases() {
            let gguf = Arc::new(Gguf::open(&case.file).unwrap());
            if !gguf.tensors().iter().any(|t| t.name.contains("_exps")) {
                continue;
            }
            let n_layer = rekindle::arch::build(&gguf).unwrap().1.n_layer;
            for n_dies in 1..=2.min(n_layer) {
                let dies: String = (0..n_dies).map(|i| format!(r#"{{"kind": "cuda", "ordinal": {i}}}, "#)).collect();
                // A CPU so slow that whole layers there are worse than the ways to it and back.
                let spec = format!(r#"[{dies}{{"kind": "cpu", "read_bandwidth": 1e6, "flops": 1e7}}]"#);
                let context = Context::new(&spec, 2, None, LogLevel::Error).unwrap();
                let room = context.devices()[0].free_bytes - context.devices()[0].driver_bytes;
                // Less and less memory, until experts have to go.
                let split = (0..2000).rev().find_map(|kib| {
                    let (reserve_bytes, max_layers) = (room - (kib << 10), Some(n_layer.div_ceil(n_dies)));
                    let limits = (0..n_dies).map(|device| DeviceLimit { device, reserve_bytes, max_layers }).collect();
                    let plan = Plan::new(&context, &gguf, &Params { limits, ..exact_kv() }).ok()?;
                    let apart = plan.layers.iter().any(|l| l.experts_device != l.device);
                    (plan.fits && apart && plan.n_dies() == n_dies as usize).then(|| Arc::new(plan))
                });
                let what = format!("{} on {n_dies}", case.name);
                let Some(plan) = split else {
                    println!("{what}: whole layers are always faster");
                    continue;
                };
                let model = load_on(rig, &context, &plan, &what);
                let mut own = decode_at(&model, 0, 0, &case.tokens[..12]).concat();
                (12..16).for_each(|i| own.extend(decode_at(&model, 0, i, &case.tokens[i as usize..][..1]).concat()));
                let expected = decode_at(&load(&case.file, &exact_kv()), 0, 0, &case.tokens[..16]).concat();
                let error = nmse(&own, &expected);
                let apart = plan.layers.iter().filter(|l| l.experts_device != l.device).count();
                println!("{what:26} {error:10.2e}, experts of {apart} layers on the CPU");
                assert!(error <= 1e-6, "{what}: {error:e}");
                n[n_dies as usize - 1] += 1;
                rig.check(&what);
            }
        }
        assert!(n.iter().all(|n| *n >= 3), "{n:?} mixtures on one die and on two");
    });
}
