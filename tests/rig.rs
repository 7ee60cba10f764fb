//! The CUDA path down to the driver call, on a rig of virtual dies (tests/rig): a libcuda.so.1 that executes the
//! kernels on the host, keeps account of every byte, and detects what a card would punish. With REKINDLE_GPU=1, what
//! needs no rig runs on cards.

#[path = "rig/cases.rs"]
mod cases;
#[path = "rig/failures.rs"]
mod failures;
#[path = "rig/found.rs"]
mod found;
#[path = "rig/groups.rs"]
mod groups;
#[path = "rig/sequences.rs"]
mod sequences;
#[path = "rig/timing.rs"]
mod timing;
#[path = "rig/virtual_rig.rs"]
mod virtual_rig;

mod support;

#[path = "support/headers/mod.rs"]
mod headers;

use std::path::PathBuf;
use std::sync::Arc;

use cases::*;
use rekindle::context::{Context, LogLevel};
use rekindle::device::Kind;
use rekindle::gguf::Gguf;
use rekindle::plan::{DeviceLimit, Params, Plan};
use rekindle::quant::Type;
use rekindle::session::{LoadParams, Model};
use support::*;
use virtual_rig::*;

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

/// Every fixture on 2 or 4 dies, on one die as two, or on dies with the CPU, token by token after a batch: what one die
/// gives, to the bit, but for layers on the CPU, which computes otherwise. Each goes two of these ways, which change
/// from one to the next.
#[test]
fn logits_do_not_depend_on_the_dies() {
    with_dies("logits_do_not_depend_on_the_dies", FOUR, |rig| {
        let spreads = spreads(rig);
        for (i, case) in cases().into_iter().enumerate() {
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
            for (spec, on_cpu) in spreads.iter().cycle().skip(i).step_by(2).take(2) {
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

/// Nodes that are joined into one launch give the bits that they give one by one: tokens alone, which join most, a few
/// together, and a prompt.
#[test]
fn joined_nodes_give_the_same_bits() {
    with_dies("joined_nodes_give_the_same_bits", FOUR, |rig| {
        let cached = [Type::F32, Type::F16, Type::Q8_0, Type::Q4_0];
        for (i, case) in cases().into_iter().enumerate() {
            let ty = Some(cached[i % cached.len()]);
            let wide = [Params { type_k: ty, type_v: ty, ..exact_kv() }, exact_kv()];
            let gguf = Arc::new(Gguf::open(&case.file).unwrap());
            let context = rig.context("cuda:1");
            // Not every model's rows are whole blocks of such a cache.
            let fits = |p: &Params| Plan::new(&context, &gguf, p).ok().filter(|p| p.fits);
            let Some(plan) = wide.iter().find_map(fits).map(Arc::new) else { continue };
            let [one, joined] = [true, false].map(|one_by_one| {
                let load = LoadParams { one_by_one, ..LoadParams::default() };
                let model = Model::load(&context, &plan, load).unwrap_or_else(|e| panic!("{}: {e}", case.name));
                let mut all = decode_at(&model, 0, 0, &case.tokens[..12]);
                all.extend(decode_at(&model, 0, 12, &case.tokens[12..15]));
                (15..18).for_each(|at| all.extend(decode_at(&model, 0, at as i32, &case.tokens[at..=at])));
                all
            });
            assert!(same_bits(&one, &joined), "{}: {:e}", case.name, nmse(&joined.concat(), &one.concat()));
            rig.check(&case.name);
        }
    });
}

/// The forms of products for other cards than the K80's generation: four rows of W a lane.
#[test]
fn other_cards_forms_are_exact() {
    with_rig("other_cards_forms_are_exact", "dies = 1; memory = 256MiB; overhead = 1MiB; cc = 6.0", |rig| {
        for case in cases() {
            let (context, plan) = plan(rig, "cuda:1", &case.file, &exact_kv(), false, false);
            let model = load_on(rig, &context, &plan, &case.name);
            let tokens = &case.tokens[..8];
            let own: Vec<f32> = (0..8).flat_map(|i| decode_at(&model, 0, i as i32, &tokens[i..=i]).concat()).collect();
            drop(model);
            let load = LoadParams { one_by_one: true, ..LoadParams::default() };
            let model = Model::load(&context, &plan, load).unwrap();
            let all = decode_at(&model, 0, 0, tokens).concat();
            let error = nmse(&own, &all);
            assert!(error <= 1e-6, "{}: {error:e}", case.name);
            rig.check(&case.name);
        }
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

/// Experts of a layer in the middle, which the caller has put on the CPU, and whole layers on a die that the planner
/// would not have taken.
#[test]
fn placements_of_the_caller_give_the_same() {
    with_dies("placements_of_the_caller_give_the_same", FOUR, |rig| {
        let mut n = 0;
        for case in plain_cases() {
            let gguf = Arc::new(Gguf::open(&case.file).unwrap());
            let graph = rekindle::arch::build(&gguf).unwrap().1;
            let has =
                |layer: u32| graph.nodes.iter().any(|n| n.layer == layer && n.part == rekindle::graph::Part::Experts);
            if graph.n_layer < 3 || !has(1) {
                continue;
            }
            let context = Context::new("cuda:2,cpu", 2, None, LogLevel::Error).unwrap();
            let placements = r"^blk\.1\..*_exps=CPU,^blk\.[01]\.=CUDA0,^blk\.2\.=CUDA1".to_owned();
            let plan = Arc::new(Plan::new(&context, &gguf, &Params { placements, ..exact_kv() }).unwrap());
            assert!(plan.fits, "{}: {}", case.name, plan.text());
            let places: Vec<_> = plan.layers.iter().map(|l| (l.device, l.experts_device)).collect();
            assert!(places[0].0 == 0 && places[1] == (0, 2) && places[2].0 == 1, "{places:?}");
            let model = load_on(rig, &context, &plan, &case.name);
            let own = decode_at(&model, 0, 0, &case.tokens[..16]).concat();
            let expected = decode_at(&load(&case.file, &exact_kv()), 0, 0, &case.tokens[..16]).concat();
            let error = nmse(&own, &expected);
            println!("{:26} {error:10.2e}", case.name);
            assert!(error <= 1e-6, "{}: {error:e}", case.name);
            rig.check(&case.name);
            n += 1;
        }
        assert!(n >= 2, "{n} mixtures of three layers");
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
                let split = (0..2000).rev().step_by(8).find_map(|kib| {
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
