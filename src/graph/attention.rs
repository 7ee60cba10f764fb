//! Attention in the words of the builder: rotation, grouped-query attention, latent attention.

use super::build::Builder;
use super::op::{Attend, Columns, Concat, Op, RopeTable, Rotate, StoreKv};
use super::rope::{Factors, Rope, RopeKind, Temperature};
use super::state::{KeyRope, KvShape};
use super::value::{Rows, StateId, ValueId};
use crate::error::{Error, Result};

/// A value with the cosines and sines of this batch's positions, and how it is applied.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    value: ValueId,
    rope: usize,
    kind: RopeKind,
}

/// The shape of an attention block.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    pub n_head: usize,
    pub n_head_kv: usize,
    pub head_dim: usize,
    /// Scores are multiplied by it.
    pub scale: f32,
    pub table: Table,
    /// Tokens that a token sees, itself among them; `None`: all before it.
    pub window: Option<u32>,
    /// Limits scores: cap tanh(score / cap).
    pub softcap: Option<f32>,
    /// The epsilon of a root-mean-square norm of each head's query and key (attn_q_norm, attn_k_norm); `None`: no norm.
    pub qk_norm: Option<f32>,
    /// True if each head has a logit of its own (attn_sinks) that takes a share of the softmax and adds nothing to the
    /// result.
    pub sinks: bool,
    pub temperature: Option<Temperature>,
}

/// The shape of latent attention (DeepSeek-V2, arXiv:2405.04434): all heads of queries share one compressed key, whose
/// first part is the value too.
#[derive(Debug, Clone, Copy)]
pub struct Latent {
    pub n_head: usize,
    /// Elements of the compressed key, of a head's part without rotation, of the rotated part, and of a value.
    pub kv_lora_rank: usize,
    pub nope: usize,
    pub rope: usize,
    pub head_dim_v: usize,
    /// Elements that queries are compressed to; `None`: they are not.
    pub q_lora_rank: Option<usize>,
    pub eps: f32,
    pub scale: f32,
    pub table: Table,
    pub temperature: Option<Temperature>,
}

