//! The graph of one micro-batch: nodes, and what enters, leaves and stays.

use std::ops::Range;

use super::op::{EmbedBy, Op};
use super::pooling::{Pick, Pooling};
use super::rope::Rope;
use super::state::{KvShape, State, StateShape};
use super::step::Micro;
use super::value::{Rows, StateId, Value, ValueId, WeightId, WeightSlice};
use crate::gguf::TensorInfo;

/// One operation at its place in the graph: it reads `inputs` and writes `output`.
#[derive(Debug, Clone)]
pub struct Node {
    pub op: Op,
    pub inputs: Vec<ValueId>,
    pub output: Option<ValueId>,
    /// A layer, `n_layer` for the output, or [`INPUT`]. Layer and part together decide the device.
    pub layer: u32,
    pub part: Part,
}

/// The parts of a layer that may have a device of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Part {
    /// All of the layer that is no other part.
    #[default]
    Body,
    /// The routed experts.
    Experts,
}

/// The "layer" of nodes that turn token ids and positions into activations. They run on the host, which has the ids. Of
/// the token embedding they need a few rows only, and read those in the mapped file.
pub const INPUT: u32 = u32::MAX;

/// Something that a micro-batch brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Token ids.
    Tokens,
    Positions,
    /// Rows of a value that no node makes: hidden state that comes from elsewhere. The host writes it before nodes run.
    Rows(ValueId),
}

/// A value `[n_tokens, 1]` that enters from outside: each token's scale of an adapter, times a factor.
#[derive(Debug, Clone, Copy)]
pub struct AdapterScale {
    pub value: ValueId,
    /// The number of the adapter beside the model's file.
    pub adapter: usize,
    pub factor: f32,
}

/// Something that a micro-batch leaves for the caller, on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// `[n_outputs, n_vocab]`
    Logits,
    /// `[n_outputs, n_embd]`, after the output norm. If the graph leaves no logits, these are the rows of tokens or
    /// texts that it is there for: an embedding, or scores.
    Embeddings,
    /// `[n_tokens, n_embd]`, after the output norm: of every token of the last micro-batch. A draft begins with it.
    Hidden,
    /// `[n_outputs, n_vocab]` and `[n_outputs, n_embd]`: what the draft's nodes leave, and begin their next step with.
    DraftLogits,
    DraftHidden,
    /// `[n_outputs, n_embd]`: the mean of each text's rows so far.
    Means,
}

/// The part of a graph that makes drafts: a range of nodes that runs by itself.
#[derive(Debug, Clone)]
pub struct Draft {
    pub nodes: Range<usize>,
    /// The hidden rows that it is given: of each token, that of the one before.
    pub hidden: ValueId,
}

/// The graph of one micro-batch.
#[derive(Debug, Clone)]
pub struct Graph {
    pub n_layer: u32,
    pub n_vocab: usize,
    pub n_embd: usize,
    pub values: Vec<Value>,
    /// The tensors read, each once.
    pub weights: Vec<TensorInfo>,
    /// Tensors that a family's files may have and the graph leaves out.
    pub unread: Vec<String>,
    pub nodes: Vec<Node>,
    pub inputs: Vec<Input>,
    /// Those of the inputs that are scales of adapters.
    pub adapters: Vec<AdapterScale>,
    /// Results, each value once. Their rows stay until the next batch; those of one batch's micro-batches lie behind
    /// each other.
    pub results: Vec<(Outcome, ValueId)>,
    /// The rows that are left in place of logits, if they are, and the tokens that these are made of.
    pub pooling: Option<Pooling>,
    pub pick: Pick,
    /// The longest context for which the graph is the model's; `None`: any.
    pub n_ctx_most: Option<u32>,
    /// True for an encoder: tokens see the whole text that they belong to, and nothing is cached.
    pub whole_texts: bool,
    pub states: Vec<State>,
    pub ropes: Vec<Rope>,
    /// The nodes behind the trunk that make drafts, if they were asked for.
    pub draft: Option<Draft>,
}

impl Graph {
    /// The nodes of the trunk: all that a token takes without a draft.
    pub fn trunk(&self) -> Range<usize> {
        0..self.draft.as_ref().map_or(self.nodes.len(), |d| d.nodes.start)
    }

    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0 as usize]
    }
    pub fn weight(&self, id: WeightId) -> &TensorInfo {
        &self.weights[id.0 as usize]
    }
    pub fn state(&self, id: StateId) -> &State {
        &self.states[id.0 as usize]
    }
    /// The shape of a state that the builder made as a KV cache.
    pub fn kv(&self, id: StateId) -> &KvShape {
        match &self.state(id).shape {
            StateShape::Kv(shape) => shape,
            StateShape::Recurrent(_) => unreachable!("the builder gives attention only KV caches"),
        }
    }
    /// The KV caches among the states.
    pub fn kv_shapes(&self) -> impl Iterator<Item = &KvShape> {
        self.states.iter().filter_map(|s| if let StateShape::Kv(shape) = &s.shape { Some(shape) } else { None })
    }

    /// The number of positions that the model has a row for, if it looks them up in a table. Tokens cannot be shifted
    /// to other positions then.
    pub fn n_positions(&self) -> Option<u64> {
        self.nodes.iter().find_map(|node| match &node.op {
            Op::Embed(o) if o.by == EmbedBy::Position => Some(self.weight(o.table).ne[1]),
            _ => None,
        })
    }

    /// The value of a result.
    pub fn result(&self, outcome: Outcome) -> Option<ValueId> {
        self.results.iter().find(|(o, _)| *o == outcome).map(|(_, v)| *v)
    }
    /// True if a value is a result. Rows that earlier micro-batches wrote to it must stay.
    pub fn is_result(&self, v: ValueId) -> bool {
        self.results.iter().any(|(_, r)| *r == v)
    }

    /// The row of a value's place at which a micro-batch's rows begin. Rows that were asked for stay until the next
    /// batch, those of its micro-batches behind each other; all others begin at 0.
    pub fn first_row(&self, v: ValueId, micro: &Micro<'_>) -> usize {
        if self.is_result(v) && self.value(v).rows == Rows::Outputs { micro.first_output } else { 0 }
    }

    /// Values that come from elsewhere, and that the host writes before nodes run.
    pub fn given(&self) -> impl Iterator<Item = ValueId> {
        self.inputs.iter().filter_map(|i| if let Input::Rows(v) = i { Some(*v) } else { None })
    }

    /// All of a weight.
    pub fn whole(&self, id: WeightId) -> WeightSlice {
        WeightSlice::whole(id, self.weight(id))
    }
    /// The slices of weights that a node reads: its matrices, all of its other tensors, and the rope's factors if it
    /// computes a table of cosines and sines.
    pub fn reads(&self, node: &Node) -> impl Iterator<Item = WeightSlice> + '_ {
        let facts = node.op.facts();
        let rope = if let Op::RopeTable(t) = node.op { Some(&self.ropes[t.rope]) } else { None };
        let product = facts.product.map(|p| p.part);
        let others = facts.table.into_iter().chain(facts.floats.into_iter().flatten());
        let factors = rope.into_iter().flat_map(|r| r.factors.weights());
        product.into_iter().chain(others.chain(factors).map(|w| self.whole(w)))
    }
}
