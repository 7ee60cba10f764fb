//! The operations: what each computes, and the facts about it that planner and executors need besides.
//!
//! To add one: a struct and a variant here with its facts, a file of its name in `cpu/`, in `cuda/` and in `kernels/`,
//! a row in the table of ops that drives tests and benchmarks (`tests/ops/`).

use super::recurrence::{Convolve, LinearAttention, Scan};
use super::rope::{RopeKind, Temperature};
use super::value::{StateId, WeightId, WeightSlice};

/// The operations. One op, one file of the same name in each executor.
#[derive(Debug, Clone)]
pub enum Op {
    Embed(Embed),
    Norm(Norm),
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
    AttendText(AttendText),
    Convolve(Convolve),
    LinearAttention(LinearAttention),
    Scan(Scan),
    Scale(Scale),
    /// a + b
    Add,
    /// A function of each element.
    Activation(Activation),
    /// gate(a) * b. If a has fewer columns, each of its numbers counts for as many neighbouring columns of b.
    Gate(Gate),
    SoftCap(SoftCap),
    /// `[n_tokens, cols]` -> `[n_outputs, cols]`: the rows whose results were asked for.
    SelectOutputs,
    /// `[n_tokens, cols]` -> `[n_outputs, cols]`: for each text the mean of its tokens' rows. A text is a stretch of
    /// tokens that ends with an output.
    Mean,
    /// exp(x) / sum of exp(x), over each row.
    Softmax,
}

/// Token ids or positions -> `[n_tokens, n_embd]`: for each token a row of the table, times `scale`.
#[derive(Debug, Clone, Copy)]
pub struct Embed {
    pub table: WeightId,
    pub scale: f32,
    pub by: EmbedBy,
}

/// The number of the row that a token has in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbedBy {
    Token,
    Position,
}

/// `[rows, cols]` -> the same shape: each `group` columns of a row are normed, then multiplied by the weight and added
/// to the bias, where there are such. A group is mostly the whole row. Weight and bias have an element for each column
/// of a group, or for each column of the row.
#[derive(Debug, Clone, Copy)]
pub struct Norm {
    pub kind: NormKind,
    pub weight: Option<WeightId>,
    pub bias: Option<WeightId>,
    pub eps: f32,
    pub group: usize,
}

/// The kinds of norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NormKind {
    /// x / sqrt(mean of squares + eps)
    Rms,
    /// (x - mean) / sqrt(variance + eps)
    Layer,
    /// x / max(sqrt(sum of squares), eps)
    L2,
}

/// `[rows, in]` x matrix `[in, out]` (+ bias) -> `[rows, out]`. The matrix may be some rows of a tensor. The bias has
/// an element for every row of that tensor, so row `first_row + i` of it belongs to row `i` of the matrix.
#[derive(Debug, Clone, Copy)]
pub struct MatMul {
    pub matrix: WeightSlice,
    pub bias: Option<WeightId>,
}

/// `[rows, n_head * in]` x matrices `[in, out, n_head]` -> `[rows, n_head * out]`: each head is multiplied by a matrix
/// of its own.
#[derive(Debug, Clone, Copy)]
pub struct MatMulHeads {
    pub matrices: WeightSlice,
    pub n_head: usize,
}

/// `[rows, in]` or `[rows, n_expert_used * in]`, and a route x matrices `[in, out, n_expert]` (+ bias) -> `[rows,
/// n_expert_used * out]`: each row is multiplied by the matrices of its experts. The bias is `[all rows of a matrix,
/// n_expert]`.
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
    /// Divide the weights of the chosen experts by their sum.
    pub normalise: bool,
    /// The weights are then multiplied by it.
    pub scale: f32,
    /// Experts stand in `n_group` groups, and are chosen from `n_group_used` of these: the groups whose best two
    /// experts together are best. 1, 1: no groups.
    pub n_group: usize,
    pub n_group_used: usize,
    /// Added to the probabilities while experts are chosen, and to nothing else, `[n_expert]`.
    pub bias: Option<WeightId>,
}

/// The function that makes weights of a router's logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gating {
    Softmax,
    Sigmoid,
    /// Softmax over the chosen experts' logits.
    SoftmaxOfChosen,
}

