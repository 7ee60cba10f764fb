//! The figures that the mathematics must give: published splits and sizes, every formula at points computed apart, real
//! files.

mod figures;
mod files;
mod formulas;
mod gguf;

use super::*;

const GIB: f64 = (1u64 << 30) as f64;

/// The fork's defaults at `n_ctx`: one sequence, F16 KV, batch 512.
fn query(n_ctx: u32, gpus: &[Gpu]) -> Query<'_> {
    Query {
        n_ctx,
        n_seq: 1,
        n_batch: 512,
        type_k: Type::F16,
        type_v: Type::F16,
        margin: DEFAULT_MARGIN,
        minimum: DEFAULT_MINIMUM,
        gpus,
    }
}

fn free(bytes: &[u64]) -> Vec<Gpu> {
    bytes.iter().map(|free| Gpu { free: *free, overhead: 0 }).collect()
}
