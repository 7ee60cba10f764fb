//! Planning times and memory, on header-only files of real shapes, beside what is required. Medians of many runs.
//!
//! `cargo bench --bench plan [-- PART...]`, a part being `two-dies`, `eight-unequal`, `many-unequal` or `experts`

#[path = "../tests/support/headers/mod.rs"]
mod headers;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::plan::{Objective, Params, Plan, Question};

const TWO_DIES: &str = "k80:2";
/// No two alike; 70b at 16384 tokens takes at least six of them.
const EIGHT_UNEQUAL: &str = r#"[
    {"kind": "cuda", "total_bytes": 12000000000, "read_bandwidth": 150e9, "flops": 4.0e12, "host_bandwidth": 8e9},
    {"kind": "cuda", "total_bytes": 11000000000, "read_bandwidth": 140e9, "flops": 3.9e12, "host_bandwidth": 8.1e9},
    {"kind": "cuda", "total_bytes": 8000000000, "read_bandwidth": 224e9, "flops": 5.0e12, "host_bandwidth": 12e9},
    {"kind": "cuda", "total_bytes": 6000000000, "read_bandwidth": 192e9, "flops": 3.8e12, "host_bandwidth": 11e9},
    {"kind": "cuda", "total_bytes": 10000000000, "read_bandwidth": 300e9, "flops": 6.1e12, "host_bandwidth": 6e9},
    {"kind": "cuda", "total_bytes": 7000000000, "read_bandwidth": 120e9, "flops": 2.9e12, "host_bandwidth": 5e9},
    {"kind": "cuda", "total_bytes": 9000000000, "read_bandwidth": 180e9, "flops": 4.4e12, "host_bandwidth": 9e9},
    {"kind": "cuda", "total_bytes": 5000000000, "read_bandwidth": 110e9, "flops": 2.1e12, "host_bandwidth": 4e9}]"#;

fn median<T: Copy + PartialOrd>(mut of: Vec<T>) -> T {
    of.sort_by(|a, b| a.partial_cmp(b).expect("comparable"));
    of[of.len() / 2]
}

/// Median milliseconds of a call, over about a second and at least five of them.
fn time(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut all = Vec::new();
    while all.len() < 5 || start.elapsed() < Duration::from_secs(1) {
        let t = Instant::now();
        call();
        all.push(t.elapsed().as_secs_f64() * 1e3);
    }
    median(all)
}

fn print(what: &str, measured: f64, unit: &str, most: Option<f64>) {
    let required =
        most.map_or(String::new(), |m| format!("{m:>8} {unit:3}  {}", if measured < m { "met" } else { "MISSED" }));
    println!("{what:62} {measured:>9.2} {unit:3} {required}");
}

fn context(spec: &str) -> Arc<Context> {
    Context::new(spec, 0, None, LogLevel::Error).expect("devices")
}

fn plan(context: &Arc<Context>, file: &Arc<Gguf>, params: &Params) -> Plan {
    Plan::new(context, file, params).expect("a plan")
}

fn params(n_ctx: u32) -> Params {
    Params { n_ctx, ..Params::default() }
}

fn open(path: &Path) -> Arc<Gguf> {
    Arc::new(Gguf::open(path).expect("a file"))
}

/// The work of a fresh process: it opens the file, plans, and prints its peak memory.
fn child(path: &Path) {
    plan(&context(TWO_DIES), &open(path), &params(4096));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).and_then(|l| l.split_whitespace().next());
    println!("{}", peak.unwrap_or("nan"));
}

/// Median milliseconds and MiB of fresh processes, from starting one to its end.
fn fresh_processes(path: &Path) -> (f64, f64) {
    let me = std::env::current_exe().expect("this program");
    let run = || {
        let t = Instant::now();
        let out = Command::new(&me).arg("--child").arg(path).output().expect("a process");
        let ms = t.elapsed().as_secs_f64() * 1e3;
        let kib: f64 = String::from_utf8_lossy(&out.stdout).trim().parse().expect("VmHWM");
        (ms, kib / 1024.0)
    };
    let (ms, mib): (Vec<f64>, Vec<f64>) = (0..15).map(|_| run()).unzip();
    (median(ms), median(mib))
}

fn header(tag: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plan-bench");
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(headers::file_name(tag));
    headers::from_row(headers::row(tag), &path).expect("a header");
    path
}

fn two_dies() {
    let path = header("deepseek-r1:14b");
    let p = params(4096);
    println!("\ndeepseek-r1:14b, 152064 tokens of vocabulary, at 4096 on {TWO_DIES}; the file is in the page cache");
    let cold = time(|| drop(plan(&context(TWO_DIES), &open(&path), &p)));
    print("cold: devices, open, plan", cold, "ms", Some(50.0));
    let (ms, mib) = fresh_processes(&path);
    print("cold: the same as a process of its own, start to end", ms, "ms", Some(50.0));
    print("peak memory of that process", mib, "MiB", Some(64.0));
    print("devices alone", time(|| drop(context(TWO_DIES))), "ms", None);
    print("open alone", time(|| drop(open(&path))), "ms", None);
    let (context, file) = (context(TWO_DIES), open(&path));
    print("repeated: plan again with the file open", time(|| drop(plan(&context, &file, &p))), "ms", Some(5.0));
    for (name, n_ctx) in [("repeated, 32768 tokens, two dies used", 32768), ("repeated, longest context that fits", 0)]
    {
        print(name, time(|| drop(plan(&context, &file, &params(n_ctx)))), "ms", Some(5.0));
    }
    print("repeated, with text and remedies", time(|| drop(plan(&context, &file, &p).text())), "ms", None);
    let one = self::context("k80:1");
    print("repeated, 4096 on k80:1, which fits", time(|| drop(plan(&one, &file, &p))), "ms", None);
    print("does not fit: 131072 on k80:1", time(|| drop(plan(&one, &file, &params(131_072)))), "ms", None);
    let text = || drop(plan(&one, &file, &params(131_072)).text());
    print("the same with text and remedies", time(text), "ms", None);
}

