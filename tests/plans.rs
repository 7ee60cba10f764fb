//! Plans of real shapes for several dies: header-only files, described devices.

#[path = "support/headers/mod.rs"]
mod headers;
#[path = "plans/placements.rs"]
mod placements;
mod support;

use std::path::PathBuf;
use std::sync::Arc;

use rekindle::Status;
use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::plan::{Answer, DeviceLimit, EstimatorKind, Objective, Params, Plan, Question, Source, Weights};
use rekindle::quant::Type;
use rekindle::session::{Batch, LoadParams, Model};
use support::{fixture, root};

const MIB: u64 = 1 << 20;

fn file(tag: &str) -> Arc<Gguf> {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "plans-{}-{}",
        std::process::id(),
        headers::file_name(tag)
    ));
    if !path.exists() {
        // Tests run side by side: written aside, then put in place.
        let aside = path.with_extension(format!("{:?}", std::thread::current().id()));
        headers::from_row(headers::row(tag), &aside).unwrap();
        std::fs::rename(&aside, &path).unwrap();
    }
    let file = Arc::new(Gguf::open(&path).unwrap());
    let _ = std::fs::remove_file(&path);
    file
}

fn context(devices: &str) -> Arc<Context> {
    Context::new(devices, 2, None, LogLevel::Error).unwrap()
}

fn plan(tag: &str, devices: &str, params: &Params) -> Plan {
    Plan::new(&context(devices), &file(tag), params).unwrap()
}

fn at(n_ctx: u32) -> Params {
    Params { n_ctx, ..Params::default() }
}

fn with_kv(ty: Type, n_ctx: u32) -> Params {
    Params { type_k: Some(ty), type_v: Some(ty), ..at(n_ctx) }
}

/// The fork's published 25 + 24 layers and 16.22 GiB on two dies; measured, the model is on one.
#[test]
fn a_14b_is_on_one_die_where_the_fork_takes_two() {
    let family = plan("deepseek-r1:14b", "k80:2", &Params { estimator: EstimatorKind::Family, ..at(4096) });
    let layers: Vec<u32> = family.devices[..2].iter().map(|d| d.n_layers + u32::from(d.has_output)).collect();
    assert_eq!(layers, [25, 24]);
    let total: u64 = family.devices[..2].iter().map(|d| d.memory.needed()).sum();
    assert_eq!(format!("{:.2}", total as f64 / 1073741824.0), "16.22");
    assert!(family.fits && family.estimator == "family");

    let measured = plan("deepseek-r1:14b", "k80:2", &at(4096));
    assert!(measured.fits && measured.n_dies() == 1, "{}", measured.text());
    let die = measured.devices[0].memory;
    // By hand: 7.96 GiB of weights, 48 layers of 4096 x 2 x 1024 halves, and what a micro-batch's kernels look up: of
    // 512 tokens positions, cells and runs, one row of logits, 4096 spans, each table padded.
    assert_eq!(
        die.kv,
        48 * 4096 * 2 * 1024 * 2 + (512 * (4 + 4 + 16) + 4 + 4096 * 12u64 + 5 * 16).next_multiple_of(64)
    );
    assert_eq!(format!("{:.2}", die.weights as f64 / 1073741824.0), "7.96");
    assert!(measured.compare(&family).contains("16.22 GiB"));
}

/// Published for the fork: 2 to 3 dies and 17.8 GB for 14b, 4 dies and 34 GB for 32b, with F16.
#[test]
fn q8_0_kv_at_16k_needs_one_and_two_dies() {
    for (tag, n) in [("deepseek-r1:14b", 1), ("deepseek-r1:32b", 2)] {
        let p = plan(tag, "k80:4", &with_kv(Type::Q8_0, 16384));
        assert!(p.fits && p.n_dies() == n, "{}", p.text());
        let ask = |devices: &str| {
            Plan::ask(&context(devices), &file(tag), &with_kv(Type::Q8_0, 16384), Question::FewestDevices).unwrap()
        };
        assert_eq!(ask("k80:4"), Some(Answer::Devices(n as u32)));
        assert_eq!(ask("k80:1"), (n == 1).then_some(Answer::Devices(1)));
    }
}

