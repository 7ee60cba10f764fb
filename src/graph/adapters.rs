//! Adapters in the words of the builder: what they add to a product or a layer's result (`gguf/adapters.rs`).
//!
//! ```text
//! s x    [rows, n_in]     the row times its scale
//! A ..   [rows, rank]     a product with the first matrix
//! B ..   [rows, n_out]    a product with the second, which is added to W x
//! ```
//!
//! Scales enter from outside, one value `[n_tokens, 1]` for each adapter and factor (alpha / rank), so rows of one
//! micro-batch may have different ones. A row whose scale is 0 gets zeros added, and so the bits that it has without
//! the adapter, however large the adapter's numbers are: it is zeros before the first of them. Several matrices of a
//! layer multiply the same x, so it is scaled once for all. These are ordinary nodes of the layer: planner and
//! executors need to know nothing about adapters.

use super::build::{Builder, Scaled};
use super::graph::{AdapterScale, Input};
use super::op::{Activation, Embed, EmbedBy, Gate, MatMul, MatMulExperts, Op};
use super::value::{Rows, ValueId, WeightSlice};
use crate::error::Result;
use crate::gguf::AdapterKind;

/// The matrices of a LoRA for one of the model's, and the value of its scales.
struct Pair {
    a: String,
    b: String,
    rank: usize,
    scales: ValueId,
}

