//! The family estimator: formulas per architecture, a safety margin, and a placement that prices every n-th layer.
//!
//! Programs of this field estimate memory by such formulas instead of measuring it. These, the margin and the placement
//! are those of the public fork ollama37 (its multi-GPU change of 2025-11-06). They are here for comparison, and for
//! architectures whose graph does not exist yet. Known weaknesses are kept: quantised KV is counted without its block
//! scales, a GPU is priced for other layers than those of the range that it gets, and every GPU is charged the whole
//! graph.

mod estimator;
mod formulas;
mod place;
mod shape;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub(super) use estimator::Family;
pub(crate) use shape::Shape;

use crate::quant::Type;

/// The margin of that change. Later it became 2.5 in the same fork.
pub(crate) const DEFAULT_MARGIN: f64 = 3.5;
/// Bytes that the fork keeps free on every CUDA GPU.
pub(crate) const DEFAULT_MINIMUM: u64 = 457 << 20;
/// The most tokens. It keeps products within 128 bits, and no machine holds so many.
const MAX_TOKENS: u64 = 1 << 48;

/// A GPU as the estimator sees it, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gpu {
    pub free: u64,
    /// Bytes that the caller wants left free.
    pub overhead: u64,
}

/// The things that an estimate is made for.
#[derive(Debug, Clone)]
pub(crate) struct Query<'a> {
    /// Tokens of context per sequence.
    pub n_ctx: u32,
    pub n_seq: u32,
    pub n_batch: u32,
    pub type_k: Type,
    pub type_v: Type,
    /// The factor on the compute buffer.
    pub margin: f64,
    /// Bytes kept free on each GPU.
    pub minimum: u64,
    pub gpus: &'a [Gpu],
}

/// The charge of one GPU, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    /// Index into the query's GPUs.
    pub gpu: usize,
    /// The range of layers that it gets; `n_layer` stands for the output.
    pub layers: Range<u32>,
    /// The weights of the layers that it was priced for. These are as many as its range has, but every n-th one of the
    /// model.
    pub weights: u64,
    /// The KV cache of the same layers.
    pub kv: u64,
    /// The compute buffer, margin included.
    pub graph: u64,
    /// The minimum, and one spare layer.
    pub reserved: u64,
}

impl Share {
    /// All that the GPU is charged, in bytes.
    pub fn bytes(&self) -> u64 {
        [self.weights, self.kv, self.graph, self.reserved].into_iter().fold(0, u64::saturating_add)
    }
}

/// The estimate; sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Estimate {
    /// The compute buffer with every layer on one GPU, margin included.
    pub full: u64,
    /// The compute buffer with some layers elsewhere, margin included; also what each of several GPUs is charged.
    pub partial: u64,
    /// KV cache per layer.
    pub layer_kv: Vec<u64>,
    /// The GPUs in the order in which they were tried, the one with most free memory first.
    pub gpus: Vec<Share>,
    /// Layers that no GPU took. The output counts as one.
    pub cpu_layers: u32,
    pub cpu_weights: u64,
    pub cpu_kv: u64,
    /// True if every layer and the output are on GPUs.
    pub fits: bool,
}

#[cfg(test)]
impl Estimate {
    /// Bytes on all GPUs together.
    pub fn total(&self) -> u64 {
        self.gpus.iter().map(Share::bytes).fold(0, u64::saturating_add)
    }
}

/// Estimates on as few GPUs as hold everything, those with most free memory first, or on all of them if that is not
/// enough.
pub(crate) fn estimate(shape: &Shape, query: &Query) -> Estimate {
    let mut order: Vec<usize> = (0..query.gpus.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(query.gpus[*i].free));
    (1..order.len())
        .map(|n| estimate_on(shape, query, &order[..n]))
        .find(|e| e.fits)
        .unwrap_or_else(|| estimate_on(shape, query, &order))
}

/// Estimates on just the GPUs of these indices, in this order.
pub(crate) fn estimate_on(shape: &Shape, query: &Query, gpus: &[usize]) -> Estimate {
    let tokens = u64::from(query.n_ctx).saturating_mul(query.n_seq.max(1).into()).min(MAX_TOKENS);
    let batch = tokens.min(query.n_batch.into());
    let layer_bytes = |tokens: u64| kv_bytes(shape, query, tokens);
    // The "any other" formulas count every layer at full context, windows or not.
    let at_full_context = layer_bytes(tokens).saturating_mul(shape.n_layer().into());
    let (full, partial) = formulas::graph(shape, batch, tokens, at_full_context);
    let layer_kv: Vec<u64> = (0..shape.n_layer())
        .map(|layer| match shape.window_of(layer) {
            Some(window) => layer_bytes(u64::from(query.n_seq.max(1)).saturating_mul(window).saturating_add(batch)),
            None => layer_bytes(tokens),
        })
        .collect();
    let (full, partial) = (with_margin(full, query.margin), with_margin(partial, query.margin));
    place::place(shape, query, gpus, layer_kv, full, partial)
}

/// KV cache of one layer with `tokens` tokens, in bytes.
fn kv_bytes(shape: &Shape, query: &Query, tokens: u64) -> u64 {
    let row =
        shape.head_dim_k as f64 * element_bytes(query.type_k) + shape.head_dim_v as f64 * element_bytes(query.type_v);
    // Float to integer saturates.
    (tokens as f64 * shape.n_head_kv as f64 * row) as u64
}

/// Bytes per element without block scales, as the fork counts. A type that it does not know is counted as F16.
fn element_bytes(ty: Type) -> f64 {
    match ty {
        Type::F32 => 4.0,
        Type::Q8_0 => 1.0,
        Type::Q4_0 => 0.5,
        _ => 2.0,
    }
}

fn with_margin(bytes: u64, margin: f64) -> u64 {
    (bytes as f64 * margin) as u64
}
