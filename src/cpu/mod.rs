//! The CPU device: kernels and executor.

pub mod isa;
pub mod matmul;
pub(crate) mod simd;
