//! Planned bytes are allocated bytes, and the process grows by just these. One test, so that nothing else of this
//! process allocates meanwhile.

mod support;

use std::sync::Arc;

use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::plan::{Params, Plan, Weights};
use rekindle::quant::Type;
use rekindle::session::{Batch, LoadParams, Model};
use support::{fixture, root};

/// Bytes of memory that belong to this process alone and to no file.
fn anonymous() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find(|l| l.starts_with("Anonymous:")).expect("the kernel counts anonymous memory");
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// 2 % for what grows with the model (bookkeeping per cell), 2 MiB for the allocator and the threads' stacks.
#[test]
fn the_process_grows_by_the_plan() {
    let paths = ["llama-Q4_K", "llama-F32", "qwen2-F32"].map(|n| fixture(&format!("models/{n}.gguf")));
    let mut worst = 0f64;
    let mut n = 0;
    for path in paths.into_iter().chain([root().join("models/bible-5M-Q8_0.gguf")]) {
        for weights in [Weights::Auto, Weights::Copied] {
            for (n_ctx, n_batch, n_seq_max) in [(64, 0, 1), (4096, 33, 3), (16384, 512, 1)] {
                for kv in [Type::F32, Type::F16] {
                    let context = Context::new("cpu", 2, None, LogLevel::Error).unwrap();
                    let file = Arc::new(Gguf::open(&path).unwrap());
                    let params = Params {
                        n_ctx,
                        n_batch,
                        n_seq_max,
                        weights,
                        type_k: Some(kv),
                        type_v: Some(kv),
                        ..Params::default()
                    };
                    let plan = Arc::new(Plan::new(&context, &file, &params).unwrap());
                    let before = anonymous();
                    let model = Model::load(&context, &plan, LoadParams::default()).unwrap();
                    let memory = model.memory(0).unwrap();
                    assert_eq!(memory, plan.devices[0].memory, "{}", path.display());
                    for _ in 0..3 {
                        let tokens: Vec<i32> =
                            (3..3 + model.info().n_batch.min(n_ctx / 4) as i32).map(|t| t % 50).collect();
                        model.decode(&Batch { tokens: &tokens, ..Batch::default() }).unwrap();
                    }
                    let (grown, planned) = (anonymous() - before, memory.asked());
                    let slack = grown as f64 - planned as f64;
                    assert!(
                        slack.abs() <= 0.02 * planned as f64 + 2097152.0,
                        "{}: {grown} instead of {planned}",
                        path.display()
                    );
                    worst = worst.max(slack.abs());
                    n += 1;
                }
            }
        }
    }
    println!("{n} loads: planned bytes allocated to the byte; the process's own memory within {worst} bytes of them");
}
