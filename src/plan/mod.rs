//! The plan: what goes where, and how many bytes each device will be asked for.
//!
//! Everything is measured from the graph that will run: weights from the file's directory, states from the layers'
//! shapes, the compute arena from the lifetimes of the activations at the largest batch (`arenas`). A plan takes this
//! way through the room:
//!
//! 1. Parameters (`params`) are checked and completed (`request`).
//! 2. The graph becomes a chain of units: its layers, and the output as the last. `units` (with `by_unit`), `cost` and
//!    `chain` know the bytes and seconds of every range of neighbouring units on every device.
//! 3. `place` cuts the chain into ranges, one for each device that is used. `search` chooses devices, context and KV
//!    types around it, and `experts` tries to put routed experts alone on the CPU.
//! 4. The best placement is measured once more as it is (`arenas`) and written down (`measured`, `report`; `text` with
//!    `map`, `json`, `svg`), with predicted speeds (`predict`) and reasons (`why`).
//!
//! Questions (`ask`) and remedies (`remedy`) are answered by planning again.

mod arenas;
mod ask;
mod batch;
mod by_unit;
mod chain;
mod compare;
mod cost;
mod estimator;
mod experts;
mod family;
mod json;
mod make;
mod map;
mod measured;
mod memory;
mod params;
mod place;
mod places;
mod predict;
mod remedy;
mod report;
mod request;
mod search;
mod svg;
mod text;
mod units;
mod why;

pub use crate::arch::PoolBy;
pub use crate::graph::Pooling;
pub use arenas::{Arenas, Holder, Sizing};
pub use ask::{Answer, Question};
pub use memory::Memory;
pub use params::{DeviceLimit, DraftSource, EstimatorKind, MAX_DRAFT, MAX_SEQUENCES, Params, Source, Weights};
pub use place::Objective;
pub(crate) use report::Exact;
pub use report::{DevicePlan, LayerPlan, Plan, Prediction};
