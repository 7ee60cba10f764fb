//! Speed of the matrix products, per weight type: one token and many, one thread. The best of many runs.
//!
//! `cargo bench --bench matmul -- [type ...] [rows=N] [cols=N] [tokens=N] [threads=N]`

use rekindle::cpu::isa::Isa;
use rekindle::cpu::matmul::{Kernels, Product, Source, act_bytes, act_format, scratch_bytes};
use rekindle::quant::{Type, quantize};
use std::time::{Duration, Instant};

const TYPES: [Type; 28] = [
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
    Type::IQ3_XXS,
    Type::IQ3_S,
    Type::IQ2_XXS,
    Type::IQ2_XS,
    Type::IQ2_S,
    Type::IQ1_S,
    Type::IQ1_M,
    Type::NVFP4,
    Type::Q1_0,
    Type::Q2_0,
    Type::TQ1_0,
    Type::TQ2_0,
];

fn argument(name: &str) -> Option<usize> {
    std::env::args().find_map(|a| a.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

/// Seconds of the fastest call in about a second and a half.
fn best(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = Duration::MAX;
    let mut runs = 0;
    while runs < 3 || start.elapsed() < Duration::from_millis(1500) {
        let t = Instant::now();
        call();
        best = best.min(t.elapsed());
        runs += 1;
    }
    best.as_secs_f64()
}

#[derive(Clone, Copy)]
struct Shared<T>(T);
// SAFETY: the pointers are used within one scope of threads that write disjoint rows.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

fn main() {
    let isa = Isa::detect().expect("REKINDLE_CPU");
    let kernels = Kernels::new(isa);
    let asked: Vec<Type> = std::env::args().filter_map(|a| Type::from_name(&a)).collect();
    let n_cols = argument("cols").unwrap_or(2048);
    let n_rows = argument("rows").unwrap_or(16384);
    let many = argument("tokens").unwrap_or(128);
    let threads = argument("threads").unwrap_or(1);
    println!("{}, {n_rows} x {n_cols}, {threads} thread(s)", isa.name());
    println!("type     1 token: GB/s   GFLOP/s   {many} tokens: GFLOP/s   prepare: us/token");
    for ty in TYPES.into_iter().filter(|ty| asked.is_empty() || asked.contains(ty)) {
        let row: Vec<f32> = (0..n_cols).map(|i| ((i * 7919 % 1000) as f32 - 500.0) / 500.0).collect();
        let row_bytes = ty.row_bytes(n_cols).expect("cols");
        let mut weights = vec![0u8; n_rows * row_bytes];
        quantize(ty, &row, &mut weights[..row_bytes]);
        for r in 1..n_rows {
            weights.copy_within(..row_bytes, r * row_bytes);
        }
        let fmt = act_format(ty);
        let mut seconds = [0.0; 2];
        let mut prepare = 0.0;
        for (seconds, n_tokens) in seconds.iter_mut().zip([1, many]) {
            let x: Vec<f32> = row.iter().copied().cycle().take(n_tokens * n_cols).collect();
            let mut ws = vec![0u8; act_bytes(fmt, n_tokens, n_cols).expect("size") + 64];
            let shift = ws.as_ptr().align_offset(64);
            let ws = Shared(ws[shift..].as_mut_ptr());
            let scratch_bytes = scratch_bytes(ty, n_tokens, n_cols).expect("size");
            let mut scratch = vec![0u8; scratch_bytes * threads + 64];
            let shift = scratch.as_ptr().align_offset(64);
            let scratch = Shared(scratch[shift..].as_mut_ptr());
            let mut y = vec![0f32; n_tokens * n_rows];
            let y = Shared(y.as_mut_ptr());
            let w = Shared(weights.as_ptr());
            prepare = best(|| {
                // SAFETY: x and ws are as long as the shapes say.
                unsafe {
                    kernels.prepare_acts(&Source {
                        fmt,
                        x: x.as_ptr(),
                        x_stride: n_cols,
                        x_rows: std::ptr::null(),
                        n_tokens,
                        n_cols,
                        part: 0,
                        n_parts: 1,
                        ws: ws.0,
                    })
                }
            }) / n_tokens as f64;
            *seconds = best(|| {
                std::thread::scope(|scope| {
                    let run = move |i: usize| {
                        let (w, ws, scratch, y) = ({ w }, { ws }, { scratch }, { y });
                        let rows = n_rows * i / threads..n_rows * (i + 1) / threads;
                        let scratch = scratch.0.wrapping_add(i * scratch_bytes);
                        // SAFETY: the vectors are as long as the shapes say; threads have disjoint rows.
                        unsafe {
                            kernels.matmul(&Product {
                                ty,
                                w: w.0,
                                row_bytes: ty.row_bytes(n_cols).expect("whole blocks"),
                                n_cols,
                                rows,
                                acts: ws.0,
                                n_tokens,
                                scratch,
                                y: y.0,
                                y_stride: n_rows,
                                y_rows: std::ptr::null(),
                                bias: std::ptr::null(),
                            })
                        }
                    };
                    for i in 1..threads {
                        scope.spawn(move || run(i));
                    }
                    run(0);
                });
            });
        }
        let flop = 2.0 * (n_rows * n_cols) as f64;
        println!(
            "{:6} {:12.1} {:12.1} {:20.1} {:18.2}",
            ty.name(),
            weights.len() as f64 / seconds[0] / 1e9,
            flop / seconds[0] / 1e9,
            flop * many as f64 / seconds[1] / 1e9,
            prepare * 1e6
        );
    }
}
