//! Products with weights of 32 bits, as floats: columns in lanes. For many tokens, weights of a tile of rows are copied once and used
//! for a panel of tokens.
//!
//! A lane adds its columns from first to last whatever the shape, so a token's result does not depend on how many come with it.

// SAFETY: of the whole module: see `Product`; every pointer stays within what it describes.
#![allow(unsafe_op_in_unsafe_fn)]

use super::Product;
use super::acts::Layout;
use super::row::{Tail, prefetch, prefetch_distance, write};
use crate::cpu::simd::Simd;

/// Rows whose weights are copied together.
const TILE: usize = 16;
/// Columns of these that stay in the first-level cache.
const COLS: usize = 512;
/// Tokens whose sums are kept while the columns go by.
const PANEL: usize = 256;

/// From so many tokens on, copying the weights once for all pays.
const LEAST: usize = 32;

/// Whether `many` is for so many tokens.
pub(super) fn is_many(n_tokens: usize) -> bool {
    n_tokens >= LEAST
}

/// Bytes of scratch per thread: floats [TILE][COLS] of the weights, then sums in lanes [tokens of a panel][TILE][16].
pub(super) fn scratch_bytes(n_tokens: usize) -> usize {
    if is_many(n_tokens) { TILE * (COLS + 16 * PANEL.min(n_tokens)) * size_of::<f32>() } else { 0 }
}

/// Bytes of a weight.
const WIDTH: usize = size_of::<f32>();

/// Where R rows start. Past the last row the last one is computed again and not stored.
#[inline(always)]
unsafe fn first_blocks<const R: usize>(p: &Product, row: usize) -> [*const u8; R] {
    let mut blocks = [p.w; R];
    for i in 0..R {
        blocks[i] = p.w.add((row + i).min(p.rows.end - 1) * p.row_bytes);
    }
    blocks
}

/// The single tokens `first..first + T`, R rows at a time.
#[inline(always)]
pub(super) unsafe fn few<V: Simd, const R: usize, const T: usize>(p: &Product, layout: &Layout, first: usize) {
    let ahead = prefetch_distance(R * p.row_bytes);
    let mut acts = [p.acts.cast::<f32>(); T];
    for t in 0..T {
        acts[t] = p.acts.add(layout.single(first + t, 0)).cast();
    }
    let mut tail = Tail::new();
    let mut row = p.rows.start;
    while row < p.rows.end {
        let blocks = first_blocks::<R>(p, row);
        let mut acc = [[V::zero(); T]; R];
        for k in (0..p.n_cols).step_by(16) {
            for i in 0..R {
                let at = blocks[i].wrapping_add(k * WIDTH);
                prefetch::<V>(at.wrapping_add(ahead), 16 * WIDTH);
                let w = V::load_f(tail.whole(at, (p.n_cols - k) * WIDTH, 16 * WIDTH).cast());
                for t in 0..T {
                    acc[i][t] = V::fma(w, V::load_f(acts[t].add(k)), acc[i][t]);
                }
            }
        }
        write::<V, T>(p, layout, first, row, &acc[..R.min(p.rows.end - row)]);
        row += R;
    }
}

/// All tokens, R rows and T tokens at a time, R1 rows where fewer tokens are left; R and R1 divide TILE.
#[inline(always)]
pub(super) unsafe fn many<V: Simd, const R: usize, const T: usize, const R1: usize>(p: &Product, layout: &Layout) {
    let floats = p.scratch.cast::<f32>();
    let sums = floats.add(TILE * COLS);
    let mut panel = 0;
    while panel < p.n_tokens {
        let tokens = PANEL.min(p.n_tokens - panel);
        let mut row = p.rows.start;
        while row < p.rows.end {
            let rows = TILE.min(p.rows.end - row);
            let mut first = 0;
            while first < p.n_cols {
                // The activations are padded with zeros to whole steps.
                let cols = COLS.min((p.n_cols - first).next_multiple_of(16));
                copy::<V>(p, floats, row, rows, first, cols);
                let acts = |t: usize| p.acts.add(layout.single(panel + t, 0)).cast::<f32>().add(first);
                let mut t = 0;
                while t + T <= tokens {
                    let mut of = [acts(t); T];
                    for i in 1..T {
                        of[i] = acts(t + i);
                    }
                    let mut i = 0;
                    while i < rows {
                        block::<V, R, T>(floats.add(i * COLS), of, cols, first == 0, sums.add((t * TILE + i) * 16));
                        i += R;
                    }
                    t += T;
                }
                while T > 1 && t < tokens {
                    let mut i = 0;
                    while i < rows {
                        block::<V, R1, 1>(floats.add(i * COLS), [acts(t)], cols, first == 0, sums.add((t * TILE + i) * 16));
                        i += R1;
                    }
                    t += 1;
                }
                first += COLS;
            }
            for t in 0..tokens {
                for i in 0..rows {
                    let bias = if p.bias.is_null() { 0.0 } else { *p.bias.add(row + i) };
                    let sum = V::sum(V::load_f(sums.add((t * TILE + i) * 16)));
                    *p.row_of_y(panel + t).add(row + i) = sum + bias;
                }
            }
            row += TILE;
        }
        panel += PANEL;
    }
}

#[inline(always)]
unsafe fn copy<V: Simd>(p: &Product, to: *mut f32, row: usize, rows: usize, first: usize, cols: usize) {
    let mut tail = Tail::new();
    let bytes = 16 * WIDTH;
    for i in 0..rows {
        let mut at = first * WIDTH;
        let weights = p.w.add((row + i) * p.row_bytes);
        for k in 0..cols / 16 {
            prefetch::<V>(weights.wrapping_add(TILE * p.row_bytes + at), bytes);
            let sixteen = tail.whole(weights.add(at), p.row_bytes - at, bytes);
            V::store_f(to.add(i * COLS + 16 * k), V::load_f(sixteen.cast()));
            at += bytes;
        }
    }
}

#[inline(always)]
unsafe fn block<V: Simd, const R: usize, const T: usize>(
    weights: *const f32,
    acts: [*const f32; T],
    cols: usize,
    fresh: bool,
    sums: *mut f32,
) {
    let mut acc = [[V::zero(); T]; R];
    if !fresh {
        for r in 0..R {
            for t in 0..T {
                acc[r][t] = V::load_f(sums.add((t * TILE + r) * 16));
            }
        }
    }
    let mut k = 0;
    while k < cols {
        let mut a = [V::zero(); T];
        for t in 0..T {
            a[t] = V::load_f(acts[t].add(k));
        }
        for r in 0..R {
            let weight = V::load_f(weights.add(r * COLS + k));
            for t in 0..T {
                acc[r][t] = V::fma(weight, a[t], acc[r][t]);
            }
        }
        k += 16;
    }
    for r in 0..R {
        for t in 0..T {
            V::store_f(sums.add((t * TILE + r) * 16), acc[r][t]);
        }
    }
}
