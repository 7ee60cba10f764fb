//! The cost of the bookkeeping of a large cache: a decode of one token for each of many sequences, in layers that see a
//! window, beside the same in a small cache. The model is tiny, so that little else is measured.
//!
//! `cargo bench --bench sequences`

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::plan::{Params, Plan};
use rekindle::session::{Batch, LoadParams, Model};

const SMALL: u32 = 4096;
const LARGE: u32 = 131_072;

fn load(n_ctx: u32, n_seq_max: u32) -> Arc<Model> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/gemma3-default.gguf");
    let context = Context::new("cpu", 0, None, LogLevel::Error).expect("devices");
    let file = Arc::new(Gguf::open(&path).expect("the fixture"));
    let params = Params { n_ctx, n_seq_max, ..Params::default() };
    let plan = Plan::new(&context, &file, &params).expect("a plan");
    Model::load(&context, &Arc::new(plan), LoadParams::default()).expect("a model")
}

/// Median milliseconds of a decode of one token for each sequence, of some that are as long as a window.
fn decode_ms(n_ctx: u32, n_seq: u32) -> f64 {
    let model = load(n_ctx, n_seq);
    let (tokens, seqs): (Vec<i32>, Vec<i32>) = (0..n_seq as i32).map(|s| (3 + s % 50, s)).unzip();
    let batch = Batch { tokens: &tokens, seq_ids: Some(&seqs), ..Batch::default() };
    let mut all: Vec<f64> = (0..SMALL / n_seq.max(64))
        .map(|_| {
            let start = Instant::now();
            model.decode(&batch).expect("room");
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    for n_seq in [1, 8, 256] {
        let (small, large) = (decode_ms(SMALL, n_seq), decode_ms(LARGE, n_seq));
        println!("{n_seq:>4} sequences: {small:8.3} ms with {SMALL} cells, {large:8.3} ms with {LARGE}");
    }
}
