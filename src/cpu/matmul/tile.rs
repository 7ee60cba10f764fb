//! Products of many tokens: a token per lane, weights of a tile of rows unpacked once and used for many groups of tokens.

// SAFETY: of the whole module: see `Product`; every pointer stays within what it describes.
#![allow(unsafe_op_in_unsafe_fn)]

use super::Product;
use super::acts::{GROUP_INT_SUMS, GROUP_SCALES, GROUP_SUMS, LANES, Layout, STEP};
use super::row::{Tail, prefetch};
use super::weight::{FloatWeight, Weight};
use crate::cpu::simd::Simd;

/// Rows whose unpacked weights stay in the first-level cache together with a group's activations.
const TILE: usize = 16;
/// Groups of tokens whose sums are kept while the columns go by.
const PANEL: usize = 16;

/// Sums of a tile: [PANEL][TILE][16 tokens].
#[repr(align(64))]
struct Sums([f32; PANEL * TILE * LANES]);

/// A step of a tile's weights.
#[repr(align(64))]
struct Unpacked {
    levels: [[u8; STEP]; TILE],
    /// Scales, or scales and mins.
    heads: [[f32; 16]; TILE],
}

/// All groups of tokens, R rows and T groups at a time, R1 rows where one group is left; R and R1 divide TILE.
#[inline(always)]
pub(super) unsafe fn product<V: Simd, W: Weight, const R: usize, const T: usize, const R1: usize>(p: &Product, layout: &Layout) {
    let mut unpacked = Unpacked { levels: [[0; STEP]; TILE], heads: [[0.0; 16]; TILE] };
    let mut sums = Sums([0.0; PANEL * TILE * LANES]);
    let mut tail = Tail::new();
    let mut panel = 0;
    while panel < layout.groups {
        let groups = PANEL.min(layout.groups - panel);
        let mut row = p.rows.start;
        while row < p.rows.end {
            let rows = TILE.min(p.rows.end - row);
            sums.0[..groups * TILE * LANES].fill(0.0);
            for step in 0..layout.steps {
                let at = step * W::STEP_BYTES;
                for i in 0..rows {
                    let block = p.w.add((row + i) * p.row_bytes + at);
                    prefetch::<V>(block.wrapping_add(TILE * p.row_bytes), W::STEP_BYTES);
                    let block = tail.whole(block, p.row_bytes - at, W::STEP_BYTES);
                    for c in 0..4 {
                        V::store(unpacked.levels[i].as_mut_ptr().add(64 * c), W::levels::<V>(block, c));
                    }
                    V::store_f(unpacked.heads[i].as_mut_ptr(), W::head::<V>(block));
                }
                let acts = |g: usize| p.acts.add(layout.group(panel + g, step));
                let mut g = 0;
                while g + T <= groups {
                    let mut i = 0;
                    while i < rows {
                        let mut of = [p.acts; T];
                        for t in 0..T {
                            of[t] = acts(g + t);
                        }
                        block::<V, W, R, T>(&unpacked, i, of, sums.0.as_mut_ptr().add((g * TILE + i) * LANES));
                        i += R;
                    }
                    g += T;
                }
                while T > 1 && g < groups {
                    let mut i = 0;
                    while i < rows {
                        block::<V, W, R1, 1>(&unpacked, i, [acts(g)], sums.0.as_mut_ptr().add((g * TILE + i) * LANES));
                        i += R1;
                    }
                    g += 1;
                }
            }
            write(p, &sums, panel, groups, row, rows);
            row += TILE;
        }
        panel += PANEL;
    }
}

/// A step of R rows and T groups.
#[inline(always)]
unsafe fn block<V: Simd, W: Weight, const R: usize, const T: usize>(
    w: &Unpacked,
    first_row: usize,
    acts: [*const u8; T],
    sums: *mut f32,
) {
    let offset = if W::WIDE { V::Q8_BIAS } else { W::OFFSET };
    let levels = w.levels.as_ptr().add(first_row).cast::<u8>();
    let heads = w.heads.as_ptr().add(first_row).cast::<f32>();
    let mut acc = [[V::zero(); T]; R];
    for r in 0..R {
        for t in 0..T {
            acc[r][t] = V::load_f(sums.add((t * TILE + r) * LANES));
        }
    }
    // 32 columns: two blocks of activations.
    for pair in 0..STEP / 32 {
        let mut both = [[V::zero(); T]; R];
        for half in 0..2 {
            let b = 2 * pair + half;
            let mut dots = [[V::zero_i(); T]; R];
            if offset != 0 {
                for t in 0..T {
                    let start = V::scale_i(V::load_i(acts[t].add(GROUP_INT_SUMS + b * LANES * 4).cast()), -offset);
                    for r in 0..R {
                        dots[r][t] = start;
                    }
                }
            }
            for k in 0..4 {
                let mut a = [V::splat_byte(0); T];
                for t in 0..T {
                    a[t] = V::load(acts[t].add((4 * b + k) * LANES * 4));
                }
                for r in 0..R {
                    let level = V::splat_dword(levels.add(r * STEP + 16 * b + 4 * k));
                    for t in 0..T {
                        dots[r][t] = if W::WIDE { V::dot_q8(dots[r][t], level, a[t]) } else { V::dot(dots[r][t], level, a[t]) };
                    }
                }
            }
            for t in 0..T {
                let scale = V::load_f(acts[t].add(GROUP_SCALES + b * LANES * 4).cast());
                for r in 0..R {
                    if W::FINE {
                        let weight_scale = V::splat(*heads.add(r * 16 + b));
                        acc[r][t] = V::fma(V::mul(V::to_f(dots[r][t]), scale), weight_scale, acc[r][t]);
                    } else if half == 0 {
                        both[r][t] = V::mul(V::to_f(dots[r][t]), scale);
                    } else {
                        both[r][t] = V::fma(V::to_f(dots[r][t]), scale, both[r][t]);
                    }
                }
            }
        }
        if !W::FINE {
            for r in 0..R {
                let weight_scale = V::splat(*heads.add(r * 16 + pair));
                for t in 0..T {
                    acc[r][t] = V::fma(both[r][t], weight_scale, acc[r][t]);
                }
            }
        }
        if W::MINS {
            for t in 0..T {
                let sum = V::load_f(acts[t].add(GROUP_SUMS + pair * LANES * 4).cast());
                for r in 0..R {
                    let min = V::splat(*heads.add(r * 16 + 8 + pair));
                    acc[r][t] = if W::MINUS { V::fnma(sum, min, acc[r][t]) } else { V::fma(sum, min, acc[r][t]) };
                }
            }
        }
    }
    for r in 0..R {
        for t in 0..T {
            V::store_f(sums.add((t * TILE + r) * LANES), acc[r][t]);
        }
    }
}

