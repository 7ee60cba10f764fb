//! Products of few tokens: columns in lanes, some rows of weights at once, each weight read once.

// SAFETY: of the whole module: see `Product`; every pointer stays within what it describes.
#![allow(unsafe_op_in_unsafe_fn)]

use super::Product;
use super::acts::{Layout, ROW_SCALES, ROW_STEP, ROW_SUMS, STEP};
use super::weight::{FloatWeight, Weight};
use crate::cpu::simd::Simd;

/// The blocks of a step, where the row ends within one: the rest is zeros.
pub(super) struct Tail([u8; STEP * 4]);

impl Tail {
    pub(super) fn new() -> Tail {
        Tail([0; STEP * 4])
    }

    /// `p` itself, or a copy if fewer than `step` bytes are left.
    #[inline(always)]
    pub(super) unsafe fn whole(&mut self, p: *const u8, left: usize, step: usize) -> *const u8 {
        if left >= step {
            return p;
        }
        std::ptr::copy_nonoverlapping(p, self.0.as_mut_ptr(), left);
        self.0[left..step].fill(0);
        self.0.as_ptr()
    }
}

/// The single tokens `first..first + T`, all rows, R at a time.
#[inline(always)]
pub(super) unsafe fn product<V: Simd, W: Weight, const R: usize, const T: usize>(p: &Product, layout: &Layout, first: usize) {
    let whole_steps = p.row_bytes / W::STEP_BYTES;
    let ahead = prefetch_distance::<R>(p);
    let mut acts = [p.acts; T];
    for t in 0..T {
        acts[t] = p.acts.add(layout.single(first + t, 0));
    }
    let mut r = p.rows.start;
    while r < p.rows.end {
        let mut blocks = first_blocks::<R>(p, r);
        let mut acc = [[V::zero(); T]; R];
        for s in 0..whole_steps {
            for i in 0..R {
                prefetch::<V>(blocks[i].wrapping_add(ahead), W::STEP_BYTES);
            }
            acc = step::<V, W, R, T>(&blocks, &acts, s, acc);
            for i in 0..R {
                blocks[i] = blocks[i].wrapping_add(W::STEP_BYTES);
            }
        }
        if whole_steps < layout.steps {
            let mut tails = [const { Tail([0; STEP * 4]) }; R];
            for i in 0..R {
                blocks[i] = tails[i].whole(blocks[i], p.row_bytes % W::STEP_BYTES, W::STEP_BYTES);
            }
            acc = step::<V, W, R, T>(&blocks, &acts, whole_steps, acc);
        }
        write::<V, R, T>(p, layout, first, r, &acc);
        r += R;
    }
}

/// Where R rows start. Past the last row the last one is computed again and not stored.
#[inline(always)]
unsafe fn first_blocks<const R: usize>(p: &Product, row: usize) -> [*const u8; R] {
    let mut blocks = [p.w; R];
    for i in 0..R {
        blocks[i] = p.w.add((row + i).min(p.rows.end - 1) * p.row_bytes);
    }
    blocks
}

/// Adds step `s` of R rows and T tokens.
#[inline(always)]
unsafe fn step<V: Simd, W: Weight, const R: usize, const T: usize>(
    blocks: &[*const u8; R],
    acts: &[*const u8; T],
    s: usize,
    mut acc: [[V::F; T]; R],
) -> [[V::F; T]; R] {
    let offset = if W::WIDE { V::Q8_BIAS } else { W::OFFSET };
    let at = s * ROW_STEP;
    let mut start = [[V::zero_i(); 4]; T];
    if offset != 0 {
        for t in 0..T {
            for c in 0..4 {
                start[t][c] = V::scale_i(V::sum_quads(V::load(acts[t].add(at + 64 * c))), -offset);
            }
        }
    }
    for i in 0..R {
        let head = W::head::<V>(blocks[i]);
        let weight_scales = if W::FINE { V::spread_16(head) } else { V::spread_32(head) };
        let mut levels = [V::splat_byte(0); 4];
        for c in 0..4 {
            levels[c] = W::levels::<V>(blocks[i], c);
        }
        for t in 0..T {
            let mut sums = start[t];
            for c in 0..4 {
                let a = V::load(acts[t].add(at + 64 * c));
                sums[c] = if W::WIDE { V::dot_q8(sums[c], levels[c], a) } else { V::dot(sums[c], levels[c], a) };
            }
            let scales = V::load_f(acts[t].add(at + ROW_SCALES).cast());
            acc[i][t] = V::fma(V::mul(V::to_f(V::block_sums(sums)), scales), weight_scales, acc[i][t]);
            if W::MINS {
                let (sums, mins) = (V::load_f(acts[t].add(at + ROW_SUMS).cast()), V::spread_32_upper(head));
                acc[i][t] = if W::MINUS { V::fnma(mins, sums, acc[i][t]) } else { V::fma(mins, sums, acc[i][t]) };
            }
        }
    }
    acc
}

