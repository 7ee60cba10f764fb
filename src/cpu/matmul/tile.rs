//! Products of many tokens with quantised weights: a token per lane.
//!
//! # Problem
//!
//! With many tokens the limit is arithmetic: multiplications of bytes, and the loads that feed them. All else
//! (unpacking, scales, sums across lanes, stores) should be shared by as many multiplications as possible. But the sums
//! must be made in the order of the kernel for one token (`row`), so that a token's result does not depend on how many
//! come with it.
//!
//! # Idea
//!
//! - A vector of activations has 4 columns of 16 tokens; `acts` laid them out so. A row's 4 levels of these columns are
//!   broadcast to all lanes. Lanes never mix.
//! - The weights of a tile of 16 rows are unpacked once, into a thread's scratch, and used for up to 16 groups of 16
//!   tokens (a panel).
//! - R rows and T groups are multiplied at a time. R x T sums stay in registers, and each vector that is loaded is used
//!   for R or T multiplications.
//! - Columns go by in chunks of some steps, so that their weights and activations stay in the first-level cache while
//!   all rows of the tile use them.
//!
//! ```text
//! for each panel of tokens, for each tile of rows:
//!     unpack the tile                                     (`unpack`)
//!     for each pair of blocks n, for T groups of tokens:  (`lane`)
//!         for each chunk of steps, for R rows:            (`block`)   R x T sums in registers
//!     write the results                                   (`write`)
//! ```
//!
//! # The order of sums
//!
//! `row` has a sum for each of the 16 pairs of blocks, over all steps, in the 16 lanes of a vector. In the end it adds
//! lane 0 to 8, 1 to 9 and so on; of these 0 to 4, then 0 to 2, then 0 to 1. Here the pairs come one after another,
//! with all steps inside. To keep 16 sums for each row and token until the end would take much memory. So the pairs
//! come in the order in which they can be added at once, like the carries of a binary counter: the `n`th has the lane
//! that is `n` with its four bits reversed. `DEPTH` sums per row and token are enough.
//!
//! ```text
//! n      lane   then add       sums that are kept
//! 0000    0                    0
//! 0001    8     once           0+8
//! 0010    4                    0+8, 4
//! 0011   12     twice          (0+8)+(4+12)
//! 0100    2                    (0+8)+(4+12), 2
//! 0101   10     once           (0+8)+(4+12), 2+10
//! ...
//! ```
//!
//! The `n`th sum is added to earlier ones as often as `n` ends in ones, and has as many kept sums before it as `n` has
//! ones.

// SAFETY: of the whole module: see `Product`; every pointer stays within what it describes.
#![allow(unsafe_op_in_unsafe_fn)]

use std::ops::Range;

use super::acts::{GROUP_INT_SUMS, GROUP_PAIR, GROUP_SCALES, GROUP_SUMS, LANES, Layout, PAIRS, STEP, pair_of_lane};
use super::product::Product;
use super::row::{Tail, prefetch};
use super::weight::Weight;
use crate::cpu::simd::Simd;
use crate::quant::Type;

/// Rows whose weights are unpacked together.
const TILE: usize = 16;
/// Groups of tokens whose sums are kept while the pairs go by.
const PANEL: usize = 16;
/// Steps of a pair that are taken together. The tile's weights and the groups' activations of so many stay in the
/// first-level cache.
const CHUNK: usize = 12;
/// Sums kept per row and token: of 8, 4, 2 and 1 lanes, and the one in work.
const DEPTH: usize = 5;
/// Bytes of the levels of a pair of a step of a tile, 32 per row. Floats follow, by kind `[TILE]`: scale and min, or
/// the scales of both blocks, and with fine mins both of these.
const TILE_HEADS: usize = TILE * 32;

/// Bytes of a pair of a step of a tile.
const fn tile_pair(ty: Type) -> usize {
    TILE_HEADS + if matches!(ty, Type::Q2_K) { 4 } else { 2 } * TILE * 4
}

