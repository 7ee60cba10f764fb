//! Attention in the words of the builder: rotation, grouped-query attention, latent attention.

use super::build::Builder;
use super::op::{Activation, Attend, AttendText, Gate, Op, RopeTable, Rotate, Scale, StoreKv};
use super::rope::{Factors, Rope, RopeKind, Temperature};
use super::state::{KeyRope, KvShape, StateShape};
use super::value::{Rows, StateId, ValueId};
use crate::error::{Error, Result};

/// A value with the cosines and sines of this batch's positions, and how it is applied.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    pub(super) value: ValueId,
    pub(super) rope: usize,
    pub(super) kind: RopeKind,
}

/// The shape of an attention block.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    pub n_head: usize,
    pub n_head_kv: usize,
    /// Elements of a head's key, and of its value.
    pub key: usize,
    pub value: usize,
    /// Scores are multiplied by it.
    pub scale: f32,
    /// The model's rotation that turns queries and keys; `None`: they stay as they are.
    pub rope: Option<usize>,
    /// Tokens that a token sees, itself among them; `None`: all before it.
    pub window: Option<u32>,
    /// True if a token sees back to the last multiple of the window only.
    pub chunked: bool,
    /// True in an encoder: a token sees its whole text, also what stands behind it, or half a window to either side.
    /// Nothing is cached.
    pub whole_text: bool,
    /// The spread of the slopes by which scores fall with distance (ALiBi).
    pub alibi: Option<f32>,
    /// Limits scores: cap tanh(score / cap).
    pub softcap: Option<f32>,
    /// Queries, keys and values lie within plus or minus this.
    pub clamp: Option<f32>,
    /// The norm of queries and keys.
    pub qk_norm: Option<QkNorm>,
    /// True if that comes behind the rotation.
    pub norm_rotated: bool,
    /// True if each head's value is normed, without a weight.
    pub v_norm: bool,
    /// True if each head has a logit of its own (attn_sinks) that takes a share of the softmax and adds nothing to the
    /// result.
    pub sinks: bool,
    pub temperature: Option<Temperature>,
    /// The gate of the result, and the function of its numbers.
    pub gate: Option<OutputGate>,
    pub gate_act: Activation,
    /// The block's result is multiplied by it.
    pub out_scale: f32,
    /// True if attn_output.bias is left out, if files have it.
    pub unbiased_out: bool,
    /// The earlier layer whose cache is read. The layer has no keys and values of its own then.
    pub reads: Option<u32>,
}

/// Norms of queries and keys (attn_q_norm, attn_k_norm), of the model's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// Each head, all by the same weight.
    Heads,
    /// Each head, by a weight of its own.
    EachHead,
    /// All heads together.
    Row,
    /// Each head, without a weight.
    Bare,
    /// The same, but that each head of queries is multiplied by a number of its own (attn_q_norm).
    ScaledQueries,
}

/// Gates that attention's result is multiplied by before attn_output: a function of numbers that the layer's input
/// makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputGate {
    /// A number for each element: attn_q gives a head's query, then its numbers.
    InQuery,
    /// A number for each element, by attn_gate.
    Elements,
    /// A number for each head, by attn_gate.
    Heads,
}

/// The shape of latent attention (DeepSeek-V2, arXiv:2405.04434): all heads of queries share one compressed key, whose
/// first part is the value too.
#[derive(Debug, Clone, Copy)]
pub struct Latent {
    pub n_head: usize,
    /// Elements of the compressed key.
    pub kv_lora_rank: usize,
    /// Elements that queries are compressed to; `None`: they are not.
    pub q_lora_rank: Option<usize>,
    /// Elements of a head's key, the rotated part at its end among them, and of its value.
    pub key: usize,
    pub value: usize,
    pub scale: f32,
    /// The model's rotation; `None`: that part of the keys is not turned.
    pub rope: Option<usize>,
    /// Elements of the rotated part.
    pub n_rot: usize,
    pub temperature: Option<Temperature>,
}

