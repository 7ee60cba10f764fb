//! CUDA devices: dies, their arenas, and the executor that gives the graph of a micro-batch to a die's stream. There is
//! one file for each op, of the same name as in `cpu`; the kernels are in `kernels/`, their argument structs in `args`,
//! and the table of all of them in `kernels`.
//!
//! Everything runs in the die's one stream, in order. The host waits only where it needs a result.

mod args;
mod attention;
mod board;
mod cells;
mod columns;
mod convolve;
mod die;
mod discover;
mod driver;
mod elementwise;
mod embed;
mod executor;
mod experts;
mod fill;
mod fuse;
mod gemm;
#[cfg(test)]
mod grids_h;
mod image;
mod images;
mod kernels;
mod kv;
mod linear_attention;
mod matvec;
mod norm;
mod recurrent;
mod replay;
mod rope;
mod route;
mod run;
mod scan;
mod step;
mod tables;

pub use die::{Die, Event, Pinned, Visit};
pub use discover::{Search, open};
pub use driver::Ptr;
pub use executor::{Arenas, Executor, Held, Parts, Staging, staging_bytes};
pub(crate) use fill::RING_BYTES;
pub use fill::{MOST_SENT, Ring, Source};
pub use image::Shelf;
pub use kernels::{Entry as KernelEntry, TABLE as KERNELS};
pub use run::{has_kernel, workspace_bytes};
pub use tables::{Tables, tables_bytes};
