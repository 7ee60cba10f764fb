//! The C ABI, one file for each group of functions. `include/rekindle.h` is generated from these files:
//! `tests/header.rs` has cbindgen translate each declaration and keeps the order in which the declarations stand here.
//!
//! Every function goes through `guard`, which returns a status, keeps the error's text for the calling thread, and lets
//! no panic through. A handle is a number that is looked up, never an address that is trusted (`handle`). Structs are
//! read and written by the size that the host says they have (`structs`).

// The names are C's. The text of each function tells C programmers what its pointers must be.
#![allow(non_camel_case_types, clippy::missing_safety_doc)]

mod adapters;
mod api;
mod chat;
mod context;
mod decode;
mod error;
mod file;
mod fork;
mod generate;
mod generation;
mod grammar;
mod guard;
mod handle;
mod inspect;
mod last;
mod model;
mod output;
mod plan;
mod planned;
mod reply;
mod sampler;
mod saved;
mod sequence;
mod steps;
mod structs;
mod vocab;

pub use adapters::*;
pub use api::*;
pub use chat::*;
pub use context::*;
pub use decode::*;
pub use error::*;
pub use file::*;
pub use generate::*;
pub use generation::*;
pub use grammar::*;
pub use inspect::*;
pub use model::*;
pub use plan::*;
pub use planned::*;
pub use reply::*;
pub use sampler::*;
pub use saved::*;
pub use sequence::*;
pub use steps::*;
pub use vocab::*;

#[cfg(debug_assertions)]
pub use guard::probe as panic_probe;
