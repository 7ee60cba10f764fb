//! The plan: what goes where, and how many bytes each device will be asked for.
//!
//! Everything is measured from the graph that will run: weights from the file's directory, the KV cache from the layers' shapes,
//! the compute arena from the lifetimes of the activations at the largest batch.

mod ask;
mod batch;
mod chain;
mod cost;
mod estimator;
mod experts;
mod family;
mod json;
mod measure;
mod measured;
mod place;
mod remedy;
mod request;
mod text;
mod units;
mod why;

use std::sync::{Arc, OnceLock};

pub use ask::{Answer, Question};
pub use measure::{Cache, Copies, KvPlaces, Measured};
pub(crate) use measured::uncomputable;
pub use place::Objective;

use crate::arch::Hparams;
use crate::device::Kind;
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::graph::{self, Graph};
use crate::quant::Type;
use crate::session::Context;
use request::Request;

/// Where a choice came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Caller,
    Family,
    Global,
    /// The model's own key.
    File,
    /// What fits into memory.
    Limited,
}

impl Source {
    pub fn name(self) -> &'static str {
        match self {
            Source::Caller => "caller",
            Source::Family => "family default",
            Source::Global => "global default",
            Source::File => "model file",
            Source::Limited => "what fits",
        }
    }
}

/// Whether the CPU reads weights from the memory map or from a copy in its weights arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weights {
    /// Mapped where the device can read the map.
    #[default]
    Auto,
    Mapped,
    Copied,
}

/// What bytes are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EstimatorKind {
    /// Measured where the architecture's graph is known, else the family's formulas.
    #[default]
    Auto,
    Measured,
    Family,
}

/// What the caller wants of one device, besides `reserve_bytes` for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceLimit {
    /// Index in the context's inventory.
    pub device: u32,
    /// Bytes to leave free on it.
    pub reserve_bytes: u64,
    /// Layers at most; `None`: as many as fit. `Some(0)` excludes the device.
    pub max_layers: Option<u32>,
}

/// What the caller asks for; zero (or `None`) means: decide for me.
#[derive(Debug, Clone, Default)]
pub struct Params {
    /// Tokens that the KV cache holds, of all sequences together.
    pub n_ctx: u32,
    pub n_seq_max: u32,
    /// Rows of a batch whose logits can be asked for at once; default one per sequence.
    pub n_outputs_max: u32,
    pub n_batch: u32,
    pub n_ubatch: u32,
    /// `None`: F16, or Q8_0 where F16 does not fit and Q8_0 does.
    pub type_k: Option<Type>,
    pub type_v: Option<Type>,
    pub weights: Weights,
    /// Bytes to leave free on each device.
    pub reserve_bytes: u64,
    pub objective: Objective,
    pub estimator: EstimatorKind,
    /// The family estimator's factor on compute buffers; 0: 3.5.
    pub margin: f64,
    pub limits: Vec<DeviceLimit>,
}

/// Bytes on one device, by arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// The weights arena.
    pub weights: u64,
    /// Weights used straight from the file's memory map; page cache, not the process's own.
    pub mapped: u64,
    /// The KV cache arena.
    pub kv: u64,
    /// The compute arena.
    pub compute: u64,
    /// What the driver takes for itself.
    pub driver: u64,
}

impl Memory {
    /// What the device is asked for: the three arenas and the driver's share.
    pub fn asked(&self) -> u64 {
        [self.weights, self.kv, self.compute, self.driver].into_iter().fold(0, u64::saturating_add)
    }
    /// What must fit into free memory; mapped weights that do not would be read from the disk again and again.
    pub fn needed(&self) -> u64 {
        self.asked().saturating_add(self.mapped)
    }
}

#[derive(Debug, Clone)]
pub struct DevicePlan {
    /// Index in the context's inventory.
    pub device: u32,
    pub memory: Memory,
    /// Before anything is loaded.
    pub free_bytes: u64,
    pub total_bytes: u64,
    pub first_layer: u32,
    pub n_layers: u32,
    /// Layers of other devices whose experts it computes.
    pub n_expert_layers: u32,
    pub has_output: bool,
    /// Bytes that are missing; 0 where all fits.
    pub shortfall: u64,
}

impl DevicePlan {
    /// Whether it computes anything.
    pub fn computes(&self) -> bool {
        self.n_layers > 0 || self.n_expert_layers > 0 || self.has_output
    }
}