/// Attention streams and logits are kept for the rows asked for: the arena depends on neither the context nor n_batch.
#[test]
fn the_compute_arena_grows_with_neither_context_nor_batch() {
    let compute = |params: &Params| {
        let p = plan("deepseek-r1:14b", "k80:4", params);
        assert!(p.fits, "{}", p.text());
        let used = p.devices.iter().filter(|d| d.n_layers > 0);
        used.map(|d| d.memory.compute).max().unwrap()
    };
    let short = compute(&at(4096));
    assert_eq!(compute(&at(131072)), short);
    assert_eq!(compute(&Params { n_batch: 4096, n_ubatch: 512, ..at(16384) }), short);
    assert!(short < 200 * MIB, "{short}");
    println!("compute arena of 14b at n_ubatch 512: {short} bytes at 4096 and 131072 tokens of context");
}

#[test]
fn a_context_that_is_left_open_is_the_largest_that_fits() {
    // A little of the die stays free, unless the caller says how much.
    let p = plan("deepseek-r1:14b", "k80:1", &Params::default());
    assert!(p.fits && p.n_ctx_source == Source::Limited, "{}", p.text());
    let (die, left) = p.tightest().unwrap();
    assert!(left >= die.total_bytes / 64 && left < die.total_bytes / 60, "{}", p.text());
    assert!(p.reasons.iter().any(|r| r.contains("largest that fits with 1/64 of each device to spare")));
    let full = plan("deepseek-r1:14b", "k80:1", &Params { reserve_bytes: 1, ..Params::default() });
    assert!(full.fits && full.n_ctx > p.n_ctx && full.tightest().unwrap().1 < MIB, "{}", full.text());
    let larger = plan("deepseek-r1:14b", "k80:1", &with_kv(full.type_k, full.n_ctx + 1));
    assert!(!larger.fits, "{} tokens more fit", larger.n_ctx);
    assert!(full.reasons.iter().any(|r| r.contains("largest that fits;")));
    let ask = Plan::ask(&context("k80:1"), &file("deepseek-r1:14b"), &with_kv(p.type_k, 0), Question::LargestContext)
        .unwrap();
    assert_eq!(ask, Some(Answer::Tokens(full.n_ctx)));
    // The CPU is not taken for the sake of context.
    let mixed = plan("deepseek-r1:14b", "k80:1,cpu", &Params::default());
    assert_eq!((mixed.n_ctx, mixed.n_cpu_layers()), (p.n_ctx, 0));
    // All that it was trained for where there is room.
    let whole = plan("deepseek-r1:14b", "k80:4", &Params::default());
    assert_eq!((whole.n_ctx, whole.n_ctx_source), (131072, Source::File));
}

/// A context that is limited to what fits is like one that was asked for: the same batch and bytes, the same demands on
/// it.
#[test]
fn a_limited_context_holds_its_batches_and_sequences() {
    let tag = "deepseek-v2-lite";
    // The die has the bytes for just `n_ctx` tokens.
    let just = |n_ctx: u32, params: &Params| {
        let asked = plan(tag, "k80:2", &Params { n_ctx, ..params.clone() });
        let limits = (0..2).map(|device| {
            let d = &asked.devices[device as usize];
            DeviceLimit { device, reserve_bytes: d.free_bytes - d.memory.needed(), max_layers: None }
        });
        Params { limits: limits.collect(), ..params.clone() }
    };
    let limited = |params: &Params| plan(tag, "k80:2", &Params { n_ctx: 0, ..params.clone() });
    let f16 = with_kv(Type::F16, 0);
    for params in [f16.clone(), Params { n_batch: 2048, n_ubatch: 64, n_seq_max: 8, ..f16.clone() }] {
        let params = just(600, &params);
        let (open, asked) = (limited(&params), plan(tag, "k80:2", &Params { n_ctx: 600, ..params.clone() }));
        assert_eq!((open.n_ctx, open.n_ctx_source, open.fits), (600, Source::Limited, true), "{}", open.text());
        assert_eq!((open.n_batch, open.n_ubatch), (600, asked.n_ubatch), "{}", open.text());
        assert!(open.devices.iter().zip(&asked.devices).all(|(a, b)| a.memory == b.memory), "{}", open.text());
    }
    // Sequences, rows of logits, a batch: what a context could not hold if it was asked for does not fit.
    let small = Params { n_ubatch: 64, n_batch: 2048, ..f16 };
    let small = just(100, &small);
    assert_eq!((limited(&small).n_ctx, limited(&small).n_batch), (100, 100));
    for params in [Params { n_seq_max: 200, ..small.clone() }, Params { n_outputs_max: 150, ..small.clone() }] {
        let p = limited(&params);
        assert!(!p.fits && p.devices.iter().any(|d| d.shortfall > 0), "{}", p.text());
        let e = Plan::new(&context("k80:2"), &file(tag), &Params { n_ctx: 100, ..params.clone() }).err().unwrap();
        assert_eq!(e.status, Status::InvalidArgument);
        let ask = Plan::ask(&context("k80:2"), &file(tag), &params, Question::LargestContext).unwrap();
        assert_eq!(ask, None);
    }
}

