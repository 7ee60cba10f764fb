//! Products of few tokens: columns in lanes, some rows of weights at once, each weight read once.

// SAFETY: of the whole module: see `Product`; every pointer stays within what it describes.
#![allow(unsafe_op_in_unsafe_fn)]

use super::Product;
use super::acts::{Layout, ROW_SCALES, ROW_SUMS, STEP};
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
    let offset = if W::WIDE { V::Q8_BIAS } else { W::OFFSET };
    let mut tails = [const { Tail([0; STEP * 4]) }; R];
    let mut r = p.rows.start;
    while r < p.rows.end {
        // Past the last row the last one is computed again and not stored.
        let mut rows = [p.w; R];
        for i in 0..R {
            rows[i] = p.w.add((r + i).min(p.rows.end - 1) * p.row_bytes);
        }
        let mut acc = [[V::zero(); T]; R];
        for step in 0..layout.steps {
            let at = step * W::STEP_BYTES;
            let mut blocks = [p.w; R];
            let mut heads = [V::zero(); R];
            for i in 0..R {
                blocks[i] = rows[i].add(at);
                if p.row_bytes - at < W::STEP_BYTES {
                    blocks[i] = tails[i].whole(blocks[i], p.row_bytes - at, W::STEP_BYTES);
                }
                prefetch(rows[i].wrapping_add(at + R * p.row_bytes), W::STEP_BYTES);
                heads[i] = W::head::<V>(blocks[i]);
            }
            let mut acts = [p.acts; T];
            for t in 0..T {
                acts[t] = p.acts.add(layout.single(first + t, step));
            }
            for c in 0..4 {
                let mut a = [V::splat_byte(0); T];
                let mut scales = [V::zero(); T];
                let mut start = [V::zero_i(); T];
                for t in 0..T {
                    a[t] = V::load(acts[t].add(64 * c));
                    scales[t] = V::splat_quads(acts[t].add(ROW_SCALES + 16 * c).cast());
                    if offset != 0 {
                        start[t] = V::scale_i(V::sum_quads(a[t]), -offset);
                    }
                }
                for i in 0..R {
                    let levels = W::levels::<V>(blocks[i], c);
                    let weight_scale = if W::FINE { V::spread4(heads[i], c) } else { V::spread2(heads[i], c) };
                    for t in 0..T {
                        let sums = if W::WIDE { V::dot_q8(start[t], levels, a[t]) } else { V::dot(start[t], levels, a[t]) };
                        acc[i][t] = V::fma(V::mul(V::to_f(sums), scales[t]), weight_scale, acc[i][t]);
                    }
                }
            }
            if W::MINS {
                for t in 0..T {
                    let sums = V::load_f(acts[t].add(ROW_SUMS).cast());
                    for i in 0..R {
                        let mins = V::upper_twice(heads[i]);
                        acc[i][t] = if W::MINUS { V::fnma(mins, sums, acc[i][t]) } else { V::fma(mins, sums, acc[i][t]) };
                    }
                }
            }
        }
        write::<V, R, T>(p, layout, first, r, &acc);
        r += R;
    }
}

/// The same for weights of 16 or 32 bits.
#[inline(always)]
pub(super) unsafe fn float_product<V: Simd, W: FloatWeight, const R: usize, const T: usize>(
    p: &Product,
    layout: &Layout,
    first: usize,
) {
    let bytes = 16 * W::TYPE.block_bytes();
    let mut r = p.rows.start;
    while r < p.rows.end {
        let mut rows = [p.w; R];
        for i in 0..R {
            rows[i] = p.w.add((r + i).min(p.rows.end - 1) * p.row_bytes);
        }
        // Two sums per product, for the latency of the addition.
        let mut acc = [[[V::zero(); T]; R]; 2];
        let mut tail = Tail::new();
        for k in 0..p.n_cols.div_ceil(16) {
            let at = k * bytes;
            let mut a = [V::zero(); T];
            for t in 0..T {
                a[t] = V::load_f(p.acts.add(layout.single(first + t, 0)).cast::<f32>().add(16 * k));
            }
            for i in 0..R {
                let mut w = rows[i].add(at);
                if p.row_bytes - at < bytes {
                    w = tail.whole(w, p.row_bytes - at, bytes);
                }
                let w = W::load::<V>(w);
                for t in 0..T {
                    acc[k % 2][i][t] = V::fma(w, a[t], acc[k % 2][i][t]);
                }
            }
        }
        for i in 0..R {
            for t in 0..T {
                acc[0][i][t] = V::add(acc[0][i][t], acc[1][i][t]);
            }
        }
        write::<V, R, T>(p, layout, first, r, &acc[0]);
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

/// Asks for the bytes that the next rows will need; any address may be given.
#[inline(always)]
unsafe fn prefetch(p: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let mut at = 0;
        while at < bytes {
            _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(at).cast());
            at += 64;
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (p, bytes);
}
