//! The time of a sampling from a large vocabulary, by settings: `cargo bench --bench sample`. The median of 50 rows.
//!
//! Logits are about normal with a deviation of 2.5; of 152,064 tokens the best few hundred have most of the probability
//! then, as with a model that is not sure.

use std::time::Instant;

use rekindle::sample::{Sampler, SamplerParams};

const N_VOCAB: usize = 152_064;
const ROWS: usize = 50;

/// The sum of twelve uniform numbers is about normal.
fn row(seed: u64) -> Vec<f32> {
    let mut x = seed;
    let mut uniform = || {
        x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (x >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..N_VOCAB).map(|_| 2.5 * ((0..12).map(|_| uniform()).sum::<f32>() - 6.0)).collect()
}

fn main() {
    let rows: Vec<Vec<f32>> = (0..4).map(row).collect();
    let p = SamplerParams { temperature: 0.8, seed: 1, ..SamplerParams::default() };
    let usual = SamplerParams { top_k: 40, top_p: 0.95, min_p: 0.05, ..p.clone() };
    let settings = [
        ("greedy", SamplerParams::default()),
        ("temperature", p.clone()),
        ("temperature, penalties", SamplerParams { repeat_penalty: 1.1, ..p.clone() }),
        ("top-k 40, top-p 0.95, min-p 0.05", usual.clone()),
        ("the same with DRY and XTC", SamplerParams { dry_multiplier: 0.8, xtc_probability: 0.5, ..usual.clone() }),
        ("the same with 20 log-probabilities", SamplerParams { n_logprobs: 20, ..usual }),
        ("top-p 0.95", SamplerParams { top_p: 0.95, ..p.clone() }),
        ("min-p 0.05", SamplerParams { min_p: 0.05, ..p.clone() }),
        ("top-n-sigma 1", SamplerParams { top_n_sigma: 1.0, ..p.clone() }),
        ("typical 0.95", SamplerParams { typical_p: 0.95, ..p.clone() }),
        ("dynamic temperature", SamplerParams { dynatemp_range: 0.3, ..p.clone() }),
        ("mirostat 1", SamplerParams { mirostat: 1, ..p.clone() }),
        ("mirostat 2", SamplerParams { mirostat: 2, ..p }),
    ];
    println!("{N_VOCAB} tokens");
    for (name, params) in settings {
        let mut s = Sampler::new(params).expect("settings in range");
        let mut times: Vec<f64> = (0..ROWS)
            .map(|i| {
                let start = Instant::now();
                let token = s.sample(&rows[i % rows.len()]).expect("numbers");
                let us = start.elapsed().as_secs_f64() * 1e6;
                s.accept(token);
                us
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("{name:>36}: {:8.0} us", times[ROWS / 2]);
    }
}
