//! Per-layer embeddings in the words of the builder: a second embedding of each token, of which every layer adds a part
//! of its own to the residual stream (gemma4's E2B and E4B, gemma3n).
//!
//! Its table is the largest tensor of a file. Like the token embedding it is read row by row in the mapped file, so it
//! needs no device's memory.

use super::build::Builder;
use super::graph::INPUT;
use super::op::{Activation, Gate, Op};
use super::value::ValueId;
use crate::error::Result;

impl Builder<'_> {
    /// For each token a row of per_layer_token_embd and a product of its embedding x (per_layer_model_proj), which is
    /// normed, together: `[n_tokens, n * n_layer]`.
    pub fn embed_per_layer(&mut self, x: ValueId, n: usize, n_vocab: usize) -> Result<ValueId> {
        debug_assert!(self.layer == INPUT);
        let (_, n_embd) = self.shape(x);
        let all = n * self.n_layer as usize;
        let own = self.embed("per_layer_token_embd", all, n_vocab, (n as f32).sqrt())?;
        let proj = self.product(x, "per_layer_model_proj", all)?;
        let proj = self.times(proj, 1.0 / (n_embd as f32).sqrt(), "per_layer_scaled");
        let proj = self.group_norm(proj, "per_layer_proj_norm", self.norms, n, &[n])?;
        let sum = self.add(proj, own, "per_layer_sum");
        Ok(self.times(sum, std::f32::consts::FRAC_1_SQRT_2, "per_layer"))
    }

    /// This layer's `n` columns of that.
    pub fn of_layer(&mut self, second: ValueId, n: usize) -> ValueId {
        self.columns(second, 1, self.layer as usize * n, n, "per_layer_own")
    }

    /// x plus what the layer's part of the second embedding makes of it: norm(proj(gelu(inp_gate x) * own)).
    pub fn add_per_layer(&mut self, x: ValueId, own: ValueId) -> Result<ValueId> {
        let ((_, n_embd), (_, n)) = (self.shape(x), self.shape(own));
        let gate = self.linear(x, "inp_gate", n)?;
        let gated = self.like(Op::Gate(Gate::Plain(Activation::Gelu)), &[gate, own], "per_layer_gated", n);
        let y = self.linear(gated, "proj", n_embd)?;
        let y = self.norm(y, "post_norm")?;
        Ok(self.add(x, y, "per_layer_res"))
    }
}