/// The largest context fits and the next does not, also where it is smaller than a batch, whatever context the
/// parameters have.
#[test]
fn the_largest_context_is_the_largest() {
    let tag = "deepseek-r1:1.5b";
    let f16 = with_kv(Type::F16, 0);
    for (n_ctx, n_batch) in [(60, 512), (700, 0), (5000, 0)] {
        let asked = plan(tag, "k80:1", &Params { n_ctx, n_batch, ..f16.clone() });
        let reserve_bytes = asked.devices[0].free_bytes - asked.devices[0].memory.needed();
        let limits = vec![DeviceLimit { device: 0, reserve_bytes, max_layers: None }];
        for with in [0, 16] {
            let params = Params { n_ctx: with, n_batch, limits: limits.clone(), ..f16.clone() };
            let ask = Plan::ask(&context("k80:1"), &file(tag), &params, Question::LargestContext).unwrap();
            assert_eq!(ask, Some(Answer::Tokens(n_ctx)), "n_ctx {with}");
            let fits = |n_ctx| plan(tag, "k80:1", &Params { n_ctx, ..params.clone() }).fits;
            assert!(fits(n_ctx) && !fits(n_ctx + 1), "{n_ctx}");
        }
    }
}

#[test]
fn kv_is_q8_0_where_f16_does_not_fit() {
    let f16 = plan("deepseek-r1:32b", "k80:3", &at(16384));
    assert_eq!((f16.type_k, f16.fits), (Type::F16, true), "{}", f16.text());
    let q8 = plan("deepseek-r1:32b", "k80:2", &at(16384));
    assert_eq!((q8.type_k, q8.fits), (Type::Q8_0, true), "{}", q8.text());
    assert!(q8.reasons.iter().any(|r| r.contains("Q8_0")));
    let best = |devices: &str| {
        Plan::ask(&context(devices), &file("deepseek-r1:32b"), &at(16384), Question::BestKvType).unwrap()
    };
    assert_eq!(best("k80:3"), Some(Answer::KvType(Type::F16)));
    assert_eq!(best("k80:2"), Some(Answer::KvType(Type::Q8_0)));
    assert_eq!(best("k80:1"), None);
}

/// The largest n_ubatch fits and the next does not.
#[test]
fn the_largest_batch_is_the_largest() {
    let params = with_kv(Type::F16, 12000);
    let ask = Plan::ask(&context("k80:1"), &file("deepseek-r1:14b"), &params, Question::LargestBatch).unwrap();
    let Some(Answer::Tokens(n)) = ask else { panic!("{ask:?}") };
    let with = |n_batch: u32| plan("deepseek-r1:14b", "k80:1", &Params { n_batch, ..params.clone() }).fits;
    assert!(with(n) && !with(n + 1), "{n}");
}

