//! Matrix products of weights with activations, and the vector helpers of the executor.
//!
//! # Problem
//!
//! A product is `y[t][r] = sum over k of w[r][k] x[t][k]`, for tokens `t`, rows `r` of a matrix and columns `k`. The
//! weights are packed: blocks of 16 to 256 columns have levels of a few bits, and a scale. With one token every weight
//! is used once, and the memory is the limit, so unpacking has to keep pace with it. With many tokens arithmetic is the
//! limit.
//!
//! # Idea
//!
//! A weight is `scale * (level - offset)`, and activations are rounded to `a_scale * q` with whole numbers `q`, in
//! blocks too. Then, over a block,
//!
//! ```text
//! sum of w x = scale * a_scale * (sum of level q  -  offset * sum of q)        ( + min * sum of x, if there are mins)
//! ```
//!
//! The first sum is one of small integers, of which processors multiply and add four to a lane in one instruction. The
//! others do not depend on the weights, and are made once per token. `acts` rounds activations and lays them out;
//! `weight`, `grid` and `ternary` unpack the levels and scales of each type. Five files multiply, by the type of the
//! weights and the number of tokens:
//!
//! | Weights | Tokens | File | A lane of a vector is |
//! |---|---|---|---|
//! | quantised | up to 5 | `row` | a pair of blocks (some columns) |
//! | quantised | 6 to 16 | `few` | a row of weights |
//! | quantised | more | `tile` (and `row` or `few` for a rest) | a token |
//! | 16 bits | up to 31; more | `half`; `half` through `panel` | every 16th column |
//! | 32 bits | up to 31; more | `float`; `float` through `panel` | every 16th column |
//!
//! Each is written once, over a vector of 64 bytes (`simd`), and compiled for each instruction set (`dispatch`).
//! `attend` is the inner part of attention, written in the same way.
//!
//! # One order of sums
//!
//! A token's results are the same bits alone and among others, whatever kernel takes it. So all three kernels for
//! quantised weights make their sums in one order. Columns go by in steps of 512, which are 16 pairs of blocks of 16:
//!
//! ```text
//! columns    0..16 16..32 | 32..48 48..64 | ...  | 480..496 496..512 | 512..     of the first step, then the next
//! pair           0        |       1       | ...  |        15         |   0
//! ```
//!
//! Each of the 16 pairs has a sum of its own over all steps, from the first to the last. At the end these 16 sums are
//! added by halves. `row` has them in the lanes of one vector. `few` and `tile` have other things in lanes, and make
//! the 16 sums one after another.

mod acts;
pub(super) mod attend;
mod dispatch;
mod few;
mod float;
mod grid;
mod half;
mod kernels;
mod panel;
mod product;
pub(super) mod recur;
mod row;
pub(super) mod scan;
mod ternary;
mod tile;
mod vector;
mod weight;

#[cfg(test)]
mod tests;

pub use acts::{ActFormat, Source, act_bytes, act_format};
pub use kernels::{Kernels, scratch_bytes};
pub use product::Product;
