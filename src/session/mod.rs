//! Loaded models. Loading puts every weight where the plan says (`load`, `dies`). Decoding (`decode`) checks a batch
//! (`batch`), gives its tokens cells (`caches`, `cells`) and runs it on the model's devices (`machine`). `sequence` and
//! `generate` are the other calls of a host. A generation may check guesses of the model's own (`draft`, `hidden`,
//! `gain`). `generation` steps many together, on sequences that `slots` gives them; `history` knows what these hold.

mod batch;
mod caches;
mod cells;
mod decode;
mod dies;
mod draft;
mod encode;
mod gain;
mod generate;
mod generation;
mod hidden;
mod history;
mod load;
mod machine;
mod model;
mod ngram;
mod perf;
mod recurrent;
mod room;
mod rows;
mod saved;
mod scales;
mod second;
mod sequence;
mod slots;
mod stretches;

pub use batch::Batch;
pub use generate::{GenerateParams, GenerateResult, Prompt, StopReason};
pub use generation::{Event, Generation, GenerationInfo, GenerationParams, Phase, StepResult};
pub use load::LoadParams;
pub use model::{Model, ModelInfo};
pub use perf::Perf;
