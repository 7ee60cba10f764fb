//! Products with weights of 32 bits, as floats: columns in lanes. `few` takes up to 4 tokens; for many tokens `Floats`
//! gives `panel` the weights.
//!
//! A lane adds its columns from the first to the last in both, so a token's result does not depend on how many come
//! with it.

// SAFETY: of the whole module: see `Product`; every pointer stays within what it describes.
#![allow(unsafe_op_in_unsafe_fn)]

use super::acts::{Layout, STEP};
use super::panel::{Panel, TILE};
use super::product::Product;
use super::row::{Tail, prefetch, prefetch_distance, write};
use crate::cpu::simd::Simd;

/// Bytes of a weight.
const WIDTH: usize = size_of::<f32>();

/// The starts of R rows. Past the last row, that one is computed again and not stored.
#[inline(always)]
unsafe fn first_blocks<const R: usize>(p: &Product, row: usize) -> [*const u8; R] {
    let mut blocks = [p.w; R];
    for i in 0..R {
        blocks[i] = p.w.add((row + i).min(p.rows.end - 1) * p.row_bytes);
    }
    blocks
}

/// Computes all rows for the tokens `first..first + T`, R rows at a time.
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

/// An unpacked tile for `panel`: floats `[TILE][STEP]`.
pub(super) struct Floats;

impl Panel for Floats {
    const BYTES: usize = TILE * STEP * WIDTH;

    #[inline(always)]
    unsafe fn unpack<V: Simd>(p: &Product, to: *mut u8, row: usize, rows: usize, step: usize) -> usize {
        let mut tail = Tail::new();
        let bytes = 16 * WIDTH;
        let vectors = (p.n_cols - step * STEP).min(STEP).div_ceil(16);
        for i in 0..rows {
            let weights = p.w.add((row + i) * p.row_bytes);
            for k in 0..vectors {
                let at = (step * STEP + 16 * k) * WIDTH;
                prefetch::<V>(weights.wrapping_add(TILE * p.row_bytes + at), bytes);
                let sixteen = tail.whole(weights.add(at), p.row_bytes - at, bytes);
                V::store_f(to.cast::<f32>().add(i * STEP + 16 * k), V::load_f(sixteen.cast()));
            }
        }
        vectors
    }

    #[inline(always)]
    unsafe fn block<V: Simd, const R: usize, const T: usize>(
        from: *const u8,
        row: usize,
        acts: [*const u8; T],
        vectors: usize,
        fresh: bool,
        sums: *mut f32,
    ) {
        let weights = from.cast::<f32>().add(row * STEP);
        let mut acc = [[V::zero(); T]; R];
        if !fresh {
            for r in 0..R {
                for t in 0..T {
                    acc[r][t] = V::load_f(sums.add((t * TILE + r) * 16));
                }
            }
        }
        for k in 0..vectors {
            let mut a = [V::zero(); T];
            for t in 0..T {
                a[t] = V::load_f(acts[t].cast::<f32>().add(16 * k));
            }
            for r in 0..R {
                let weight = V::load_f(weights.add(r * STEP + 16 * k));
                for t in 0..T {
                    acc[r][t] = V::fma(weight, a[t], acc[r][t]);
                }
            }
        }
        for r in 0..R {
            for t in 0..T {
                V::store_f(sums.add((t * TILE + r) * 16), acc[r][t]);
            }
        }
    }
}
