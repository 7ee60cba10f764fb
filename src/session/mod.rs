//! What a host holds: a context, and the models that it loads there and decodes with.

mod batch;
mod caches;
mod cells;
mod decode;
mod dies;
mod generate;
mod load;
mod machine;
mod model;
mod perf;
mod sequence;

pub use batch::Batch;
pub use generate::{GenerateParams, GenerateResult, Prompt, StopReason};
pub use load::LoadParams;
pub use model::{Model, ModelInfo};
pub use perf::Perf;
