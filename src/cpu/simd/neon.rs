//! AArch64 NEON: four registers are one vector.

// SAFETY: of the whole module: see `Simd`; the callers run where `Isa::Neon` is available.
#![allow(unsafe_op_in_unsafe_fn)]

use super::Simd;
use std::arch::aarch64::*;

#[derive(Clone, Copy)]
pub(crate) struct Neon;

/// One instruction on all four registers.
macro_rules! all {
    ($f:ident($($x:ident),*)) => { [$f($($x[0]),*), $f($($x[1]),*), $f($($x[2]),*), $f($($x[3]),*)] };
}

/// Shift right by `by` bits within bytes, left if negative.
#[inline(always)]
unsafe fn shifted(p: *const u8, by: i32) -> [uint8x16_t; 2] {
    let by = vdupq_n_s8(-by as i8);
    [vshlq_u8(vld1q_u8(p), by), vshlq_u8(vld1q_u8(p.add(16)), by)]
}

#[inline(always)]
unsafe fn bits_to_16(bits: u16) -> uint8x16_t {
    const BIT: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
    let spread = vcombine_u8(vdup_n_u8(bits as u8), vdup_n_u8((bits >> 8) as u8));
    vandq_u8(vtstq_u8(spread, vld1q_u8(BIT.as_ptr())), vdupq_n_u8(16))
}

/// acc[i] + sum of a[4i+j] b[4i+j], both signed.
#[inline(always)]
unsafe fn dot(acc: int32x4_t, a: uint8x16_t, b: uint8x16_t) -> int32x4_t {
    // Products of -128..=127 with -127..=127 fit in 16 bits, but not the sum of two: widen pairs to 32 bits.
    let (a, b) = (vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b));
    let low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)));
    let high = vpaddlq_s16(vmull_high_s8(a, b));
    vaddq_s32(acc, vpaddq_s32(low, high))
}

/// 4 halves as floats.
#[inline(always)]
unsafe fn four_halves(bits: uint16x4_t) -> float32x4_t {
    let bits = vmovl_u16(bits);
    let magnitude = vshlq_n_u32::<13>(vandq_u32(bits, vdupq_n_u32(0x7fff)));
    let value = vmulq_f32(vreinterpretq_f32_u32(magnitude), vreinterpretq_f32_u32(vdupq_n_u32((127 + 112) << 23)));
    // Infinity and not-a-number have all exponent bits set.
    let exponent = vdupq_n_u32(0x7c00);
    let special = vandq_u32(vceqq_u32(vandq_u32(bits, exponent), exponent), vdupq_n_u32(0x7f80_0000));
    let sign = vshlq_n_u32::<16>(vandq_u32(bits, vdupq_n_u32(0x8000)));
    vreinterpretq_f32_u32(vorrq_u32(vorrq_u32(vreinterpretq_u32_f32(value), special), sign))
}

#[inline(always)]
unsafe fn eight_halves(bits: uint16x8_t) -> [float32x4_t; 2] {
    [four_halves(vget_low_u16(bits)), four_halves(vget_high_u16(bits))]
}

#[inline(always)]
unsafe fn half_bits(p: *const u8) -> u16 {
    p.cast::<u16>().read_unaligned()
}

#[inline(always)]
unsafe fn strided(p: *const u8, stride: usize) -> [float32x4_t; 2] {
    let mut bits = [0u16; 8];
    for i in 0..8 {
        bits[i] = half_bits(p.add(i * stride));
    }
    eight_halves(vld1q_u16(bits.as_ptr()))
}

#[inline(always)]
unsafe fn words_to_f(x: int16x8_t) -> [float32x4_t; 2] {
    [vcvtq_f32_s32(vmovl_s16(vget_low_s16(x))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(x)))]
}

/// Of 16 lanes: 0, 4, 8, 12 and 2, 6, 10, 14, then those after each.
#[inline(always)]
unsafe fn fourths(x: [float32x4_t; 4]) -> [[float32x4_t; 2]; 2] {
    let (a, b) = (vuzp1q_f32(x[0], x[1]), vuzp1q_f32(x[2], x[3]));
    let (c, d) = (vuzp2q_f32(x[0], x[1]), vuzp2q_f32(x[2], x[3]));
    [[vuzp1q_f32(a, b), vuzp2q_f32(a, b)], [vuzp1q_f32(c, d), vuzp2q_f32(c, d)]]
}

impl Simd for Neon {
    type B = [uint8x16_t; 4];
    type I = [int32x4_t; 4];
    type F = [float32x4_t; 4];

    const Q8_BIAS: i32 = 0;
    const REGISTERS: usize = 8;

