//! A plan as it stands: the place of everything, and the bytes that each device will be asked for.

use std::sync::{Arc, OnceLock};

use super::arenas::{self, Arenas};
use super::memory::Memory;
use super::params::{DraftSource, Params, Source};
use super::place::Objective;
use crate::arch::Hparams;
use crate::context::Context;
use crate::device::{Device, Kind};
use crate::error::Error;
use crate::gguf::Gguf;
use crate::graph::{Graph, Node, Placement, Pooling};
use crate::quant::Type;

/// A plan's part on one device.
#[derive(Debug, Clone)]
pub struct DevicePlan {
    /// Index in the context's inventory.
    pub device: u32,
    pub memory: Memory,
    /// Bytes that are free before anything is loaded.
    pub free_bytes: u64,
    pub total_bytes: u64,
    pub first_layer: u32,
    pub n_layers: u32,
    /// Layers of other devices whose experts it computes.
    pub n_expert_layers: u32,
    pub has_output: bool,
    /// Bytes that are missing; 0 if all fits.
    pub shortfall: u64,
}

impl DevicePlan {
    /// True if it computes anything.
    pub fn computes(&self) -> bool {
        self.n_layers > 0 || self.n_expert_layers > 0 || self.has_output
    }

    /// The parts of the device's memory that are not free, in bytes: taken by others, weights, weights in the mapped
    /// file, KV cache, states, compute, driver. Pictures draw them in this order.
    pub(super) fn parts(&self) -> [u64; 7] {
        let m = &self.memory;
        let others = self.total_bytes.saturating_sub(self.free_bytes);
        [others, m.weights, m.mapped, m.kv - m.states, m.states, m.compute, m.driver]
    }
}

/// A plan's choice for one layer.
#[derive(Debug, Clone)]
pub struct LayerPlan {
    /// `n_layer` stands for the output.
    pub layer: u32,
    pub device: u32,
    /// All devices that compute it, that one first: several, if a group of dies shares it.
    pub devices: Vec<u32>,
    /// The device of its routed experts; that of the layer, if it has none.
    pub experts_device: u32,
    /// Bytes of its weights, the experts' among them.
    pub weights: u64,
    /// Bytes of its states.
    pub kv: u64,
    pub reason: String,
}

/// Speeds by the cost model: predicted, not measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Tokens per second of one sequence, at an empty and at a full context.
    pub decode: f64,
    pub decode_full: f64,
    /// Tokens per second of a prompt, at an empty context.
    pub prompt: f64,
    /// Tokens per second of all sequences together when every device always has one to work on.
    pub pipelined: f64,
}

/// The part of a plan that a load needs and no report shows: the graph, and the place of everything in the arenas.
pub(crate) struct Exact {
    pub hparams: Hparams,
    pub graph: Arc<Graph>,
    pub arenas: Arenas,
    pub placement: Placement,
}

impl Exact {
    /// An error that names the first tensor whose type its device has no kernels for, or the operation. Its bytes can
    /// be planned, but it cannot be computed with.
    pub fn uncomputable(&self, devices: &[Device]) -> Option<Error> {
        let graph = &self.graph;
        let device = |n: &Node| self.placement.device(n).and_then(|d| devices.get(d as usize));
        let (node, device) = graph.nodes.iter().find_map(|n| {
            let d = device(n)?;
            (!arenas::computes(d.kind, graph, n)).then_some((n, d))
        })?;
        let facts = node.op.facts();
        let Some(weight) = facts.product.map(|p| p.part.weight).or(facts.table) else {
            let text = format!("device '{}' has no kernel for the operation {}", device.name, node.op.name());
            return Some(Error::unsupported(text));
        };
        let w = graph.weight(weight);
        let by = if w.ty.on_cpu() { "computed with by the CPU alone" } else { "not computed with" };
        let text = format!("tensor '{}' is of type {}, which is {by}", w.name, w.ty.name());
        Some(Error::unsupported(text).subject(&w.name))
    }

    /// By state of the graph: true if it is on a device. States are on the devices of their layers.
    pub fn states_on(&self, device: u32) -> Vec<bool> {
        self.graph.states.iter().map(|s| self.placement.of_state(s) == Some(device)).collect()
    }
}

/// A plan. It never changes.
pub struct Plan {
    pub architecture: String,
    /// general.name, or the file's name.
    pub name: String,
    pub n_layer: u32,
    pub n_ctx: u32,
    pub n_ctx_source: Source,
    pub n_ctx_train: u32,
    pub n_batch: u32,
    pub n_ubatch: u32,
    pub batch_source: Source,
    pub n_seq_max: u32,
    pub n_outputs_max: u32,
    /// Layers with a recurrent state, and checkpoints of their states; 0 for models without such layers.
    pub n_recurrent_layers: u32,
    pub n_checkpoints: u32,
    /// Tokens of a draft at most; 0: the model makes none.
    pub n_draft: u32,
    pub draft_source: DraftSource,
    /// The rows that a batch leaves in place of logits, if it does.
    pub pooling: Option<Pooling>,
    pub type_k: Type,
    pub type_v: Type,
    pub n_threads: u32,
    pub objective: Objective,
    /// "measured", or "family" for an estimate, which cannot be loaded.
    pub estimator: &'static str,
    pub fits: bool,
    pub devices: Vec<DevicePlan>,
    /// By layer, the output last; empty if the estimator does not say.
    pub layers: Vec<LayerPlan>,
    pub reasons: Vec<String>,
    pub prediction: Option<Prediction>,
    pub(super) remedies: OnceLock<Vec<String>>,
    pub(super) params: Params,
    pub(crate) context: Arc<Context>,
    pub(crate) file: Arc<Gguf>,
    pub(crate) exact: Option<Exact>,
}

impl Plan {
    /// True if it can be loaded: it fits, is exact, every tensor can be computed with, and no layer is on a device that
    /// is only described.
    pub fn loadable(&self) -> bool {
        let described = |d: u32| self.context.devices()[d as usize].described;
        let possible =
            |e: &Exact| e.uncomputable(self.context.devices()).is_none() && !e.placement.devices().any(described);
        self.fits && self.exact.as_ref().is_some_and(possible)
    }

    /// Number of dies that compute a layer or the output.
    pub fn n_dies(&self) -> usize {
        let die = |d: &&DevicePlan| self.context.devices()[d.device as usize].kind == Kind::Cuda;
        self.devices.iter().filter(die).filter(|d| d.n_layers > 0 || d.has_output).count()
    }

    /// Number of layers that the CPU computes as a whole.
    pub fn n_cpu_layers(&self) -> u32 {
        self.devices[self.context.inventory().cpu()].n_layers
    }

    /// Number of layers of dies whose experts the CPU computes.
    pub fn n_cpu_experts(&self) -> u32 {
        self.devices[self.context.inventory().cpu()].n_expert_layers
    }

    /// True if the CPU computes layers or experts.
    pub(super) fn uses_cpu(&self) -> bool {
        self.n_cpu_layers() > 0 || self.n_cpu_experts() > 0
    }
}
