//! The parameters of a plan, and the origins of its choices.

use super::place::Objective;
use crate::arch::PoolBy;
use crate::quant::Type;

/// The origin of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Caller,
    Family,
    Global,
    /// A key of the model's file.
    File,
    /// The memory, which holds no more.
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

/// The place from which the CPU reads weights: the memory map of the file, or a copy in its weights arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weights {
    /// Mapped, if the device can read the map.
    #[default]
    Auto,
    Mapped,
    Copied,
}

/// The way in which bytes become known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EstimatorKind {
    /// Measured if the architecture's graph is known, else by the family's formulas.
    #[default]
    Auto,
    Measured,
    Family,
}

/// The caller's wishes for one device, besides `reserve_bytes` for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceLimit {
    /// Index in the context's inventory.
    pub device: u32,
    /// Bytes to leave free on it.
    pub reserve_bytes: u64,
    /// Layers at most; `None`: as many as fit. `Some(0)` excludes the device.
    pub max_layers: Option<u32>,
}

/// The maker of drafts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DraftSource {
    /// A prediction layer of the model itself.
    #[default]
    Layer,
    /// The text so far: what followed the last time that its last tokens stood there.
    Text,
    /// A second, smaller model, which the host sets when both are loaded.
    Model,
}

/// The caller's wishes. Zero (or `None`) leaves the decision to the planner.
#[derive(Debug, Clone, Default)]
pub struct Params {
    /// Tokens that the KV cache holds, of all sequences together. An encoder has none; then it limits a batch.
    pub n_ctx: u32,
    pub n_seq_max: u32,
    /// Checkpoints of recurrent states, of all sequences together; `None`: four per sequence, at most 16.
    pub n_checkpoints: Option<u32>,
    /// Tokens of a draft at most, which the model checks in one batch; 0: no drafts.
    pub n_draft: u32,
    /// The rows that a batch leaves in place of logits, if it does.
    pub pooling: PoolBy,
    pub draft_source: DraftSource,
    /// Rows of a batch whose logits can be asked for at once; default one per sequence.
    pub n_outputs_max: u32,
    pub n_batch: u32,
    pub n_ubatch: u32,
    /// `None`: F16, or Q8_0 if F16 does not fit and Q8_0 does.
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
    /// Dies that share each layer, up to 4; 0 or 1: each layer is one device's; `ANY_GROUP`: as many as are best.
    pub n_group: u32,
    /// Places of tensors by patterns of their names (`places`); empty: the planner chooses.
    pub placements: String,
}

/// For `Params::n_group`: the planner chooses.
pub const ANY_GROUP: u32 = u32::MAX;
/// The most sequences of a model. Each cell of a cache has a bit for every one.
pub const MAX_SEQUENCES: u32 = 256;
/// The most checkpoints of a model.
pub const MAX_CHECKPOINTS: u32 = 1024;
/// The most tokens of a draft: with one more they are a short batch, of which all kernels make the same bits as of
/// single tokens.
pub const MAX_DRAFT: u32 = 15;
