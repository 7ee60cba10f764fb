//! The words that an architecture is described with.
//!
//! A word looks its tensors up by GGUF's names, checks their shapes, and adds nodes. A missing or misshapen tensor is an error
//! that names it, so a description needs no checks of its own.

use super::{
    Factors, Gate, Graph, INPUT, KeyRope, KvShape, Node, Op, Rope, RopeKind, Routing, Rows, Temperature, Value,
    ValueId, WeightId,
};
use crate::error::{Error, Result};
use crate::gguf::{Gguf, TensorInfo};
use crate::quant::Type;

/// Builds a graph from a file's tensors.
pub struct Builder<'a> {
    file: &'a Gguf,
    n_layer: u32,
    layer: u32,
    /// Whether nodes belong to routed experts.
    in_experts: bool,
    values: Vec<Value>,
    weights: Vec<TensorInfo>,
    nodes: Vec<Node>,
    kv: Vec<KvShape>,
    ropes: Vec<Rope>,
    scales: Scales,
}

/// Which `.scale` tensors beside matrices count; those of attention always do. Architectures leave the others out, though files may
/// have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scales {
    pub ffn: bool,
    pub experts: bool,
    /// The output matrix.
    pub output: bool,
}

/// Cosines and sines of this batch's positions, and what they rotate.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    value: ValueId,
    rope: usize,
    kind: RopeKind,
}

/// What an attention block needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    pub n_head: usize,
    pub n_head_kv: usize,
    pub head_dim: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    pub table: Table,
    /// Tokens that a token sees, itself among them; `None`: all before it.
    pub window: Option<u32>,
    /// cap tanh(score / cap)
    pub softcap: Option<f32>,
    /// A root-mean-square norm of each head's query and key (attn_q_norm, attn_k_norm), with this epsilon.
    pub qk_norm: Option<f32>,
    /// A logit per head that takes its share of the softmax and gives nothing (attn_sinks).
    pub sinks: bool,
    pub temperature: Option<Temperature>,
}

/// Latent attention: queries and one compressed key for all heads, whose first part is the value too (DeepSeek-V2, arXiv:2405.04434).
#[derive(Debug, Clone, Copy)]
pub struct Latent {
    pub n_head: usize,
    /// Elements of the compressed key, of a head's part without rotation, of the rotated part, and of a value.
    pub kv_lora_rank: usize,
    pub nope: usize,
    pub rope: usize,
    pub head_dim_v: usize,
    /// Queries are compressed as well, to so many elements.
    pub q_lora_rank: Option<usize>,
    pub eps: f32,
    pub scale: f32,
    pub table: Table,
    pub temperature: Option<Temperature>,
}

/// One matrix of each expert, or the rows of it from `first` on.
struct ExpertRole {
    role: &'static str,
    n_in: usize,
    n_out: usize,
    n_all: usize,
    first: usize,
    n_expert: usize,
    used: usize,
}

