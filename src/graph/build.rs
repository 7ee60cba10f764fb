//! The words that an architecture is described with.
//!
//! A word looks its tensors up by GGUF's names, checks their shapes, and adds nodes. A missing or misshapen tensor is
//! an error that names it, so a description needs no checks of its own.

use super::attention::Table;
use super::graph::{AdapterScale, Draft, Graph, INPUT, Input, Node, Outcome, Part};
use super::op::{Columns, Concat, Embed, EmbedBy, Norm, NormKind, Op, Scale, SoftCap};
use super::pooling::{Pick, Pooling};
use super::rope::Rope;
use super::state::{KvShape, State, StateShape};
use super::value::{Rows, StateId, Value, ValueId, WeightId};
use crate::error::{Error, Result};
use crate::gguf::{Gguf, TensorInfo};
use crate::quant::Type;

/// Builds a graph from a file's tensors.
pub struct Builder<'a> {
    pub(super) file: &'a Gguf,
    pub(super) n_layer: u32,
    pub(super) layer: u32,
    /// The layer by whose number tensors are named.
    own: u32,
    /// The part of the layer that nodes belong to.
    pub(super) part: Part,
    values: Vec<Value>,
    pub(super) weights: Vec<TensorInfo>,
    pub(super) unread: Vec<String>,
    nodes: Vec<Node>,
    pub(super) states: Vec<State>,
    pub(super) ropes: Vec<Rope>,
    pub(super) tables: Vec<Option<Table>>,
    pub(super) extras: Extras,
    pub(super) norms: Norms,
    /// Tensors that the model does not apply, named without their layer.
    ignored: &'static [&'static str],
    pub(super) names: Names,
    pub(super) inputs: Vec<Input>,
    pub(super) adapters: Vec<AdapterScale>,
    pub(super) scaled: Vec<Scaled>,
    pub(super) results: Vec<(Outcome, ValueId)>,
    pub(super) draft: Option<Draft>,
    pub(super) pooling: Option<Pooling>,
    pub(super) pick: Pick,
    pub(super) whole_texts: bool,
    pub(super) n_ctx_most: Option<u32>,
}

/// A value that an adapter's words have scaled, or selected, in a part of a layer.
pub(super) struct Scaled {
    pub place: (u32, Part),
    pub of: (ValueId, Option<ValueId>),
    pub is: ValueId,
}

/// The names that tensors are looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Those of the node's layer, or of no layer in input and output.
    Model,
    /// Those of the first layer behind the trunk.
    Behind,
}

/// The kind of a model's norms, and what they add before they divide.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norms {
    pub kind: NormKind,
    pub eps: f32,
    /// True if a bias is added where the file has one.
    pub biases: bool,
    /// True if there are no weights either.
    pub bare: bool,
}

/// Tells which tensors are applied where a file has them. A scale stands beside a matrix, and multiplies its product.
/// Those of attention always count. For each of the others there are architectures that leave it out, though files may
/// have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extras {
    pub ffn_scales: bool,
    pub expert_scales: bool,
    /// The scale of the output matrix.
    pub output_scale: bool,
    /// The numbers that divide a feed-forward block's middle (ffn.act.scales).
    pub act_scales: bool,
    /// The norms of attention's result and of a feed-forward block's middle (attn_sub_norm, ffn_sub_norm).
    pub sub_norms: bool,
}

