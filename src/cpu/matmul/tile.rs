//! Products of many tokens with quantised weights: a token per lane, weights of a tile of rows unpacked once and used for many
//! groups of tokens.
//!
//! Every sum is made in the order of the row kernel, so that a token's result does not depend on how many come with it: that one
//! has a sum per block of a step (its lane) over all steps, and adds the 16 of them up by halves in the end. Here these 16 sums
//! are made one after another, the steps inside.

// SAFETY: of the whole module: see `Product`; every pointer stays within what it describes.
#![allow(unsafe_op_in_unsafe_fn)]

use std::ops::Range;

use super::Product;
use super::acts::{BLOCKS, GROUP_BLOCK, GROUP_INT_SUMS, GROUP_SCALES, GROUP_SUM, LANES, Layout};
use super::row::{Tail, prefetch};
use super::weight::Weight;
use crate::cpu::simd::Simd;

/// Rows whose weights are unpacked together.
const TILE: usize = 16;
/// Groups of tokens whose sums are kept while the blocks go by.
const PANEL: usize = 16;
/// Steps of a block that stay in the first-level cache, of the tile's weights and of the groups in work.
const CHUNK: usize = 16;
/// Sums that are kept: lanes are summed in such an order that a sum of 8, 4, 2 and 1 wait at most.
const DEPTH: usize = 5;

/// A thread's scratch: sums [DEPTH][groups of a panel][TILE][16 tokens], heads [16][steps][TILE], and per block of a step (with
/// `block_bytes` between) levels [steps][TILE][16].
struct Scratch {
    sums: *mut f32,
    heads: *mut f32,
    levels: *mut u8,
    groups: usize,
    block_bytes: usize,
}

/// Bytes between the levels of two blocks: not a power of two, so that they do not fall on the same lines of the cache.
fn block_bytes(steps: usize) -> Option<usize> {
    steps.checked_mul(TILE * 16)?.checked_add(64)
}

/// Bytes of scratch per thread; `None` if that overflows.
pub(super) fn scratch_bytes(layout: &Layout) -> Option<usize> {
    if layout.groups == 0 {
        return Some(0);
    }
    let sums = DEPTH * PANEL.min(layout.groups) * TILE * LANES * 4;
    let heads = layout.steps.checked_mul(TILE * 16 * 4)?;
    sums.checked_add(heads)?.checked_add(block_bytes(layout.steps)?.checked_mul(BLOCKS)?)
}

impl Scratch {
    unsafe fn new(base: *mut u8, layout: &Layout) -> Scratch {
        let groups = PANEL.min(layout.groups);
        let heads = base.add(DEPTH * groups * TILE * LANES * 4);
        let levels = heads.add(layout.steps * TILE * 16 * 4);
        // Measured before, so it does not overflow.
        let block_bytes = block_bytes(layout.steps).unwrap_or(0);
        Scratch { sums: base.cast(), heads: heads.cast(), levels, groups, block_bytes }
    }

    #[inline(always)]
    unsafe fn sums(&self, depth: usize, group: usize, row: usize) -> *mut f32 {
        self.sums.add(((depth * self.groups + group) * TILE + row) * LANES)
    }
}

/// All groups of tokens, R rows and T groups at a time, R1 rows where one group is left; R and R1 divide TILE.
#[inline(always)]
pub(super) unsafe fn product<V: Simd, W: Weight, const R: usize, const T: usize, const R1: usize>(p: &Product, layout: &Layout) {
    let scratch = Scratch::new(p.scratch, layout);
    let mut panel = 0;
    while panel < layout.groups {
        let groups = PANEL.min(layout.groups - panel);
        let mut row = p.rows.start;
        while row < p.rows.end {
            let rows = TILE.min(p.rows.end - row);
            unpack::<V, W>(p, layout, &scratch, row, rows);
            for n in 0..BLOCKS {
                // With the bits of n reversed, lanes come as halving adds them: 0 and 8, 4 and 12, their sums; 2 and 10, ...
                let lane = n.reverse_bits() >> (usize::BITS - 4);
                let mut g = 0;
                while g + T <= groups {
                    lane_of::<V, W, R, T>(p, layout, &scratch, panel, g, rows, n, lane);
                    g += T;
                }
                while T > 1 && g < groups {
                    lane_of::<V, W, R1, 1>(p, layout, &scratch, panel, g, rows, n, lane);
                    g += 1;
                }
            }
            write(p, &scratch, panel, groups, row, rows);
            row += TILE;
        }
        panel += PANEL;
    }
}

/// Levels and heads of a tile.
#[inline(always)]
unsafe fn unpack<V: Simd, W: Weight>(p: &Product, layout: &Layout, scratch: &Scratch, row: usize, rows: usize) {
    let mut tail = Tail::new();
    for i in 0..rows {
        for step in 0..layout.steps {
            let at = step * W::STEP_BYTES;
            let block = p.w.add((row + i) * p.row_bytes + at);
            prefetch::<V>(block.wrapping_add(TILE * p.row_bytes), W::STEP_BYTES);
            let block = tail.whole(block, p.row_bytes - at, W::STEP_BYTES);
            let place = step * TILE + i;
            for c in 0..4 {
                let to = scratch.levels.add(4 * c * scratch.block_bytes + 16 * place);
                V::store_quarters(to, scratch.block_bytes, W::levels::<V>(block, c));
            }
            let mut head = [0f32; 16];
            V::store_f(head.as_mut_ptr(), W::head::<V>(block));
            for (h, value) in head.into_iter().enumerate() {
                *scratch.heads.add(h * layout.steps * TILE + place) = value;
            }
        }
    }
}

