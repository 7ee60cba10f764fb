//! The CPU as a device: its threads (`pool`), its kernels (`matmul` over the vectors of `simd`), and the executor that
//! walks the graph of a micro-batch (`executor`, `run`, `step`). All other files compute one op each, or two or three
//! that belong together.

mod attention;
mod columns;
mod convolve;
mod elementwise;
mod embed;
mod executor;
mod experts;
pub mod isa;
mod kv;
mod linear_attention;
pub mod matmul;
mod mean;
mod norm;
mod pool;
mod product;
mod recurrent;
mod rope;
mod route;
mod run;
mod scan;
mod signal;
pub(crate) mod simd;
mod softmax;
mod step;

pub use executor::{Executor, Held, Parts};
pub use pool::Pool;
pub use run::workspace_bytes;