/// The same for weights of 16 or 32 bits.
#[inline(always)]
pub(super) unsafe fn float_product<V: Simd, W: FloatWeight, const R: usize, const T: usize>(
    p: &Product,
    layout: &Layout,
    first: usize,
) {
    let bytes = 16 * W::TYPE.block_bytes();
    let whole_steps = p.n_cols / 64;
    let ahead = prefetch_distance::<R>(p);
    let mut acts = [p.acts.cast::<f32>(); T];
    for t in 0..T {
        acts[t] = p.acts.add(layout.single(first + t, 0)).cast();
    }
    let mut r = p.rows.start;
    while r < p.rows.end {
        let mut blocks = first_blocks::<R>(p, r);
        let mut acc = [[V::zero(); T]; R];
        for s in 0..whole_steps {
            for i in 0..R {
                prefetch::<V>(blocks[i].wrapping_add(ahead), 4 * bytes);
            }
            for k in 0..4 {
                let mut a = [V::zero(); T];
                for t in 0..T {
                    a[t] = V::load_f(acts[t].add(64 * s + 16 * k));
                }
                for i in 0..R {
                    let w = W::load::<V>(blocks[i].add(k * bytes));
                    for t in 0..T {
                        acc[i][t] = V::fma(w, a[t], acc[i][t]);
                    }
                }
            }
            for i in 0..R {
                blocks[i] = blocks[i].wrapping_add(4 * bytes);
            }
        }
        let mut k = whole_steps * 64;
        while k < p.n_cols {
            let left = (p.n_cols - k) * W::TYPE.block_bytes();
            for i in 0..R {
                let mut tail = Tail([0; STEP * 4]);
                let w = W::load::<V>(tail.whole(blocks[i], left, bytes));
                for t in 0..T {
                    acc[i][t] = V::fma(w, V::load_f(acts[t].add(k)), acc[i][t]);
                }
                blocks[i] = blocks[i].wrapping_add(bytes);
            }
            k += 16;
        }
        write::<V, R, T>(p, layout, first, r, &acc);
        r += R;
    }
}

#[inline(always)]
unsafe fn write<V: Simd, const R: usize, const T: usize>(
    p: &Product,
    layout: &Layout,
    first: usize,
    row: usize,
    acc: &[[V::F; T]; R],
) {
    for i in 0..R.min(p.rows.end - row) {
        let bias = if p.bias.is_null() { 0.0 } else { *p.bias.add(row + i) };
        for t in 0..T {
            let token = layout.groups * super::acts::LANES + first + t;
            *p.y.add(token * p.y_stride + row + i) = V::sum(acc[i][t]) + bias;
        }
    }
}

/// How many bytes ahead of their use weights are asked for: past the rows in work, and enough for the latency of the memory.
#[inline(always)]
fn prefetch_distance<const R: usize>(p: &Product) -> usize {
    R * p.row_bytes + 8192
}

/// Asks for `bytes` bytes at an address, which may be any.
#[inline(always)]
pub(super) unsafe fn prefetch<V: Simd>(p: *const u8, bytes: usize) {
    let mut at = 0;
    while at < bytes {
        V::prefetch(p.wrapping_add(at));
        at += 64;
    }
}
