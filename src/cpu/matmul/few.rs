//! Products of few tokens (6 to 16) with quantised weights: a row per lane.
//!
//! # Problem
//!
//! `row` unpacks weights once for at most four tokens, and for each token it has to add up sums of columns across
//! lanes. With more tokens that is most of its work. `tile` has a token per lane, which would leave lanes empty here.
//!
//! # Idea
//!
//! The weights of 16 rows are transposed once, in registers, for all tokens. A vector then has the same 4 columns of 16
//! rows, and a token's 4 columns are broadcast to all lanes:
//!
//! ```text
//! `row`    vector = row 0, columns 0 1 2 3 | 4 5 6 7 | ...            lane sums belong together, and are added up
//! `few`    vector = columns 0 1 2 3 of row 0 | of row 1 | ...         lane sums belong to different rows
//!          token  = columns 0 1 2 3          | the same | ...
//! ```
//!
//! So nothing is added up across lanes, and the scales of 16 rows are a vector too. Levels that are nibbles are
//! transposed before low and high ones are parted, which is half the work.
//!
//! # Order of sums
//!
//! `row` has the sums of the 16 pairs of blocks in lanes. Here each pair has a vector of its own for each token, with
//! 16 rows in it (`sums`). At the end the 16 vectors are added in the order in which `row` adds its lanes (`total`), so
//! the bits are the same.

// SAFETY: of the whole module: see `Product`; every pointer stays within what it describes.
#![allow(unsafe_op_in_unsafe_fn)]

use super::acts::{LANES, Layout, PAIRS, ROW_INT_SUMS, ROW_SCALES, ROW_STEP, ROW_SUMS, pair_of_lane};
use super::product::Product;
use super::row::{Tail, prefetch};
use super::weight::Weight;
use crate::cpu::simd::Simd;

/// Rows whose weights are unpacked together: one per lane.
const TILE: usize = LANES;
/// The most tokens. Their sums stay in the first-level cache; for more, `tile` is faster.
const MOST: usize = LANES;
/// From so many tokens on transposing the weights pays.
const LEAST: usize = 6;

/// The lane of a pair of blocks in the order of `Simd::even_odd`: the inverse of `pair_of_lane`.
const LANE_OF_PAIR: [usize; PAIRS] = {
    let mut out = [0; PAIRS];
    let mut lane = 0;
    while lane < PAIRS {
        out[pair_of_lane(lane)] = lane;
        lane += 1;
    }
    out
};

/// 256 columns of 16 rows, transposed: a row per lane.
struct Turned<V: Simd> {
    /// Vector `i` has the levels of columns 4i..4i + 4.
    levels: [V::B; 64],
    /// Scales, or scales and mins, in the order of `Weight::head`.
    head: [V::F; 16],
    /// Mins, if they are fine.
    mins: [V::F; 16],
}

/// True if this kernel is for so many single tokens.
pub(super) fn is_for(singles: usize) -> bool {
    (LEAST..=MOST).contains(&singles)
}

/// Computes all rows for the single tokens.
#[inline(always)]
pub(super) unsafe fn product<V: Simd, W: Weight>(p: &Product, layout: &Layout) {
    let n = layout.singles;
    let n_halves = p.n_cols.div_ceil(256);
    let acts = p.acts.add(layout.single(0, 0));
    let mut turned = Turned::<V> { levels: [V::splat_byte(0); 64], head: [V::zero(); 16], mins: [V::zero(); 16] };
    let mut tails = [const { Tail::new() }; TILE];
    let mut sums = [[V::zero(); MOST]; PAIRS];
    let mut row = p.rows.start;
    while row < p.rows.end {
        for half in 0..n_halves {
            turn::<V, W>(p, row, half, &mut tails, &mut turned);
            let pairs = ((p.n_cols - 256 * half) / 32).min(PAIRS / 2);
            for i in 0..pairs {
                let pair = half % 2 * (PAIRS / 2) + i;
                // The next 16 rows are asked for, a few lines at a time.
                let ahead = (row + TILE) * p.row_bytes + TILE * W::HALF_BYTES * half + 2 * W::HALF_BYTES * i;
                prefetch::<V>(p.w.wrapping_add(ahead), 2 * W::HALF_BYTES);
                let mut levels = [V::splat_byte(0); 8];
                levels.copy_from_slice(&turned.levels[8 * i..8 * i + 8]);
                let mut acts = acts.add(half / 2 * ROW_STEP);
                for sum in sums[pair][..n].iter_mut() {
                    let before = if half < 2 { V::zero() } else { *sum };
                    *sum = add::<V, W>(&turned, &levels, i, acts, pair, before);
                    acts = acts.add(layout.steps * ROW_STEP);
                }
            }
        }
        for t in 0..n {
            let mut all = [0f32; TILE];
            V::store_f(all.as_mut_ptr(), total::<V>(&sums, t));
            let y = p.row_of_y(layout.groups * LANES + t).add(row);
            for (i, sum) in all.into_iter().take(p.rows.end - row).enumerate() {
                let bias = p.bias(row + i);
                *y.add(i) = sum + bias;
            }
        }
        row += TILE;
    }
}

