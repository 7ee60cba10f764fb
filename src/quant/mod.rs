//! Block formats of GGUF: layout and reference dequantisation.

mod types;

pub use types::Type;