/// A thread's scratch: sums `[DEPTH][groups of a panel][TILE][16 tokens]`, weights `[16 pairs][steps]` of `pair_bytes`.
struct Scratch {
    sums: *mut f32,
    weights: *mut u8,
    groups: usize,
    steps: usize,
    pair_bytes: usize,
}

/// Bytes of scratch per thread; `None` if that overflows.
pub(super) fn scratch_bytes(ty: Type, layout: &Layout) -> Option<usize> {
    if layout.groups == 0 {
        return Some(0);
    }
    let sums = DEPTH * PANEL.min(layout.groups) * TILE * LANES * 4;
    layout.steps.checked_mul(PAIRS * tile_pair(ty))?.checked_add(sums)
}

impl Scratch {
    unsafe fn new<W: Weight>(base: *mut u8, layout: &Layout) -> Scratch {
        let groups = PANEL.min(layout.groups);
        let weights = base.add(DEPTH * groups * TILE * LANES * 4);
        Scratch { sums: base.cast(), weights, groups, steps: layout.steps, pair_bytes: const { tile_pair(W::TYPE) } }
    }

    #[inline(always)]
    unsafe fn sums(&self, depth: usize, group: usize, row: usize) -> *mut f32 {
        self.sums.add(((depth * self.groups + group) * TILE + row) * LANES)
    }

    #[inline(always)]
    unsafe fn weights(&self, pair: usize, step: usize) -> *mut u8 {
        self.weights.add((pair * self.steps + step) * self.pair_bytes)
    }
}

/// Computes all rows for all groups of tokens: R rows and T groups at a time, or R1 rows and one group if fewer than T
/// are left. R and R1 divide TILE.
#[inline(always)]
pub(super) unsafe fn product<V: Simd, W: Weight, const R: usize, const T: usize, const R1: usize>(
    p: &Product,
    layout: &Layout,
) {
    let scratch = Scratch::new::<W>(p.scratch, layout);
    let mut panel = 0;
    while panel < layout.groups {
        let groups = PANEL.min(layout.groups - panel);
        let mut row = p.rows.start;
        while row < p.rows.end {
            let rows = TILE.min(p.rows.end - row);
            unpack::<V, W>(p, &scratch, row, rows);
            for n in 0..PAIRS {
                let mut g = 0;
                while g + T <= groups {
                    lane::<V, W, R, T>(p, layout, &scratch, n, panel, g, rows);
                    g += T;
                }
                while T > 1 && g < groups {
                    lane::<V, W, R1, 1>(p, layout, &scratch, n, panel, g, rows);
                    g += 1;
                }
            }
            write(p, &scratch, panel, groups, row, rows);
            row += TILE;
        }
        panel += PANEL;
    }
}

/// Unpacks the weights of a tile, all columns.
#[inline(always)]
unsafe fn unpack<V: Simd, W: Weight>(p: &Product, scratch: &Scratch, row: usize, rows: usize) {
    let mut tail = Tail::new();
    for i in 0..rows {
        let weights = p.w.add((row + i) * p.row_bytes);
        // Reads past the row's end are harmless: `lane` leaves these pairs out.
        let readable = (p.rows.end - row - i) * p.row_bytes;
        for half in 0..2 * scratch.steps {
            let at = half * W::HALF_BYTES;
            prefetch::<V>(weights.wrapping_add(TILE * p.row_bytes + at), W::HALF_BYTES);
            let block = tail.whole(weights.wrapping_add(at), readable.saturating_sub(at), W::HALF_BYTES);
            let (step, first) = (half / 2, half % 2 * (PAIRS / 2));
            for c in 0..4 {
                let to = scratch.weights(first + 2 * c, step).add(32 * i);
                let next = scratch.weights(first + 2 * c + 1, step).add(32 * i);
                V::store_halves(to, next, W::levels::<V>(block, c));
            }
            let mut head = [0f32; 16];
            V::store_f(head.as_mut_ptr(), W::head::<V>(block));
            for pair in 0..PAIRS / 2 {
                let to = scratch.weights(first + pair, step).add(TILE_HEADS).cast::<f32>().add(i);
                *to = head[if W::FINE { 2 * pair } else { pair }];
                *to.add(TILE) = head[if W::FINE { 2 * pair + 1 } else { 8 + pair }];
            }
            if W::FINE_MINS {
                V::store_f(head.as_mut_ptr(), W::mins::<V>(block));
                for pair in 0..PAIRS / 2 {
                    let to = scratch.weights(first + pair, step).add(TILE_HEADS).cast::<f32>().add(2 * TILE + i);
                    *to = head[2 * pair];
                    *to.add(TILE) = head[2 * pair + 1];
                }
            }
        }
    }
}

