//! Speed of single operations on the CPU and on a CUDA device, from the table of ops (tests/ops): each beside what
//! bounds it, a plain read of the memory (on a die a plain copy, read and written) in the same run. The best of three
//! rounds.
//!
//! `cargo bench --bench ops -- [cpu|cuda] [OP ...] [TYPE ...] [cols=N] [rows=N] [context=N] [tokens=N] [mib=N]
//! [round=MILLISECONDS] [threads=N] [device=N]`
//!
//! Products and attention of few tokens are repeated on other weights and caches until `mib` were read, so that no
//! cache has them. Without a CUDA device it says so, and ends well. On the virtual rig (tests/rig) it runs with small
//! sizes; times mean nothing there. `REKINDLE_CPU` chooses the instruction set.

#[path = "../tests/ops/mod.rs"]
mod ops;

use std::process::ExitCode;

use ops::cpu::Cpu;
use ops::cuda::Cuda;
use ops::noise::Noise;
use ops::run::{Device, Ready};
use ops::speeds::{Sizes, bounds, rows};
use rekindle::Result;
use rekindle::cpu::isa::Isa;
use rekindle::device::Inventory;
use rekindle::graph::{Executor, Op};
use rekindle::quant::Type;

fn argument(name: &str, or: usize) -> usize {
    std::env::args().find_map(|a| a.strip_prefix(name)?.strip_prefix('=')?.parse().ok()).unwrap_or(or)
}

fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).filter(|a| !a.contains('=') && !a.starts_with('-')).collect();
    let is_asked = |device: &str| asked.iter().all(|a| a != "cpu" && a != "cuda") || asked.iter().any(|a| a == device);
    let outcome = if is_asked("cpu") { on_the_cpu(&asked) } else { Ok(()) };
    let outcome = outcome.and_then(|()| if is_asked("cuda") { on_a_die(&asked) } else { Ok(()) });
    if let Err(e) = &outcome {
        eprintln!("{e}");
    }
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn on_the_cpu(asked: &[String]) -> Result<()> {
    let (isa, n_threads) = (Isa::detect()?, argument("threads", 1));
    println!("CPU, {}, {n_threads} thread(s)", isa.name());
    told(&mut Cpu::new(isa, n_threads)?, asked, [2048, 8192, 8192, 128])
}

fn on_a_die(asked: &[String]) -> Result<()> {
    let found = rekindle::device::Finder::all(&rekindle::cuda::Search, 24, false);
    if let Err(e) = &found {
        println!("no CUDA device: {}", e.message);
        return Ok(());
    }
    let spec = format!(r#"[{{"kind":"cuda","ordinal":{}}}]"#, argument("device", 0));
    let inventory = Inventory::from_spec(&spec, &rekindle::cuda::Search)?;
    let device = &inventory.devices[0];
    let (major, minor) = (device.compute_major, device.compute_minor);
    println!("{}, compute capability {major}.{minor}, {}", device.name, device.image);
    let mut die = Cuda::new(device)?;
    die.replay = true;
    told(&mut die, asked, [4096, 14336, 8192, 512])
}

/// A line for each row that was asked for; sizes as they are where none are given.
fn told<D: Device>(device: &mut D, asked: &[String], [cols, n_out, n_ctx, many]: [usize; 4]) -> Result<()> {
    let sizes = Sizes {
        n_in: argument("cols", cols),
        n_out: argument("rows", n_out),
        n_ctx: argument("context", n_ctx),
        many: argument("tokens", many),
    };
    // More than any device's caches.
    let most = argument("mib", 256) << 20;
    let round = argument("round", 100) as f64 / 1e3;
    let plain = device.plain(most)?;
    println!("plain copy or read: {:.1} GB/s\n", plain / 1e9);
    println!("{:15} {:8} {:>6} {:>11} {:>8} {:>9} {:>9}", "op", "type", "tokens", "us", "GB/s", "of plain", "GFLOP/s");
    let types: Vec<Type> = asked.iter().filter_map(|a| Type::from_name(a)).collect();
    let names: Vec<&String> = asked.iter().filter(|a| !["cpu", "cuda"].contains(&a.as_str())).collect();
    let names: Vec<&String> = names.into_iter().filter(|a| Type::from_name(a).is_none()).collect();
    for speed in rows(sizes) {
        let is_op = names.is_empty() || names.iter().any(|n| *n == speed.op);
        if !is_op || !(types.is_empty() || speed.ty.is_some_and(|ty| types.contains(&ty))) {
            continue;
        }
        let row = (speed.row)(&mut Noise::new(1));
        if !D::X::supports(&row.op, row.ty()) {
            continue;
        }
        let (bytes, flops) = bounds(&row);
        let is_repeated = matches!(row.op, Op::MatMul(_) | Op::Attention(_)) && speed.n_tokens <= 8;
        let copies = if is_repeated { (most / bytes).max(1) } else { 1 };
        let row = row.repeated(copies);
        let mut ready = Ready::new(device, &row, copies)?;
        let seconds = ready.seconds(round)?;
        ready.end()?;
        let ty = speed.ty.map_or("", Type::name);
        let (us, gb, gflops) = (seconds * 1e6, bytes as f64 / seconds / 1e9, flops / seconds / 1e9);
        let share = 100.0 * gb * 1e9 / plain;
        let gflops = if flops > 0.0 { format!("{gflops:9.1}") } else { String::new() };
        println!("{:15} {ty:8} {:6} {us:11.2} {gb:8.1} {share:7.0} % {gflops:>9}", speed.op, speed.n_tokens);
    }
    Ok(())
}
