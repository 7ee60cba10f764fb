//! The block formats in which GGUF stores weights: their sizes, plain dequantisation, plain quantisers.
//!
//! A quantised tensor stores each row as blocks of 32 or 256 elements. A block has small integers q (levels), and one
//! or two scales that turn them back into numbers. `dequantize` describes each format; the kernels of the executors
//! decode the same formats faster, and are tested against it.

mod dequantize;
mod grid;
mod grids;
mod quantize;
mod scale;
mod types;

pub use dequantize::dequantize;
pub(crate) use dequantize::{IQ4_LEVELS, MXFP4_LEVELS, NVFP4_SCALES};
pub(crate) use grids::{IQ1_GRID, IQ2_S_GRID, IQ2_XS_GRID, IQ2_XXS_GRID, IQ3_S_GRID, IQ3_XXS_GRID};
pub use quantize::quantize;
pub use scale::half_to_f32;
pub use types::Type;
pub(crate) use types::weight_types;

#[cfg(test)]
mod tests;