/// `[rows, n_expert_used * cols]` and a route -> `[rows, cols]`: the sum of the experts' parts, each times its weight
/// if `weighted`.
#[derive(Debug, Clone, Copy)]
pub struct SumExperts {
    pub n_expert_used: usize,
    pub weighted: bool,
}

/// Positions -> `[n_tokens, n_rot]`: cosine and sine of each rotated pair, side by side.
#[derive(Debug, Clone, Copy)]
pub struct RopeTable {
    /// Index into `Graph::ropes`.
    pub rope: usize,
}

/// `[n_tokens, n_head * head_dim]` and a rope table `[n_tokens, n_rot]` -> the first one's shape: of each head `n_rot`
/// elements are rotated, from element `first` on. If a temperature is given, all is then multiplied by its factor.
/// Without a table nothing is rotated.
#[derive(Debug, Clone, Copy)]
pub struct Rotate {
    pub n_head: usize,
    pub head_dim: usize,
    pub first: usize,
    pub kind: RopeKind,
    pub temperature: Option<Temperature>,
}

/// `[rows, n_head * cols]` -> `[rows, n_head * n]`: columns `first..first + n` of each head.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    pub n_head: usize,
    pub first: usize,
}

/// `[rows, n_head * a]` and `[rows, n_head * b]` -> `[rows, n_head * (a + b)]`: both side by side, head by head. The
/// second may be `[rows, b]`, and is then the same for each head.
#[derive(Debug, Clone, Copy)]
pub struct Concat {
    pub n_head: usize,
}

/// Writes keys `[n_tokens, n_embd_k]` and values `[n_tokens, n_embd_v]` to a KV cache; keys alone, if values are part
/// of them.
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
    /// The number of the first of them among all heads of the layer, which `sinks` has.
    pub first_head: usize,
    /// Scores are multiplied by it.
    pub scale: f32,
    /// Limits scores: cap tanh(score / cap).
    pub softcap: Option<f32>,
    /// A logit per head that takes a share of the softmax and adds nothing to the result: `[n_head]` from `first_head`
    /// on.
    pub sinks: Option<WeightId>,
    /// Scores fall with the distance of a key, in each head by a slope of its own ([`slope`]).
    pub alibi: Option<f32>,
}

/// Queries `[n_tokens, n_head * head_dim_k]`, keys and values `[n_tokens, n_head_kv * head_dim]` -> `[n_tokens, n_head
/// * head_dim_v]`: each token sees all tokens of its text, those behind it too. Nothing is cached.
#[derive(Debug, Clone, Copy)]
pub struct AttendText {
    pub n_head: usize,
    pub n_head_kv: usize,
    /// Scores are multiplied by it.
    pub scale: f32,
    /// Positions further away than this are not seen; `None`: the whole text is.
    pub reach: Option<u32>,
    /// Scores fall with the distance of a key, in each head by a slope of its own ([`slope`]).
    pub alibi: Option<f32>,
}

/// The slope of one of `n_head` heads, by which its scores fall with the distance of a key (ALiBi, arXiv:2108.12409).
/// The number `spread` says how slopes spread: 8 in the paper; without it there is no slope. For n heads, a power of
/// two, they are 2^(-a/n), 2^(-2a/n) and so on. For others, those of the next smaller power of two come first, then
/// every second one of the next larger.
pub fn slope(spread: Option<f32>, head: usize, n_head: usize) -> f32 {
    let Some(spread) = spread else { return 0.0 };
    let n = 1usize << n_head.max(1).ilog2();
    let power = if head < n { spread / n as f32 } else { spread / (2 * n) as f32 };
    let step = if head < n { head + 1 } else { 2 * (head - n) + 1 };
    (-power).exp2().powi(step as i32)
}

/// `[rows, cols]` times `by`, times scale `[1]` or `[cols]`, plus bias `[cols]`, where there are such. With a route
/// `[rows, n_expert_used * cols]`, each expert's part by its own scale of `[n_expert]` and bias of `[cols, n_expert]`.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub by: f32,
    pub scale: Option<WeightId>,
    pub bias: Option<WeightId>,
    /// 0 without a route.
    pub n_expert_used: usize,
}

