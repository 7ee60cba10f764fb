//! Products of very few tokens with quantised weights: columns in lanes.
//!
//! # Problem
//!
//! With one token, a weight is read from memory, unpacked and used once. The kernel is good if it keeps pace with the
//! memory, so it has to unpack with few instructions, and the memory must never wait for it.
//!
//! # Idea
//!
//! A row of weights lies in memory column by column, so that is how it is loaded: a vector is 64 columns of one row.
//! One instruction multiplies 64 levels with 64 int8 of the token and adds them up by fours. It remains to add
//! these 16 sums up to one per block, and to multiply blocks by their scales. Both are done for a step of 512 columns
//! at once, so that vectors are full:
//!
//! ```text
//! 8 vectors of 64 levels        `dot`           8 vectors of 16 sums over 4 columns
//!                               `block_sums`    2 vectors of 16 sums over 16 columns: a block each
//!                               `even_odd`      2 vectors: the even blocks of all pairs, and the odd ones
//! times the token's scales                      (in the same order of lanes, as `acts` laid them out)
//! times the weights' scales     `spread_32`     added to the sums of the 16 pairs
//! ```
//!
//! After the last step the 16 sums are added by halves (`Simd::sum`). Up to four tokens go together, and share the
//! unpacked levels and scales of a step.
//!
//! # Ends of rows
//!
//! A row may end within a step. The activations are zeros there, but levels read past the row's end may have scales
//! that are no numbers, and zero times such a scale is none either. So in the last step scales past the row are set to
//! 0 (`mask`), and levels are read from a copy if the matrix ends there (`Tail`).
//!
//! # Memory
//!
//! Rows are read front to back. Each step asks for the cache lines some kilobytes ahead: far ahead for the second-level
//! cache, which hides the latency of the memory, and nearer for the first-level cache.

// SAFETY: of the whole module: see `Product`; every pointer stays within what it describes.
#![allow(unsafe_op_in_unsafe_fn)]

use super::acts::{LANES, Layout, PAIRS, ROW_INT_SUMS, ROW_SCALES, ROW_STEP, ROW_SUMS};
use super::product::Product;
use super::weight::Weight;
use crate::cpu::simd::Simd;

/// Room for a copy of some weights that end before a kernel's reads do. The rest of the copy is zeros.
pub(super) struct Tail([u8; 1024]);

impl Tail {
    pub(super) const fn new() -> Tail {
        Tail([0; 1024])
    }

    /// `p` itself if `step` bytes may be read there; else a copy of the `left` bytes that may, with zeros behind.
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

/// Computes all rows for the single tokens `first..first + T`.
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
    let masks = [0, 1].map(|half| {
        let blocks = left.saturating_sub(half * W::HALF_BYTES) / W::TYPE.block_bytes();
        mask(blocks * W::TYPE.block_len(), W::FINE)
    });
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
            // The next row may be read too: its scales count as 0.
            let readable = end - r * p.row_bytes - whole_steps * step_bytes;
            let second = weights.wrapping_add(W::HALF_BYTES);
            let halves = [
                tails[0].whole(weights, readable, W::HALF_BYTES),
                tails[1].whole(second, readable.saturating_sub(W::HALF_BYTES), W::HALF_BYTES),
            ];
            acc = if left <= W::HALF_BYTES {
                step::<V, W, T, 1, true>(halves, &masks, &acts, whole_steps, acc)
            } else {
                step::<V, W, T, 2, true>(halves, &masks, &acts, whole_steps, acc)
            };
        }
        write::<V, T>(p, layout, first, r, &[acc]);
    }
}

/// A mask that keeps the scales and mins of the first `n` of 256 columns.
fn mask(n: usize, fine: bool) -> [u32; 16] {
    std::array::from_fn(|lane| if if fine { 16 * lane < n } else { 32 * (lane % 8) < n } { u32::MAX } else { 0 })
}

/// The head (scales and mins) of 256 columns, of which maybe only some blocks count.
#[inline(always)]
unsafe fn head<V: Simd, W: Weight, const MASKED: bool>(p: *const u8, mask: &[u32; 16]) -> V::F {
    let head = W::head::<V>(p);
    if MASKED { V::bytes_as_f(V::and(V::f_as_bytes(head), V::load(mask.as_ptr().cast()))) } else { head }
}

/// Adds step `s` of a row to the sums of T tokens. The step's weights are two halves of 256 columns, or in the last one
/// (`MASKED`) maybe only the first. Their number is known when this is compiled, so that all vectors stay in registers.
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

/// Adds up the lanes of some rows' sums, for the single tokens `first..first + T`, and writes the results to y.
#[inline(always)]
pub(super) unsafe fn write<V: Simd, const T: usize>(
    p: &Product,
    layout: &Layout,
    first: usize,
    row: usize,
    sums: &[[V::F; T]],
) {
    for (i, sums) in sums.iter().enumerate() {
        let bias = p.bias(row + i);
        for t in 0..T {
            let token = layout.groups * LANES + first + t;
            *p.row_of_y(token).add(row + i) = V::sum(sums[t]) + bias;
        }
    }
}

/// Bytes by which weights are asked for ahead of their use: past those in work, and so far that the memory has time to
/// answer.
#[inline(always)]
pub(super) fn prefetch_distance(in_work: usize) -> usize {
    in_work + 8192
}

/// Asks for `bytes` bytes at an address, which need not exist.
#[inline(always)]
pub(super) unsafe fn prefetch<V: Simd>(p: *const u8, bytes: usize) {
    let mut at = 0;
    while at < bytes {
        V::prefetch(p.wrapping_add(at));
        at += 64;
    }
}

/// Bytes by which weights are brought on into the first-level cache ahead of their use. It is enough that no use waits.
pub(super) const NEAR: usize = 4096;

/// Asks for the `bytes` bytes that come `ahead` bytes after `p`, and brings those near that come soon.
#[inline(always)]
unsafe fn prefetch_stream<V: Simd>(p: *const u8, ahead: usize, bytes: usize) {
    prefetch::<V>(p.wrapping_add(ahead), bytes);
    let mut at = 0;
    while at < bytes {
        V::prefetch_near(p.wrapping_add(NEAR + at));
        at += 64;
    }
}
