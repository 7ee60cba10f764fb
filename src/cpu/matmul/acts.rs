//! Prepared activations: their layout in the workspace, and how they are made.
//!
//! Quantised tokens are laid out in two ways. Groups of 16 tokens have a token per lane, for products of many tokens;
//! the few that are left over, and all tokens as floats, have columns in lanes. Both hold the same numbers, in steps of
//! 512 columns, padded with zeros.

// SAFETY: of the whole module: `prepare` states what its callers vouch for; offsets stay within `bytes`.
#![allow(unsafe_op_in_unsafe_fn)]

use crate::cpu::simd::Simd;
use crate::quant::{Type, weight_types};

/// How activations are prepared for a weight type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActFormat {
    /// f32, as they are.
    F32,
    /// int8 in blocks of 16 with an f32 scale each.
    Q8x16,
    /// int16 of 13 bits and a sign in blocks of 32, every 16th column of 512, with an f32 scale each.
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

/// The format that products with weights of `ty` need, or would need if there were kernels for it.
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

/// A step of one token: 512 int8, then in the order of `Simd::even_odd` scales of the even blocks and of the odd ones,
/// sums of their int8 (as int32) likewise, and sums of the pairs' values.
pub(super) const ROW_STEP: usize = ROW_SUMS + PAIRS * 4;
pub(super) const ROW_SCALES: usize = STEP;
pub(super) const ROW_INT_SUMS: usize = ROW_SCALES + BLOCKS * 4;
pub(super) const ROW_SUMS: usize = ROW_INT_SUMS + BLOCKS * 4;

/// A pair of a group's step: `[8][16 tokens][4]` int8, `[2 blocks][16 tokens]` scales, `[2][16]` sums of the int8 (as
/// int32), 16 sums of the pair's values. A group is `[16 pairs][steps]` of these.
pub(super) const GROUP_PAIR: usize = GROUP_SUMS + LANES * 4;
pub(super) const GROUP_SCALES: usize = 32 * LANES;
pub(super) const GROUP_INT_SUMS: usize = GROUP_SCALES + 2 * LANES * 4;
pub(super) const GROUP_SUMS: usize = GROUP_INT_SUMS + 2 * LANES * 4;

/// The pair that lane `lane` of `Simd::even_odd` belongs to.
#[inline(always)]
pub(super) const fn pair_of_lane(lane: usize) -> usize {
    lane / 8 * 8 + 2 * (lane % 4) + lane / 4 % 2
}

/// A step of one token for weights of 16 bits: 16 vectors of 16 pairs of int16, columns i and 16 + i of the vector's
/// 32, then 16 scales of the lanes.
pub(super) const HALF_SCALES: usize = STEP * 2;
const HALF_STEP: usize = HALF_SCALES + LANES * 4;

/// Where the activations of some tokens lie.
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
            // An odd number: an even one would have a step of all tokens in the same half of the first-level cache.
            return Layout { steps, groups: 0, singles: n_tokens, single_step: STEP * 4, single_stride: steps | 1 };
        }
        if fmt == ActFormat::Q14x32 {
            return Layout { steps, groups: 0, singles: n_tokens, single_step: HALF_STEP, single_stride: steps };
        }
        // A single group is not faster than 16 single tokens; a last one that is half empty is, from 10 tokens on.
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

    /// Offset of a group's pair `pair` of a step; that of the next step follows.
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
    /// Null, or which row of x each token is.
    pub x_rows: *const u32,
    pub n_tokens: usize,
    pub n_cols: usize,
    /// Part `part` of `n_parts` is done.
    pub part: usize,
    pub n_parts: usize,
    /// Where they go.
    pub ws: *mut u8,
}

/// Does part `part` of the steps of all tokens.
///
/// # Safety
/// That of `Kernels::prepare_acts`, and of `Simd`.
#[inline(always)]
pub(super) unsafe fn prepare<V: Simd>(s: &Source) {
    let layout = Layout::new(s.fmt, s.n_tokens, s.n_cols);
    let lanes = layout.groups * LANES + layout.singles;
    // A unit is a step of one lane; neighbours write to different cache lines of a group at worst once per part.
    let units = lanes * layout.steps;
    let (from, to) = (units * s.part / s.n_parts, units * (s.part + 1) / s.n_parts);
    let mut step_values = [0f32; STEP];
    for unit in from..to {
        // Of a group, all lanes of a step before the next step.
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

/// A step of int8, the scales of its blocks, and the sums of each block's int8.
struct Rounded {
    bytes: [u8; STEP],
    scales: [f32; BLOCKS],
    sums: [i32; BLOCKS],
}

impl Rounded {
    /// Sum of the values of 32 columns.
    #[inline(always)]
    fn sum_of_pair(&self, pair: usize) -> f32 {
        let value = |b: usize| self.scales[b] * self.sums[b] as f32;
        value(2 * pair) + value(2 * pair + 1)
    }
}

#[inline(always)]
unsafe fn rounded<V: Simd>(x: &[f32; STEP]) -> Rounded {
    let mut out = Rounded { bytes: [0; STEP], scales: [0.0; BLOCKS], sums: [0; BLOCKS] };
    for b in 0..BLOCKS {
        let x = V::load_f(x.as_ptr().add(16 * b));
        let max = V::abs_max(x);
        // Below the least normal number the inverse would overflow, and the block is nothing anyway.
        let (scale, inverse) = if max < 1e-36 { (0.0, 0.0) } else { (max / 127.0, 127.0 / max) };
        V::store_i8(out.bytes.as_mut_ptr().add(16 * b), V::mul(x, V::splat(inverse)));
        out.scales[b] = scale;
    }
    for c in 0..STEP / 64 {
        let mut quads = [0f32; 16];
        V::store_f(quads.as_mut_ptr(), V::to_f(V::sum_quads(V::load(out.bytes.as_ptr().add(64 * c)))));
        for b in 0..4 {
            // Whole numbers below 2^24: exact.
            let quad = &quads[4 * b..4 * b + 4];
            out.sums[4 * c + b] = ((quad[0] + quad[1]) + (quad[2] + quad[3])) as i32;
        }
    }
    out
}

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

#[inline(always)]
unsafe fn half_step<V: Simd>(x: &[f32; STEP], out: *mut u8) {
    const MOST: f32 = 8191.0;
    let at = |i: usize| V::load_f(x.as_ptr().add(LANES * i));
    let (mut most, mut poison) = (V::splat(1e-30), V::zero());
    for i in 0..STEP / LANES {
        most = V::max(most, V::max(at(i), V::sub(V::zero(), at(i))));
        // The greatest of some may leave out not-a-number: what is no finite number makes this so.
        poison = V::fma(at(i), V::zero(), poison);
    }
    let inverse = V::div(V::splat(MOST), most);
    for i in 0..STEP / (2 * LANES) {
        let to = out.add(64 * i);
        V::store_halves(to, to.add(32), V::pairs(at(2 * i), at(2 * i + 1), inverse));
    }
    V::store_f(out.add(HALF_SCALES).cast(), V::add(V::div(most, V::splat(MOST)), poison));
}

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