/// Makes the `n`th sum, of T groups and all rows of the tile, and adds it to those before it as the order asks.
#[inline(always)]
unsafe fn lane<V: Simd, W: Weight, const R: usize, const T: usize>(
    p: &Product,
    layout: &Layout,
    scratch: &Scratch,
    n: usize,
    panel: usize,
    group: usize,
    rows: usize,
) {
    // The lane is `n` with its four bits reversed.
    let pair = pair_of_lane(n.reverse_bits() >> (usize::BITS - 4));
    // Steps in which this pair has columns of the row. In others it would add zeros.
    let steps = p.n_cols.saturating_sub(32 * pair).div_ceil(STEP);
    let weights = scratch.weights(pair, 0);
    let mut acts = [p.acts; T];
    for t in 0..T {
        acts[t] = p.acts.add(layout.pair(panel + group + t, pair, 0));
    }
    let depth = n.count_ones() as usize;
    let mut first = 0;
    loop {
        let some = first..(first + CHUNK).min(steps);
        let mut i = 0;
        while i < rows {
            let mut acc = [[V::zero(); T]; R];
            if first > 0 {
                load::<V, R, T>(scratch.sums(depth, group, i), &mut acc);
            }
            acc = block::<V, W, R, T>(weights, &acts, i, some.clone(), acc);
            let mut to = depth;
            if some.end == steps {
                for _ in 0..n.trailing_ones() {
                    to -= 1;
                    let mut other = acc;
                    load::<V, R, T>(scratch.sums(to, group, i), &mut other);
                    for r in 0..R {
                        for t in 0..T {
                            acc[r][t] = V::add(other[r][t], acc[r][t]);
                        }
                    }
                }
            }
            let to = scratch.sums(to, group, i);
            for r in 0..R {
                for t in 0..T {
                    V::store_f(to.add((t * TILE + r) * LANES), acc[r][t]);
                }
            }
            i += R;
        }
        if some.end == steps {
            return;
        }
        first = some.end;
    }
}

/// Loads the sums of R rows and T groups.
#[inline(always)]
unsafe fn load<V: Simd, const R: usize, const T: usize>(sums: *const f32, acc: &mut [[V::F; T]; R]) {
    for r in 0..R {
        for t in 0..T {
            acc[r][t] = V::load_f(sums.add((t * TILE + r) * LANES));
        }
    }
}