impl<'a> Builder<'a> {
    pub fn new(file: &'a Gguf, n_layer: u32, scales: Scales) -> Builder<'a> {
        Builder {
            file,
            n_layer,
            layer: INPUT,
            in_experts: false,
            values: Vec::new(),
            weights: Vec::new(),
            nodes: Vec::new(),
            kv: Vec::new(),
            ropes: Vec::new(),
            scales,
        }
    }

    /// What follows belongs to layer `i`; `n_layer` is the output. What comes before the first call is the input.
    pub fn layer(&mut self, i: u32) {
        self.layer = i;
    }

    fn name(&self, role: &str, kind: &str) -> String {
        if self.layer < self.n_layer { format!("blk.{}.{role}.{kind}", self.layer) } else { format!("{role}.{kind}") }
    }

    /// Whether the file has `{role}.weight` in this layer.
    pub fn has(&self, role: &str) -> bool {
        self.file.tensor(&self.name(role, "weight")).is_some()
    }

    /// The tensor `name` of shape `ne` (fastest dimension first), if the file has it.
    pub fn optional(&mut self, name: &str, ne: &[usize]) -> Result<Option<WeightId>> {
        let Some(info) = self.file.tensor(name) else { return Ok(None) };
        let mut want = [1u64; 4];
        for (w, n) in want.iter_mut().zip(ne) {
            *w = *n as u64;
        }
        if info.ne != want {
            return Err(
                Error::bad_file(format!("tensor '{name}' has shape {}, expected {ne:?}", info.shape())).subject(name)
            );
        }
        Ok(Some(self.add_weight(info)))
    }

    /// The same tensor may be asked for again (tied output, shared factors): it is one weight.
    fn add_weight(&mut self, info: &TensorInfo) -> WeightId {
        if let Some(i) = self.weights.iter().position(|w| w.name == info.name) {
            return WeightId(i as u32);
        }
        self.weights.push(info.clone());
        WeightId(self.weights.len() as u32 - 1)
    }

    pub fn required(&mut self, name: &str, ne: &[usize]) -> Result<WeightId> {
        self.optional(name, ne)?
            .ok_or_else(|| Error::bad_file(format!("tensor '{name}' is missing, expected shape {ne:?}")).subject(name))
    }

    /// A tensor that is read as it stands, float by float: norm weights, biases, factors.
    pub fn floats(&mut self, name: &str, ne: &[usize]) -> Result<Option<WeightId>> {
        let id = self.optional(name, ne)?;
        if let Some(id) = id {
            let ty = self.weights[id.0 as usize].ty;
            if ty != Type::F32 {
                return Err(
                    Error::unsupported(format!("tensor '{name}' is of type {}, expected F32", ty.name())).subject(name)
                );
            }
        }
        Ok(id)
    }

    fn required_floats(&mut self, name: &str, ne: &[usize]) -> Result<WeightId> {
        self.floats(name, ne)?
            .ok_or_else(|| Error::bad_file(format!("tensor '{name}' is missing, expected shape {ne:?}")).subject(name))
    }

    fn node(&mut self, op: Op, inputs: &[ValueId], name: &'static str, rows: Rows, cols: usize) -> ValueId {
        let output = ValueId(self.values.len() as u32);
        self.values.push(Value { name, rows, cols });
        self.nodes.push(Node {
            op,
            inputs: inputs.to_vec(),
            output: Some(output),
            layer: self.layer,
            experts: self.in_experts,
        });
        output
    }

    /// A node whose result has as many rows as `x`.
    fn like(&mut self, op: Op, inputs: &[ValueId], name: &'static str, cols: usize) -> ValueId {
        let (rows, _) = self.shape(inputs[0]);
        self.node(op, inputs, name, rows, cols)
    }

    fn shape(&self, x: ValueId) -> (Rows, usize) {
        let v = &self.values[x.0 as usize];
        (v.rows, v.cols)
    }

    /// token ids -> [n_tokens, n_embd], from token_embd.weight, times `scale`
    pub fn embed(&mut self, n_embd: usize, n_vocab: usize, scale: f32) -> Result<ValueId> {
        let table = self.required("token_embd.weight", &[n_embd, n_vocab])?;
        Ok(self.node(Op::Embed { table, scale }, &[], "embd", Rows::Tokens, n_embd))
    }

    /// Root-mean-square norm over a row, times `{role}.weight`.
    pub fn rms_norm(&mut self, x: ValueId, role: &'static str, eps: f32) -> Result<ValueId> {
        let (_, cols) = self.shape(x);
        self.group_norm(x, role, eps, cols)
    }

    /// The same over each `group` columns of a row, all by one weight.
    fn group_norm(&mut self, x: ValueId, role: &'static str, eps: f32, group: usize) -> Result<ValueId> {
        let (_, cols) = self.shape(x);
        let weight = self.required_floats(&self.name(role, "weight"), &[group])?;
        Ok(self.like(Op::RmsNorm { weight, eps, group }, &[x], role, cols))
    }

    /// x times `{role}.weight`, times `{role}.scale` and plus `{role}.bias` where the file has them.
    pub fn linear(&mut self, x: ValueId, role: &'static str, n_out: usize) -> Result<ValueId> {
        self.linear_part(x, role, role, 0, n_out, n_out)
    }

    /// The same with the rows from `first` on of a weight that holds `n_all` of them.
    fn linear_part(
        &mut self,
        x: ValueId,
        role: &'static str,
        name: &'static str,
        first: usize,
        n_out: usize,
        n_all: usize,
    ) -> Result<ValueId> {
        let (_, n_in) = self.shape(x);
        let weight = self.required(&self.name(role, "weight"), &[n_in, n_all])?;
        let bias = self.floats(&self.name(role, "bias"), &[n_all])?;
        let counts = match role {
            "output" => self.scales.output,
            // A fused pair of gate and up.
            "ffn_up" => self.scales.ffn,
            _ => true,
        };
        let scale = if counts { self.floats(&self.name(role, "scale"), &[1])? } else { None };
        let Some(scale) = scale else { return Ok(self.like(Op::MatMul { weight, bias, first }, &[x], name, n_out)) };
        let x = self.like(Op::MatMul { weight, bias: None, first }, &[x], name, n_out);
        let bias = if first == 0 && n_out == n_all { bias } else { self.no_part_of(bias, role)? };
        Ok(self.like(Op::Scale { scale, bias, n_expert_used: 0 }, &[x], name, n_out))
    }

    /// Scales and biases of fused weights do not come together in any file.
    fn no_part_of(&self, bias: Option<WeightId>, role: &str) -> Result<Option<WeightId>> {
        let name = self.name(role, "bias");
        if bias.is_some() {
            return Err(Error::unsupported(format!("tensor '{name}' beside a scale of a fused weight is not known"))
                .subject(name));
        }
        Ok(None)
    }

    /// x times `{role}.weight`, whatever else the file has.
    fn product(&mut self, x: ValueId, role: &'static str, n_out: usize) -> Result<ValueId> {
        let (_, n_in) = self.shape(x);
        let weight = self.required(&self.name(role, "weight"), &[n_in, n_out])?;
        Ok(self.like(Op::MatMul { weight, bias: None, first: 0 }, &[x], role, n_out))
    }

    /// The same where the scale, if any, applies to the bias too, as in feed-forward blocks.
    fn linear_scaled(&mut self, x: ValueId, role: &'static str, n_out: usize) -> Result<ValueId> {
        let (_, n_in) = self.shape(x);
        let weight = self.required(&self.name(role, "weight"), &[n_in, n_out])?;
        let bias = self.floats(&self.name(role, "bias"), &[n_out])?;
        let x = self.like(Op::MatMul { weight, bias, first: 0 }, &[x], role, n_out);
        let scale = if self.scales.ffn { self.floats(&self.name(role, "scale"), &[1])? } else { None };
        Ok(match scale {
            Some(scale) => self.like(Op::Scale { scale, bias: None, n_expert_used: 0 }, &[x], role, n_out),
            None => x,
        })
    }

    /// Each head of x by its own matrix of `{role}.weight` [in, out, n_head].
    fn linear_heads(&mut self, x: ValueId, role: &'static str, n_head: usize, n_out: usize) -> Result<ValueId> {
        let (_, cols) = self.shape(x);
        let weight = self.required(&self.name(role, "weight"), &[cols / n_head, n_out, n_head])?;
        Ok(self.like(Op::MatMulHeads { weight, n_head }, &[x], role, n_head * n_out))
    }

    /// Cosines and sines of the positions of this batch; computed once, read by every layer that rotates by it.
    pub fn rope_table(&mut self, rope: Rope, kind: RopeKind) -> Table {
        let (n_rot, index) = (rope.n_rot, self.ropes.len());
        self.ropes.push(rope);
        let value = self.node(Op::RopeTable { rope: index }, &[], "rope", Rows::Tokens, n_rot);
        Table { value, rope: index, kind }
    }

    /// Divisors of the frequencies, where the file has them: `rope_freqs.weight`, or one for contexts up to `n_ctx_orig` and one for
    /// longer ones.
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
        let op = Op::Rope { n_head, head_dim: cols / n_head, first, kind: table.kind, temperature };
        self.node(op, &[x, table.value], name, Rows::Tokens, cols)
    }