/// Functions of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// x
    Identity,
    /// x / (1 + exp(-x))
    Silu,
    /// The tanh form: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
    Gelu,
    /// x / 2 (1 + erf(x / sqrt(2)))
    GeluErf,
    /// The larger of x and 0.
    Relu,
    /// Its square.
    ReluSquared,
    /// 1 / (1 + exp(-x))
    Sigmoid,
    /// ln(1 + exp(x))
    Softplus,
    /// Above 0: positive x^2 + beta x. Below: negative (exp(min(x, eps)) - 1 - x) + beta x (arXiv:2411.13010).
    Xielu { positive: f32, negative: f32, beta: f32, eps: f32 },
    /// x within plus or minus `limit`.
    Clamp { limit: f32 },
    /// 1 / x
    Reciprocal,
}

/// The way in which one half of a feed-forward block gates the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gate {
    /// activation(x) y
    Plain(Activation),
    /// gpt-oss: x / (1 + exp(-alpha x)), x at most `limit`; the other half within -limit..limit, plus 1
    SiluClamped { alpha: f32, limit: f32 },
    /// SiLU of x, at most `limit`; the other half within -limit..limit
    SiluLimited { limit: f32 },
    /// SiLU of x that is at most `limit`; the other half within -limit..limit
    SiluOfLimited { limit: f32 },
}

impl From<Activation> for Gate {
    fn from(activation: Activation) -> Gate {
        Gate::Plain(activation)
    }
}

/// cap tanh(x / cap), for each element.
#[derive(Debug, Clone, Copy)]
pub struct SoftCap {
    pub cap: f32,
}

/// The facts about an op, beside the shapes of the values that it reads and makes: the weights and states that it
/// touches, and all that its cost and its kernels' working memory depend on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// Small tensors of f32 that it reads as a whole.
    pub floats: [Option<WeightId>; 2],
    /// A table of which it reads a row per token.
    pub table: Option<WeightId>,
    /// The matrices that it multiplies by.
    pub product: Option<Product>,
    /// The state that it writes: a row per token, or that of a sequence.
    pub writes: Option<StateId>,
    /// The state that it reads, as far as tokens see it.
    pub reads: Option<StateId>,
    /// The number of heads or experts, if working memory depends on it.
    pub n_parts: usize,
    /// The result may take the place of the first input once nobody else reads that.
    pub in_place: bool,
}

/// Matrices that an op multiplies by.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    pub part: WeightSlice,
    /// The number of matrices of the stack that a row of activations is multiplied by; `None`: all.
    pub n_used: Option<usize>,
}

impl Op {
    /// The facts about this op.
    pub fn facts(&self) -> Facts {
        let none = Facts::default();
        let product = |part, n_used| Some(Product { part, n_used });
        match self {
            Op::Embed(o) => Facts { table: Some(o.table), ..none },
            Op::Norm(o) => Facts { floats: [o.weight, o.bias], in_place: true, ..none },
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
            Op::AttendText(o) => Facts { n_parts: o.n_head, ..none },
            Op::Convolve(o) => {
                Facts { reads: Some(o.state), writes: Some(o.state), floats: [Some(o.weight), o.bias], ..none }
            }
            Op::LinearAttention(o) => Facts {
                reads: Some(o.state),
                writes: Some(o.state),
                floats: [Some(o.a), o.skip],
                n_parts: o.n_head,
                ..none
            },
            Op::Scan(o) => Facts { reads: Some(o.state), writes: Some(o.state), floats: [Some(o.a), None], ..none },
            Op::Scale(o) => Facts { floats: [o.scale, o.bias], in_place: true, ..none },
            Op::Rope(_) | Op::Add | Op::Activation(_) | Op::Gate(_) | Op::SoftCap(_) | Op::Softmax => {
                Facts { in_place: true, ..none }
            }
            Op::SumExperts(_) | Op::RopeTable(_) | Op::Columns(_) | Op::Concat(_) | Op::SelectOutputs | Op::Mean => {
                none
            }
        }
    }

    /// The name of this op, in tests, benchmarks and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Embed(_) => "embed",
            Op::Norm(_) => "norm",
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
            Op::AttendText(_) => "attend_text",
            Op::Convolve(_) => "convolve",
            Op::LinearAttention(_) => "linear_attention",
            Op::Scan(_) => "scan",
            Op::Scale(_) => "scale",
            Op::Add => "add",
            Op::Activation(_) => "activation",
            Op::Gate(_) => "gate",
            Op::SoftCap(_) => "soft_cap",
            Op::SelectOutputs => "select_outputs",
            Op::Mean => "mean",
            Op::Softmax => "softmax",
        }
    }
}