impl<'a> Builder<'a> {
    pub fn new(
        file: &'a Gguf,
        n_layer: u32,
        extras: Extras,
        norms: Norms,
        ignored: &'static [&'static str],
    ) -> Builder<'a> {
        Builder {
            file,
            n_layer,
            layer: INPUT,
            own: INPUT,
            part: Part::Body,
            values: Vec::new(),
            weights: Vec::new(),
            unread: Vec::new(),
            nodes: Vec::new(),
            states: Vec::new(),
            ropes: Vec::new(),
            tables: Vec::new(),
            extras,
            norms,
            ignored,
            names: Names::Model,
            inputs: vec![Input::Tokens, Input::Positions],
            adapters: Vec::new(),
            scaled: Vec::new(),
            results: Vec::new(),
            draft: None,
            pooling: None,
            pick: Pick::Asked,
            whole_texts: false,
            n_ctx_most: None,
        }
    }

    /// From here on nodes belong to layer `i`; `n_layer` is the output. Nodes before the first call are the input.
    pub fn layer(&mut self, i: u32) {
        self.layer_by(i, i);
    }

    /// The same for a layer that computes with the tensors of layer `own`.
    pub fn layer_by(&mut self, i: u32, own: u32) {
        (self.layer, self.own) = (i, own);
    }

    /// Says that the graph is the model's for contexts of up to `n` tokens only.
    pub fn at_most(&mut self, n: u32) {
        self.n_ctx_most = Some(n);
    }

    pub(super) fn name(&self, role: &str, kind: &str) -> String {
        // Scales of a layer that runs several times stand beside the run.
        let own = if kind == "scale" && self.own < self.n_layer { self.layer } else { self.own };
        match self.names {
            Names::Behind => format!("blk.{}.{role}.{kind}", self.n_layer),
            Names::Model if own < self.n_layer => format!("blk.{own}.{role}.{kind}"),
            Names::Model => format!("{role}.{kind}"),
        }
    }

    /// True if the file has `{role}.weight` in this layer.
    pub fn has(&self, role: &str) -> bool {
        self.file.tensor(&self.name(role, "weight")).is_some()
    }

    /// True if a matrix has a scale and a bias, which is added behind it.
    pub(super) fn scaled_before_bias(&self, role: &str) -> bool {
        let counts = |kind: &str| !self.ignored.contains(&format!("{role}.{kind}").as_str());
        ["scale", "bias"].iter().all(|kind| counts(kind) && self.file.tensor(&self.name(role, kind)).is_some())
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

    /// Adds a tensor to the weights, once: it may be asked for again (tied output, shared factors).
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

    /// The bias or scale of a matrix, if the file has one that counts.
    pub(super) fn beside(&mut self, role: &str, kind: &str, n: usize) -> Result<Option<WeightId>> {
        let own = format!("{role}.{kind}");
        if self.ignored.contains(&own.as_str()) { Ok(None) } else { self.floats(&self.name(role, kind), &[n]) }
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

    pub(super) fn required_floats(&mut self, name: &str, ne: &[usize]) -> Result<WeightId> {
        self.floats(name, ne)?
            .ok_or_else(|| Error::bad_file(format!("tensor '{name}' is missing, expected shape {ne:?}")).subject(name))
    }

    /// The tensor `{role}` of this layer, whose name has no suffix.
    pub(super) fn bare_floats(&mut self, role: &str, ne: &[usize]) -> Result<WeightId> {
        let name = self.name(role, "weight");
        self.required_floats(name.trim_end_matches(".weight"), ne)
    }

    pub(super) fn node(&mut self, op: Op, inputs: &[ValueId], name: &'static str, rows: Rows, cols: usize) -> ValueId {
        let output = self.value(name, rows, cols);
        self.push(op, inputs.to_vec(), Some(output));
        output
    }

    pub(super) fn value(&mut self, name: &'static str, rows: Rows, cols: usize) -> ValueId {
        self.values.push(Value { name, rows, cols });
        ValueId(self.values.len() as u32 - 1)
    }

    pub(super) fn push(&mut self, op: Op, inputs: Vec<ValueId>, output: Option<ValueId>) {
        // Only layers have parts that may be elsewhere.
        let part = if self.layer < self.n_layer { self.part } else { Part::Body };
        self.nodes.push(Node { op, inputs, output, layer: self.layer, part });
    }

    pub(super) fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// A KV cache of this layer.
    pub(super) fn kv_cache(&mut self, shape: KvShape) -> StateId {
        self.states.push(State { layer: self.layer, shape: StateShape::Kv(shape) });
        StateId(self.states.len() as u32 - 1)
    }

    /// A recurrent state of this layer, of `n` elements per sequence.
    pub(super) fn recurrent_state(&mut self, n: usize) -> StateId {
        self.states.push(State { layer: self.layer, shape: StateShape::Recurrent(n) });
        StateId(self.states.len() as u32 - 1)
    }

    /// A node whose result has as many rows as `x`.
    pub(super) fn like(&mut self, op: Op, inputs: &[ValueId], name: &'static str, cols: usize) -> ValueId {
        let (rows, _) = self.shape(inputs[0]);
        self.node(op, inputs, name, rows, cols)
    }

    /// The rows and columns of a value.
    pub fn shape(&self, x: ValueId) -> (Rows, usize) {
        let v = &self.values[x.0 as usize];
        (v.rows, v.cols)
    }

    /// Token ids -> `[n_tokens, n_embd]`: rows of `{role}.weight`, times `scale`.
    pub fn embed(&mut self, role: &'static str, n_embd: usize, n_vocab: usize, scale: f32) -> Result<ValueId> {
        let name = self.name(role, "weight");
        let table = self.required(&name, &[n_embd, n_vocab])?;
        let op = Op::Embed(Embed { table, scale, by: EmbedBy::Token });
        let x = self.node(op, &[], "embd", Rows::Tokens, n_embd);
        if role == "token_embd" { self.adapt_embedding(x, &name, n_vocab, scale) } else { Ok(x) }
    }

    /// Positions -> `[n_tokens, n_embd]`: rows of position_embd.weight, which has one for each position of `n_ctx`.
    pub fn embed_positions(&mut self, n_embd: usize, n_ctx: usize) -> Result<ValueId> {
        let table = self.required("position_embd.weight", &[n_embd, n_ctx])?;
        let op = Op::Embed(Embed { table, scale: 1.0, by: EmbedBy::Position });
        Ok(self.node(op, &[], "pos_embd", Rows::Tokens, n_embd))
    }

    /// x plus the first row of token_types.weight, if the file has it: that of a text that is no second one.
    pub fn add_first_type(&mut self, x: ValueId) -> Result<ValueId> {
        let (_, cols) = self.shape(x);
        let name = "token_types.weight";
        let Some(n_types) = self.file.tensor(name).map(|t| t.ne[1] as usize) else { return Ok(x) };
        let bias = self.floats(name, &[cols, n_types])?;
        Ok(self.like(Op::Scale(Scale { by: 1.0, scale: None, bias, n_expert_used: 0 }), &[x], "embd_typed", cols))
    }

    /// The model's norm over a row, times `{role}.weight`, plus `{role}.bias` where norms have such.
    pub fn norm(&mut self, x: ValueId, role: &'static str) -> Result<ValueId> {
        self.norm_by(x, role, self.norms)
    }

    /// The norm `{role}` of the output, in the layer at hand.
    pub fn norm_between(&mut self, x: ValueId, role: &'static str) -> Result<ValueId> {
        let own = std::mem::replace(&mut self.own, self.n_layer);
        let y = self.norm(x, role);
        self.own = own;
        y
    }

    /// Another norm than the model's.
    pub fn norm_by(&mut self, x: ValueId, role: &'static str, norms: Norms) -> Result<ValueId> {
        let (_, cols) = self.shape(x);
        self.group_norm(x, role, norms, cols, &[cols])
    }

    /// A norm over each `group` columns of a row. The weight has the shape `ne`: an element for each column of a group,
    /// or of the row.
    pub(super) fn group_norm(
        &mut self,
        x: ValueId,
        role: &'static str,
        norms: Norms,
        group: usize,
        ne: &[usize],
    ) -> Result<ValueId> {
        if norms.bare {
            return Ok(self.bare_norm(x, group, role));
        }
        let (_, cols) = self.shape(x);
        let name = self.name(role, "weight");
        // falcon-h1's files leave the suffix out.
        let bare = name.trim_end_matches(".weight");
        let bare = self.file.tensor(&name).is_none() && self.file.tensor(bare).is_some();
        let weight = if bare { self.bare_floats(role, ne)? } else { self.required_floats(&name, ne)? };
        let weight = Some(weight);
        let bias = if norms.biases { self.floats(&self.name(role, "bias"), ne)? } else { None };
        let op = Op::Norm(Norm { kind: norms.kind, weight, bias, eps: norms.eps, group });
        Ok(self.like(op, &[x], role, cols))
    }

    /// The model's norm over each `group` columns of a row, without a weight.
    pub fn bare_norm(&mut self, x: ValueId, group: usize, name: &'static str) -> ValueId {
        let (_, cols) = self.shape(x);
        let Norms { kind, eps, .. } = self.norms;
        self.like(Op::Norm(Norm { kind, weight: None, bias: None, eps, group }), &[x], name, cols)
    }

    /// x plus the tensor `name`, which has an element for each column.
    pub fn add_vector(&mut self, x: ValueId, name: &'static str) -> Result<ValueId> {
        let (_, cols) = self.shape(x);
        let bias = Some(self.required_floats(name, &[cols])?);
        Ok(self.like(Op::Scale(Scale { by: 1.0, scale: None, bias, n_expert_used: 0 }), &[x], "sum", cols))
    }

    /// x times a number.
    pub fn times(&mut self, x: ValueId, by: f32, name: &'static str) -> ValueId {
        let (_, cols) = self.shape(x);
        let op = Op::Scale(Scale { by, scale: None, bias: None, n_expert_used: 0 });
        if by == 1.0 { x } else { self.like(op, &[x], name, cols) }
    }

    /// x times `by` and the tensor `{role}.{kind}` of the shape `ne`: a number, or one for each column.
    pub fn times_tensor(&mut self, x: ValueId, role: &'static str, kind: &str, ne: usize, by: f32) -> Result<ValueId> {
        let (_, cols) = self.shape(x);
        let scale = Some(self.required_floats(&self.name(role, kind), &[ne])?);
        Ok(self.like(Op::Scale(Scale { by, scale, bias: None, n_expert_used: 0 }), &[x], role, cols))
    }

    /// Columns `first..first + n` of each head.
    pub(super) fn columns(&mut self, x: ValueId, n_head: usize, first: usize, n: usize, name: &'static str) -> ValueId {
        self.like(Op::Columns(Columns { n_head, first }), &[x], name, n_head * n)
    }

    /// Two values side by side, head by head; `n_each` columns of each head.
    pub(super) fn concat(
        &mut self,
        a: ValueId,
        b: ValueId,
        n_head: usize,
        n_each: usize,
        name: &'static str,
    ) -> ValueId {
        self.like(Op::Concat(Concat { n_head }), &[a, b], name, n_head * n_each)
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

    /// The output of the trunk: the norm if there is one, the rows that were asked for, their logits. With `all_rows` x
    /// still has a row for every token, and so has the normed value, which is given back.
    pub fn output(
        &mut self,
        x: ValueId,
        norm: Option<&'static str>,
        n_vocab: usize,
        scale: f32,
        softcap: Option<f32>,
        all_rows: bool,
    ) -> Result<ValueId> {
        self.layer(self.n_layer);
        let hidden = if let Some(norm) = norm { self.norm(x, norm)? } else { x };
        let embeddings = if all_rows { self.select_outputs(hidden) } else { hidden };
        let mut logits = self.output_matrix(embeddings, n_vocab)?;
        logits = self.times(logits, scale, "logit_scale");
        if let Some(cap) = softcap {
            logits = self.like(Op::SoftCap(SoftCap { cap }), &[logits], "softcap", n_vocab);
        }
        self.results.extend([(Outcome::Logits, logits), (Outcome::Embeddings, embeddings)]);
        Ok(hidden)
    }

    /// Ends the graph.
    pub fn finish(mut self, n_vocab: usize, n_embd: usize) -> Graph {
        let kind = |name: &str| {
            let of_layer = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
            of_layer.map_or(name.to_owned(), |(_, kind)| kind.to_owned())
        };
        let ignored = self.file.tensors().iter().map(|t| &t.name).filter(|n| self.ignored.contains(&kind(n).as_str()));
        self.unread.extend(ignored.cloned());
        Graph {
            n_layer: self.n_layer,
            n_vocab,
            n_embd,
            values: self.values,
            weights: self.weights,
            unread: self.unread,
            nodes: self.nodes,
            inputs: self.inputs,
            adapters: self.adapters,
            results: self.results,
            states: self.states,
            ropes: self.ropes,
            draft: self.draft,
            pooling: self.pooling,
            pick: self.pick,
            n_ctx_most: self.n_ctx_most,
            whole_texts: self.whole_texts,
        }
    }
}
