//! Products of many tokens (32 and more) with weights of 16 or 32 bits: columns in lanes.
//!
//! # Problem
//!
//! The kernels for few tokens (`half`, `float`) bring weights into the form for multiplying once for a few tokens, and
//! read all activations again for each row. With many tokens both have to be shared by more.
//!
//! # Idea
//!
//! Sums stay in lanes as for few tokens, but in memory. That allows another order of work: a step of 512 columns of a
//! tile of 16 rows is unpacked, and then used for a panel of 256 tokens, before the next step.
//!
//! ```text
//! for each panel of tokens, for each tile of rows:
//!     for each step:  unpack the tile's weights of the step          up to 32 KB
//!                     for T tokens, for R rows: add to their sums    R x T sums in registers
//!     for each token and row: add up the lanes, write the result
//! ```
//!
//! The unpacked step and the activations that are multiplied with it stay in the caches.
//!
//! # Order of sums
//!
//! A lane adds its steps from the first to the last, in this kernel and in those for few tokens, and lanes are added up
//! in the same way. So a token's result does not depend on how many come with it.

// SAFETY: of the whole module: see `Product`; every pointer stays within what it describes.
#![allow(unsafe_op_in_unsafe_fn)]

use super::acts::Layout;
use super::product::Product;
use crate::cpu::simd::Simd;

/// Rows of a tile, whose weights are unpacked together.
pub(super) const TILE: usize = 16;
/// Tokens of a panel, whose sums are kept while the columns go by.
const PANEL: usize = 256;
/// From so many tokens on this kernel is faster than those for few.
const LEAST: usize = 32;

/// A way to unpack and multiply weights.
pub(super) trait Panel {
    /// Bytes of an unpacked step of a tile.
    const BYTES: usize;
    /// Unpacks a step of `rows` rows from `row` on, and returns the number of vectors that a row of it has.
    unsafe fn unpack<V: Simd>(p: &Product, to: *mut u8, row: usize, rows: usize, step: usize) -> usize;
    /// Adds the unpacked step to the sums of R rows, from row `row` of the tile on, and T tokens. A token's sums are
    /// TILE vectors behind the previous token's. If `fresh`, they start at 0.
    unsafe fn block<V: Simd, const R: usize, const T: usize>(
        from: *const u8,
        row: usize,
        acts: [*const u8; T],
        vectors: usize,
        fresh: bool,
        sums: *mut f32,
    );
}

/// True if this kernel is for so many tokens.
pub(super) fn is_for(n_tokens: usize) -> bool {
    n_tokens >= LEAST
}

/// Bytes of scratch per thread: the weights, then sums in lanes `[tokens of a panel][TILE][16]`.
pub(super) fn scratch_bytes<K: Panel>(n_tokens: usize) -> usize {
    if is_for(n_tokens) { K::BYTES + TILE * 16 * PANEL.min(n_tokens) * size_of::<f32>() } else { 0 }
}

/// Computes all rows for all tokens: R rows and T tokens at a time, or R1 rows and one token if fewer than T are left.
/// R and R1 divide TILE.
#[inline(always)]
pub(super) unsafe fn product<V: Simd, K: Panel, const R: usize, const T: usize, const R1: usize>(
    p: &Product,
    layout: &Layout,
) {
    let weights = p.scratch;
    let sums = weights.add(K::BYTES).cast::<f32>();
    let mut panel = 0;
    while panel < p.n_tokens {
        let tokens = PANEL.min(p.n_tokens - panel);
        let mut row = p.rows.start;
        while row < p.rows.end {
            let rows = TILE.min(p.rows.end - row);
            for step in 0..layout.steps {
                let vectors = K::unpack::<V>(p, weights, row, rows, step);
                let acts = |t: usize| p.acts.add(layout.single(panel + t, step));
                let mut t = 0;
                while t + T <= tokens {
                    let mut of = [acts(t); T];
                    for i in 1..T {
                        of[i] = acts(t + i);
                    }
                    for i in (0..rows).step_by(R) {
                        K::block::<V, R, T>(weights, i, of, vectors, step == 0, sums.add((t * TILE + i) * 16));
                    }
                    t += T;
                }
                while T > 1 && t < tokens {
                    for i in (0..rows).step_by(R1) {
                        K::block::<V, R1, 1>(weights, i, [acts(t)], vectors, step == 0, sums.add((t * TILE + i) * 16));
                    }
                    t += 1;
                }
            }
            for t in 0..tokens {
                for i in 0..rows {
                    let bias = p.bias(row + i);
                    let sum = V::sum(V::load_f(sums.add((t * TILE + i) * 16)));
                    *p.row_of_y(panel + t).add(row + i) = sum + bias;
                }
            }
            row += TILE;
        }
        panel += PANEL;
    }
}
