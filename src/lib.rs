//! rekindle runs GGUF language models on old GPUs and CPUs behind a C ABI.
//!
//! The way data goes: `gguf` (file) -> `arch` (model, graph) -> `plan` (what goes where, bytes) -> `session` (load,
//! decode). The C ABI in `ffi` is the product; the Rust modules are public for tests and benchmarks and carry no
//! stability promise.

pub mod arch;
pub mod chat;
pub mod context;
pub mod cpu;
pub mod cuda;
pub mod device;
pub mod error;
pub mod ffi;
pub mod gguf;
pub mod grammar;
pub mod graph;
mod memory;
pub mod plan;
pub mod quant;
pub mod reply;
pub mod sample;
pub mod session;
pub mod sync;
pub mod threads;
pub mod vocab;

pub use error::{Error, Result, Status};
