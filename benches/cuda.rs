//! Speed of the kernels on a CUDA device, each beside what bounds it: products of few rows and attention beside a plain
//! copy of the device's memory in the same run, products of many rows as multiplications and additions.
//!
//! `cargo bench --bench cuda -- [device=N] [cols=N] [rows=N] [context=N] [tokens=N] [mib=N] [round=MILLISECONDS] [type
//! ...]`
//!
//! Without a device it says so, and ends well. On the virtual rig (tests/rig) it runs with small sizes; times mean
//! nothing there.

use std::process::ExitCode;

use rekindle::cuda::bench::{Bench, Work};
use rekindle::device::{Device, Inventory};
use rekindle::error::Result;
use rekindle::quant::Type;

const TYPES: [Type; 16] = [
    Type::Q4_K,
    Type::Q6_K,
    Type::Q8_0,
    Type::Q4_0,
    Type::F16,
    Type::Q5_K,
    Type::Q5_0,
    Type::Q5_1,
    Type::Q4_1,
    Type::BF16,
    Type::F32,
    Type::MXFP4,
    Type::IQ4_NL,
    Type::IQ4_XS,
    Type::Q2_K,
    Type::Q3_K,
];

fn argument(name: &str, or: usize) -> usize {
    std::env::args().find_map(|a| a.strip_prefix(name)?.strip_prefix('=')?.parse().ok()).unwrap_or(or)
}

fn main() -> ExitCode {
    let found = rekindle::device::Finder::all(&rekindle::cuda::Search, 24, false);
    if let Err(e) = &found {
        println!("no CUDA device: {}", e.message);
        return ExitCode::SUCCESS;
    }
    let spec = format!(r#"[{{"kind":"cuda","ordinal":{}}}]"#, argument("device", 0));
    let outcome = Inventory::from_spec(&spec, &rekindle::cuda::Search).and_then(|i| table(&i.devices[0]));
    if let Err(e) = &outcome {
        eprintln!("{e}");
    }
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn table(device: &Device) -> Result<()> {
    let (n_in, n_out) = (argument("cols", 4096), argument("rows", 14336));
    let (n_ctx, many) = (argument("context", 8192), argument("tokens", 512));
    // More than any device's caches, so that weights come from memory.
    let bytes = argument("mib", 256) << 20;
    let round = argument("round", 100) as f64 / 1e3;
    let asked: Vec<Type> = std::env::args().filter_map(|a| Type::from_name(&a)).collect();
    let types: Vec<Type> = TYPES.into_iter().filter(|ty| asked.is_empty() || asked.contains(ty)).collect();
    let (major, minor) = (device.compute_major, device.compute_minor);
    println!("{}, compute capability {major}.{minor}, {}", device.name, device.image);

    let works: Vec<Work> = types.iter().map(|ty| Work::Product { ty: *ty, n_in, n_out }).collect();
    let mut bench = Bench::new(device, &works, many, bytes)?;
    let (n, seconds) = bench.copy(round)?;
    let copy = n as f64 / seconds / 1e9;
    println!("plain copy, read and written: {copy:.1} GB/s");
    println!("\n[{n_in}, {n_out}]  1 row: GB/s, of a copy   4 rows: GB/s, of a copy");
    for (i, work) in works.iter().enumerate() {
        let mut gb = [0.0; 2];
        for (gb, n_rows) in gb.iter_mut().zip([1, 4]) {
            *gb = work.bytes() as f64 / bench.seconds(i, n_rows, round)? / 1e9;
        }
        let [one, four] = gb.map(|gb| format!("{gb:12.1} {:9.0} %", 100.0 * gb / copy));
        println!("{:14} {one} {four}", types[i].name());
    }
    println!("\n[{n_in}, {n_out}]  {many} rows: TFLOP/s");
    for (i, ty) in types.iter().enumerate().filter(|(_, ty)| [Type::Q4_K, Type::F16].contains(ty)) {
        let flops = 2.0 * (n_in * n_out * many) as f64;
        println!("{:14} {:12.3}", ty.name(), flops / bench.seconds(i, many, round)? / 1e12);
    }
    drop(bench);
    println!("\nattention, 32 heads of 128, 8 of keys, a token at {n_ctx}: GB/s, of a copy");
    for ty in [Type::F16, Type::Q8_0] {
        let work = Work::Attention { ty, n_head: 32, n_head_kv: 8, head_dim: 128, n_ctx };
        let gb = work.bytes() as f64 / Bench::new(device, &[work], 1, bytes)?.seconds(0, 1, round)? / 1e9;
        println!("{:14} {gb:12.1} {:9.0} %", ty.name(), 100.0 * gb / copy);
    }
    Ok(())
}