impl Builder<'_> {
    /// A table of cosines and sines of this batch's positions. It is computed once, and read by every layer that
    /// rotates by it.
    pub fn rope_table(&mut self, rope: Rope, kind: RopeKind) -> Table {
        let (n_rot, index) = (rope.n_rot, self.ropes.len());
        self.ropes.push(rope);
        let value = self.node(Op::RopeTable(RopeTable { rope: index }), &[], "rope", Rows::Tokens, n_rot);
        Table { value, rope: index, kind }
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

    fn rope(
        &mut self,
        x: ValueId,
        table: Table,
        n_head: usize,
        first: usize,
        temperature: Option<Temperature>,
        name: &'static str,
    ) -> ValueId {
        let (_, cols) = self.shape(x);
        let op = Op::Rope(Rotate { n_head, head_dim: cols / n_head, first, kind: table.kind, temperature });
        self.node(op, &[x, table.value], name, Rows::Tokens, cols)
    }

    fn columns(&mut self, x: ValueId, n_head: usize, first: usize, n: usize, name: &'static str) -> ValueId {
        self.like(Op::Columns(Columns { n_head, first }), &[x], name, n_head * n)
    }

    fn concat(&mut self, a: ValueId, b: ValueId, n_head: usize, n_each: usize, name: &'static str) -> ValueId {
        let cols = n_head * n_each;
        self.like(Op::Concat(Concat { n_head }), &[a, b], name, cols)
    }

    fn store_kv(&mut self, inputs: Vec<ValueId>, shape: KvShape) -> StateId {
        let state = self.kv_cache(shape);
        self.push(Op::StoreKv(StoreKv { state }), inputs, None);
        state
    }

    /// Grouped-query attention over the KV cache: attn_q, attn_k, attn_v (or attn_qkv), norms of heads, rotation,
    /// attention, attn_output.
    pub fn attention(&mut self, x: ValueId, a: Attention) -> Result<ValueId> {
        let (_, n_embd) = self.shape(x);
        let (n_q, n_kv) = (a.n_head * a.head_dim, a.n_head_kv * a.head_dim);
        let (mut q, mut k, v) = if self.has("attn_qkv") {
            let all = n_q + 2 * n_kv;
            (
                self.linear_part(x, "attn_qkv", "attn_q", 0, n_q, all)?,
                self.linear_part(x, "attn_qkv", "attn_k", n_q, n_kv, all)?,
                self.linear_part(x, "attn_qkv", "attn_v", n_q + n_kv, n_kv, all)?,
            )
        } else {
            (self.linear(x, "attn_q", n_q)?, self.linear(x, "attn_k", n_kv)?, self.linear(x, "attn_v", n_kv)?)
        };
        if let Some(eps) = a.qk_norm {
            q = self.group_norm(q, "attn_q_norm", eps, a.head_dim)?;
            k = self.group_norm(k, "attn_k_norm", eps, a.head_dim)?;
        }
        let q = self.rope(q, a.table, a.n_head, 0, a.temperature, "q_rope");
        let k = self.rope(k, a.table, a.n_head_kv, 0, None, "k_rope");
        let rope = KeyRope { rope: a.table.rope, first: 0, kind: a.table.kind };
        let (n_head_kv, head_dim) = (a.n_head_kv, a.head_dim);
        let shape =
            KvShape { n_head_kv, head_dim_k: head_dim, head_dim_v: head_dim, v_in_k: false, window: a.window, rope };
        let state = self.store_kv(vec![k, v], shape);
        let sinks =
            if a.sinks { Some(self.required_floats(&self.name("attn_sinks", "weight"), &[a.n_head])?) } else { None };
        let op = Op::Attention(Attend { state, n_head: a.n_head, scale: a.scale, softcap: a.softcap, sinks });
        let out = self.node(op, &[q], "attn", Rows::Tokens, n_q);
        self.linear(out, "attn_output", n_embd)
    }

    /// Latent attention. A head's key, but for its rotated part, is a product of the compressed key with a matrix
    /// (attn_k_b), and so is its value (attn_v_b). Both matrices move to the other side: queries are multiplied by the
    /// first, results by the second. Then no key of a head is ever made, and the cache holds the compressed key alone.
    pub fn latent_attention(&mut self, x: ValueId, a: Latent) -> Result<ValueId> {
        let (_, n_embd) = self.shape(x);
        let n_head = a.n_head;
        let head = a.nope + a.rope;
        let q = match a.q_lora_rank {
            Some(rank) => {
                let low = self.product(x, "attn_q_a", rank)?;
                let low = self.rms_norm(low, "attn_q_a_norm", a.eps)?;
                self.product(low, "attn_q_b", n_head * head)?
            }
            None => self.product(x, "attn_q", n_head * head)?,
        };
        let kv = self.product(x, "attn_kv_a_mqa", a.kv_lora_rank + a.rope)?;
        let compressed = self.columns(kv, 1, 0, a.kv_lora_rank, "kv_cmpr");
        let compressed = self.rms_norm(compressed, "attn_kv_a_norm", a.eps)?;
        let k_pe = self.columns(kv, 1, a.kv_lora_rank, a.rope, "k_pe");
        if !self.has("attn_k_b") && self.has("attn_kv_b") {
            return self.expanded_attention(a, q, compressed, k_pe, n_embd);
        }
        let latent = a.kv_lora_rank + a.rope;
        let k = self.concat(compressed, k_pe, 1, latent, "k_latent");
        let k = self.rope(k, a.table, 1, a.kv_lora_rank, None, "k_rope");
        let q_nope = self.columns(q, n_head, 0, a.nope, "q_nope");
        let q_nope = self.linear_heads(q_nope, "attn_k_b", n_head, a.kv_lora_rank)?;
        let q_pe = self.columns(q, n_head, a.nope, a.rope, "q_pe");
        let q = self.concat(q_nope, q_pe, n_head, latent, "q_latent");
        let q = self.rope(q, a.table, n_head, a.kv_lora_rank, a.temperature, "q_rope");
        let rope = KeyRope { rope: a.table.rope, first: a.kv_lora_rank, kind: a.table.kind };
        let shape =
            KvShape { n_head_kv: 1, head_dim_k: latent, head_dim_v: a.kv_lora_rank, v_in_k: true, window: None, rope };
        let state = self.store_kv(vec![k], shape);
        let op = Op::Attention(Attend { state, n_head, scale: a.scale, softcap: None, sinks: None });
        let out = self.node(op, &[q], "attn", Rows::Tokens, n_head * a.kv_lora_rank);
        let out = self.linear_heads(out, "attn_v_b", n_head, a.head_dim_v)?;
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
        let (n_head, head) = (a.n_head, a.nope + a.rope);
        let kv = self.product(compressed, "attn_kv_b", n_head * (a.nope + a.head_dim_v))?;
        let k_nope = self.columns(kv, n_head, 0, a.nope, "k_nope");
        let v = self.columns(kv, n_head, a.nope, a.head_dim_v, "v");
        let k = self.concat(k_nope, k_pe, n_head, head, "k");
        let k = self.rope(k, a.table, n_head, a.nope, None, "k_rope");
        let q = self.rope(q, a.table, n_head, a.nope, a.temperature, "q_rope");
        let rope = KeyRope { rope: a.table.rope, first: a.nope, kind: a.table.kind };
        let shape = KvShape {
            n_head_kv: n_head,
            head_dim_k: head,
            head_dim_v: a.head_dim_v,
            v_in_k: false,
            window: None,
            rope,
        };
        let state = self.store_kv(vec![k, v], shape);
        let op = Op::Attention(Attend { state, n_head, scale: a.scale, softcap: None, sinks: None });
        let out = self.node(op, &[q], "attn", Rows::Tokens, n_head * a.head_dim_v);
        self.linear(out, "attn_output", n_embd)
    }
}
