//! Prepared activations: their forms, their layout in the workspace, and the way in which they are made.
//!
//! # Problem
//!
//! A product reads each token's activations once for every row of the matrix, thousands of times. So they are brought
//! once into the form that a kernel wants, and all threads share that work.
//!
//! # Forms
//!
//! A weight type decides the form ([`act_format`]):
//!
//! - `Q8x16`, for quantised weights: blocks of 16 columns are rounded to int8, so that the greatest of a block becomes
//!   127. Beside the int8 stand each block's scale, the sum of its int8 (for types with an offset), and the sum of the
//!   values of each pair of blocks (for types with mins).
//! - `Q14x32`, for weights of 16 bits: of each step of 512 columns, every 16th column has one scale, and is rounded to
//!   int16 so that the greatest becomes 8191. `half.rs` says why.
//! - `F32`: the activations as they are.
//!
//! Columns are padded with zeros to whole steps of 512, so kernels have no special case for the activations.
//!
//! # Layouts of Q8x16
//!
//! Single tokens, for `row` and `few`: step by step 512 int8, then scales, sums of int8, sums of values. These are in
//! the order of lanes that `row` has ([`pair_of_lane`]), so that it loads them as they are.
//!
//! Groups of 16 tokens, for `tile`: a token per lane. A vector holds 4 columns of 16 tokens.
//!
//! ```text
//! single   | token 0: columns 0 1 2 3 ... 511 | scales | sums |  next step ...   | token 1 ...
//! group    | columns 0..4 of token 0, of token 1, ... of token 15 | columns 4..8 of token 0 ... | ... 28..32 | scales
//! of
//!          | all 16 tokens | sums of all | the same pair of the next step ...  | the next pair ...
//! ```
//!
//! A group is ordered by pair first and by step second, since `tile` goes through all steps of one pair. Tokens are cut
//! into groups; a rest of fewer than 10 tokens is single, and so are all tokens if there are no more than 16
//! ([`Layout::new`]). Both layouts hold the same numbers.

// SAFETY: of the whole module: `prepare` states what its callers vouch for; offsets stay within `bytes`.
#![allow(unsafe_op_in_unsafe_fn)]

use crate::cpu::simd::Simd;
use crate::quant::{Type, weight_types};

/// A form of activations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActFormat {
    /// f32, as they are.
    F32,
    /// int8 in blocks of 16, each with a scale.
    Q8x16,
    /// int16 of 13 bits and a sign in blocks of 32, each with a scale. A block is every 16th column of 512.
    Q14x32,
}

macro_rules! format_of {
    ($ty:ident; $($name:ident = $number:literal: $len:literal in $bytes:literal,
         cpu [$kind:ident $($kernel:ident)? $($cpu:literal)?], cuda [$($cuda:literal)?];)*) => {
        match $ty { $(Type::$name => format_of!(@$kind),)* }
    };
    (@float) => { ActFormat::F32 };
    (@half) => { ActFormat::Q14x32 };
    (@quantised) => { ActFormat::Q8x16 };
    (@none) => { ActFormat::Q8x16 };
}

/// The form that products with weights of `ty` need, or would need if there were kernels for it.
pub fn act_format(ty: Type) -> ActFormat {
    weight_types!(format_of; ty)
}

/// Bytes of workspace for the prepared activations `[n_tokens, n_cols]`, a multiple of 64; `None` if that overflows.
pub fn act_bytes(fmt: ActFormat, n_tokens: usize, n_cols: usize) -> Option<usize> {
    Layout::new(fmt, n_tokens, n_cols).bytes()
}

/// Columns of a step; every supported block length divides half of it.
pub(super) const STEP: usize = 512;
/// Tokens of a group.
pub(super) const LANES: usize = 16;
/// Blocks of 16 columns in a step.
const BLOCKS: usize = STEP / 16;
/// Pairs of neighbouring blocks: 32 columns.
pub(super) const PAIRS: usize = BLOCKS / 2;

