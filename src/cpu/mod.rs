//! The CPU device: its threads, its kernels, and the executor that walks the graph of a micro-batch. One op, one file.

mod attention;
mod columns;
mod elementwise;
mod embed;
mod executor;
mod experts;
pub mod isa;
mod kv;
pub mod matmul;
mod norm;
mod pool;
mod product;
mod rope;
mod route;
mod run;
pub(crate) mod simd;
mod step;

pub use executor::{Executor, Held, Parts};
pub use pool::Pool;
pub use run::workspace_bytes;
