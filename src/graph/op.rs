//! The operations: what each computes, and what planner and executors have to know of it besides.
//!
//! To add one: a struct and a variant here with its facts, a file of its name in `cpu/`, in `cuda/` and in `kernels/`,
//! a row in the table of ops that drives tests and benchmarks (`tests/ops/`).

use super::rope::{RopeKind, Temperature};
use super::value::{StateId, WeightId, WeightSlice};

/// The operations. One op, one file of the same name in each executor.
#[derive(Debug, Clone)]
pub enum Op {
    Embed(Embed),
    RmsNorm(RmsNorm),
    MatMul(MatMul),
    MatMulHeads(MatMulHeads),
    MatMulExperts(MatMulExperts),
    Route(Route),
    SumExperts(SumExperts),
    RopeTable(RopeTable),
    Rope(Rotate),
    Columns(Columns),
    Concat(Concat),
    StoreKv(StoreKv),
    Attention(Attend),
    Scale(Scale),
    /// a + b
    Add,
    /// gate(a) * b
    Gate(Gate),
    SoftCap(SoftCap),
    /// `[n_tokens, cols]` -> `[n_outputs, cols]`: the rows asked for
    SelectOutputs,
}

/// token ids -> `[n_tokens, n_embd]`: a row of the table each, times `scale`
#[derive(Debug, Clone, Copy)]
pub struct Embed {
    pub table: WeightId,
    pub scale: f32,
}

/// `[rows, cols]` -> the same, each row (or each group of `group` columns) divided by its root mean square, times the
/// weight
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm {
    pub weight: WeightId,
    pub eps: f32,
    pub group: usize,
}

/// `[rows, in]` x matrix `[in, out]` (+ bias `[out]`) -> `[rows, out]`. The bias is of the whole tensor: the matrix's
/// first row has the element of that index.
#[derive(Debug, Clone, Copy)]
pub struct MatMul {
    pub matrix: WeightSlice,
    pub bias: Option<WeightId>,
}

/// `[rows, n_head * in]` x matrices `[in, out, n_head]` -> `[rows, n_head * out]`: each head by its own matrix
#[derive(Debug, Clone, Copy)]
pub struct MatMulHeads {
    pub matrices: WeightSlice,
    pub n_head: usize,
}

/// `[rows, in or n_expert_used * in]` and a route x matrices `[in, out, n_expert]` (+ bias `[all rows of a matrix,
/// n_expert]`) -> `[rows, n_expert_used * out]`: each row by the matrices of its experts
#[derive(Debug, Clone, Copy)]
pub struct MatMulExperts {
    pub matrices: WeightSlice,
    pub bias: Option<WeightId>,
    pub n_expert_used: usize,
}

/// A router's logits `[rows, n_expert]` -> `[rows, 2 * n_expert_used]`: the chosen experts (as whole numbers), then
/// their weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Route {
    pub n_expert: usize,
    pub n_expert_used: usize,
    pub gating: Gating,
    /// Divide the weights of those chosen by their sum.
    pub normalise: bool,
    /// Then times this.
    pub scale: f32,
    /// Groups of experts, and from how many of them experts are chosen: those with the best two together. 1, 1: no
    /// groups.
    pub n_group: usize,
    pub n_group_used: usize,
    /// Added to the probabilities for choosing only, `[n_expert]`.
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

/// `[rows, n_expert_used * cols]` and a route -> `[rows, cols]`: the sum, each expert's part times its weight
#[derive(Debug, Clone, Copy)]
pub struct SumExperts {
    pub n_expert_used: usize,
}

/// positions -> `[n_tokens, n_rot]`: cosine and sine of each rotated pair, side by side
#[derive(Debug, Clone, Copy)]
pub struct RopeTable {
    /// Which rope of the graph.
    pub rope: usize,
}

/// `[n_tokens, n_head * head_dim]` and a rope table `[n_tokens, n_rot]` -> the same, `n_rot` elements of each head from
/// `first` on rotated; then times 1 + scale ln(floor(position / length) + 1), where a temperature is given
#[derive(Debug, Clone, Copy)]
pub struct Rotate {
    pub n_head: usize,
    pub head_dim: usize,
    pub first: usize,
    pub kind: RopeKind,
    pub temperature: Option<Temperature>,
}

/// `[rows, n_head * cols]` -> `[rows, n_head * n]`: columns `first..first + n` of each head
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    pub n_head: usize,
    pub first: usize,
}

/// `[rows, n_head * a]` and `[rows, n_head * b]` (or `[rows, b]`, the same for each head) -> `[rows, n_head * (a +
/// b)]`: side by side, head by head
#[derive(Debug, Clone, Copy)]
pub struct Concat {
    pub n_head: usize,
}

