//! Products with matrices of the file, in the words of the builder: with biases, scales and adapters where there are
//! such.
//!
//! A file may have `{role}.scale` and `{role}.bias` beside `{role}.weight`. The scale multiplies the product, before
//! the bias in attention and behind it in feed-forward blocks.

use super::build::Builder;
use super::op::{MatMul, MatMulHeads, Op, Scale};
use super::value::{ValueId, WeightId, WeightSlice};
use crate::error::{Error, Result};

impl Builder<'_> {
    /// x times `{role}.weight`, then times `{role}.scale` and plus `{role}.bias` if the file has them.
    pub fn linear(&mut self, x: ValueId, role: &'static str, n_out: usize) -> Result<ValueId> {
        self.linear_part(x, role, role, 0, n_out, n_out)
    }

    /// The same with `n_out` rows of a weight that has `n_all`, from row `first` on.
    pub(super) fn linear_part(
        &mut self,
        x: ValueId,
        role: &'static str,
        name: &'static str,
        first: usize,
        n_out: usize,
        n_all: usize,
    ) -> Result<ValueId> {
        let matrix = WeightSlice { first_row: first, n_rows: n_out, ..self.matrix(x, role, n_all)? };
        let bias = self.beside(role, "bias", n_all)?;
        let counts = match role {
            "output" => self.extras.output_scale,
            // A fused pair of gate and up.
            "ffn_up" | "ffn_up_shexp" => self.extras.ffn_scales,
            _ => true,
        };
        let scale = if counts { self.beside(role, "scale", 1)? } else { None };
        let own = self.name(role, "weight");
        let Some(scale) = scale else {
            let y = self.like(Op::MatMul(MatMul { matrix, bias }), &[x], name, n_out);
            return self.adapt(y, x, &own, first, n_all);
        };
        let y = self.like(Op::MatMul(MatMul { matrix, bias: None }), &[x], name, n_out);
        let bias = if n_out == n_all { bias } else { self.no_part_of(bias, role)? };
        let op = Op::Scale(Scale { by: 1.0, scale: Some(scale), bias, n_expert_used: 0 });
        let y = self.like(op, &[y], name, n_out);
        self.adapt(y, x, &own, first, n_all)
    }

    /// All of `{role}.weight`, as a matrix that x is multiplied by.
    fn matrix(&mut self, x: ValueId, role: &str, n_out: usize) -> Result<WeightSlice> {
        let (_, n_in) = self.shape(x);
        self.slice(&self.name(role, "weight"), &[n_in, n_out])
    }

    /// All of a tensor of the file.
    pub(super) fn slice(&mut self, name: &str, ne: &[usize]) -> Result<WeightSlice> {
        let weight = self.required(name, ne)?;
        Ok(WeightSlice::whole(weight, &self.weights[weight.0 as usize]))
    }

    /// Refuses a bias beside the scale of a fused weight. The bias's part would have to be cut out, and no file has
    /// both.
    pub(super) fn no_part_of(&self, bias: Option<WeightId>, role: &str) -> Result<Option<WeightId>> {
        let name = self.name(role, "bias");
        if bias.is_some() {
            return Err(Error::unsupported(format!("tensor '{name}' beside a scale of a fused weight is not known"))
                .subject(name));
        }
        Ok(None)
    }

    /// x times `{role}.weight`, then times `{role}.scale` if the file has it; a bias is not looked for.
    pub(super) fn linear_unbiased(&mut self, x: ValueId, role: &'static str, n_out: usize) -> Result<ValueId> {
        let matrix = self.matrix(x, role, n_out)?;
        let mut y = self.like(Op::MatMul(MatMul { matrix, bias: None }), &[x], role, n_out);
        let scale = self.floats(&self.name(role, "scale"), &[1])?;
        if scale.is_some() {
            y = self.like(Op::Scale(Scale { by: 1.0, scale, bias: None, n_expert_used: 0 }), &[y], role, n_out);
        }
        self.adapt(y, x, &self.name(role, "weight"), 0, n_out)
    }

    /// x times `{role}.weight` alone: a scale or bias in the file is not looked for.
    pub(super) fn product(&mut self, x: ValueId, role: &'static str, n_out: usize) -> Result<ValueId> {
        let matrix = self.matrix(x, role, n_out)?;
        let y = self.like(Op::MatMul(MatMul { matrix, bias: None }), &[x], role, n_out);
        self.adapt(y, x, &self.name(role, "weight"), 0, n_out)
    }

    /// x times `{role}.weight` plus the bias, then times the scale: in feed-forward blocks the scale applies to the
    /// bias too.
    pub(super) fn linear_scaled(&mut self, x: ValueId, role: &'static str, n_out: usize) -> Result<ValueId> {
        let matrix = self.matrix(x, role, n_out)?;
        let bias = self.beside(role, "bias", n_out)?;
        let y = self.like(Op::MatMul(MatMul { matrix, bias }), &[x], role, n_out);
        let x = self.adapt(y, x, &self.name(role, "weight"), 0, n_out)?;
        let scale = if self.extras.ffn_scales { self.beside(role, "scale", 1)? } else { None };
        Ok(match scale {
            Some(_) => self.like(Op::Scale(Scale { by: 1.0, scale, bias: None, n_expert_used: 0 }), &[x], role, n_out),
            None => x,
        })
    }

    /// Multiplies each head of x by its own matrix of `{role}.weight` `[in, out, n_head]`.
    pub(super) fn linear_heads(
        &mut self,
        x: ValueId,
        role: &'static str,
        n_head: usize,
        n_out: usize,
    ) -> Result<ValueId> {
        let (_, cols) = self.shape(x);
        let matrices = self.slice(&self.name(role, "weight"), &[cols / n_head, n_out, n_head])?;
        Ok(self.like(Op::MatMulHeads(MatMulHeads { matrices, n_head }), &[x], role, n_head * n_out))
    }

    /// The product with `output.weight`, or with the token embedding if the file has none. An adapter of the token
    /// embedding changes the rows that are looked up, not this product.
    pub(super) fn output_matrix(&mut self, x: ValueId, n_vocab: usize) -> Result<ValueId> {
        if self.has("output") {
            return self.linear(x, "output", n_vocab);
        }
        let (_, n_embd) = self.shape(x);
        let matrix = self.slice("token_embd.weight", &[n_embd, n_vocab])?;
        Ok(self.like(Op::MatMul(MatMul { matrix, bias: None }), &[x], "output", n_vocab))
    }
}