/// Bytes of a step of a single token: 512 int8, then, in the order of lanes, scales of the even blocks and of the odd
/// ones, sums of int8 (as int32) of the even blocks and of the odd ones, and sums of the pairs' values.
pub(super) const ROW_STEP: usize = ROW_SUMS + PAIRS * 4;
pub(super) const ROW_SCALES: usize = STEP;
pub(super) const ROW_INT_SUMS: usize = ROW_SCALES + BLOCKS * 4;
pub(super) const ROW_SUMS: usize = ROW_INT_SUMS + BLOCKS * 4;

/// Bytes of a pair of a group's step: `[8][16 tokens][4]` int8, `[2 blocks][16 tokens]` scales, `[2 blocks][16 tokens]`
/// sums of int8 (as int32), 16 sums of the pair's values. A group is `[16 pairs][steps]` of these.
pub(super) const GROUP_PAIR: usize = GROUP_SUMS + LANES * 4;
pub(super) const GROUP_SCALES: usize = 32 * LANES;
pub(super) const GROUP_INT_SUMS: usize = GROUP_SCALES + 2 * LANES * 4;
pub(super) const GROUP_SUMS: usize = GROUP_INT_SUMS + 2 * LANES * 4;

/// The pair of blocks that lane `lane` belongs to in the order of `Simd::even_odd`: 0 2 4 6, 1 3 5 7, 8 10 12 14, 9 11
/// 13
/// 15. It is the order in which instructions can sort sums of blocks with the fewest moves.
#[inline(always)]
pub(super) const fn pair_of_lane(lane: usize) -> usize {
    lane / 8 * 8 + 2 * (lane % 4) + lane / 4 % 2
}

/// A step of a token as `Q14x32`: 16 vectors of 32 columns, then 16 scales. Lane `i` of a vector has the columns `i`
/// and `16 + i` side by side, as int16.
pub(super) const HALF_SCALES: usize = STEP * 2;
const HALF_STEP: usize = HALF_SCALES + LANES * 4;

/// The layout of some tokens' activations: groups first, then single tokens.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Steps of 512 columns.
    pub steps: usize,
    /// Groups of 16 tokens; the last may be partly empty.
    pub groups: usize,
    /// Tokens after the groups.
    pub singles: usize,
    /// Bytes of a step of a single token.
    pub single_step: usize,
    /// Steps from one single token to the next.
    pub single_stride: usize,
}

impl Layout {
    pub(super) fn new(fmt: ActFormat, n_tokens: usize, n_cols: usize) -> Layout {
        let steps = n_cols.div_ceil(STEP);
        if fmt == ActFormat::F32 {
            // An odd number of steps from one token to the next. With an even one, the same step of all tokens would
            // fall into the same half of the first-level cache.
            return Layout { steps, groups: 0, singles: n_tokens, single_step: STEP * 4, single_stride: steps | 1 };
        }
        if fmt == ActFormat::Q14x32 {
            return Layout { steps, groups: 0, singles: n_tokens, single_step: HALF_STEP, single_stride: steps };
        }
        // Up to 16 tokens, `few` is no slower than one group. For the rest behind full groups, a group that is partly
        // empty is faster from 10 tokens on.
        let (groups, singles) = match (n_tokens / LANES, n_tokens % LANES) {
            _ if n_tokens <= LANES => (0, n_tokens),
            (full, rest @ ..10) => (full, rest),
            (full, _) => (full + 1, 0),
        };
        Layout { steps, groups, singles, single_step: ROW_STEP, single_stride: steps }
    }

    /// Bytes of the workspace, or `None` if they overflow.
    pub(super) fn bytes(&self) -> Option<usize> {
        let groups = self.groups.checked_mul(PAIRS * GROUP_PAIR)?.checked_mul(self.steps)?;
        groups.checked_add(self.singles.checked_mul(self.single_step)?.checked_mul(self.single_stride)?)
    }

    /// Offset of a group's pair `pair` of a step. The same pair of the next step follows.
    #[inline(always)]
    pub(super) fn pair(&self, group: usize, pair: usize, step: usize) -> usize {
        ((group * PAIRS + pair) * self.steps + step) * GROUP_PAIR
    }