/// Each remedy was planned: what it promises comes true.
#[test]
fn a_model_that_does_not_fit_says_what_would() {
    let p = plan("deepseek-r1:32b", "k80:1", &with_kv(Type::F16, 16384));
    assert!(!p.fits);
    let short = p.devices[0].shortfall;
    assert!(short > 8 << 30 && p.devices[0].memory.needed() - short == p.devices[0].free_bytes, "{short}");
    let text = p.text();
    let short = format!("DOES NOT FIT: device 0 is short by {:.2} GiB\n", short as f64 / f64::from(1 << 30));
    assert!(text.starts_with(&short), "{text}");
    assert!(p.remedies().iter().any(|r| r == "--devices k80:3: it fits on dies alone"), "{:?}", p.remedies());
    assert!(plan("deepseek-r1:32b", "k80:3", &with_kv(Type::F16, 16384)).fits);

    let p = plan("deepseek-r1:14b", "k80:1", &with_kv(Type::F16, 131072));
    let number = |start: &str| -> u32 {
        let rest = p.remedies().iter().find_map(|r| r.strip_prefix(start));
        rest.and_then(|r| r.split_once(':')).unwrap_or_else(|| panic!("{:?}", p.remedies())).0.parse().unwrap()
    };
    assert!(plan("deepseek-r1:14b", "k80:1", &with_kv(Type::F16, number("--ctx "))).fits);
    let smaller = number("--kv q8_0 --ctx ");
    assert!(smaller > number("--ctx ") && plan("deepseek-r1:14b", "k80:1", &with_kv(Type::Q8_0, smaller)).fits);
    let error = Model::load(&context("k80:1"), &Arc::new(p), LoadParams::default()).err().unwrap();
    assert_eq!(error.status, Status::InvalidArgument, "another context");

    // The CPU, which was left out, holds what is missing.
    let p = plan("deepseek-r1:14b", "k80:1", &with_kv(Type::F16, 32768));
    let helps = |r: &&String| r.starts_with("--devices k80:1,cpu: it fits with ") && r.contains("tokens/s");
    assert!(p.remedies().iter().any(|r| helps(&r)), "{:?}", p.remedies());
    assert!(plan("deepseek-r1:14b", "k80:1,cpu", &with_kv(Type::F16, 32768)).fits);
}

#[test]
fn described_dies_are_planned_for_and_not_loaded() {
    let context = context("k80:2");
    let file = file("deepseek-r1:1.5b");
    let p = Plan::new(&context, &file, &at(2048)).unwrap();
    assert!(p.fits);
    let e = Model::load(&context, &Arc::new(p), LoadParams::default()).err().unwrap();
    assert_eq!((e.status, e.detail.device), (Status::Device, Some(0)), "{e}");
    let estimate = Plan::new(&context, &file, &Params { estimator: EstimatorKind::Family, ..at(2048) }).unwrap();
    let e = Model::load(&context, &Arc::new(estimate), LoadParams::default()).err().unwrap();
    assert!(e.status == Status::Unsupported && e.message.contains("estimate"), "{e}");
}

#[test]
fn objectives_differ() {
    let with = |objective| plan("deepseek-r1:14b", "k80:4,cpu", &Params { objective, ..with_kv(Type::F16, 4096) });
    let (fast, steady, roomy) = (with(Objective::Latency), with(Objective::Throughput), with(Objective::Headroom));
    assert_eq!((fast.n_dies(), steady.n_dies(), roomy.n_dies()), (1, 4, 4));
    assert_eq!((steady.n_cpu_layers(), roomy.n_cpu_layers()), (0, 0));
    let speed = |p: &Plan| p.prediction.unwrap();
    assert!(speed(&fast).decode > speed(&steady).decode);
    assert!(speed(&steady).pipelined > 3.0 * speed(&fast).decode, "{:?}", speed(&steady));
    let left = |p: &Plan| p.devices[..4].iter().map(|d| d.free_bytes - d.memory.needed()).min().unwrap();
    assert!(left(&roomy) > left(&fast));
}