fn eight_unequal() {
    let path = header("deepseek-r1:70b");
    println!("\ndeepseek-r1:70b, 80 layers, at 16384 on 8 unequal devices");
    let (context, file) = (context(EIGHT_UNEQUAL), open(&path));
    for (name, objective) in OBJECTIVES {
        let p = Params { objective, ..params(16384) };
        let dies = plan(&context, &file, &p).n_dies();
        let what = format!("objective {name}, {dies} used");
        print(&what, time(|| drop(plan(&context, &file, &p))), "ms", Some(100.0));
    }
    print("latency, longest context that fits", time(|| drop(plan(&context, &file, &params(0)))), "ms", Some(100.0));
    print("latency, with text and remedies", time(|| drop(plan(&context, &file, &params(16384)).text())), "ms", None);
}

/// More devices of their own kind than all sets of them could be tried.
fn many_unequal() {
    let row = headers::row("deepseek-r1:70b");
    let path = header(row.tag).with_extension("500.gguf");
    headers::from_row(&headers::ModelRow { layers: 500, ..*row }, &path).expect("a header-only file");
    println!("\n{} with 500 layers on 23 unequal devices", row.tag);
    let die = |i: u32| {
        let n = f64::from(i);
        format!(
            r#"{{"kind": "cuda", "total_bytes": {}, "read_bandwidth": {}, "flops": {}, "host_bandwidth": {}}}"#,
            8_000_000_000 + 700_000_000 * u64::from(i * 7 % 23),
            (100.0 + 9.0 * n) * 1e9,
            (2.0 + 0.3 * (n * 5.0 % 23.0)) * 1e12,
            (4.0 + 0.4 * (n * 11.0 % 23.0)) * 1e9
        )
    };
    let spec = format!("[{}]", (0..23).map(die).collect::<Vec<_>>().join(", "));
    let (context, file) = (context(&spec), open(&path));
    print("plan at 4096", time(|| drop(plan(&context, &file, &params(4096)))), "ms", None);
    for (name, question) in [
        ("longest context", Question::LargestContext),
        ("largest micro-batch", Question::LargestBatch),
        ("fewest devices", Question::FewestDevices),
        ("best type of KV cache", Question::BestKvType),
    ] {
        let ask = || Plan::ask(&context, &file, &params(4096), question).is_ok_and(|answer| answer.is_some());
        print(&format!("question: {name}"), time(|| assert!(ask())), "ms", Some(1000.0));
    }
}

const OBJECTIVES: [(&str, Objective); 3] =
    [("latency", Objective::Latency), ("throughput", Objective::Throughput), ("headroom", Objective::Headroom)];

fn experts() {
    let row = headers::row("qwen3:30b-a3b");
    let path = header(row.tag);
    println!("\n{}, {} layers, at 4096 on {TWO_DIES}", row.tag, row.layers);
    print(
        "cold: devices, open, plan",
        time(|| drop(plan(&context(TWO_DIES), &open(&path), &params(4096)))),
        "ms",
        None,
    );
    let (two, file) = (context(TWO_DIES), open(&path));
    print("repeated: plan again with the file open", time(|| drop(plan(&two, &file, &params(4096)))), "ms", None);

    // Its layers four fifths as many again.
    let path = path.with_extension("80.gguf");
    headers::from_row(&headers::ModelRow { layers: 80, ..*row }, &path).expect("a header-only file");
    println!("\n{} with 80 layers, at 16384 on 8 unequal devices", row.tag);
    let (eight, file) = (context(EIGHT_UNEQUAL), open(&path));
    for (name, objective) in OBJECTIVES {
        let p = Params { objective, ..params(16384) };
        let what = format!("objective {name}, {} used", plan(&eight, &file, &p).n_dies());
        print(&what, time(|| drop(plan(&eight, &file, &p))), "ms", Some(100.0));
    }
    print("latency, longest context that fits", time(|| drop(plan(&eight, &file, &params(0)))), "ms", Some(100.0));
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|a| a == "--child") {
        return child(Path::new(&args[at + 1]));
    }
    println!("{:62} {:>13} {:>12}", "", "median", "required");
    let parts: [(&str, fn()); 4] = [
        ("two-dies", two_dies),
        ("eight-unequal", eight_unequal),
        ("many-unequal", many_unequal),
        ("experts", experts),
    ];
    // Cargo adds options of its own.
    let named: Vec<&String> = args[1..].iter().filter(|a| !a.starts_with('-')).collect();
    for (_, run) in parts.iter().filter(|(name, _)| named.is_empty() || named.iter().any(|n| n == name)) {
        run();
    }
}