/// Keys and values `[n_tokens, n_embd_k]`, `[n_tokens, n_embd_v]` -> a KV cache; keys alone where values are part of
/// them.
#[derive(Debug, Clone, Copy)]
pub struct StoreKv {
    pub state: StateId,
}

/// Queries `[n_tokens, n_head * head_dim]` and a KV cache -> `[n_tokens, n_head * head_dim_v]`. The cache may be an
/// earlier layer's.
#[derive(Debug, Clone, Copy)]
pub struct Attend {
    pub state: StateId,
    pub n_head: usize,
    /// Scores are multiplied by it.
    pub scale: f32,
    /// cap tanh(score / cap)
    pub softcap: Option<f32>,
    /// A logit per head that takes its share of the softmax and gives nothing, `[n_head]`.
    pub sinks: Option<WeightId>,
}

/// x `[rows, cols]` times scale `[1]` (+ bias `[cols]`); with a route, `[rows, n_expert_used * cols]` by each expert's
/// of `[n_expert]` and `[cols, n_expert]`
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub scale: WeightId,
    pub bias: Option<WeightId>,
    /// 0 without a route.
    pub n_expert_used: usize,
}

/// How a gate treats its half of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gate {
    /// x / (1 + exp(-x))
    Silu,
    /// The tanh form: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
    Gelu,
    /// gpt-oss: x / (1 + exp(-alpha x)), x at most `limit`; the other half within -limit..limit, plus 1
    SiluClamped { alpha: f32, limit: f32 },
}

/// cap tanh(x / cap)
#[derive(Debug, Clone, Copy)]
pub struct SoftCap {
    pub cap: f32,
}

/// The facts about an op: what it reads and keeps, and what its cost and its kernels' working memory depend on, beside
/// the shapes of the values that it reads and makes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// Small tensors that it reads as a whole, float by float.
    pub floats: [Option<WeightId>; 2],
    /// A table of which it reads a row per token.
    pub table: Option<WeightId>,
    /// The matrices that it multiplies by.
    pub product: Option<Product>,
    /// What it writes of its layer's state, and which state it reads as far as tokens see it.
    pub writes: Option<StateId>,
    pub reads: Option<StateId>,
    /// Heads or experts that the working memory depends on.
    pub n_parts: usize,
    /// The result may take the place of the first input once nobody else reads that.
    pub in_place: bool,
}

/// Matrices that an op multiplies by.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    pub part: WeightSlice,
    /// Of the stack of matrices, those that a row of activations is multiplied by; `None`: all.
    pub n_used: Option<usize>,
}

impl Op {
    /// The facts about it.
    pub fn facts(&self) -> Facts {
        let none = Facts::default();
        let product = |part, n_used| Some(Product { part, n_used });
        match self {
            Op::Embed(o) => Facts { table: Some(o.table), ..none },
            Op::RmsNorm(o) => Facts { floats: [Some(o.weight), None], in_place: true, ..none },
            Op::MatMul(o) => Facts { product: product(o.matrix, None), floats: [o.bias, None], ..none },
            Op::MatMulHeads(o) => Facts { product: product(o.matrices, None), n_parts: o.n_head, ..none },
            Op::MatMulExperts(o) => Facts {
                product: product(o.matrices, Some(o.n_expert_used)),
                floats: [o.bias, None],
                n_parts: o.n_expert_used,
                ..none
            },
            Op::Route(o) => Facts { floats: [o.bias, None], n_parts: o.n_expert, ..none },
            Op::StoreKv(o) => Facts { writes: Some(o.state), ..none },
            Op::Attention(o) => Facts { reads: Some(o.state), floats: [o.sinks, None], n_parts: o.n_head, ..none },
            Op::Scale(o) => Facts { floats: [Some(o.scale), o.bias], in_place: true, ..none },
            Op::Rope(_) | Op::Add | Op::Gate(_) | Op::SoftCap(_) => Facts { in_place: true, ..none },
            Op::SumExperts(_) | Op::RopeTable(_) | Op::Columns(_) | Op::Concat(_) | Op::SelectOutputs => none,
        }
    }

    /// Its name, as its files are called.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Embed(_) => "embed",
            Op::RmsNorm(_) => "rms_norm",
            Op::MatMul(_) => "matmul",
            Op::MatMulHeads(_) => "matmul_heads",
            Op::MatMulExperts(_) => "matmul_experts",
            Op::Route(_) => "route",
            Op::SumExperts(_) => "sum_experts",
            Op::RopeTable(_) => "rope_table",
            Op::Rope(_) => "rope",
            Op::Columns(_) => "columns",
            Op::Concat(_) => "concat",
            Op::StoreKv(_) => "store_kv",
            Op::Attention(_) => "attention",
            Op::Scale(_) => "scale",
            Op::Add => "add",
            Op::Gate(_) => "gate",
            Op::SoftCap(_) => "soft_cap",
            Op::SelectOutputs => "select_outputs",
        }
    }
}