/// Layers that do not fit on the dies go to the CPU, as few as possible; limits are kept to the byte and the layer.
#[test]
fn limits_are_kept() {
    let p = plan("deepseek-r1:32b", "k80:1,cpu", &with_kv(Type::Q8_0, 4096));
    assert!(p.fits && p.n_cpu_layers() > 20, "{}", p.text());
    let (die, left) = p.tightest().unwrap();
    let layer = p.layers[40].weights + p.layers[40].kv;
    assert!(die.device == 0 && left < layer, "another layer of {layer} bytes would fit into {left}");

    let limit = |device, reserve_bytes, max_layers| DeviceLimit { device, reserve_bytes, max_layers };
    let limits = vec![limit(0, 0, Some(10)), limit(1, 2 << 30, None), limit(3, 0, Some(0))];
    let p = plan("deepseek-r1:14b", "k80:4", &Params { limits, ..at(4096) });
    assert!(p.fits, "{}", p.text());
    assert!(p.devices[0].n_layers <= 10 && p.devices[3].n_layers == 0);
    assert!(p.devices[1].memory.needed() + (2 << 30) <= p.devices[1].free_bytes);

    // Bytes would suffice, but ten layers are left without a place.
    let limits = (0..2).map(|d| limit(d, 0, Some(19))).collect();
    let p = plan("deepseek-r1:14b", "k80:2", &Params { limits, ..at(4096) });
    assert!(!p.fits && p.text().contains("without a place"), "{}", p.text());
}

/// A die, and a host whose figures do not depend on this machine.
fn die_and_host(n_dies: usize, host_gib: u64) -> String {
    format!(
        r#"[{{"profile":"k80","count":{n_dies}}},
            {{"kind":"cpu","total_bytes":{},"read_bandwidth":4e10,"flops":4e11,"host_bandwidth":4e10}}]"#,
        host_gib << 30
    )
}

/// The experts of as few layers as the die needs are on the CPU, every byte has its place, and it is faster than whole
/// layers there.
#[test]
fn experts_go_to_the_cpu_where_the_die_is_too_small() {
    for (tag, n_ctx) in [("qwen3:30b-a3b", 4096), ("qwen3:30b-a3b", 32768), ("gpt-oss:20b", 32768)] {
        let p = plan(tag, &die_and_host(1, 64), &with_kv(Type::F16, n_ctx));
        let n = p.n_cpu_experts();
        assert!(p.fits && n > 0 && p.n_cpu_layers() == 0, "{}", p.text());
        let apart: Vec<u32> = p.layers.iter().filter(|l| l.experts_device != l.device).map(|l| l.layer).collect();
        assert_eq!(apart, (0..n).collect::<Vec<_>>());
        // The plan without a CPU lacks on its die just the bytes of these experts, and those of one layer fewer would
        // not do.
        let alone = plan(tag, "k80:1", &with_kv(Type::F16, n_ctx));
        let (die, cpu) = (p.devices[0].memory, p.devices[1].memory);
        assert!(!alone.fits && alone.devices[0].memory.kv == die.kv);
        let moved = alone.devices[0].memory.weights - die.weights;
        let embedding = alone.devices[1].memory.mapped;
        assert_eq!(moved, cpu.mapped - embedding, "{}", p.text());
        let left = p.devices[0].free_bytes - die.needed();
        assert!(left < moved / u64::from(n) * 3 / 2, "{left} left, {moved} moved");

        let (text, reason) =
            (p.text(), p.reasons.iter().find(|r| r.starts_with("experts of layer")).expect("a reason"));
        assert!(text.contains("  experts of 0") && text.contains("experts on device 1"), "{text}");
        let whole =
            reason.split("with whole layers there ").nth(1).and_then(|r| r.split(' ').next()).expect("a figure");
        let (decode, whole) = (p.prediction.unwrap().decode, whole.parse::<f64>().unwrap());
        assert!(decode > whole, "{text}");
        println!("{tag} at {n_ctx}: {decode:.1} tokens/s, {whole:.1} with whole layers on the CPU; {reason}");
        assert!(p.remedies().iter().any(|r| r.contains("fits on dies alone")), "{:?}", p.remedies());
        let e = Model::load(&context(&die_and_host(1, 64)), &Arc::new(p), LoadParams::default()).err().unwrap();
        assert_eq!(e.status, Status::InvalidArgument, "another context");
    }
}

