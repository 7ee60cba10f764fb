//! Products with weights of 16 bits (F16, BF16), as pairs of 16-bit integers.
//!
//! # Problem
//!
//! Weights of 16 bits could be turned into floats and multiplied as such, 16 to an instruction. But processors multiply
//! and add 32 pairs of 16-bit integers in one instruction, at the same rate. So integers are twice as fast, if nothing
//! of worth is lost on the way.
//!
//! # Idea
//!
//! A step of 512 columns is 16 lanes of 32 columns: lane `i` has columns `i`, `16 + i`, `32 + i` and so on. The 32
//! weights of a row in a lane share a scale, and so do the 32 activations of a token. The products of a lane are then
//! summed in 32 bits, exactly, and scaled once.
//!
//! ```text
//! weights        the scale is a power of two, by which the greatest power of two in the lane becomes 4096,
//!                so |w| < 2^13
//! activations    the scale makes the greatest 8191, so |a| < 2^13
//! sum            32 products of less than 2^26 are less than 2^31
//! ```
//!
//! A weight that is at least a quarter of the greatest keeps all 11 bits that F16 has. Smaller ones lose their last
//! bits, which are small beside the greatest's own. Errors were no larger than with activations rounded to F16, and a
//! test holds that. A lane in which all weights are below 2^-115, which only BF16 has, counts as 0.
//!
//! # Steps
//!
//! The scale of a lane is known only when all of the step's weights were seen. So while a step is multiplied, the next
//! one (which is in the cache already) is looked through for its greatest weights (`row_step`).
//!
//! `few` takes one token and a row at a time, or up to 8 tokens and a tile of 8 rows: one step of each row at a time,
//! so that the tokens' activations of the step stay in the first-level cache. For many tokens `Halves` gives `panel`
//! the weights as integers.

// SAFETY: of the whole module: see `Product`; every pointer stays within what it describes.
#![allow(unsafe_op_in_unsafe_fn)]

use super::acts::{HALF_SCALES, Layout, STEP};
use super::panel::{Panel, TILE};
use super::product::Product;
use super::row::{NEAR, Tail, prefetch, prefetch_distance, write};
use super::weight::HalfWeight;
use crate::cpu::simd::Simd;
use std::marker::PhantomData;

/// Columns of a vector of pairs.
const PAIRS: usize = 32;
/// Bytes of a step's weights, as halves or as integers.
const STEP_BYTES: usize = STEP * 2;
/// Number of steps by which weights are brought on into the first-level cache ahead of their use.
const SOON: usize = NEAR / STEP_BYTES;
/// Offset of the scales in an unpacked tile.
const SCALES: usize = TILE * STEP_BYTES;
/// The greatest power of two of a lane's weights becomes this.
const UNIT: f32 = 4096.0;

/// The weights of a step of a row. It may be the last one, with fewer than 512 columns.
struct Step {
    weights: *const u8,
    vectors: usize,
}

impl Step {
    /// Step `step` of the row at `row`. If it has no whole number of vectors, it is copied to `tail`.
    #[inline(always)]
    unsafe fn new(p: &Product, row: *const u8, step: usize, tail: &mut Tail) -> Step {
        let left = (p.n_cols - step * STEP).min(STEP);
        let vectors = left.div_ceil(PAIRS);
        Step { weights: tail.whole(row.add(step * STEP_BYTES), left * 2, vectors * PAIRS * 2), vectors }
    }

    /// The greater of these magnitudes and those of vector `i`.
    #[inline(always)]
    unsafe fn most<V: Simd>(&self, i: usize, most: V::B) -> V::B {
        V::max_magnitudes(most, V::load(self.weights.add(i * 64)))
    }

    /// The factors of the step's lanes.
    #[inline(always)]
    unsafe fn factors<V: Simd, W: HalfWeight>(&self) -> Factors<V> {
        let mut most = V::splat_byte(0);
        for i in 0..self.vectors {
            most = self.most::<V>(i, most);
        }
        Factors::new::<W>(most)
    }