/// A step of a tile's weights as floats.
#[repr(align(64))]
struct Floats([[f32; STEP]; TILE]);

/// All groups of tokens for weights of 16 or 32 bits.
#[inline(always)]
pub(super) unsafe fn float_product<V: Simd, W: FloatWeight, const R: usize, const T: usize, const R1: usize>(
    p: &Product,
    layout: &Layout,
) {
    let mut unpacked = Floats([[0.0; STEP]; TILE]);
    let mut sums = Sums([0.0; PANEL * TILE * LANES]);
    let mut tail = Tail::new();
    let step_bytes = STEP * W::TYPE.block_bytes();
    let mut panel = 0;
    while panel < layout.groups {
        let groups = PANEL.min(layout.groups - panel);
        let mut row = p.rows.start;
        while row < p.rows.end {
            let rows = TILE.min(p.rows.end - row);
            sums.0[..groups * TILE * LANES].fill(0.0);
            for step in 0..layout.steps {
                let at = step * step_bytes;
                for i in 0..rows {
                    let weights = p.w.add((row + i) * p.row_bytes + at);
                    prefetch::<V>(weights.wrapping_add(TILE * p.row_bytes), step_bytes);
                    let weights = tail.whole(weights, p.row_bytes - at, step_bytes);
                    for k in 0..STEP / 16 {
                        V::store_f(unpacked.0[i].as_mut_ptr().add(16 * k), W::load::<V>(weights.add(step_bytes / 16 * k)));
                    }
                }
                let acts = |g: usize| p.acts.add(layout.group(panel + g, step)).cast::<f32>();
                let to = sums.0.as_mut_ptr();
                let mut g = 0;
                while g + T <= groups {
                    let mut i = 0;
                    while i < rows {
                        let mut of = [p.acts.cast::<f32>(); T];
                        for t in 0..T {
                            of[t] = acts(g + t);
                        }
                        float_block::<V, R, T>(&unpacked, i, of, to.add((g * TILE + i) * LANES));
                        i += R;
                    }
                    g += T;
                }
                while T > 1 && g < groups {
                    let mut i = 0;
                    while i < rows {
                        float_block::<V, R1, 1>(&unpacked, i, [acts(g)], to.add((g * TILE + i) * LANES));
                        i += R1;
                    }
                    g += 1;
                }
            }
            write(p, &sums, panel, groups, row, rows);
            row += TILE;
        }
        panel += PANEL;
    }
}

#[inline(always)]
unsafe fn float_block<V: Simd, const R: usize, const T: usize>(
    w: &Floats,
    first_row: usize,
    acts: [*const f32; T],
    sums: *mut f32,
) {
    let weights = w.0.as_ptr().add(first_row).cast::<f32>();
    let mut acc = [[V::zero(); T]; R];
    for r in 0..R {
        for t in 0..T {
            acc[r][t] = V::load_f(sums.add((t * TILE + r) * LANES));
        }
    }
    for k in 0..STEP {
        let mut a = [V::zero(); T];
        for t in 0..T {
            a[t] = V::load_f(acts[t].add(k * LANES));
        }
        for r in 0..R {
            let weight = V::splat(*weights.add(r * STEP + k));
            for t in 0..T {
                acc[r][t] = V::fma(weight, a[t], acc[r][t]);
            }
        }
    }
    for r in 0..R {
        for t in 0..T {
            V::store_f(sums.add((t * TILE + r) * LANES), acc[r][t]);
        }
    }
}

/// Puts the sums of a tile into y, token by token.
#[inline(always)]
unsafe fn write(p: &Product, sums: &Sums, panel: usize, groups: usize, row: usize, rows: usize) {
    for g in 0..groups {
        let first = (panel + g) * LANES;
        for t in 0..LANES.min(p.n_tokens - first) {
            let y = p.y.add((first + t) * p.y_stride + row);
            for i in 0..rows {
                let bias = if p.bias.is_null() { 0.0 } else { *p.bias.add(row + i) };
                *y.add(i) = sums.0[(g * TILE + i) * LANES + t] + bias;
            }
        }
    }
}
