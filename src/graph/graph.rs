//! The graph of one micro-batch: nodes, and what enters, leaves and stays.

use super::op::Op;
use super::rope::Rope;
use super::state::{KvShape, State, StateShape};
use super::value::{StateId, Value, ValueId, WeightId, WeightSlice};
use crate::gguf::TensorInfo;

/// One step: reads `inputs`, writes `output`.
#[derive(Debug, Clone)]
pub struct Node {
    pub op: Op,
    pub inputs: Vec<ValueId>,
    pub output: Option<ValueId>,
    /// Decides the device: a layer, `n_layer` for the output, or [`INPUT`].
    pub layer: u32,
    /// Decides it with the layer.
    pub part: Part,
}

/// The parts of a layer that may have a device of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Part {
    /// All that is no other part.
    #[default]
    Body,
    /// The routed experts.
    Experts,
}

/// The "layer" of what turns token ids and positions into activations. It runs on the host, which has the ids, and
/// reads the few rows of the token embedding that are needed where they lie.
pub const INPUT: u32 = u32::MAX;

/// What a micro-batch brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Token ids.
    Tokens,
    Positions,
    /// Rows of a value that no node makes: hidden state from elsewhere, written on the host before the nodes run.
    Rows(ValueId),
}

/// What a micro-batch leaves for the caller on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// `[n_outputs, n_vocab]`
    Logits,
    /// `[n_outputs, n_embd]`, after the output norm.
    Embeddings,
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
    pub nodes: Vec<Node>,
    pub inputs: Vec<Input>,
    /// Each value once. A batch's rows of results stay until the next batch, those of all its micro-batches behind each
    /// other.
    pub results: Vec<(Outcome, ValueId)>,
    pub states: Vec<State>,
    pub ropes: Vec<Rope>,
}

impl Graph {
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
        let StateShape::Kv(shape) = &self.state(id).shape;
        shape
    }
    /// The KV caches among the states.
    pub fn kv_shapes(&self) -> impl Iterator<Item = &KvShape> {
        self.states.iter().map(|s| {
            let StateShape::Kv(shape) = &s.shape;
            shape
        })
    }

    /// The value of a result.
    pub fn result(&self, outcome: Outcome) -> Option<ValueId> {
        self.results.iter().find(|(o, _)| *o == outcome).map(|(_, v)| *v)
    }
    /// Whether a value is a result, of which the rows of earlier micro-batches stay.
    pub fn is_result(&self, v: ValueId) -> bool {
        self.results.iter().any(|(_, r)| *r == v)
    }
    /// Values that the host writes before nodes run.
    pub fn given(&self) -> impl Iterator<Item = ValueId> {
        self.inputs.iter().filter_map(|i| if let Input::Rows(v) = i { Some(*v) } else { None })
    }

    /// All of a weight.
    pub fn whole(&self, id: WeightId) -> WeightSlice {
        WeightSlice::whole(id, self.weight(id))
    }
    /// What a node reads of the file: its matrices, the whole of its other tensors, and of a rope's table the rope's
    /// factors.
    pub fn reads(&self, node: &Node) -> impl Iterator<Item = WeightSlice> + '_ {
        let facts = node.op.facts();
        let rope = if let Op::RopeTable(t) = node.op { Some(&self.ropes[t.rope]) } else { None };
        let product = facts.product.map(|p| p.part);
        let others = facts.table.into_iter().chain(facts.floats.into_iter().flatten());
        let factors = rope.into_iter().flat_map(|r| r.factors.weights());
        product.into_iter().chain(others.chain(factors).map(|w| self.whole(w)))
    }
}