    fn columns(&mut self, x: ValueId, n_head: usize, first: usize, n: usize, name: &'static str) -> ValueId {
        self.like(Op::Columns { n_head, first }, &[x], name, n_head * n)
    }

    fn concat(&mut self, a: ValueId, b: ValueId, n_head: usize, n_each: usize, name: &'static str) -> ValueId {
        let cols = n_head * n_each;
        self.like(Op::Concat { n_head }, &[a, b], name, cols)
    }

    fn store_kv(&mut self, inputs: Vec<ValueId>, shape: KvShape) {
        self.kv.push(shape);
        self.nodes.push(Node {
            op: Op::StoreKv { layer: self.layer },
            inputs,
            output: None,
            layer: self.layer,
            experts: false,
        });
    }

    /// Grouped-query attention over the KV cache: attn_q, attn_k, attn_v (or attn_qkv), norms of heads, rotation, attention,
    /// attn_output.
    pub fn attention(&mut self, x: ValueId, a: Attention) -> Result<ValueId> {
        let (_, n_embd) = self.shape(x);
        let layer = self.layer;
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
        self.store_kv(vec![k, v], shape);
        let sinks =
            if a.sinks { Some(self.required_floats(&self.name("attn_sinks", "weight"), &[a.n_head])?) } else { None };
        let op = Op::Attention { layer, n_head: a.n_head, scale: a.scale, softcap: a.softcap, sinks };
        let out = self.node(op, &[q], "attn", Rows::Tokens, n_q);
        self.linear(out, "attn_output", n_embd)
    }

