//! Block formats of GGUF: layout, reference dequantisation, and plain quantisers.

mod dequantize;
mod quantize;
mod types;

pub(crate) use dequantize::{IQ4_LEVELS, MXFP4_LEVELS};
pub use dequantize::{dequantize, half_to_f32};
pub use quantize::quantize;
pub use types::Type;
pub(crate) use types::weight_types;

#[cfg(test)]
mod tests;