#[derive(Debug, Clone)]
pub struct LayerPlan {
    /// `n_layer` stands for the output.
    pub layer: u32,
    pub device: u32,
    /// The device of its routed experts; that of the layer where it has none.
    pub experts_device: u32,
    /// The experts' among them.
    pub weights: u64,
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

/// What a loadable plan holds beyond what it says: the graph, and the place of everything in the arenas.
pub(crate) struct Exact {
    pub hparams: Hparams,
    pub graph: Arc<Graph>,
    pub measured: Measured,
    pub placement: graph::Placement,
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
    pub type_k: Type,
    pub type_v: Type,
    pub n_threads: u32,
    pub objective: Objective,
    /// "measured", or "family" for an estimate, which cannot be loaded.
    pub estimator: &'static str,
    pub fits: bool,
    pub devices: Vec<DevicePlan>,
    /// Per layer, the output last; empty where the estimator does not say.
    pub layers: Vec<LayerPlan>,
    pub reasons: Vec<String>,
    pub prediction: Option<Prediction>,
    remedies: OnceLock<Vec<String>>,
    params: Params,
    pub(crate) context: Arc<Context>,
    pub(crate) file: Arc<Gguf>,
    pub(crate) exact: Option<Exact>,
}

/// Sequences are told apart in a bit set per cell.
pub const MAX_SEQUENCES: u32 = 256;

impl Plan {
    /// Plans `file` on the context's devices. A model that does not fit gives a plan with `fits` false and each device's shortfall.
    ///
    /// # Errors
    /// `Unsupported` for a tensor type that cannot be computed with, `BadFile` for a file whose keys or tensors are wrong,
    /// `InvalidArgument` for contradicting parameters.
    pub fn new(context: &Arc<Context>, file: &Arc<Gguf>, params: &Params) -> Result<Plan> {
        let r = Request::new(context, file, params)?;
        let estimator = r.estimator()?;
        let e = estimator.estimate(&r)?;
        let name = match file.get_str("general.name") {
            Ok(Some(name)) if !name.is_empty() => name.to_owned(),
            _ => std::path::Path::new(file.path())
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default(),
        };
        let mut reasons = context.inventory().notes.clone();
        reasons.extend(e.reasons);
        if e.n_ctx > r.n_ctx_train {
            reasons.push(format!(
                "n_ctx {} is more than the {} tokens that the model was trained for",
                e.n_ctx, r.n_ctx_train
            ));
        }
        reasons.push(format!(
            "n_batch {} and n_ubatch {}: {}",
            r.batch.n_batch,
            r.batch.n_ubatch,
            r.batch_source.name()
        ));
        Ok(Plan {
            architecture: r.architecture.clone(),
            name,
            n_layer: e.n_layer,
            n_ctx: e.n_ctx,
            n_ctx_source: e.n_ctx_source,
            n_ctx_train: r.n_ctx_train,
            n_batch: r.batch.n_batch,
            n_ubatch: r.batch.n_ubatch,
            batch_source: r.batch_source,
            n_seq_max: r.n_seq_max,
            n_outputs_max: r.n_outputs_max,
            type_k: e.type_k,
            type_v: e.type_v,
            n_threads: context.n_threads(),
            objective: params.objective,
            estimator: estimator.name(),
            fits: e.fits,
            devices: e.devices,
            layers: e.layers,
            reasons,
            prediction: e.prediction,
            remedies: OnceLock::new(),
            params: params.clone(),
            context: context.clone(),
            file: file.clone(),
            exact: e.exact,
        })
    }

    /// The plan for what there is after all, where a load ran out of a die's memory: `e` names the die and the bytes that its arenas
    /// could have had together. `None` where it does not, or where nothing fits then.
    pub(crate) fn with_less(&self, e: &Error) -> Result<Option<Plan>> {
        let die = |d: &u32| self.context.devices()[*d as usize].kind == Kind::Cuda;
        // Only the arenas' allocations say how much there was.
        let Some(device) = e.detail.device.filter(die).filter(|_| e.detail.needed > 0) else { return Ok(None) };
        let d = &self.context.devices()[device as usize];
        let promised = d.free_bytes.saturating_sub(d.driver_bytes).saturating_sub(self.params.reserve_bytes);
        let mut params = self.params.clone();
        let reserve_bytes = promised.saturating_sub(e.detail.available).min(d.total_bytes);
        match params.limits.iter_mut().find(|l| l.device == device) {
            Some(limit) if limit.reserve_bytes >= reserve_bytes => return Ok(None),
            Some(limit) => limit.reserve_bytes = reserve_bytes,
            None => params.limits.push(DeviceLimit { device, reserve_bytes, max_layers: None }),
        }
        Plan::new(&self.context, &self.file, &params).map(|plan| Some(plan).filter(|p| p.fits))
    }

    /// What else would fit, each planned before it is said; worked out at the first call.
    pub fn remedies(&self) -> &[String] {
        self.remedies.get_or_init(|| remedy::remedies(self))
    }

    /// Whether it can be loaded: it fits, is exact, every tensor can be computed with, and no layer is on a device that is only
    /// described.
    pub fn loadable(&self) -> bool {
        let described = |d: u32| self.context.devices()[d as usize].described;
        let possible = |e: &Exact| measured::uncomputable(&e.graph).is_none() && !e.placement.devices().any(described);
        self.fits && self.exact.as_ref().is_some_and(possible)
    }

    /// Dies that compute at least a layer.
    pub fn n_dies(&self) -> usize {
        let die = |d: &&DevicePlan| self.context.devices()[d.device as usize].kind == Kind::Cuda;
        self.devices.iter().filter(die).filter(|d| d.n_layers > 0 || d.has_output).count()
    }

    /// Layers that the CPU computes as a whole.
    pub fn n_cpu_layers(&self) -> u32 {
        self.devices[self.context.inventory().cpu()].n_layers
    }

    /// Layers of dies whose experts the CPU computes.
    pub fn n_cpu_experts(&self) -> u32 {
        self.devices[self.context.inventory().cpu()].n_expert_layers
    }

    /// Whether the CPU computes layers or experts.
    fn uses_cpu(&self) -> bool {
        self.n_cpu_layers() > 0 || self.n_cpu_experts() > 0
    }
}