    #[inline(always)]
    unsafe fn bytes_as_f(x: Self::B) -> Self::F {
        all!(vreinterpretq_f32_u8(x))
    }
    #[inline(always)]
    unsafe fn f_as_bytes(x: Self::F) -> Self::B {
        all!(vreinterpretq_u8_f32(x))
    }
    #[inline(always)]
    unsafe fn load(p: *const u8) -> Self::B {
        Self::load_halves(p, p.add(32))
    }
    #[inline(always)]
    unsafe fn load_halves(p: *const u8, q: *const u8) -> Self::B {
        [vld1q_u8(p), vld1q_u8(p.add(16)), vld1q_u8(q), vld1q_u8(q.add(16))]
    }
    #[inline(always)]
    unsafe fn load_quarters(p: [*const u8; 4]) -> Self::B {
        p.map(|p| vld1q_u8(p))
    }
    #[inline(always)]
    unsafe fn of_longs(x: impl Fn(usize) -> u64) -> Self::B {
        let two = |i| vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(x(i)), vcreate_u64(x(i + 1))));
        [two(0), two(2), two(4), two(6)]
    }
    #[inline(always)]
    unsafe fn of_words(x: impl Fn(usize) -> u32) -> Self::B {
        Self::of_longs(|i| u64::from(x(2 * i)) | u64::from(x(2 * i + 1)) << 32)
    }
    #[inline(always)]
    unsafe fn store_halves(p: *mut u8, q: *mut u8, x: Self::B) {
        vst1q_u8(p, x[0]);
        vst1q_u8(p.add(16), x[1]);
        vst1q_u8(q, x[2]);
        vst1q_u8(q.add(16), x[3]);
    }
    #[inline(always)]
    unsafe fn splat_byte(x: u8) -> Self::B {
        [vdupq_n_u8(x); 4]
    }
    #[inline(always)]
    unsafe fn splat_dword(p: *const u8) -> Self::B {
        [vreinterpretq_u8_u32(vdupq_n_u32(p.cast::<u32>().read_unaligned())); 4]
    }
    #[inline(always)]
    unsafe fn and(a: Self::B, b: Self::B) -> Self::B {
        all!(vandq_u8(a, b))
    }
    #[inline(always)]
    unsafe fn or(a: Self::B, b: Self::B) -> Self::B {
        all!(vorrq_u8(a, b))
    }
    #[inline(always)]
    unsafe fn high_nibbles(x: Self::B) -> Self::B {
        [vshrq_n_u8::<4>(x[0]), vshrq_n_u8::<4>(x[1]), vshrq_n_u8::<4>(x[2]), vshrq_n_u8::<4>(x[3])]
    }
    #[inline(always)]
    unsafe fn twice_shifted(p: *const u8, first: i32, second: i32) -> Self::B {
        let (a, b) = (shifted(p, first), shifted(p, second));
        [a[0], a[1], b[0], b[1]]
    }
    #[inline(always)]
    unsafe fn nibbles(p: *const u8, q: *const u8) -> Self::B {
        let (a, b, low) = (vld1q_u8(p), vld1q_u8(q), vdupq_n_u8(15));
        [vandq_u8(a, low), vshrq_n_u8::<4>(a), vandq_u8(b, low), vshrq_n_u8::<4>(b)]
    }
    #[inline(always)]
    unsafe fn bits_to_16(bits: u64) -> Self::B {
        [
            bits_to_16(bits as u16),
            bits_to_16((bits >> 16) as u16),
            bits_to_16((bits >> 32) as u16),
            bits_to_16((bits >> 48) as u16),
        ]
    }
    #[inline(always)]
    unsafe fn signed(x: Self::B, bits: u64, offset: u8) -> Self::B {
        let offset = vdupq_n_u8(offset);
        [0, 1, 2, 3].map(|i| {
            let negative = vtstq_u8(bits_to_16((bits >> (16 * i)) as u16), vdupq_n_u8(16));
            vbslq_u8(negative, vsubq_u8(offset, x[i]), vaddq_u8(offset, x[i]))
        })
    }
    #[inline(always)]
    unsafe fn table(p: *const u8) -> Self::B {
        [vld1q_u8(p); 4]
    }
    #[inline(always)]
    unsafe fn lookup(table: Self::B, indices: Self::B) -> Self::B {
        all!(vqtbl1q_u8(table, indices))
    }
    #[inline(always)]
    unsafe fn bias_q8(x: Self::B) -> Self::B {
        x
    }

    #[inline(always)]
    unsafe fn dot(acc: Self::I, u: Self::B, s: Self::B) -> Self::I {
        all!(dot(acc, u, s))
    }
    #[inline(always)]
    unsafe fn dot_q8(acc: Self::I, q: Self::B, s: Self::B) -> Self::I {
        all!(dot(acc, q, s))
    }
    #[inline(always)]
    unsafe fn pairs(low: Self::F, high: Self::F, factor: Self::F) -> Self::B {
        // At 1.5 * 2^23 the last bit of a float is 1: an integer in two's complement is in the low bits of the sum.
        let integers = |x, factor| vreinterpretq_u32_f32(vfmaq_f32(vdupq_n_f32(12_582_912.0), x, factor));
        [0, 1, 2, 3]
            .map(|i| vreinterpretq_u8_u32(vsliq_n_u32::<16>(integers(low[i], factor[i]), integers(high[i], factor[i]))))
    }
    #[inline(always)]
    unsafe fn dot_pairs(acc: Self::I, a: Self::B, b: Self::B) -> Self::I {
        [0, 1, 2, 3].map(|i| {
            let (a, b) = (vreinterpretq_s16_u8(a[i]), vreinterpretq_s16_u8(b[i]));
            vaddq_s32(acc[i], vpaddq_s32(vmull_s16(vget_low_s16(a), vget_low_s16(b)), vmull_high_s16(a, b)))
        })
    }
    #[inline(always)]
    unsafe fn max_magnitudes(a: Self::B, b: Self::B) -> Self::B {
        [0, 1, 2, 3].map(|i| {
            let magnitudes = vandq_u16(vreinterpretq_u16_u8(b[i]), vdupq_n_u16(0x7fff));
            vreinterpretq_u8_u16(vmaxq_u16(vreinterpretq_u16_u8(a[i]), magnitudes))
        })
    }
    #[inline(always)]
    unsafe fn sum_quads(s: Self::B) -> Self::I {
        Self::dot(Self::zero_i(), Self::splat_byte(1), s)
    }
    #[inline(always)]
    unsafe fn zero_i() -> Self::I {
        [vdupq_n_s32(0); 4]
    }
    #[inline(always)]
    unsafe fn splat_i(x: i32) -> Self::I {
        [vdupq_n_s32(x); 4]
    }
    #[inline(always)]
    unsafe fn load_i(p: *const i32) -> Self::I {
        [vld1q_s32(p), vld1q_s32(p.add(4)), vld1q_s32(p.add(8)), vld1q_s32(p.add(12))]
    }
    #[inline(always)]
    unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I {
        all!(vaddq_s32(a, b))
    }
    #[inline(always)]
    unsafe fn scale_i(x: Self::I, y: i32) -> Self::I {
        let y = [vdupq_n_s32(y); 4];
        all!(vmulq_s32(x, y))
    }
    #[inline(always)]
    unsafe fn to_f(x: Self::I) -> Self::F {
        all!(vcvtq_f32_s32(x))
    }

    #[inline(always)]
    unsafe fn zero() -> Self::F {
        [vdupq_n_f32(0.0); 4]
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::F {
        [vdupq_n_f32(x); 4]
    }
    #[inline(always)]
    unsafe fn load_f(p: *const f32) -> Self::F {
        [vld1q_f32(p), vld1q_f32(p.add(4)), vld1q_f32(p.add(8)), vld1q_f32(p.add(12))]
    }
    #[inline(always)]
    unsafe fn store_f(p: *mut f32, x: Self::F) {
        for i in 0..4 {
            vst1q_f32(p.add(4 * i), x[i]);
        }
    }
    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        all!(vaddq_f32(a, b))
    }
    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        all!(vsubq_f32(a, b))
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        all!(vmulq_f32(a, b))
    }
    #[inline(always)]
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        all!(vdivq_f32(a, b))
    }
    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        all!(vfmaq_f32(c, a, b))
    }
    #[inline(always)]
    unsafe fn fnma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        all!(vfmsq_f32(c, a, b))
    }
    #[inline(always)]
    unsafe fn clamp(x: Self::F, low: f32, high: f32) -> Self::F {
        let (low, high) = (Self::splat(low), Self::splat(high));
        let x = all!(vmaxq_f32(x, low));
        all!(vminq_f32(x, high))
    }
    #[inline(always)]
    unsafe fn round(x: Self::F) -> Self::F {
        all!(vrndnq_f32(x))
    }
    #[inline(always)]
    unsafe fn exp2_int(x: Self::F) -> Self::F {
        let (x, bias) = (all!(vcvtnq_s32_f32(x)), [vdupq_n_s32(127); 4]);
        let x = all!(vaddq_s32(x, bias));
        let mut out = Self::zero();
        for i in 0..4 {
            out[i] = vreinterpretq_f32_s32(vshlq_n_s32::<23>(x[i]));
        }
        out
    }
    #[inline(always)]
    unsafe fn sum(x: Self::F) -> f32 {
        let four = vaddq_f32(vaddq_f32(x[0], x[2]), vaddq_f32(x[1], x[3]));
        let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
        vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
    }
    #[inline(always)]
    unsafe fn powers(x: Self::F) -> [Self::F; 2] {
        let (x, exponent) = (all!(vreinterpretq_u32_f32(x)), [vdupq_n_u32(0x7f80_0000); 4]);
        let (power, inverse) = (all!(vandq_u32(exponent, x)), all!(vbicq_u32(exponent, x)));
        [all!(vreinterpretq_f32_u32(power)), all!(vreinterpretq_f32_u32(inverse))]
    }
    #[inline(always)]
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
        all!(vmaxq_f32(a, b))
    }
    #[inline(always)]
    unsafe fn abs_max(x: Self::F) -> f32 {
        // Without the sign, bits order as the numbers do, and not-a-number comes last.
        let x = all!(vabsq_f32(x));
        let x = all!(vreinterpretq_u32_f32(x));
        f32::from_bits(vmaxvq_u32(vmaxq_u32(vmaxq_u32(x[0], x[1]), vmaxq_u32(x[2], x[3]))))
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut u8, x: Self::F) {
        let x = all!(vcvtnq_s32_f32(x));
        let low = vcombine_s16(vqmovn_s32(x[0]), vqmovn_s32(x[1]));
        let high = vcombine_s16(vqmovn_s32(x[2]), vqmovn_s32(x[3]));
        vst1q_s8(p.cast(), vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
    }

    #[inline(always)]
    unsafe fn load_half(p: *const u8) -> Self::F {
        let (a, b) =
            (eight_halves(vreinterpretq_u16_u8(vld1q_u8(p))), eight_halves(vreinterpretq_u16_u8(vld1q_u8(p.add(16)))));
        [a[0], a[1], b[0], b[1]]
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> Self::F {
        let mut out = Self::zero();
        for i in 0..2 {
            let bits = vreinterpretq_u16_u8(vld1q_u8(p.add(16 * i)));
            out[2 * i] = vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(bits)));
            out[2 * i + 1] = vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_high_u16(bits)));
        }
        out
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> Self::F {
        let x = vld1q_u8(p);
        let a = words_to_f(vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(x))));
        let b = words_to_f(vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(x))));
        [a[0], a[1], b[0], b[1]]
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8) -> Self::F {
        let x = vld1q_s8(p.cast());
        let (a, b) = (words_to_f(vmovl_s8(vget_low_s8(x))), words_to_f(vmovl_s8(vget_high_s8(x))));
        [a[0], a[1], b[0], b[1]]
    }
    #[inline(always)]
    unsafe fn two_halves(p: *const u8, q: *const u8) -> Self::F {
        let (a, b) = (four_halves(vdup_n_u16(half_bits(p))), four_halves(vdup_n_u16(half_bits(q))));
        [a, a, b, b]
    }
    #[inline(always)]
    unsafe fn strided_halves(p: *const u8, stride: usize, both: bool) -> Self::F {
        let low = strided(p, stride);
        let high = if both { strided(p.add(2), stride) } else { [vdupq_n_f32(0.0); 2] };
        [low[0], low[1], high[0], high[1]]
    }
    #[inline(always)]
    unsafe fn block_sums(x: [Self::I; 4]) -> Self::I {
        let mut out = Self::zero_i();
        for j in 0..4 {
            out[j] = vpaddq_s32(vpaddq_s32(x[0][j], x[1][j]), vpaddq_s32(x[2][j], x[3][j]));
        }
        out
    }
    #[inline(always)]
    unsafe fn even_odd(a: Self::I, b: Self::I) -> [Self::I; 2] {
        [[a[0], a[2], b[0], b[2]], [a[1], a[3], b[1], b[3]]]
    }
    #[inline(always)]
    unsafe fn spread_32(a: Self::F, b: Self::F) -> Self::F {
        [vuzp1q_f32(a[0], a[1]), vuzp2q_f32(a[0], a[1]), vuzp1q_f32(b[0], b[1]), vuzp2q_f32(b[0], b[1])]
    }
    #[inline(always)]
    unsafe fn spread_32_upper(a: Self::F, b: Self::F) -> Self::F {
        [vuzp1q_f32(a[2], a[3]), vuzp2q_f32(a[2], a[3]), vuzp1q_f32(b[2], b[3]), vuzp2q_f32(b[2], b[3])]
    }
    #[inline(always)]
    unsafe fn spread_16(a: Self::F, b: Self::F) -> [Self::F; 2] {
        let (a, b) = (fourths(a), fourths(b));
        [[a[0][0], a[0][1], b[0][0], b[0][1]], [a[1][0], a[1][1], b[1][0], b[1][1]]]
    }
}