#[test]
fn experts_stay_with_their_layers_where_they_can_or_must() {
    let whole = |p: &Plan| p.n_cpu_experts() == 0 && p.layers.iter().all(|l| l.experts_device == l.device);
    // Enough dies; a shorter context on a die alone; a dense model; no CPU for layers; a CPU that is too small or
    // limited.
    let p = plan("qwen3:30b-a3b", &die_and_host(2, 64), &with_kv(Type::F16, 4096));
    assert!(p.fits && whole(&p) && p.n_dies() == 2, "{}", p.text());
    let p = plan("gpt-oss:20b", &die_and_host(1, 64), &Params::default());
    assert!(p.fits && whole(&p) && p.n_cpu_layers() == 0 && p.n_ctx_source == Source::Limited, "{}", p.text());
    assert!(whole(&plan("deepseek-r1:32b", &die_and_host(1, 64), &at(4096))));
    let p = plan("qwen3:30b-a3b", "k80:1", &at(4096));
    assert!(!p.fits && whole(&p), "{}", p.text());
    let p = plan("qwen3:30b-a3b", &die_and_host(1, 4), &at(4096));
    assert!(!p.fits && whole(&p), "{}", p.text());
    let limits = vec![DeviceLimit { device: 1, reserve_bytes: 0, max_layers: Some(3) }];
    let p = plan("qwen3:30b-a3b", &die_and_host(1, 64), &Params { limits, ..at(4096) });
    assert!(!p.fits && whole(&p), "{}", p.text());
    // Two dies that are too small.
    let p = plan("qwen3:30b-a3b", &die_and_host(2, 64), &Params { reserve_bytes: 4 << 30, ..with_kv(Type::F16, 4096) });
    assert!(p.fits && p.n_cpu_experts() > 0 && p.n_dies() == 2, "{}", p.text());
}

#[test]
fn unequal_devices_are_filled_by_what_they_have() {
    let devices = r#"[{"name":"small","kind":"cuda","total_bytes":4294967296,"read_bandwidth":1e11},
                      {"name":"large","kind":"cuda","total_bytes":8589934592,"read_bandwidth":3e11}]"#;
    let p = plan("deepseek-r1:14b", devices, &with_kv(Type::F16, 4096));
    assert!(p.fits, "{}", p.text());
    // The faster one is full, the slower one has the rest.
    assert!(p.devices[1].n_layers > p.devices[0].n_layers);
    let left = p.devices[1].free_bytes - p.devices[1].memory.needed();
    assert!(left < p.layers[0].weights + p.layers[0].kv, "{}", p.text());
}

#[test]
fn contradictions_are_refused_by_name() {
    let file = file("deepseek-r1:1.5b");
    let one = context("k80:1");
    let limit = |device, reserve_bytes, max_layers| vec![DeviceLimit { device, reserve_bytes, max_layers }];
    for (params, subject) in [
        (Params { n_seq_max: 9, ..at(8) }, "n_seq_max"),
        (Params { n_seq_max: 257, ..at(4096) }, "n_seq_max"),
        (Params { n_batch: 16, n_ubatch: 64, ..at(4096) }, "n_ubatch"),
        (Params { n_outputs_max: 513, ..at(4096) }, "n_outputs_max"),
        (Params { margin: -1.0, ..at(4096) }, "margin"),
        (Params { margin: f64::NAN, ..at(4096) }, "margin"),
        (Params { type_k: Some(Type::Q4_K), ..at(4096) }, "type_k"),
        (Params { limits: limit(7, 0, None), ..at(4096) }, "limits"),
        (Params { limits: limit(0, 1 << 40, None), ..at(4096) }, "limits"),
        (Params { limits: limit(0, 0, Some(0)), ..at(4096) }, "limits"),
        (Params { limits: [limit(0, 0, None), limit(0, 0, None)].concat(), ..at(4096) }, "limits"),
        (at(u32::MAX), "n_ctx"),
    ] {
        let e = Plan::new(&one, &file, &params).err().unwrap_or_else(|| panic!("{params:?} was planned"));
        assert_eq!(e.detail.subject, subject, "{e}");
    }
    let all = Plan::new(&one, &file, &Params { reserve_bytes: u64::MAX, ..at(4096) }).unwrap();
    assert!(!all.fits && all.devices[0].shortfall > 0);
}