    /// Latent attention, with the matrices of keys and values absorbed: the cache holds the compressed key alone.
    pub fn latent_attention(&mut self, x: ValueId, a: Latent) -> Result<ValueId> {
        let (_, n_embd) = self.shape(x);
        let (layer, n_head) = (self.layer, a.n_head);
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
        self.store_kv(vec![k], shape);
        let op = Op::Attention { layer, n_head, scale: a.scale, softcap: None, sinks: None };
        let out = self.node(op, &[q], "attn", Rows::Tokens, n_head * a.kv_lora_rank);
        let out = self.linear_heads(out, "attn_v_b", n_head, a.head_dim_v)?;
        self.linear(out, "attn_output", n_embd)
    }

    /// The same for older files, whose attn_kv_b makes every head's key and value from the compressed one: the cache holds those.
    fn expanded_attention(
        &mut self,
        a: Latent,
        q: ValueId,
        compressed: ValueId,
        k_pe: ValueId,
        n_embd: usize,
    ) -> Result<ValueId> {
        let (layer, n_head, head) = (self.layer, a.n_head, a.nope + a.rope);
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
        self.store_kv(vec![k, v], shape);
        let op = Op::Attention { layer, n_head, scale: a.scale, softcap: None, sinks: None };
        let out = self.node(op, &[q], "attn", Rows::Tokens, n_head * a.head_dim_v);
        self.linear(out, "attn_output", n_embd)
    }

    /// down(gate(ffn_gate x) * ffn_up x); without an ffn_gate, ffn_up holds both, the gate first.
    pub fn ffn(&mut self, x: ValueId, n_ff: usize, gate: Gate) -> Result<ValueId> {
        self.ffn_named(x, n_ff, gate, ["ffn_gate", "ffn_up", "ffn_down"])
    }

    /// The experts that every token uses.
    pub fn shared_experts(&mut self, x: ValueId, n_ff: usize, gate: Gate) -> Result<ValueId> {
        self.ffn_named(x, n_ff, gate, ["ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"])
    }