    /// The 32 columns of vector `i` as integers.
    #[inline(always)]
    unsafe fn pairs<V: Simd, W: HalfWeight>(&self, i: usize, factor: V::F) -> V::B {
        let p = self.weights.add(i * 64);
        V::pairs(W::load::<V>(p), W::load::<V>(p.add(32)), factor)
    }
}

/// By lane: the factor that makes integers of weights, and the scale that makes weights of integers.
#[derive(Clone, Copy)]
struct Factors<V: Simd> {
    to_integers: V::F,
    scale: V::F,
}

impl<V: Simd> Factors<V> {
    /// The factors for the greatest magnitudes of each lane. `most` has two columns to a lane, one per half.
    #[inline(always)]
    unsafe fn new<W: HalfWeight>(most: V::B) -> Factors<V> {
        let mut halves = [0u8; 64];
        let p = halves.as_mut_ptr();
        V::store_halves(p, p.add(32), most);
        // The halves are compared as magnitudes once more: in that order, not-a-number is the greatest.
        V::store_halves(p, p.add(32), V::max_magnitudes(V::load_halves(p, p), V::load_halves(p.add(32), p.add(32))));
        let [power, inverse] = V::powers(W::load::<V>(p));
        Factors { to_integers: V::mul(inverse, V::splat(UNIT / 2.0)), scale: V::mul(power, V::splat(1.0 / UNIT)) }
    }
}

/// Adds the sums of a step, scaled. The token's scales lie behind its integers.
#[inline(always)]
unsafe fn scaled<V: Simd>(dots: V::I, acts: *const u8, scale: V::F, acc: V::F) -> V::F {
    V::fma(V::mul(V::to_f(dots), V::load_f(acts.add(HALF_SCALES).cast())), scale, acc)
}

/// Computes all rows for the tokens `first..first + T`: a step of each of N rows at a time, so that the tokens' step
/// stays in the first-level cache.
#[inline(always)]
pub(super) unsafe fn few<V: Simd, W: HalfWeight, const T: usize, const N: usize>(
    p: &Product,
    layout: &Layout,
    first: usize,
) {
    // With tiles of rows, the next tile is asked for.
    let ahead = if N == 1 { prefetch_distance(p.row_bytes) } else { N * p.row_bytes };
    let mut tails = [Tail::new(), Tail::new()];
    let [mut tail, mut next_tail] = tails.each_mut();
    let at = |row: usize, step: usize, tail: &mut Tail| Step::new(p, p.w.add(row * p.row_bytes), step, tail);
    let mut row = p.rows.start;
    let mut weights = at(row, 0, tail);
    let mut factors = weights.factors::<V, W>();
    while row < p.rows.end {
        let rows = N.min(p.rows.end - row);
        let mut sums = [[V::zero(); T]; N];
        for step in 0..layout.steps {
            let mut acts = [p.acts; T];
            for t in 0..T {
                acts[t] = p.acts.add(layout.single(first + t, step));
            }
            for i in 0..rows {
                // The step that is computed next; the last one is its own successor.
                let (next_row, next_step) = match () {
                    _ if i + 1 < rows => (row + i + 1, step),
                    _ if step + 1 < layout.steps => (row, step + 1),
                    _ if row + rows < p.rows.end => (row + rows, 0),
                    _ => (row + i, step),
                };
                let next = at(next_row, next_step, next_tail);
                // The next tile is asked for front to back; near are the steps that are used soon.
                let (at, soon) = (step * N + i, step * N + i + SOON);
                let far = p.w.wrapping_add(row * p.row_bytes + at * STEP_BYTES + ahead);
                let near = p.w.wrapping_add((row + soon % N) * p.row_bytes + soon / N * STEP_BYTES);
                (sums[i], factors) = row_step::<V, W, T>(&weights, factors, &next, [far, near], &acts, sums[i]);
                weights = next;
                std::mem::swap(&mut tail, &mut next_tail);
            }
        }
        write::<V, T>(p, layout, first, row, &sums[..rows]);
        row += N;
    }
}

