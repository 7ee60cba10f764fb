//! Loaded models. Loading puts every weight where the plan says (`load`, `dies`). Decoding (`decode`) checks a batch
//! (`batch`), gives its tokens cells (`caches`, `cells`) and runs it on the model's devices (`machine`). `sequence` and
//! `generate` are the other calls of a host.

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
mod recurrent;
mod sequence;
mod stretches;

pub use batch::Batch;
pub use generate::{GenerateParams, GenerateResult, Prompt, StopReason};
pub use load::LoadParams;
pub use model::{Model, ModelInfo};
pub use perf::Perf;