impl Builder<'_> {
    /// y, which is x times rows `first..` of the tensor `name`, which has `n_all`, plus what adapters add to these.
    pub(super) fn adapt(&mut self, y: ValueId, x: ValueId, name: &str, first: usize, n_all: usize) -> Result<ValueId> {
        let ((_, n_in), (rows, n_out)) = (self.shape(x), self.shape(y));
        let mut sum = y;
        for pair in self.pairs(name, 1, rows) {
            let a = self.slice(&pair.a, &[n_in, pair.rank])?;
            let scaled = self.scaled(pair.scales, x);
            let low = self.like(Op::MatMul(MatMul { matrix: a, bias: None }), &[scaled], "lora_a", pair.rank);
            let b = WeightSlice { first_row: first, n_rows: n_out, ..self.slice(&pair.b, &[pair.rank, n_all])? };
            let more = self.like(Op::MatMul(MatMul { matrix: b, bias: None }), &[low], "lora_b", n_out);
            sum = self.add(sum, more, "lora");
        }
        Ok(sum)
    }

    /// The same for a product by experts: `matrices` are the rows of the tensor `name` that y was made with.
    pub(super) fn adapt_experts(
        &mut self,
        y: ValueId,
        [x, route]: [ValueId; 2],
        name: &str,
        product: &MatMulExperts,
    ) -> Result<ValueId> {
        let MatMulExperts { matrices, n_expert_used, .. } = *product;
        let of = &self.weights[matrices.weight.0 as usize];
        let (n_in, n_all, n_expert) = (of.ne[0] as usize, of.ne[1] as usize, of.ne[2] as usize);
        let ((rows, _), (_, n_out)) = (self.shape(x), self.shape(y));
        let mut sum = y;
        for pair in self.pairs(name, 1, rows) {
            let product = |matrices| Op::MatMulExperts(MatMulExperts { matrices, bias: None, n_expert_used });
            let a = self.slice(&pair.a, &[n_in, pair.rank, n_expert])?;
            let scaled = self.scaled(pair.scales, x);
            let low = self.like(product(a), &[scaled, route], "lora_a", n_expert_used * pair.rank);
            let b = self.slice(&pair.b, &[pair.rank, n_all, n_expert])?;
            let b = WeightSlice { first_row: matrices.first_row, n_rows: matrices.n_rows, ..b };
            let more = self.like(product(b), &[low, route], "lora_b", n_out);
            sum = self.add(sum, more, "lora");
        }
        Ok(sum)
    }

    /// x, rows of the token embedding `name`, plus what adapters add: rows of their A, times B.
    pub(super) fn adapt_embedding(&mut self, x: ValueId, name: &str, n_vocab: usize, scale: f32) -> Result<ValueId> {
        let (rows, n_embd) = self.shape(x);
        let mut sum = x;
        for pair in self.pairs(name, 0, rows) {
            let table = self.required(&pair.a, &[pair.rank, n_vocab])?;
            let op = Op::Embed(Embed { table, scale, by: EmbedBy::Token });
            let low = self.node(op, &[], "lora_a", Rows::Tokens, pair.rank);
            let low = self.scaled(pair.scales, low);
            let matrix = self.slice(&pair.b, &[pair.rank, n_embd])?;
            let more = self.like(Op::MatMul(MatMul { matrix, bias: None }), &[low], "lora_b", n_embd);
            sum = self.add(sum, more, "lora");
        }
        Ok(sum)
    }

    /// x, the result of this layer, plus the directions of control vectors.
    pub fn steer(&mut self, x: ValueId) -> Result<ValueId> {
        let (rows, n_embd) = self.shape(x);
        let mut sum = x;
        for i in 0..self.file.adapters().len() {
            let name = format!("adapter.{i}.direction.{}", self.layer);
            if self.file.tensor(&name).is_none() {
                continue;
            }
            let scales = self.scales_of(i, 1.0, rows);
            let matrix = self.slice(&name, &[1, n_embd])?;
            let more = self.like(Op::MatMul(MatMul { matrix, bias: None }), &[scales], "direction", n_embd);
            sum = self.add(sum, more, "steered");
        }
        Ok(sum)
    }

    /// The LoRAs that have matrices for a tensor; `rank_at` is the dimension of A that is the rank.
    fn pairs(&mut self, name: &str, rank_at: usize, rows: Rows) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for (i, adapter) in self.file.adapters().iter().enumerate() {
            let AdapterKind::Lora { alpha } = adapter.kind else { continue };
            let [a, b] = ["a", "b"].map(|which| format!("adapter.{i}.{name}.lora_{which}"));
            let Some(rank) = self.file.tensor(&a).map(|t| t.ne[rank_at] as usize) else { continue };
            let factor = if alpha == 0.0 { 1.0 } else { alpha / rank as f32 };
            pairs.push(Pair { a, b, rank, scales: self.scales_of(i, factor, rows) });
        }
        pairs
    }

    /// The scales of an adapter times a factor, for these rows.
    fn scales_of(&mut self, adapter: usize, factor: f32, rows: Rows) -> ValueId {
        let known = self.adapters.iter().find(|s| s.adapter == adapter && s.factor == factor).map(|s| s.value);
        let of_tokens = known.unwrap_or_else(|| {
            let value = self.value("adapter_scale", Rows::Tokens, 1);
            self.inputs.push(Input::Rows(value));
            self.adapters.push(AdapterScale { value, adapter, factor });
            value
        });
        if rows == Rows::Tokens {
            return of_tokens;
        }
        self.once(of_tokens, None, |g| g.select_outputs(of_tokens))
    }

    /// x times the scales of its rows.
    fn scaled(&mut self, scales: ValueId, x: ValueId) -> ValueId {
        let (_, cols) = self.shape(x);
        let gate = Op::Gate(Gate::Plain(Activation::Identity));
        self.once(scales, Some(x), |g| g.like(gate, &[scales, x], "lora_scaled", cols))
    }

    /// What was made of two values in this part of this layer before, or what `make` makes.
    fn once(&mut self, a: ValueId, b: Option<ValueId>, make: impl FnOnce(&mut Self) -> ValueId) -> ValueId {
        let place = (self.layer, self.part);
        let known = self.scaled.iter().find(|s| (s.place, s.of) == (place, (a, b))).map(|s| s.is);
        known.unwrap_or_else(|| {
            let is = make(self);
            // Nobody asks for those of an earlier layer again.
            self.scaled.retain(|s| s.place == place);
            self.scaled.push(Scaled { place, of: (a, b), is });
            is
        })
    }
}
