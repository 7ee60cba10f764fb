//! Operations that keep a state per sequence in place of rows per token.
//!
//! A recurrent layer reads its tokens one after the other. What it remembers of them is a state of fixed size, however
//! many they are. [`CacheView`](super::CacheView) tells from which cell a run of tokens goes on, and after which of
//! them the state is kept.

use super::value::{StateId, WeightId};

/// `[n_tokens, cols]` -> the same shape: for each column, a weighted sum of the token and the `n_taps - 1` before it in
/// its sequence, plus the bias, then SiLU if it is asked for. The weight is `[n_taps, cols]`, the newest token last.
/// The state is those last `n_taps - 1` rows.
#[derive(Debug, Clone, Copy)]
pub struct Convolve {
    pub state: StateId,
    pub weight: WeightId,
    pub bias: Option<WeightId>,
    pub n_taps: usize,
    pub silu: bool,
}

impl Convolve {
    /// The builder refuses more taps.
    pub const MOST_TAPS: usize = 16;
}

/// Linear attention with a decay: queries, keys, values, steps and betas -> `[n_tokens, n_head * head_v]`. A head has a
/// state S of `[head_k, head_v]`. For each token
///
/// ```text
/// S = exp(a step) S
/// S = S + k beta (v - S^T k)^T      Rule::Delta
/// S = S + k beta v^T                Rule::Sum
/// out = S^T q + skip v
/// ```
///
/// With the first rule it is the gated delta net (Yang, Kautz and Hatamizadeh 2024, arXiv:2412.06464), with the second
/// Mamba-2 (Dao and Gu 2024, arXiv:2405.21060), where keys are B, queries are C, and steps are betas.
///
/// Queries and keys are `[n_tokens, n_head_k * head_k]`, values `[n_tokens, n_head * head_v]`, betas `[n_tokens,
/// n_head]`. Steps are `[n_tokens, n_head]`, or `[n_tokens, n_head * head_k]` if each row of S has its own (Kimi Delta
/// Attention); `a` is `[n_head]`, and so is `skip`.
#[derive(Debug, Clone, Copy)]
pub struct LinearAttention {
    pub rule: Rule,
    pub state: StateId,
    pub a: WeightId,
    pub skip: Option<WeightId>,
    pub n_head: usize,
    /// Heads of queries and keys. Each belongs to `n_head / n_head_k` heads of values.
    pub n_head_k: usize,
    pub head_k: usize,
    pub head_v: usize,
    pub sharing: Sharing,
    /// Queries and keys are multiplied by it.
    pub scale_q: f32,
    pub scale_k: f32,
    /// True if steps are `[n_tokens, n_head * head_k]`.
    pub by_row: bool,
}

/// The way in which a token changes a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Delta,
    Sum,
}

/// The heads of values that share a head of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Neighbours: head i has keys `i / (n_head / n_head_k)`.
    Neighbours,
    /// In turn: head i has keys `i % n_head_k`.
    Turns,
}

impl LinearAttention {
    /// The head of queries and keys that belongs to a head of values.
    pub fn head_k_of(&self, head: usize) -> usize {
        match self.sharing {
            Sharing::Neighbours => head / (self.n_head / self.n_head_k),
            Sharing::Turns => head % self.n_head_k,
        }
    }
}

/// The selective scan of Mamba (Gu and Dao 2023, arXiv:2312.00752): values and steps `[n_tokens, cols]`, B and C
/// `[n_tokens, n_state]` -> `[n_tokens, cols]`. A column has a state s of `n_state` numbers. For each token
///
/// ```text
/// s[n] = exp(a[n] step) s[n] + B[n] step v
/// out = sum of C[n] s[n]
/// ```
///
/// The weight `a` is `[n_state, cols]`: a column's numbers lie side by side.
#[derive(Debug, Clone, Copy)]
pub struct Scan {
    pub state: StateId,
    pub a: WeightId,
    pub n_state: usize,
}
