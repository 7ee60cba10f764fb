//! The graph of one micro-batch: what the planner measures, the loader allocates for, and decode runs.
//!
//! Every activation is a matrix of f32, `[rows, cols]`. Rows are a named dimension (the tokens of the micro-batch, or the rows
//! whose logits were asked for); columns are fixed by the model. So one graph serves every batch size: it is laid out once
//! at the largest, and a smaller batch uses the same offsets (rule 3 of the design).

mod build;
mod layout;
mod rope;

pub use build::{Attention, Builder, Latent, Scales, Table};
pub use layout::{ALIGN, Layout, Limits, Placement};
pub use rope::{Factors, Rope, RopeKind, Temperature, Yarn};

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

/// What a gate does to its half of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gate {
    /// x / (1 + exp(-x))
    Silu,
    /// The tanh form: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
    Gelu,
    /// gpt-oss: x / (1 + exp(-alpha x)), x at most `limit`; the other half within -limit..limit, plus 1
    SiluClamped { alpha: f32, limit: f32 },
}

/// How experts are chosen and weighted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Routing {
    pub n_expert: usize,
    pub n_expert_used: usize,
    pub gating: Gating,
    /// Divide the weights of those chosen by their sum.
    pub normalise: bool,
    /// Then times this.
    pub scale: f32,
    /// Groups of experts, and from how many of them experts are chosen: those with the best two together. 1, 1: no groups.
    pub n_group: usize,
    pub n_group_used: usize,
    /// Added to the probabilities for choosing only: `[n_expert]`.
    pub bias: Option<WeightId>,
}

/// What makes weights of a router's logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gating {
    Softmax,
    Sigmoid,
    /// Softmax over those chosen.
    SoftmaxOfChosen,
}

/// The operations. One op, one kernel file of the same name in each executor.
#[derive(Debug, Clone)]
pub enum Op {
    /// token ids -> [n_tokens, n_embd], times `scale`
    Embed { table: WeightId, scale: f32 },
    /// [rows, cols] -> the same, each row (or each group of `group` columns) divided by its root mean square, times the weight
    RmsNorm { weight: WeightId, eps: f32, group: usize },
    /// [rows, in] x weight [in, out] (+ bias `[out]`) -> [rows, out]; of a fused weight, its rows from `first` on
    MatMul { weight: WeightId, bias: Option<WeightId>, first: usize },
    /// [rows, n_head * in] x weight [in, out, n_head] -> [rows, n_head * out]: each head by its own matrix
    MatMulHeads { weight: WeightId, n_head: usize },
    /// [rows, in or n_expert_used * in] and a route x weight [in, out, n_expert] (+ bias [out, n_expert]) ->
    /// [rows, n_expert_used * out]: each row by the matrices of its experts; of fused ones, their rows from `first` on
    MatMulExperts { weight: WeightId, bias: Option<WeightId>, n_expert_used: usize, first: usize },
    /// a router's logits [rows, n_expert] -> [rows, 2 * n_expert_used]: the chosen experts (as whole numbers), then their weights
    Route(Routing),
    /// [rows, n_expert_used * cols] and a route -> [rows, cols]: the sum, each expert's part times its weight
    SumExperts { n_expert_used: usize },
    /// positions -> [n_tokens, n_rot]: cosine and sine of each rotated pair, side by side; of rope `rope` of the graph
    RopeTable { rope: usize },
    /// [n_tokens, n_head * head_dim] and a table -> the same, `n_rot` elements of each head from `first` on rotated; then times
    /// 1 + scale ln(floor(position / length) + 1), where a temperature is given
    Rope { n_head: usize, head_dim: usize, first: usize, kind: RopeKind, temperature: Option<Temperature> },
    /// [rows, n_head * cols] -> [rows, n_head * n]: columns `first..first + n` of each head
    Columns { n_head: usize, first: usize },
    /// [rows, n_head * a] and [rows, n_head * b] (or [rows, b], the same for each head) -> [rows, n_head * (a + b)]: side by side,
    /// head by head
    Concat { n_head: usize },
    /// keys and values [n_tokens, n_embd_k], [n_tokens, n_embd_v] -> the layer's KV cache; keys alone where values are part of them
    StoreKv { layer: u32 },
    /// queries [n_tokens, n_head * head_dim] and the layer's KV cache -> [n_tokens, n_head * head_dim_v]
    Attention { layer: u32, n_head: usize, scale: f32, softcap: Option<f32>, sinks: Option<WeightId> },
    /// x [rows, cols] times scale `[1]` (+ bias `[cols]`); with a route, [rows, n_expert_used * cols] by each expert's of
    /// `[n_expert]` and [cols, n_expert]
    Scale { scale: WeightId, bias: Option<WeightId>, n_expert_used: usize },
    /// a + b
    Add,
    /// gate(a) * b
    Gate(Gate),
    /// cap tanh(x / cap)
    SoftCap { cap: f32 },
    /// [n_tokens, cols] -> [n_outputs, cols]: the rows asked for
    SelectOutputs,
}

impl Op {
    /// The tensors that it reads.
    pub fn weights(&self) -> impl Iterator<Item = WeightId> {
        let (first, second) = match self {
            Op::Embed { table: w, .. } | Op::RmsNorm { weight: w, .. } | Op::MatMulHeads { weight: w, .. } => {
                (Some(*w), None)
            }
            Op::Scale { scale: weight, bias, .. }
            | Op::MatMul { weight, bias, .. }
            | Op::MatMulExperts { weight, bias, .. } => (Some(*weight), *bias),
            Op::Route(r) => (r.bias, None),
            Op::Attention { sinks, .. } => (*sinks, None),
            Op::SumExperts { .. }
            | Op::RopeTable { .. }
            | Op::Rope { .. }
            | Op::Columns { .. }
            | Op::Concat { .. }
            | Op::StoreKv { .. }
            | Op::Add
            | Op::Gate(_)
            | Op::SoftCap { .. }
            | Op::SelectOutputs => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// Whether the result may take the place of the first input once nobody else reads that.
    fn in_place(&self) -> bool {
        matches!(
            self,
            Op::Rope { .. } | Op::Scale { .. } | Op::Add | Op::Gate(_) | Op::RmsNorm { .. } | Op::SoftCap { .. }
        )
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
    /// It belongs to the routed experts of its layer, which may have a device of their own.
    pub experts: bool,
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
    /// Values are the first `head_dim_v` elements of the keys, and nothing of their own is kept.
    pub v_in_k: bool,
    /// Tokens that a token sees, itself among them; `None`: all before it.
    pub window: Option<u32>,
    /// How the cached keys are rotated.
    pub rope: KeyRope,
}

/// The rotation of cached keys, to turn them to other positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRope {
    /// Which rope of the graph.
    pub rope: usize,
    /// The first rotated element of a head.
    pub first: usize,
    pub kind: RopeKind,
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
    pub ropes: Vec<Rope>,
    /// [n_outputs, n_vocab]
    pub logits: ValueId,
    /// [n_outputs, n_embd], after the output norm
    pub embeddings: ValueId,
}

impl Graph {
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0 as usize]
    }
    /// The tensors that a node reads: its own, and of a table the rope's factors.
    pub fn weights_of<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = WeightId> + 'a {
        let rope = if let Op::RopeTable { rope } = node.op { Some(&self.ropes[rope]) } else { None };
        node.op.weights().chain(rope.into_iter().flat_map(|r| r.factors.weights()))
    }
    pub fn weight(&self, id: WeightId) -> &TensorInfo {
        &self.weights[id.0 as usize]
    }
}