impl Builder<'_> {
    /// Adds a rotation. Its table of cosines and sines of this batch's positions is computed once, if a layer rotates
    /// by it.
    pub fn rope_table(&mut self, rope: Rope, kind: RopeKind, used: bool) {
        let (n_rot, index) = (rope.n_rot, self.ropes.len());
        self.ropes.push(rope);
        let table = used.then(|| {
            let value = self.node(Op::RopeTable(RopeTable { rope: index }), &[], "rope", Rows::Tokens, n_rot);
            Table { value, rope: index, kind }
        });
        self.tables.push(table);
    }

    /// Divisors of the frequencies, if the file has them: `rope_freqs.weight`, or one tensor for contexts up to
    /// `n_ctx_orig` and another for longer ones.
    pub fn rope_factors(&mut self, n_rot: usize, n_ctx_orig: u32) -> Result<Factors> {
        let ne = [n_rot / 2];
        if let Some(w) = self.floats("rope_freqs.weight", &ne)? {
            return Ok(Factors::Always(w));
        }
        let (short, long) = ("rope_factors_short.weight", "rope_factors_long.weight");
        let missing =
            |name: &str| Error::bad_file(format!("tensor '{name}' is missing, expected shape {ne:?}")).subject(name);
        match (self.floats(short, &ne)?, self.floats(long, &ne)?) {
            (Some(short), Some(long)) => Ok(Factors::ByContext { short, long, n_ctx_orig }),
            (None, None) => Ok(Factors::None),
            (None, Some(_)) => Err(missing(short)),
            (Some(_), None) => Err(missing(long)),
        }
    }

    /// The table of a rotation.
    fn table(&self, rope: Option<usize>) -> Option<Table> {
        self.tables.get(rope?).copied().flatten()
    }

    /// The rotation that cached keys have, from element `first` of a head on.
    fn key_rope(&self, rope: Option<usize>, first: usize) -> Option<KeyRope> {
        self.table(rope).map(|t| KeyRope { rope: t.rope, first, kind: t.kind })
    }

    /// Turns each head, from element `first` on, and multiplies it by the temperature.
    fn rotate(
        &mut self,
        x: ValueId,
        rope: Option<usize>,
        n_head: usize,
        first: usize,
        temperature: Option<Temperature>,
        name: &'static str,
    ) -> ValueId {
        let table = self.table(rope);
        if table.is_none() && temperature.is_none() {
            return x;
        }
        let (_, cols) = self.shape(x);
        let kind = table.map_or(RopeKind::Norm, |t| t.kind);
        let op = Op::Rope(Rotate { n_head, head_dim: cols / n_head, first, kind, temperature });
        let inputs: Vec<ValueId> = [x].into_iter().chain(table.map(|t| t.value)).collect();
        self.node(op, &inputs, name, Rows::Tokens, cols)
    }

    fn store_kv(&mut self, inputs: Vec<ValueId>, shape: KvShape) -> StateId {
        let state = self.kv_cache(shape);
        self.push(Op::StoreKv(StoreKv { state }), inputs, None);
        state
    }

    /// Some rows of attn_qkv times x. A bias that comes behind a scale cannot be cut, so all of the product is then.
    fn of_fused(&mut self, x: ValueId, name: &'static str, first: usize, n: usize, all: usize) -> Result<ValueId> {
        if self.scaled_before_bias("attn_qkv") {
            let whole = self.linear(x, "attn_qkv", all)?;
            return Ok(self.columns(whole, 1, first, n, name));
        }
        self.linear_part(x, "attn_qkv", name, first, n, all)
    }

    /// x within plus or minus `limit`.
    fn clamp(&mut self, x: ValueId, limit: f32, name: &'static str) -> ValueId {
        let (_, cols) = self.shape(x);
        self.like(Op::Activation(Activation::Clamp { limit }), &[x], name, cols)
    }

    /// The norm of queries or keys.
    fn qk_norm(&mut self, x: ValueId, kind: QkNorm, role: &'static str, n_head: usize) -> Result<ValueId> {
        let (_, cols) = self.shape(x);
        let (norms, head) = (self.norms, cols / n_head);
        match kind {
            QkNorm::Heads => self.group_norm(x, role, norms, head, &[head]),
            QkNorm::EachHead => self.group_norm(x, role, norms, head, &[head, n_head]),
            QkNorm::Row => self.group_norm(x, role, norms, cols, &[cols]),
            QkNorm::Bare => Ok(self.bare_norm(x, head, role)),
            QkNorm::ScaledQueries => {
                let y = self.bare_norm(x, head, role);
                if role == "attn_q_norm" { self.times_heads(y, role, n_head) } else { Ok(y) }
            }
        }
    }

    /// x with each head times a number of its own, `{role}.weight` `[1, n_head]`.
    fn times_heads(&mut self, x: ValueId, role: &'static str, n_head: usize) -> Result<ValueId> {
        let (_, cols) = self.shape(x);
        let bias = Some(self.required_floats(&self.name(role, "weight"), &[1, n_head])?);
        // The numbers as a row for each token: nothing of x, plus them.
        let some = self.columns(x, 1, 0, n_head, "head_scales");
        let op = Op::Scale(Scale { by: 0.0, scale: None, bias, n_expert_used: 0 });
        let numbers = self.like(op, &[some], "head_scales", n_head);
        Ok(self.like(Op::Gate(Gate::Plain(Activation::Identity)), &[numbers, x], "heads_scaled", cols))
    }

    /// The cache of an earlier layer, whose shape must be that of this layer's own.
    fn cache_of(&self, layer: u32, shape: KvShape) -> Result<StateId> {
        let found = self.states.iter().position(|s| s.layer == layer && s.shape == StateShape::Kv(shape));
        found.map(|i| StateId(i as u32)).ok_or_else(|| {
            Error::bad_file(format!(
                "layer {} reads the KV cache of layer {layer}, which keeps none of that shape",
                self.layer
            ))
        })
    }

    /// Grouped-query attention over the KV cache: attn_q, attn_k, attn_v (or attn_qkv), norms of heads, rotation,
    /// attention, its gate, attn_output.
    pub fn attention(&mut self, x: ValueId, a: Attention) -> Result<ValueId> {
        let (_, n_embd) = self.shape(x);
        let (n_q, n_out) = (a.n_head * a.key, a.n_head * a.value);
        let (n_k, n_v) = (a.n_head_kv * a.key, a.n_head_kv * a.value);
        let fused = self.has("attn_qkv").then_some(n_q + n_k + n_v);
        let own = a.reads.is_none();
        let mut gate = None;
        let mut q = match (fused, a.gate) {
            (Some(all), _) => self.of_fused(x, "attn_q", 0, n_q, all)?,
            (None, Some(OutputGate::InQuery)) => {
                let both = self.linear(x, "attn_q", n_q + n_out)?;
                gate = Some(self.columns(both, a.n_head, a.key, a.value, "attn_gate"));
                self.columns(both, a.n_head, 0, a.key, "q")
            }
            (None, _) => self.linear(x, "attn_q", n_q)?,
        };
        let (mut k, mut v) = (None, None);
        if let Some(all) = fused.filter(|_| own) {
            k = Some(self.of_fused(x, "attn_k", n_q, n_k, all)?);
            v = Some(self.of_fused(x, "attn_v", n_q + n_k, n_v, all)?);
        } else if own {
            k = Some(self.linear(x, "attn_k", n_k)?);
            // Without a matrix of their own, values are the keys as they are here.
            v = if n_k == n_v && a.v_norm && !self.has("attn_v") { k } else { Some(self.linear(x, "attn_v", n_v)?) };
        }
        if let Some(limit) = a.clamp {
            q = self.clamp(q, limit, "q_clamped");
            k = k.map(|k| self.clamp(k, limit, "k_clamped"));
            v = v.map(|v| self.clamp(v, limit, "v_clamped"));
        }
        for after in [false, true] {
            if let Some(kind) = a.qk_norm.filter(|_| a.norm_rotated == after) {
                q = self.qk_norm(q, kind, "attn_q_norm", a.n_head)?;
                k = k.map(|k| self.qk_norm(k, kind, "attn_k_norm", a.n_head_kv)).transpose()?;
            }
            if !after {
                q = self.rotate(q, a.rope, a.n_head, 0, a.temperature, "q_rope");
                k = k.map(|k| self.rotate(k, a.rope, a.n_head_kv, 0, None, "k_rope"));
            }
        }
        if a.v_norm {
            v = v.map(|v| self.bare_norm(v, a.value, "v_norm"));
        }
        let shape = KvShape {
            n_head_kv: a.n_head_kv,
            head_dim_k: a.key,
            head_dim_v: a.value,
            v_in_k: false,
            window: a.window,
            chunked: a.chunked,
            rope: self.key_rope(a.rope, 0),
        };
        if let (true, Some(k), Some(v)) = (a.whole_text, k, v) {
            let (n_head, n_head_kv, scale, alibi) = (a.n_head, a.n_head_kv, a.scale, a.alibi);
            let op = Op::AttendText(AttendText { n_head, n_head_kv, scale, reach: a.window.map(|n| n / 2), alibi });
            self.whole_texts = true;
            let out = self.node(op, &[q, k, v], "attn", Rows::Tokens, n_out);
            return self.linear(out, "attn_output", n_embd);
        }
        let state = match a.reads {
            Some(layer) => {
                // Files may have what the keys and values would be made by.
                let roles = ["attn_k", "attn_v", "attn_k_norm"];
                let names: Vec<String> = roles.iter().map(|r| self.name(r, "weight")).collect();
                self.unread.extend(names);
                self.cache_of(layer, shape)?
            }
            None => self.store_kv(k.into_iter().chain(v).collect(), shape),
        };
        let sinks =
            if a.sinks { Some(self.required_floats(&self.name("attn_sinks", "weight"), &[a.n_head])?) } else { None };
        let op = Op::Attention(Attend {
            state,
            n_head: a.n_head,
            scale: a.scale,
            softcap: a.softcap,
            sinks,
            alibi: a.alibi,
        });
        let mut out = self.node(op, &[q], "attn", Rows::Tokens, n_out);
        match a.gate {
            Some(OutputGate::Elements) => gate = Some(self.product(x, "attn_gate", n_out)?),
            Some(OutputGate::Heads) => gate = Some(self.product(x, "attn_gate", a.n_head)?),
            Some(OutputGate::InQuery) | None => {}
        }
        if let Some(gate) = gate {
            out = self.like(Op::Gate(Gate::Plain(a.gate_act)), &[gate, out], "attn_gated", n_out);
        }
        if self.extras.sub_norms && self.has("attn_sub_norm") {
            out = self.norm(out, "attn_sub_norm")?;
        }
        let out = match a.unbiased_out {
            true => self.linear_unbiased(out, "attn_output", n_embd)?,
            false => self.linear(out, "attn_output", n_embd)?,
        };
        Ok(self.times(out, a.out_scale, "attn_scaled"))
    }

    /// Latent attention. A head's key, but for its rotated part, is a product of the compressed key with a matrix
    /// (attn_k_b), and so is its value (attn_v_b). Both matrices move to the other side: queries are multiplied by the
    /// first, results by the second. Then no key of a head is ever made, and the cache holds the compressed key alone.
    pub fn latent_attention(&mut self, x: ValueId, a: Latent) -> Result<ValueId> {
        let (_, n_embd) = self.shape(x);
        let (n_head, nope) = (a.n_head, a.key - a.n_rot);
        let q = match a.q_lora_rank {
            Some(rank) => {
                let low = self.product(x, "attn_q_a", rank)?;
                let low = self.norm(low, "attn_q_a_norm")?;
                self.product(low, "attn_q_b", n_head * a.key)?
            }
            None => self.product(x, "attn_q", n_head * a.key)?,
        };
        let kv = self.product(x, "attn_kv_a_mqa", a.kv_lora_rank + a.n_rot)?;
        let compressed = self.columns(kv, 1, 0, a.kv_lora_rank, "kv_cmpr");
        let compressed = self.norm(compressed, "attn_kv_a_norm")?;
        let k_pe = self.columns(kv, 1, a.kv_lora_rank, a.n_rot, "k_pe");
        if !self.has("attn_k_b") && self.has("attn_kv_b") {
            return self.expanded_attention(a, q, compressed, k_pe, n_embd);
        }
        let latent = a.kv_lora_rank + a.n_rot;
        let k = self.concat(compressed, k_pe, 1, latent, "k_latent");
        let k = self.rotate(k, a.rope, 1, a.kv_lora_rank, None, "k_rope");
        let q_nope = self.columns(q, n_head, 0, nope, "q_nope");
        let q_nope = self.linear_heads(q_nope, "attn_k_b", n_head, a.kv_lora_rank)?;
        let q_pe = self.columns(q, n_head, nope, a.n_rot, "q_pe");
        let q = self.concat(q_nope, q_pe, n_head, latent, "q_latent");
        let q = self.rotate(q, a.rope, n_head, a.kv_lora_rank, a.temperature, "q_rope");
        let shape = KvShape {
            n_head_kv: 1,
            head_dim_k: latent,
            head_dim_v: a.kv_lora_rank,
            v_in_k: true,
            window: None,
            chunked: false,
            rope: self.key_rope(a.rope, a.kv_lora_rank),
        };
        let state = self.store_kv(vec![k], shape);
        let op = Op::Attention(Attend { state, n_head, scale: a.scale, softcap: None, sinks: None, alibi: None });
        let out = self.node(op, &[q], "attn", Rows::Tokens, n_head * a.kv_lora_rank);
        let out = self.linear_heads(out, "attn_v_b", n_head, a.value)?;
        self.linear(out, "attn_output", n_embd)
    }

    /// The same for older files. Their attn_kv_b makes every head's key and value from the compressed key, and the
    /// cache holds those.
    fn expanded_attention(
        &mut self,
        a: Latent,
        q: ValueId,
        compressed: ValueId,
        k_pe: ValueId,
        n_embd: usize,
    ) -> Result<ValueId> {
        let (n_head, nope) = (a.n_head, a.key - a.n_rot);
        let kv = self.product(compressed, "attn_kv_b", n_head * (nope + a.value))?;
        let v = if nope == 0 { kv } else { self.columns(kv, n_head, nope, a.value, "v") };
        let k = match nope {
            // All of a key turns, and all heads have the same.
            0 => (1..n_head).fold(k_pe, |k, i| self.concat(k, k_pe, 1, (i + 1) * a.key, "k")),
            _ => {
                let k_nope = self.columns(kv, n_head, 0, nope, "k_nope");
                self.concat(k_nope, k_pe, n_head, a.key, "k")
            }
        };
        let k = self.rotate(k, a.rope, n_head, nope, None, "k_rope");
        let q = self.rotate(q, a.rope, n_head, nope, a.temperature, "q_rope");
        let shape = KvShape {
            n_head_kv: n_head,
            head_dim_k: a.key,
            head_dim_v: a.value,
            v_in_k: false,
            window: None,
            chunked: false,
            rope: self.key_rope(a.rope, nope),
        };
        let state = self.store_kv(vec![k, v], shape);
        let op = Op::Attention(Attend { state, n_head, scale: a.scale, softcap: None, sinks: None, alibi: None });
        let out = self.node(op, &[q], "attn", Rows::Tokens, n_head * a.value);
        self.linear(out, "attn_output", n_embd)
    }
}
