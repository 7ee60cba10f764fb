//! The plan: what goes where, and how many bytes each device will be asked for.
//!
//! Everything is measured from the graph that will run: weights from the file's directory, states from the layers'
//! shapes, the compute arena from the lifetimes of the activations at the largest batch (`arenas`). The way of a plan
//! through this room: parameters (`params`) are checked and completed (`request`); the graph becomes a chain of units
//! with bytes and seconds for every range (`units`, `cost`, `chain`), which `place` cuts into ranges and `experts` and
//! `search` try with and without the CPU; the best is measured once more as it is (`measured`) and written down
//! (`report`, `text`, `json`, `why`). Questions (`ask`) and remedies (`remedy`) are answered by planning again.

mod arenas;
mod ask;
mod batch;
mod chain;
mod cost;
mod estimator;
mod experts;
mod family;
mod json;
mod make;
mod measured;
mod memory;
mod params;
mod place;
mod remedy;
mod report;
mod request;
mod search;
mod text;
mod units;
mod why;

pub use arenas::{Arenas, Holder, Sizing};
pub use ask::{Answer, Question};
pub use memory::Memory;
pub use params::{DeviceLimit, EstimatorKind, MAX_SEQUENCES, Params, Source, Weights};
pub use place::Objective;
pub(crate) use report::Exact;
pub use report::{DevicePlan, LayerPlan, Plan, Prediction};
