//! The C ABI. One file per group of functions; `include/rekindle.h` is generated from here by cbindgen.
//!
//! Every function goes through `guard`: it returns a status, keeps the error's text for the calling thread, and lets no panic
//! through. Handles are numbers that are looked up, never addresses that are trusted (`handle`); structs are read and written
//! by the size that the host says they have (`structs`).

// Names are C's, and what a pointer must be is said in each function's text for C programmers.
#![allow(non_camel_case_types, clippy::missing_safety_doc)]

mod api;
mod chat;
mod context;
mod decode;
mod error;
mod file;
mod guard;
mod handle;
mod inspect;
mod model;
mod output;
mod plan;
mod sampler;
mod structs;
mod vocab;

pub use api::*;
pub use chat::*;
pub use context::*;
pub use decode::*;
pub use error::*;
pub use file::*;
pub use inspect::*;
pub use model::*;
pub use plan::*;
pub use sampler::*;
pub use vocab::*;

#[cfg(feature = "panic-probe")]
pub use guard::probe as panic_probe;
