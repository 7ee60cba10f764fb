//! Matrix products of quantised weights with activations, and the vector helpers of the executor.

mod acts;
pub(super) mod attend;
mod dispatch;
mod few;
mod float;
mod half;
mod kernels;
mod panel;
mod product;
mod row;
mod tile;
mod vector;
mod weight;

#[cfg(test)]
mod tests;

pub use acts::{ActFormat, Source, act_bytes, act_format};
pub use kernels::{Kernels, scratch_bytes};
pub use product::Product;