    /// Offset of a step of the `i`th token after the groups.
    #[inline(always)]
    pub(super) fn single(&self, i: usize, step: usize) -> usize {
        self.pair(self.groups, 0, 0) + (i * self.single_stride + step) * self.single_step
    }
}

/// Activations to prepare: x `[n_tokens, n_cols]`, rows `x_stride` floats apart.
pub struct Source {
    pub fmt: ActFormat,
    pub x: *const f32,
    pub x_stride: usize,
    /// The row of x that each token is; null if they follow each other.
    pub x_rows: *const u32,
    pub n_tokens: usize,
    pub n_cols: usize,
    /// A call prepares part `part` of `n_parts`.
    pub part: usize,
    pub n_parts: usize,
    /// The workspace that they are written to.
    pub ws: *mut u8,
}

impl Source {
    /// All of x `[n_tokens, n_cols]`, whose rows follow each other, in one part.
    pub fn new(fmt: ActFormat, x: *const f32, n_tokens: usize, n_cols: usize, ws: *mut u8) -> Source {
        let (x_rows, part, n_parts) = (std::ptr::null(), 0, 1);
        Source { fmt, x, x_stride: n_cols, x_rows, n_tokens, n_cols, part, n_parts, ws }
    }
}

/// Prepares part `part` of the steps of all tokens.
///
/// # Safety
/// That of `Kernels::prepare_acts`, and of `Simd`.
#[inline(always)]
pub(super) unsafe fn prepare<V: Simd>(s: &Source) {
    let layout = Layout::new(s.fmt, s.n_tokens, s.n_cols);
    let lanes = layout.groups * LANES + layout.singles;
    // A unit of work is a step of one token. Threads have rows of neighbouring units, so that two of them write to the
    // same cache lines of a group at most where their parts meet.
    let units = lanes * layout.steps;
    let (from, to) = (units * s.part / s.n_parts, units * (s.part + 1) / s.n_parts);
    let mut step_values = [0f32; STEP];
    for unit in from..to {
        // In a group, all tokens of a step come before the next step.
        let grouped = layout.groups * LANES * layout.steps;
        let (token, step) = if unit < grouped {
            let (group, within) = (unit / (LANES * layout.steps), unit % (LANES * layout.steps));
            (group * LANES + within % LANES, within / LANES)
        } else {
            (layout.groups * LANES + (unit - grouped) / layout.steps, (unit - grouped) % layout.steps)
        };
        let n = if token < s.n_tokens { STEP.min(s.n_cols - step * STEP) } else { 0 };
        if n > 0 {
            let row = if s.x_rows.is_null() { token } else { *s.x_rows.add(token) as usize };
            std::ptr::copy_nonoverlapping(s.x.add(row * s.x_stride + step * STEP), step_values.as_mut_ptr(), n);
        }
        step_values[n..].fill(0.0);
        let group = token / LANES;
        if group < layout.groups {
            group_step::<V>(&step_values, s.ws, &layout, group, step, token % LANES);
            continue;
        }
        let out = s.ws.add(layout.single(token - layout.groups * LANES, step));
        match s.fmt {
            ActFormat::Q8x16 => single_step::<V>(&step_values, out),
            ActFormat::Q14x32 => half_step::<V>(&step_values, out),
            ActFormat::F32 => std::ptr::copy_nonoverlapping(step_values.as_ptr(), out.cast(), STEP),
        }
    }
}

/// A step of a token, rounded: int8, the scales of its blocks, and the sums of each block's int8.
struct Rounded {
    bytes: [u8; STEP],
    scales: [f32; BLOCKS],
    sums: [i32; BLOCKS],
}

impl Rounded {
    /// The sum of the rounded values of a pair, 32 columns.
    #[inline(always)]
    fn sum_of_pair(&self, pair: usize) -> f32 {
        let value = |b: usize| self.scales[b] * self.sums[b] as f32;
        value(2 * pair) + value(2 * pair + 1)
    }
}