/// Without a graph, or kernels for a type, the family's formulas answer, and the plan says so.
#[test]
fn what_cannot_be_measured_gets_an_estimate() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("plans-unknown-{}.gguf", std::process::id()));
    let mut header = headers::of_row(headers::row("mistral:7b"));
    let rename = |s: &str| s.replace("llama.", "unheard-of.");
    header.keys = header.keys.into_iter().map(|(k, v)| (rename(&k), v)).collect();
    header.keys.retain(|(k, _)| k != "general.architecture");
    header.keys.push(("general.architecture".to_owned(), "unheard-of".into()));
    header.write(&path).unwrap();
    let file = Arc::new(Gguf::open(&path).unwrap());
    let context = context("k80:2");
    let p = Plan::new(&context, &file, &at(4096)).unwrap();
    assert_eq!((p.estimator, p.loadable()), ("family", false));
    assert!(p.text().contains("an estimate") && p.text().contains("unheard-of"), "{}", p.text());
    let e = Plan::new(&context, &file, &Params { estimator: EstimatorKind::Measured, ..at(4096) }).err().unwrap();
    assert!(e.status == Status::Unsupported && e.message.contains("unheard-of"), "{e}");
    let e = Model::load(&context, &Arc::new(p), LoadParams::default()).err().unwrap();
    assert!(e.status != Status::Ok && (e.message.contains("unheard-of") || e.status == Status::NotFit), "{e}");
    std::fs::remove_file(&path).unwrap();
}

/// The planned bytes are those that are measured again, allocated and used: for every small model, with batch sizes,
/// contexts and types.
#[test]
fn every_plan_is_allocated_to_the_byte() {
    let mut n = 0;
    let mut seed = 7u32;
    let mut pick = |list: &[u32]| {
        seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
        list[(seed >> 16) as usize % list.len()]
    };
    let files = std::fs::read_dir(fixture("models")).unwrap().chain(std::fs::read_dir(root().join("models")).unwrap());
    for path in files.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "gguf")) {
        let file = Arc::new(Gguf::open(&path).unwrap());
        for _ in 0..12 {
            let n_ctx = pick(&[1, 31, 64, 500, 4096]);
            let n_seq_max = pick(&[1, 2, 5]).min(n_ctx);
            let n_batch = pick(&[0, 1, 17, 64, 512]).min(n_ctx);
            let kv = [Type::F32, Type::F16, Type::Q8_0, Type::Q4_0][pick(&[0, 1, 2, 3]) as usize];
            let params = Params {
                n_seq_max,
                n_batch,
                n_ubatch: pick(&[0, 1, 8]).min(n_batch),
                type_k: Some(kv),
                type_v: Some(kv),
                weights: if pick(&[0, 1]) == 0 { Weights::Auto } else { Weights::Copied },
                ..at(n_ctx)
            };
            let context = context("cpu");
            let Ok(plan) = Plan::new(&context, &file, &params).map(Arc::new) else {
                // Heads that are no whole number of blocks.
                assert!(kv.block_len() > 1);
                continue;
            };
            let model = Model::load(&context, &plan, LoadParams::default()).unwrap();
            assert_eq!(model.memory(0).unwrap(), plan.devices[0].memory, "{} {params:?}", path.display());
            let tokens: Vec<i32> = (3..3 + plan.n_batch as i32).map(|t| t % 50).collect();
            model.decode(&Batch { tokens: &tokens, ..Batch::default() }).unwrap();
            n += 1;
        }
    }
    println!("{n} plans allocated to the byte, and decoded with a full batch");
    assert!(n > 150, "{n}");
}
