//! The graph of one micro-batch: what the planner measures, the loader allocates for, and decode runs.
//!
//! Every activation is a matrix of f32, `[rows, cols]`. Rows are a named dimension (the tokens of the micro-batch, or the rows
//! whose logits were asked for); columns are fixed by the model. So one graph serves every batch size: it is laid out once
//! at the largest, and a smaller batch uses the same offsets (rule 3 of the design).

mod build;
mod layout;
mod rope;

pub use build::{Builder, Heads};
pub use layout::{ALIGN, Layout, Limits, Placement};
pub use rope::{Rope, RopeKind, Yarn};

use crate::gguf::TensorInfo;

/// An activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ValueId(pub u32);

/// A tensor of the file that the graph reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WeightId(pub u32);

/// The named row dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// The micro-batch: up to n_ubatch.
    Tokens,
    /// The rows whose logits were asked for: up to n_outputs_max.
    Outputs,
}

/// An activation's shape, `[rows, cols]` of f32.
#[derive(Debug, Clone)]
pub struct Value {
    pub name: &'static str,
    pub rows: Rows,
    pub cols: usize,
}

/// The operations. One op, one kernel file of the same name in each executor.
#[derive(Debug, Clone)]
pub enum Op {
    /// token ids -> [n_tokens, n_embd]
    Embed { table: WeightId },
    /// [rows, cols] -> the same, each row (or each group of `group` columns) divided by its root mean square, times the weight
    RmsNorm { weight: WeightId, eps: f32, group: usize },
    /// [rows, in] x weight [in, out] (+ bias [out]) -> [rows, out]
    MatMul { weight: WeightId, bias: Option<WeightId> },
    /// positions -> [n_tokens, n_rot]: cosine and sine of each rotated pair, side by side
    RopeTable { rope: Rope },
    /// [n_tokens, n_head * head_dim] and a table -> the same, rotated
    Rope { n_head: usize, head_dim: usize, kind: RopeKind },
    /// keys and values [n_tokens, n_embd_k], [n_tokens, n_embd_v] -> the layer's KV cache
    StoreKv { layer: u32 },
    /// queries [n_tokens, n_head * head_dim] and the layer's KV cache -> [n_tokens, n_head * head_dim_v]
    Attention { layer: u32, n_head: usize, scale: f32 },
    /// a + b
    Add,
    /// silu(gate) * up
    SwiGlu,
    /// [n_tokens, cols] -> [n_outputs, cols]: the rows asked for
    SelectOutputs,
}

impl Op {
    /// The tensors that it reads.
    pub fn weights(&self) -> impl Iterator<Item = WeightId> {
        let (first, second) = match self {
            Op::Embed { table } => (Some(*table), None),
            Op::RmsNorm { weight, .. } => (Some(*weight), None),
            Op::MatMul { weight, bias } => (Some(*weight), *bias),
            Op::RopeTable { rope } => (rope.factors, None),
            Op::Rope { .. } | Op::StoreKv { .. } | Op::Attention { .. } | Op::Add | Op::SwiGlu | Op::SelectOutputs => {
                (None, None)
            }
        };
        first.into_iter().chain(second)
    }

    /// Whether the result may take the place of the first input once nobody else reads that.
    fn in_place(&self) -> bool {
        matches!(self, Op::Rope { .. } | Op::Add | Op::SwiGlu | Op::RmsNorm { .. })
    }
}

/// One step: reads `inputs`, writes `output`.
#[derive(Debug, Clone)]
pub struct Node {
    pub op: Op,
    pub inputs: Vec<ValueId>,
    pub output: Option<ValueId>,
    /// Decides the device: a layer, `n_layer` for the output, or [`INPUT`].
    pub layer: u32,
}

/// The "layer" of what turns token ids and positions into activations. It runs on the host, which has the ids, and reads the
/// few rows of the token embedding that are needed where they lie.
pub const INPUT: u32 = u32::MAX;

/// What one layer keeps per cached token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// KV heads.
    pub n_head_kv: usize,
    /// Elements of a key and of a value, per head.
    pub head_dim_k: usize,
    pub head_dim_v: usize,
}

/// The graph of one micro-batch.
#[derive(Debug, Clone)]
pub struct Graph {
    pub n_layer: u32,
    pub n_vocab: usize,
    pub n_embd: usize,
    pub values: Vec<Value>,
    /// The tensors read, each once.
    pub weights: Vec<TensorInfo>,
    pub nodes: Vec<Node>,
    /// One per layer.
    pub kv: Vec<KvShape>,
    /// The rotation of the cached keys, where positions can be shifted.
    pub rope: Option<(Rope, RopeKind)>,
    /// [n_outputs, n_vocab]
    pub logits: ValueId,
    /// [n_outputs, n_embd], after the output norm
    pub embeddings: ValueId,
}

impl Graph {
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0 as usize]
    }
    pub fn weight(&self, id: WeightId) -> &TensorInfo {
        &self.weights[id.0 as usize]
    }
}
