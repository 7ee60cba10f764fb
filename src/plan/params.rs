//! What a caller asks of a plan, and where choices come from.

use super::place::Objective;
use crate::quant::Type;

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

/// Sequences are told apart in a bit set per cell.
pub const MAX_SEQUENCES: u32 = 256;
