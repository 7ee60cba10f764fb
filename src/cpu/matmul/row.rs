//! Products of very few tokens with quantised weights: columns in lanes.

// SAFETY: of the whole module: see `Product`; every pointer stays within what it describes.
#![allow(unsafe_op_in_unsafe_fn)]

use super::acts::{LANES, Layout, PAIRS, ROW_INT_SUMS, ROW_SCALES, ROW_STEP, ROW_SUMS};
use super::product::Product;
use super::weight::Weight;
use crate::cpu::simd::Simd;

/// Weights of 256 columns, where not so many are left to read: the rest is zeros.
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
    let ahead = prefetch_distance(p.row_bytes);
    let mut acts = [p.acts; T];
    for t in 0..T {
        acts[t] = p.acts.add(layout.single(first + t, 0));
    }
    let mut tails = [Tail::new(), Tail::new()];
    let left = p.row_bytes % step_bytes;
    let masks = [0, 1].map(|half| mask(left.saturating_sub(half * W::HALF_BYTES) / W::TYPE.block_bytes()));
    let end = p.rows.end * p.row_bytes;
    for r in p.rows.clone() {
        let mut weights = p.w.add(r * p.row_bytes);
        let mut acc = [V::zero(); T];
        for s in 0..whole_steps {
            prefetch_stream::<V>(weights, ahead, step_bytes);
            acc = step::<V, W, T, 2, false>([weights, weights.wrapping_add(W::HALF_BYTES)], &masks, &acts, s, acc);
            weights = weights.wrapping_add(step_bytes);
        }
        if whole_steps < layout.steps {
            prefetch_stream::<V>(weights, ahead, left);
            // What is read past the row has scales of 0.
            let readable = end - r * p.row_bytes - whole_steps * step_bytes;
            let second = weights.wrapping_add(W::HALF_BYTES);
            let halves = [
                tails[0].whole(weights, readable, W::HALF_BYTES),
                tails[1].whole(second, readable.saturating_sub(W::HALF_BYTES), W::HALF_BYTES),
            ];
            acc = if left == W::HALF_BYTES {
                step::<V, W, T, 1, false>(halves, &masks, &acts, whole_steps, acc)
            } else if left < W::HALF_BYTES {
                step::<V, W, T, 1, true>(halves, &masks, &acts, whole_steps, acc)
            } else {
                step::<V, W, T, 2, true>(halves, &masks, &acts, whole_steps, acc)
            };
        }
        write::<V, T>(p, layout, first, r, &[acc]);
    }
}

/// Keeps scales and mins of the first `n` of 8 blocks of 32.
fn mask(n: usize) -> [u32; 16] {
    std::array::from_fn(|lane| if lane % 8 < n { u32::MAX } else { 0 })
}

/// The head of 256 columns, of which only some blocks may count.
#[inline(always)]
unsafe fn head<V: Simd, W: Weight, const MASKED: bool>(p: *const u8, mask: &[u32; 16]) -> V::F {
    let head = W::head::<V>(p);
    if MASKED { V::bytes_as_f(V::and(V::f_as_bytes(head), V::load(mask.as_ptr().cast()))) } else { head }
}

/// Adds step `s` of a row, whose weights are in two halves or in the first only, and T tokens.
#[inline(always)]
unsafe fn step<V: Simd, W: Weight, const T: usize, const HALVES: usize, const MASKED: bool>(
    halves: [*const u8; 2],
    masks: &[[u32; 16]; 2],
    acts: &[*const u8; T],
    s: usize,
    mut acc: [V::F; T],
) -> [V::F; T] {
    let offset = if W::WIDE { V::Q8_BIAS } else { W::OFFSET };
    let at = s * ROW_STEP;
    let mut levels = [[V::splat_byte(0); 4]; 2];
    let mut heads = [V::zero(); 2];
    let mut mins = [V::zero(); 2];
    for half in 0..HALVES {
        for c in 0..4 {
            levels[half][c] = W::levels::<V>(halves[half], c);
        }
        heads[half] = head::<V, W, MASKED>(halves[half], &masks[half]);
        mins[half] = W::mins::<V>(halves[half]);
    }
    let weight_scales = if W::FINE { V::spread_16(heads[0], heads[1]) } else { [V::spread_32(heads[0], heads[1]); 2] };
    let weight_mins = if W::FINE_MINS { V::spread_16(mins[0], mins[1]) } else { [V::zero(); 2] };
    for t in 0..T {
        let mut sums = [V::zero_i(); 2];
        for half in 0..HALVES {
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
            let (sums, mins) = (V::load_f(acts[t].add(at + ROW_SUMS).cast()), V::spread_32_upper(heads[0], heads[1]));
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

/// Puts the sums of some rows, in lanes, and of the single tokens `first..first + T` into y.
#[inline(always)]
pub(super) unsafe fn write<V: Simd, const T: usize>(
    p: &Product,
    layout: &Layout,
    first: usize,
    row: usize,
    sums: &[[V::F; T]],
) {
    for (i, sums) in sums.iter().enumerate() {
        let bias = if p.bias.is_null() { 0.0 } else { *p.bias.add(row + i) };
        for t in 0..T {
            let token = layout.groups * LANES + first + t;
            *p.row_of_y(token).add(row + i) = V::sum(sums[t]) + bias;
        }
    }
}

/// How many bytes ahead of their use weights are asked for: past those in work, and enough for the latency of the
/// memory.
#[inline(always)]
pub(super) fn prefetch_distance(in_work: usize) -> usize {
    in_work + 8192
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

/// As far ahead what comes is brought on into the first-level cache: nothing waits there any more when it is used.
pub(super) const NEAR: usize = 4096;

/// Asks for the `bytes` bytes that come `ahead` of `p`, and brings near those that come soon.
#[inline(always)]
unsafe fn prefetch_stream<V: Simd>(p: *const u8, ahead: usize, bytes: usize) {
    prefetch::<V>(p.wrapping_add(ahead), bytes);
    let mut at = 0;
    while at < bytes {
        V::prefetch_near(p.wrapping_add(NEAR + at));
        at += 64;
    }
}
