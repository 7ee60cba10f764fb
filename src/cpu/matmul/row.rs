//! Products of few tokens: columns in lanes, each weight read once.

// SAFETY: of the whole module: see `Product`; every pointer stays within what it describes.
#![allow(unsafe_op_in_unsafe_fn)]

use super::Product;
use super::acts::{LANES, Layout, PAIRS, ROW_INT_SUMS, ROW_SCALES, ROW_STEP, ROW_SUMS};
use super::weight::{FloatWeight, Weight};
use crate::cpu::simd::Simd;

/// Weights of 256 columns, where the row ends within them: the rest is zeros.
pub(super) struct Tail([u8; 1024]);

impl Tail {
    pub(super) const fn new() -> Tail {
        Tail([0; 1024])
    }

    /// `p` itself, or a copy if fewer than `step` bytes are left there.
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

/// The single tokens `first..first + T`, all rows.
#[inline(always)]
pub(super) unsafe fn product<V: Simd, W: Weight, const T: usize>(p: &Product, layout: &Layout, first: usize) {
    let step_bytes = 2 * W::HALF_BYTES;
    let whole_steps = p.row_bytes / step_bytes;
    let ahead = prefetch_distance::<1>(p);
    let mut acts = [p.acts; T];
    for t in 0..T {
        acts[t] = p.acts.add(layout.single(first + t, 0));
    }
    let mut tails = [Tail::new(), Tail::new()];
    for r in p.rows.clone() {
        let mut weights = p.w.add(r * p.row_bytes);
        let mut acc = [V::zero(); T];
        for s in 0..whole_steps {
            prefetch::<V>(weights.wrapping_add(ahead), step_bytes);
            acc = step::<V, W, T>([weights, weights.wrapping_add(W::HALF_BYTES)], &acts, s, acc);
            weights = weights.wrapping_add(step_bytes);
        }
        if whole_steps < layout.steps {
            let left = p.row_bytes % step_bytes;
            let second = weights.wrapping_add(W::HALF_BYTES);
            let halves = [
                tails[0].whole(weights, left, W::HALF_BYTES),
                tails[1].whole(second, left.saturating_sub(W::HALF_BYTES), W::HALF_BYTES),
            ];
            acc = step::<V, W, T>(halves, &acts, whole_steps, acc);
        }
        write::<V, 1, T>(p, layout, first, r, &[acc]);
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

/// Adds step `s` of a row, whose weights are in two halves, and T tokens.
#[inline(always)]
unsafe fn step<V: Simd, W: Weight, const T: usize>(
    halves: [*const u8; 2],
    acts: &[*const u8; T],
    s: usize,
    mut acc: [V::F; T],
) -> [V::F; T] {
    let offset = if W::WIDE { V::Q8_BIAS } else { W::OFFSET };
    let at = s * ROW_STEP;
    let mut levels = [[V::splat_byte(0); 4]; 2];
    for c in 0..4 {
        levels[0][c] = W::levels::<V>(halves[0], c);
        levels[1][c] = W::levels::<V>(halves[1], c);
    }
    let heads = (W::head::<V>(halves[0]), W::head::<V>(halves[1]));
    let weight_scales = if W::FINE { V::spread_16(heads.0, heads.1) } else { [V::spread_32(heads.0, heads.1); 2] };
    let weight_mins = if W::FINE_MINS { V::spread_16(W::mins::<V>(halves[0]), W::mins::<V>(halves[1])) } else { [V::zero(); 2] };
    for t in 0..T {
        let mut sums = [V::zero_i(); 2];
        for half in 0..2 {
            let mut quads = [V::zero_i(); 4];
            for c in 0..4 {
                let (w, a) = (levels[half][c], V::load(acts[t].add(at + 256 * half + 64 * c)));
                quads[c] = if W::WIDE { V::dot_q8(quads[c], w, a) } else { V::dot(quads[c], w, a) };
            }
            sums[half] = V::block_sums(quads);
        }
        let mut dots = V::even_odd(sums[0], sums[1]);
        if offset != 0 {
            for odd in 0..2 {
                let sums = V::load_i(acts[t].add(at + ROW_INT_SUMS).cast::<i32>().add(odd * PAIRS));
                dots[odd] = V::add_i(dots[odd], V::scale_i(sums, -offset));
            }
        }
        let scales = acts[t].add(at + ROW_SCALES).cast::<f32>();
        let even = V::mul(V::to_f(dots[0]), V::load_f(scales));
        let odd = (V::to_f(dots[1]), V::load_f(scales.add(PAIRS)));
        if W::FINE {
            acc[t] = V::fma(even, weight_scales[0], acc[t]);
            acc[t] = V::fma(V::mul(odd.0, odd.1), weight_scales[1], acc[t]);
        } else {
            acc[t] = V::fma(V::fma(odd.0, odd.1, even), weight_scales[0], acc[t]);
        }
        if W::MINS {
            let (sums, mins) = (V::load_f(acts[t].add(at + ROW_SUMS).cast()), V::spread_32_upper(heads.0, heads.1));
            acc[t] = if W::MINUS { V::fnma(mins, sums, acc[t]) } else { V::fma(mins, sums, acc[t]) };
        }
        if W::FINE_MINS {
            for (odd, mins) in weight_mins.into_iter().enumerate() {
                let sums = V::load_i(acts[t].add(at + ROW_INT_SUMS).cast::<i32>().add(odd * PAIRS));
                let sums = V::mul(V::to_f(sums), V::load_f(scales.add(odd * PAIRS)));
                acc[t] = V::fnma(sums, mins, acc[t]);
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
                let mut tail = Tail::new();
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
            let token = layout.groups * LANES + first + t;
            *p.row_of_y(token).add(row + i) = V::sum(acc[i][t]) + bias;
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
