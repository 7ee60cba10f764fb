//! Products with weights of 16 bits, as pairs of 16-bit integers, which processors multiply at twice the rate of
//! floats: columns in lanes.
//!
//! Of each step of 512 columns a lane has 32, 16 apart. Of a row, these share a scale, a power of two that leaves 13
//! bits for the greatest: what is at least a quarter of that stays as F16 holds it. Of a token, they share a scale that
//! makes the greatest 8191. So 32 products fit in 32 bits, and a sum over a lane is exact; with activations rounded to
//! F16 instead, errors were no smaller. Where all of a lane are below 2^-115, which only BF16 has, they count as 0.

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
/// Bytes of these, as halves or as integers.
const STEP_BYTES: usize = STEP * 2;
/// So many steps ahead weights are brought on into the first-level cache.
const SOON: usize = NEAR / STEP_BYTES;
/// Where a tile's scales are.
const SCALES: usize = TILE * STEP_BYTES;
/// The greatest power of two of a lane's weights becomes this.
const UNIT: f32 = 4096.0;

/// A step of a row, of which maybe less than 512 columns are left.
struct Step {
    weights: *const u8,
    vectors: usize,
}

impl Step {
    /// The columns from `step` on of the row at `row`; `tail` keeps what is no whole number of vectors.
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

    #[inline(always)]
    unsafe fn factors<V: Simd, W: HalfWeight>(&self) -> Factors<V> {
        let mut most = V::splat_byte(0);
        for i in 0..self.vectors {
            most = self.most::<V>(i, most);
        }
        Factors::new::<W>(most)
    }

    /// 32 columns as integers.
    #[inline(always)]
    unsafe fn pairs<V: Simd, W: HalfWeight>(&self, i: usize, factor: V::F) -> V::B {
        let p = self.weights.add(i * 64);
        V::pairs(W::load::<V>(p), W::load::<V>(p.add(32)), factor)
    }
}

/// What to multiply each lane's weights by to have integers, and the integers by to have weights.
#[derive(Clone, Copy)]
struct Factors<V: Simd> {
    to_integers: V::F,
    scale: V::F,
}

impl<V: Simd> Factors<V> {
    /// Of the greatest magnitudes of both halves of the vectors.
    #[inline(always)]
    unsafe fn new<W: HalfWeight>(most: V::B) -> Factors<V> {
        let mut halves = [0u8; 64];
        let p = halves.as_mut_ptr();
        V::store_halves(p, p.add(32), most);
        // As magnitudes again, where what is no number is the greatest.
        V::store_halves(p, p.add(32), V::max_magnitudes(V::load_halves(p, p), V::load_halves(p.add(32), p.add(32))));
        let [power, inverse] = V::powers(W::load::<V>(p));
        Factors { to_integers: V::mul(inverse, V::splat(UNIT / 2.0)), scale: V::mul(power, V::splat(1.0 / UNIT)) }
    }
}

/// Adds a step of a row and a token, whose scales follow its integers.
#[inline(always)]
unsafe fn scaled<V: Simd>(dots: V::I, acts: *const u8, scale: V::F, acc: V::F) -> V::F {
    V::fma(V::mul(V::to_f(dots), V::load_f(acts.add(HALF_SCALES).cast())), scale, acc)
}

/// The single tokens `first..first + T`: a step of each of N rows at a time, so that the tokens' stays in the
/// first-level cache.
#[inline(always)]
pub(super) unsafe fn few<V: Simd, W: HalfWeight, const T: usize, const N: usize>(
    p: &Product,
    layout: &Layout,
    first: usize,
) {
    // Of a tile the next one.
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
                // After the last one itself.
                let (next_row, next_step) = match () {
                    _ if i + 1 < rows => (row + i + 1, step),
                    _ if step + 1 < layout.steps => (row, step + 1),
                    _ if row + rows < p.rows.end => (row + rows, 0),
                    _ => (row + i, step),
                };
                let next = at(next_row, next_step, next_tail);
                // Front to back, and what is used soon.
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

/// Adds a vector of pairs, and asks for those ahead, far and near.
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

/// Adds a step, and finds the factors of the next one, since no sum can start before these are known.
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
    // Apart from the rest, so that no address depends on a choice.
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

/// Integers of a tile of rows, `[TILE][STEP]`, then their scales, `[TILE][16]`.
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