/// Lane `lane` of the row kernel's sums, the `n`th in work, of T groups and all rows of the tile.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn lane_of<V: Simd, W: Weight, const R: usize, const T: usize>(
    p: &Product,
    layout: &Layout,
    scratch: &Scratch,
    panel: usize,
    group: usize,
    rows: usize,
    n: usize,
    lane: usize,
) {
    // Block 4c + j of a step is in lane 4j + c.
    let b = 4 * (lane % 4) + lane / 4;
    let mut of = Block {
        acts: [p.acts; T],
        sums: [p.acts; T],
        levels: scratch.levels.add(b * scratch.block_bytes),
        heads: scratch.heads.add(layout.steps * TILE * if W::FINE { b } else { b / 2 }),
        mins: scratch.heads.add(layout.steps * TILE * (8 + b / 2)),
    };
    for t in 0..T {
        of.acts[t] = p.acts.add(layout.block(panel + group + t, b, 0));
        of.sums[t] = p.acts.add(layout.sum(panel + group + t, b / 2, 0));
    }
    let depth = n.count_ones() as usize;
    let mut first = 0;
    while first < layout.steps {
        let steps = first..(first + CHUNK).min(layout.steps);
        let mut i = 0;
        while i < rows {
            let mut acc = [[V::zero(); T]; R];
            if first > 0 {
                for r in 0..R {
                    for t in 0..T {
                        acc[r][t] = V::load_f(scratch.sums(depth, group + t, i + r));
                    }
                }
            }
            // Only the first of two blocks has the sum of both.
            acc = if W::MINS && b % 2 == 0 {
                block::<V, W, true, R, T>(&of, i, steps.clone(), acc)
            } else {
                block::<V, W, false, R, T>(&of, i, steps.clone(), acc)
            };
            let mut to = depth;
            if steps.end == layout.steps {
                for _ in 0..n.trailing_ones() {
                    to -= 1;
                    for r in 0..R {
                        for t in 0..T {
                            acc[r][t] = V::add(V::load_f(scratch.sums(to, group + t, i + r)), acc[r][t]);
                        }
                    }
                }
            }
            for r in 0..R {
                for t in 0..T {
                    V::store_f(scratch.sums(to, group + t, i + r), acc[r][t]);
                }
            }
            i += R;
        }
        first += CHUNK;
    }
}

/// A block in every step: the activations of T groups, the weights of a tile.
struct Block<const T: usize> {
    acts: [*const u8; T],
    sums: [*const u8; T],
    levels: *const u8,
    heads: *const f32,
    mins: *const f32,
}

/// Adds the block of some steps, of R rows from `row` on; the row kernel's `step` does the same in each lane.
#[inline(always)]
unsafe fn block<V: Simd, W: Weight, const MIN: bool, const R: usize, const T: usize>(
    of: &Block<T>,
    row: usize,
    steps: Range<usize>,
    mut acc: [[V::F; T]; R],
) -> [[V::F; T]; R] {
    let offset = if W::WIDE { V::Q8_BIAS } else { W::OFFSET };
    let mut step = steps.start;
    while step < steps.end {
        let levels = of.levels.add((step * TILE + row) * 16);
        let heads = of.heads.add(step * TILE + row);
        let mins = of.mins.add(step * TILE + row);
        let mut dots = [[V::zero_i(); T]; R];
        if offset != 0 {
            for t in 0..T {
                let sums = V::load_i(of.acts[t].add(step * GROUP_BLOCK + GROUP_INT_SUMS).cast());
                let start = V::scale_i(sums, -offset);
                for r in 0..R {
                    dots[r][t] = start;
                }
            }
        }
        for k in 0..4 {
            let mut a = [V::splat_byte(0); T];
            for t in 0..T {
                a[t] = V::load(of.acts[t].add(step * GROUP_BLOCK + k * LANES * 4));
            }
            for r in 0..R {
                let level = V::splat_dword(levels.add(16 * r + 4 * k));
                for t in 0..T {
                    dots[r][t] = if W::WIDE { V::dot_q8(dots[r][t], level, a[t]) } else { V::dot(dots[r][t], level, a[t]) };
                }
            }
        }
        for t in 0..T {
            let scale = V::load_f(of.acts[t].add(step * GROUP_BLOCK + GROUP_SCALES).cast());
            for r in 0..R {
                let weight_scale = V::splat(*heads.add(r));
                acc[r][t] = V::fma(V::mul(V::to_f(dots[r][t]), scale), weight_scale, acc[r][t]);
            }
        }
        if MIN {
            for t in 0..T {
                let sum = V::load_f(of.sums[t].add(step * GROUP_SUM).cast());
                for r in 0..R {
                    let min = V::splat(*mins.add(r));
                    acc[r][t] = if W::MINUS { V::fnma(min, sum, acc[r][t]) } else { V::fma(min, sum, acc[r][t]) };
                }
            }
        }
        step += 1;
    }
    acc
}

/// Puts the sums of a tile into y, token by token.
#[inline(always)]
unsafe fn write(p: &Product, scratch: &Scratch, panel: usize, groups: usize, row: usize, rows: usize) {
    for g in 0..groups {
        let first = (panel + g) * LANES;
        for t in 0..LANES.min(p.n_tokens - first) {
            let y = p.y.add((first + t) * p.y_stride + row);
            for i in 0..rows {
                let bias = if p.bias.is_null() { 0.0 } else { *p.bias.add(row + i) };
                *y.add(i) = *scratch.sums(0, g, i).add(t) + bias;
            }
        }
    }
}