/// Unpacks and transposes half-step `half` (256 columns) of 16 rows from `row` on. Past the last row, that row is taken
/// again; nobody writes its results.
#[inline(always)]
unsafe fn turn<V: Simd, W: Weight>(p: &Product, row: usize, half: usize, tails: &mut [Tail; TILE], to: &mut Turned<V>) {
    let at = half * W::HALF_BYTES;
    let mut rows = [p.w; TILE];
    for (i, (to, tail)) in rows.iter_mut().zip(tails).enumerate() {
        let offset = (row + i).min(p.rows.end - 1) * p.row_bytes + at;
        // Reads past the row's end are harmless: `product` does not use these pairs.
        *to = tail.whole(p.w.add(offset), p.rows.end * p.row_bytes - offset, W::HALF_BYTES);
    }
    let mut of_rows = [V::zero(); TILE];
    for (to, row) in of_rows.iter_mut().zip(rows) {
        *to = W::head::<V>(row);
    }
    to.head = V::transpose(of_rows);
    if W::FINE_MINS {
        for (to, row) in of_rows.iter_mut().zip(rows) {
            *to = W::mins::<V>(row);
        }
        to.mins = V::transpose(of_rows);
    }
    let Some(nibbles) = W::NIBBLES else {
        for c in 0..4 {
            for (to, row) in of_rows.iter_mut().zip(rows) {
                *to = V::bytes_as_f(W::levels::<V>(row, c));
            }
            for (i, x) in V::transpose(of_rows).into_iter().enumerate() {
                to.levels[16 * c + i] = V::f_as_bytes(x);
            }
        }
        return;
    };
    // Nibbles are transposed before low and high ones are parted.
    for c in 0..2 {
        for (to, row) in of_rows.iter_mut().zip(rows) {
            let first = row.add(nibbles.at + 4 * c * nibbles.stride);
            let pieces = [0, 1, 2, 3].map(|i| first.add(i * nibbles.stride));
            *to = V::bytes_as_f(V::load_quarters(pieces));
        }
        for (i, x) in V::transpose(of_rows).into_iter().enumerate() {
            let (x, low) = (V::f_as_bytes(x), V::splat_byte(15));
            // The low nibbles are 4 columns of vector `at`; the high ones are 16 or 32 columns behind.
            let behind = nibbles.behind / 4;
            let at = 32 * c + i / behind * 2 * behind + i % behind;
            to.levels[at] = W::of_nibbles::<V>(V::and(x, low));
            to.levels[at + behind] = W::of_nibbles::<V>(V::and(V::high_nibbles(x), low));
        }
    }
}

/// Adds pair `pair` of a step of one token to the sums of 16 rows. It is the `i`th pair of the half that was turned.
#[inline(always)]
unsafe fn add<V: Simd, W: Weight>(
    turned: &Turned<V>,
    levels: &[V::B; 8],
    i: usize,
    acts: *const u8,
    pair: usize,
    sum: V::F,
) -> V::F {
    let offset = if W::WIDE { V::Q8_BIAS } else { W::OFFSET };
    let lane = LANE_OF_PAIR[pair];
    let scales = acts.add(ROW_SCALES).cast::<f32>().add(lane);
    let int_sums = acts.add(ROW_INT_SUMS).cast::<i32>().add(lane);
    let mut sum = sum;
    let mut both = V::zero();
    for odd in 0..2 {
        let mut dots = if offset != 0 { V::splat_i(-offset * *int_sums.add(odd * PAIRS)) } else { V::zero_i() };
        let (mut level, mut a) = ([V::splat_byte(0); 4], [V::splat_byte(0); 4]);
        for k in 0..4 {
            level[k] = levels[4 * odd + k];
            a[k] = V::splat_dword(acts.add(32 * pair + 16 * odd + 4 * k));
        }
        if W::WIDE {
            for k in 0..4 {
                dots = V::dot_q8(dots, level[k], a[k]);
            }
        } else {
            dots = V::dot_four(dots, level, a, W::MOST);
        }
        let (dots, scale) = (V::to_f(dots), V::splat(*scales.add(odd * PAIRS)));
        if W::FINE {
            sum = V::fma(V::mul(dots, scale), turned.head[2 * i + odd], sum);
        } else if odd == 0 {
            both = V::mul(dots, scale);
        } else {
            sum = V::fma(V::fma(dots, scale, both), turned.head[i], sum);
        }
    }
    if W::MINS {
        let (min, value) = (turned.head[8 + i], V::splat(*acts.add(ROW_SUMS).cast::<f32>().add(lane)));
        sum = if W::MINUS { V::fnma(min, value, sum) } else { V::fma(min, value, sum) };
    }
    if W::FINE_MINS {
        for odd in 0..2 {
            let value = *int_sums.add(odd * PAIRS) as f32 * *scales.add(odd * PAIRS);
            sum = V::fnma(V::splat(value), turned.mins[2 * i + odd], sum);
        }
    }
    sum
}

/// Adds up a token's sums of all pairs, in the order in which `Simd::sum` adds the lanes of `row`.
#[inline(always)]
unsafe fn total<V: Simd>(sums: &[[V::F; MOST]; PAIRS], t: usize) -> V::F {
    let mut lanes = [V::zero(); PAIRS];
    for (pair, sum) in sums.iter().enumerate() {
        lanes[LANE_OF_PAIR[pair]] = sum[t];
    }
    let mut half = PAIRS / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = V::add(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}