/// Adds a vector of pairs to T tokens' sums, and asks for weights ahead, far and near.
#[inline(always)]
unsafe fn vector<V: Simd, W: HalfWeight, const T: usize>(
    weights: &Step,
    i: usize,
    factor: V::F,
    [far, near]: [*const u8; 2],
    acts: &[*const u8; T],
    mut dots: [V::I; T],
) -> [V::I; T] {
    V::prefetch(far.wrapping_add(i * 64));
    V::prefetch_near(near.wrapping_add(i * 64));
    let pairs = weights.pairs::<V, W>(i, factor);
    for t in 0..T {
        dots[t] = V::dot_pairs(dots[t], pairs, V::load(acts[t].add(i * 64)));
    }
    dots
}

/// Adds a step of a row, and finds the factors of the next one. No sum of that can start before they are known.
#[inline(always)]
unsafe fn row_step<V: Simd, W: HalfWeight, const T: usize>(
    weights: &Step,
    factors: Factors<V>,
    next: &Step,
    ahead: [*const u8; 2],
    acts: &[*const u8; T],
    mut acc: [V::F; T],
) -> ([V::F; T], Factors<V>) {
    let mut dots = [V::zero_i(); T];
    let mut most = V::splat_byte(0);
    // Three loops in place of a choice in each pass: so no address depends on one.
    let both = weights.vectors.min(next.vectors);
    for i in 0..both {
        most = next.most::<V>(i, most);
        dots = vector::<V, W, T>(weights, i, factors.to_integers, ahead, acts, dots);
    }
    for i in both..weights.vectors {
        dots = vector::<V, W, T>(weights, i, factors.to_integers, ahead, acts, dots);
    }
    for i in both..next.vectors {
        most = next.most::<V>(i, most);
    }
    for t in 0..T {
        acc[t] = scaled::<V>(dots[t], acts[t], factors.scale, acc[t]);
    }
    (acc, Factors::new::<W>(most))
}

/// An unpacked tile for `panel`: integers `[TILE][STEP]`, then their scales `[TILE][16]`.
pub(super) struct Halves<W>(PhantomData<W>);

impl<W: HalfWeight> Panel for Halves<W> {
    const BYTES: usize = SCALES + TILE * 16 * size_of::<f32>();

    #[inline(always)]
    unsafe fn unpack<V: Simd>(p: &Product, to: *mut u8, row: usize, rows: usize, step: usize) -> usize {
        let mut tail = Tail::new();
        let mut vectors = 0;
        for i in 0..rows {
            let weights = p.w.add((row + i) * p.row_bytes);
            prefetch::<V>(weights.wrapping_add(TILE * p.row_bytes + step * STEP_BYTES), STEP_BYTES);
            let weights = Step::new(p, weights, step, &mut tail);
            let factors = weights.factors::<V, W>();
            vectors = weights.vectors;
            for k in 0..vectors {
                let to = to.add(i * STEP_BYTES + k * 64);
                V::store_halves(to, to.add(32), weights.pairs::<V, W>(k, factors.to_integers));
            }
            V::store_f(to.add(SCALES).cast::<f32>().add(i * 16), factors.scale);
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
        let mut dots = [[V::zero_i(); T]; R];
        for k in 0..vectors {
            let mut a = [V::splat_byte(0); T];
            for t in 0..T {
                a[t] = V::load(acts[t].add(k * 64));
            }
            for r in 0..R {
                let pairs = V::load(from.add((row + r) * STEP_BYTES + k * 64));
                for t in 0..T {
                    dots[r][t] = V::dot_pairs(dots[r][t], pairs, a[t]);
                }
            }
        }
        for r in 0..R {
            let scale = V::load_f(from.add(SCALES).cast::<f32>().add((row + r) * 16));
            for t in 0..T {
                let to = sums.add((t * TILE + r) * 16);
                let before = if fresh { V::zero() } else { V::load_f(to) };
                V::store_f(to, scaled::<V>(dots[r][t], acts[t], scale, before));
            }
        }
    }
}