/// Rounds a step to int8.
#[inline(always)]
unsafe fn rounded<V: Simd>(x: &[f32; STEP]) -> Rounded {
    let mut out = Rounded { bytes: [0; STEP], scales: [0.0; BLOCKS], sums: [0; BLOCKS] };
    for b in 0..BLOCKS {
        let x = V::load_f(x.as_ptr().add(16 * b));
        let max = V::abs_max(x);
        // For smaller numbers the inverse would overflow, and they add nothing to a product.
        let (scale, inverse) = if max < 1e-36 { (0.0, 0.0) } else { (max / 127.0, 127.0 / max) };
        V::store_i8(out.bytes.as_mut_ptr().add(16 * b), V::mul(x, V::splat(inverse)));
        out.scales[b] = scale;
    }
    for c in 0..STEP / 64 {
        let mut quads = [0f32; 16];
        V::store_f(quads.as_mut_ptr(), V::to_f(V::sum_quads(V::load(out.bytes.as_ptr().add(64 * c)))));
        for b in 0..4 {
            // These are whole numbers below 2^24, so floats add them exactly.
            let quad = &quads[4 * b..4 * b + 4];
            out.sums[4 * c + b] = ((quad[0] + quad[1]) + (quad[2] + quad[3])) as i32;
        }
    }
    out
}

/// Writes a step of a single token as `Q8x16`.
#[inline(always)]
unsafe fn single_step<V: Simd>(x: &[f32; STEP], out: *mut u8) {
    let step = rounded::<V>(x);
    std::ptr::copy_nonoverlapping(step.bytes.as_ptr(), out, STEP);
    for lane in 0..PAIRS {
        let pair = pair_of_lane(lane);
        for odd in 0..2 {
            *out.add(ROW_SCALES).cast::<f32>().add(odd * PAIRS + lane) = step.scales[2 * pair + odd];
            *out.add(ROW_INT_SUMS).cast::<i32>().add(odd * PAIRS + lane) = step.sums[2 * pair + odd];
        }
        *out.add(ROW_SUMS).cast::<f32>().add(lane) = step.sum_of_pair(pair);
    }
}

/// Writes a step of a token as `Q14x32`.
#[inline(always)]
unsafe fn half_step<V: Simd>(x: &[f32; STEP], out: *mut u8) {
    const MOST: f32 = 8191.0;
    let at = |i: usize| V::load_f(x.as_ptr().add(LANES * i));
    let (mut most, mut poison) = (V::splat(1e-30), V::zero());
    for i in 0..STEP / LANES {
        most = V::max(most, V::max(at(i), V::sub(V::zero(), at(i))));
        // `max` may lose not-a-number, so it is looked for apart: infinity and not-a-number times 0 is not-a-number.
        poison = V::fma(at(i), V::zero(), poison);
    }
    let inverse = V::div(V::splat(MOST), most);
    for i in 0..STEP / (2 * LANES) {
        let to = out.add(64 * i);
        V::store_halves(to, to.add(32), V::pairs(at(2 * i), at(2 * i + 1), inverse));
    }
    V::store_f(out.add(HALF_SCALES).cast(), V::add(V::div(most, V::splat(MOST)), poison));
}

/// Writes a step of one token of a group.
#[inline(always)]
unsafe fn group_step<V: Simd>(x: &[f32; STEP], ws: *mut u8, layout: &Layout, group: usize, step: usize, lane: usize) {
    let rounded = rounded::<V>(x);
    for pair in 0..PAIRS {
        let out = ws.add(layout.pair(group, pair, step)).cast::<u32>().add(lane);
        for k in 0..8 {
            *out.add(k * LANES) = rounded.bytes.as_ptr().cast::<u32>().add(8 * pair + k).read_unaligned();
        }
        for odd in 0..2 {
            *out.byte_add(GROUP_SCALES).cast::<f32>().add(odd * LANES) = rounded.scales[2 * pair + odd];
            *out.byte_add(GROUP_INT_SUMS).cast::<i32>().add(odd * LANES) = rounded.sums[2 * pair + odd];
        }
        *out.byte_add(GROUP_SUMS).cast::<f32>() = rounded.sum_of_pair(pair);
    }
}