    fn ffn_named(&mut self, x: ValueId, n_ff: usize, gate: Gate, roles: [&'static str; 3]) -> Result<ValueId> {
        let (_, n_embd) = self.shape(x);
        let (g, up) = if self.has(roles[0]) {
            (self.linear_scaled(x, roles[0], n_ff)?, self.linear_scaled(x, roles[1], n_ff)?)
        } else {
            // A missing gate of a weight that is not fused is a misshapen ffn_up.
            (
                self.linear_part(x, roles[1], roles[0], 0, n_ff, 2 * n_ff)?,
                self.linear_part(x, roles[1], roles[1], n_ff, n_ff, 2 * n_ff)?,
            )
        };
        let f = self.like(Op::Gate(gate), &[g, up], "ffn_act", n_ff);
        self.linear_scaled(f, roles[2], n_embd)
    }

    /// A mixture: ffn_gate_inp routes each row to some of the experts in ffn_gate_exps and ffn_up_exps (or
    /// ffn_gate_up_exps) and ffn_down_exps.
    /// `routing.bias` is taken from exp_probs_b where the file has it.
    pub fn experts(&mut self, x: ValueId, n_ff: usize, gate: Gate, mut routing: Routing) -> Result<ValueId> {
        let (_, n_embd) = self.shape(x);
        let (n_expert, used) = (routing.n_expert, routing.n_expert_used);
        routing.bias = self.floats(&self.name("exp_probs_b", "bias"), &[n_expert])?;
        let logits = self.linear(x, "ffn_gate_inp", n_expert)?;
        let route = self.like(Op::Route(routing), &[logits], "ffn_route", 2 * used);
        // Cut here, one row of x and the route go to the experts' device and one row comes back. The router among the experts would
        // save the few numbers of the route, but its matrix would be read there, too; the sum outside would make it n_expert_used rows.
        self.in_experts = true;
        let each = |role, n_in, n_out, n_all, first| ExpertRole { role, n_in, n_out, n_all, first, n_expert, used };
        let (gates, ups) = if self.has("ffn_gate_up_exps") {
            let half = |first| each("ffn_gate_up_exps", n_embd, n_ff, 2 * n_ff, first);
            (half(0), half(n_ff))
        } else {
            (each("ffn_gate_exps", n_embd, n_ff, n_ff, 0), each("ffn_up_exps", n_embd, n_ff, n_ff, 0))
        };
        let g = self.linear_experts(x, route, gates)?;
        let up = self.linear_experts(x, route, ups)?;
        let f = self.like(Op::Gate(gate), &[g, up], "ffn_act", used * n_ff);
        let down = self.linear_experts(f, route, each("ffn_down_exps", n_ff, n_embd, n_embd, 0))?;
        let sum = self.like(Op::SumExperts { n_expert_used: used }, &[down, route], "ffn_experts", n_embd);
        self.in_experts = false;
        Ok(sum)
    }

    fn linear_experts(&mut self, x: ValueId, route: ValueId, e: ExpertRole) -> Result<ValueId> {
        let weight = self.required(&self.name(e.role, "weight"), &[e.n_in, e.n_all, e.n_expert])?;
        let bias = self.floats(&self.name(e.role, "bias"), &[e.n_all, e.n_expert])?;
        let scale = if self.scales.experts { self.floats(&self.name(e.role, "scale"), &[e.n_expert])? } else { None };
        let product = |bias| Op::MatMulExperts { weight, bias, n_expert_used: e.used, first: e.first };
        let cols = e.used * e.n_out;
        let Some(scale) = scale else { return Ok(self.like(product(bias), &[x, route], e.role, cols)) };
        let x = self.like(product(None), &[x, route], e.role, cols);
        let bias = if e.n_out == e.n_all { bias } else { self.no_part_of(bias, e.role)? };
        Ok(self.like(Op::Scale { scale, bias, n_expert_used: e.used }, &[x, route], e.role, cols))
    }

    pub fn add(&mut self, a: ValueId, b: ValueId, name: &'static str) -> ValueId {
        let (_, cols) = self.shape(a);
        self.like(Op::Add, &[a, b], name, cols)
    }

    /// The rows whose logits were asked for.
    pub fn select_outputs(&mut self, x: ValueId) -> ValueId {
        let (_, cols) = self.shape(x);
        self.node(Op::SelectOutputs, &[x], "outputs", Rows::Outputs, cols)
    }

    /// Output norm and output matrix (`output.weight`, or the token embedding where they are tied) over the rows that
    /// `select_outputs` left, and the soft-cap of the logits; ends the graph.
    pub fn finish(mut self, x: ValueId, eps: f32, n_vocab: usize, softcap: Option<f32>) -> Result<Graph> {
        self.layer(self.n_layer);
        let (_, n_embd) = self.shape(x);
        let embeddings = self.rms_norm(x, "output_norm", eps)?;
        let mut logits = match self.file.tensor("output.weight") {
            Some(_) => self.linear(embeddings, "output", n_vocab)?,
            None => {
                let weight = self.required("token_embd.weight", &[n_embd, n_vocab])?;
                self.like(Op::MatMul { weight, bias: None, first: 0 }, &[embeddings], "output", n_vocab)
            }
        };
        if let Some(cap) = softcap {
            logits = self.like(Op::SoftCap { cap }, &[logits], "softcap", n_vocab);
        }
        Ok(Graph {
            n_layer: self.n_layer,
            n_vocab,
            n_embd,
            values: self.values,
            weights: self.weights,
            nodes: self.nodes,
            kv: self.kv,
            ropes: self.ropes,
            logits,
            embeddings,
        })
    }
}
