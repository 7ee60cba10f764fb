//! The words that an architecture is described with.
//!
//! A word looks its tensors up by GGUF's names, checks their shapes, and adds nodes. A missing or misshapen tensor is an error
//! that names it, so a description needs no checks of its own.

use super::{Graph, INPUT, KvShape, Node, Op, Rope, RopeKind, Rows, Value, ValueId, WeightId};
use crate::error::{Error, Result};
use crate::gguf::{Gguf, TensorInfo};
use crate::quant::Type;

/// Builds a graph from a file's tensors.
pub struct Builder<'a> {
    file: &'a Gguf,
    n_layer: u32,
    layer: u32,
    values: Vec<Value>,
    weights: Vec<TensorInfo>,
    nodes: Vec<Node>,
    kv: Vec<KvShape>,
    rope: Option<(Rope, RopeKind)>,
}

/// What an attention block needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    pub n_head: usize,
    pub n_head_kv: usize,
    pub head_dim: usize,
    pub scale: f32,
}

impl<'a> Builder<'a> {
    pub fn new(file: &'a Gguf, n_layer: u32) -> Builder<'a> {
        Builder {
            file,
            n_layer,
            layer: INPUT,
            values: Vec::new(),
            weights: Vec::new(),
            nodes: Vec::new(),
            kv: Vec::new(),
            rope: None,
        }
    }

    /// What follows belongs to layer `i`; `n_layer` is the output. What comes before the first call is the input.
    pub fn layer(&mut self, i: u32) {
        self.layer = i;
    }

    fn name(&self, role: &str, kind: &str) -> String {
        if self.layer < self.n_layer { format!("blk.{}.{role}.{kind}", self.layer) } else { format!("{role}.{kind}") }
    }

    /// The tensor `name` of shape `ne` (fastest dimension first), if the file has it.
    pub fn optional(&mut self, name: &str, ne: &[usize]) -> Result<Option<WeightId>> {
        let Some(info) = self.file.tensor(name) else { return Ok(None) };
        let mut want = [1u64; 4];
        for (w, n) in want.iter_mut().zip(ne) {
            *w = *n as u64;
        }
        if info.ne != want {
            return Err(Error::bad_file(format!("tensor '{name}' has shape {}, expected {ne:?}", info.shape())).subject(name));
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

    /// A tensor of one dimension that is read as it stands: norm weights, biases, factors.
    pub fn vector(&mut self, name: &str, n: usize) -> Result<Option<WeightId>> {
        let id = self.optional(name, &[n])?;
        if let Some(id) = id {
            let ty = self.weights[id.0 as usize].ty;
            if ty != Type::F32 {
                return Err(Error::unsupported(format!("tensor '{name}' is of type {}, expected F32", ty.name())).subject(name));
            }
        }
        Ok(id)
    }

    fn node(&mut self, op: Op, inputs: &[ValueId], name: &'static str, rows: Rows, cols: usize) -> ValueId {
        let output = ValueId(self.values.len() as u32);
        self.values.push(Value { name, rows, cols });
        self.nodes.push(Node { op, inputs: inputs.to_vec(), output: Some(output), layer: self.layer });
        output
    }

    fn shape(&self, x: ValueId) -> (Rows, usize) {
        let v = &self.values[x.0 as usize];
        (v.rows, v.cols)
    }

    /// token ids -> [n_tokens, n_embd], from token_embd.weight
    pub fn embed(&mut self, n_embd: usize, n_vocab: usize) -> Result<ValueId> {
        let table = self.required("token_embd.weight", &[n_embd, n_vocab])?;
        Ok(self.node(Op::Embed { table }, &[], "embd", Rows::Tokens, n_embd))
    }

    /// Root-mean-square norm over a row, times `{role}.weight`.
    pub fn rms_norm(&mut self, x: ValueId, role: &'static str, eps: f32) -> Result<ValueId> {
        let (rows, cols) = self.shape(x);
        let name = self.name(role, "weight");
        let weight = self
            .vector(&name, cols)?
            .ok_or_else(|| Error::bad_file(format!("tensor '{name}' is missing, expected shape [{cols}]")).subject(name))?;
        Ok(self.node(Op::RmsNorm { weight, eps, group: cols }, &[x], role, rows, cols))
    }

    /// x times `{role}.weight`, plus `{role}.bias` where the file has one.
    pub fn linear(&mut self, x: ValueId, role: &'static str, n_out: usize) -> Result<ValueId> {
        let (_, n_in) = self.shape(x);
        let weight = self.required(&self.name(role, "weight"), &[n_in, n_out])?;
        let bias = self.vector(&self.name(role, "bias"), n_out)?;
        Ok(self.matmul(x, weight, bias, role, n_out))
    }

    fn matmul(&mut self, x: ValueId, weight: WeightId, bias: Option<WeightId>, name: &'static str, n_out: usize) -> ValueId {
        let (rows, _) = self.shape(x);
        self.node(Op::MatMul { weight, bias }, &[x], name, rows, n_out)
    }

    /// Cosines and sines of the positions of this batch; computed once, read by every layer.
    pub fn rope_table(&mut self, rope: Rope, kind: RopeKind) -> ValueId {
        let n_rot = rope.n_rot;
        self.rope = Some((rope.clone(), kind));
        self.node(Op::RopeTable { rope }, &[], "rope", Rows::Tokens, n_rot)
    }

    fn rope(&mut self, x: ValueId, table: ValueId, n_head: usize, head_dim: usize, name: &'static str) -> ValueId {
        // The kind was fixed with the table.
        let kind = self.rope.as_ref().map_or(RopeKind::Norm, |r| r.1);
        self.node(Op::Rope { n_head, head_dim, kind }, &[x, table], name, Rows::Tokens, n_head * head_dim)
    }

    /// Grouped-query attention over the KV cache: attn_q, attn_k, attn_v, rotation, attention, attn_output.
    pub fn attention(&mut self, x: ValueId, table: ValueId, h: Heads) -> Result<ValueId> {
        let (_, n_embd) = self.shape(x);
        let layer = self.layer;
        let q = self.linear(x, "attn_q", h.n_head * h.head_dim)?;
        let k = self.linear(x, "attn_k", h.n_head_kv * h.head_dim)?;
        let v = self.linear(x, "attn_v", h.n_head_kv * h.head_dim)?;
        let q = self.rope(q, table, h.n_head, h.head_dim, "q_rope");
        let k = self.rope(k, table, h.n_head_kv, h.head_dim, "k_rope");
        self.kv.push(KvShape { n_head_kv: h.n_head_kv, head_dim_k: h.head_dim, head_dim_v: h.head_dim });
        self.nodes.push(Node { op: Op::StoreKv { layer }, inputs: vec![k, v], output: None, layer });
        let op = Op::Attention { layer, n_head: h.n_head, scale: h.scale };
        let a = self.node(op, &[q], "attn", Rows::Tokens, h.n_head * h.head_dim);
        self.linear(a, "attn_output", n_embd)
    }

    /// down(silu(gate(x)) * up(x)): ffn_gate, ffn_up, ffn_down.
    pub fn swiglu(&mut self, x: ValueId, n_ff: usize) -> Result<ValueId> {
        let (rows, n_embd) = self.shape(x);
        let gate = self.linear(x, "ffn_gate", n_ff)?;
        let up = self.linear(x, "ffn_up", n_ff)?;
        let f = self.node(Op::SwiGlu, &[gate, up], "ffn_act", rows, n_ff);
        self.linear(f, "ffn_down", n_embd)
    }

    pub fn add(&mut self, a: ValueId, b: ValueId, name: &'static str) -> ValueId {
        let (rows, cols) = self.shape(a);
        self.node(Op::Add, &[a, b], name, rows, cols)
    }

    /// The rows whose logits were asked for.
    pub fn select_outputs(&mut self, x: ValueId) -> ValueId {
        let (_, cols) = self.shape(x);
        self.node(Op::SelectOutputs, &[x], "outputs", Rows::Outputs, cols)
    }

    /// Output norm and output matrix (`output.weight`, or the token embedding where they are tied) over the rows that
    /// `select_outputs` left; ends the graph.
    pub fn finish(mut self, x: ValueId, eps: f32, n_vocab: usize) -> Result<Graph> {
        self.layer(self.n_layer);
        let (_, n_embd) = self.shape(x);
        let embeddings = self.rms_norm(x, "output_norm", eps)?;
        let logits = match self.file.tensor("output.weight") {
            Some(_) => self.linear(embeddings, "output", n_vocab)?,
            None => {
                let weight = self.required("token_embd.weight", &[n_embd, n_vocab])?;
                self.matmul(embeddings, weight, None, "output", n_vocab)
            }
        };
        Ok(Graph {
            n_layer: self.n_layer,
            n_vocab,
            n_embd,
            values: self.values,
            weights: self.weights,
            nodes: self.nodes,
            kv: self.kv,
            rope: self.rope,
            logits,
            embeddings,
        })
    }
}