/// Adds a pair of some steps, for R rows from `row` on and T groups. In each lane it does the same operations as
/// `row::step`.
#[inline(always)]
unsafe fn block<V: Simd, W: Weight, const R: usize, const T: usize>(
    weights: *const u8,
    acts: &[*const u8; T],
    row: usize,
    steps: Range<usize>,
    mut acc: [[V::F; T]; R],
) -> [[V::F; T]; R] {
    let offset = if W::WIDE { V::Q8_BIAS } else { W::OFFSET };
    let mut step = steps.start;
    while step < steps.end {
        let levels = weights.add(step * tile_pair(W::TYPE) + 32 * row);
        let heads = weights.add(step * tile_pair(W::TYPE) + TILE_HEADS).cast::<f32>().add(row);
        let at = step * GROUP_PAIR;
        let mut both = [[V::zero(); T]; R];
        for odd in 0..2 {
            let mut dots = [[V::zero_i(); T]; R];
            if offset != 0 {
                for t in 0..T {
                    let start =
                        V::scale_i(V::load_i(acts[t].add(at + GROUP_INT_SUMS + odd * LANES * 4).cast()), -offset);
                    for r in 0..R {
                        dots[r][t] = start;
                    }
                }
            }
            if V::FOUR && !W::WIDE {
                for t in 0..T {
                    for r in 0..R {
                        let (mut level, mut a) = ([V::splat_byte(0); 4], [V::splat_byte(0); 4]);
                        for k in 0..4 {
                            level[k] = V::splat_dword(levels.add(32 * r + 16 * odd + 4 * k));
                            a[k] = V::load(acts[t].add(at + (4 * odd + k) * LANES * 4));
                        }
                        dots[r][t] = V::dot_four(dots[r][t], level, a, W::MOST);
                    }
                }
            } else {
                for k in 4 * odd..4 * odd + 4 {
                    let mut a = [V::splat_byte(0); T];
                    for t in 0..T {
                        a[t] = V::load(acts[t].add(at + k * LANES * 4));
                    }
                    for r in 0..R {
                        let level = V::splat_dword(levels.add(32 * r + 4 * k));
                        for t in 0..T {
                            dots[r][t] = if W::WIDE {
                                V::dot_q8(dots[r][t], level, a[t])
                            } else {
                                V::dot(dots[r][t], level, a[t])
                            };
                        }
                    }
                }
            }
            for t in 0..T {
                let scale = V::load_f(acts[t].add(at + GROUP_SCALES + odd * LANES * 4).cast());
                for r in 0..R {
                    let dot = V::to_f(dots[r][t]);
                    if W::FINE {
                        acc[r][t] = V::fma(V::mul(dot, scale), V::splat(*heads.add(odd * TILE + r)), acc[r][t]);
                    } else if odd == 0 {
                        both[r][t] = V::mul(dot, scale);
                    } else {
                        both[r][t] = V::fma(dot, scale, both[r][t]);
                    }
                }
            }
        }
        if !W::FINE {
            for r in 0..R {
                let scale = V::splat(*heads.add(r));
                for t in 0..T {
                    acc[r][t] = V::fma(both[r][t], scale, acc[r][t]);
                }
            }
        }
        if W::MINS {
            for t in 0..T {
                let sum = V::load_f(acts[t].add(at + GROUP_SUMS).cast());
                for r in 0..R {
                    let min = V::splat(*heads.add(TILE + r));
                    acc[r][t] = if W::MINUS { V::fnma(min, sum, acc[r][t]) } else { V::fma(min, sum, acc[r][t]) };
                }
            }
        }
        if W::FINE_MINS {
            for odd in 0..2 {
                for t in 0..T {
                    let sums = V::load_i(acts[t].add(at + GROUP_INT_SUMS + odd * LANES * 4).cast());
                    let sums =
                        V::mul(V::to_f(sums), V::load_f(acts[t].add(at + GROUP_SCALES + odd * LANES * 4).cast()));
                    for (r, acc) in acc.iter_mut().enumerate() {
                        acc[t] = V::fnma(sums, V::splat(*heads.add((2 + odd) * TILE + r)), acc[t]);
                    }
                }
            }
        }
        step += 1;
    }
    acc
}

/// Writes the sums of a tile to y, token by token.
#[inline(always)]
unsafe fn write(p: &Product, scratch: &Scratch, panel: usize, groups: usize, row: usize, rows: usize) {
    for g in 0..groups {
        let first = (panel + g) * LANES;
        for t in 0..LANES.min(p.n_tokens - first) {
            let y = p.row_of_y(first + t).add(row);
            for i in 0..rows {
                let bias = p.bias(row + i);
                *y.add(i) = *scratch.sums(0, g, i).add(t) + bias;
            }
        }
    }
}
