//! Plain arrays: what the compiler makes of them with the instructions that every processor of the target has.

// SAFETY: of the whole module: see `Simd`; only the pointers matter, and the callers vouch for them.
#![allow(unsafe_op_in_unsafe_fn)]

use super::Simd;

#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// An array by index; a loop that the compiler turns into vectors.
macro_rules! each {
    ($n:literal, $zero:expr, $i:ident => $value:expr) => {{
        let mut out = [$zero; $n];
        for $i in 0..$n {
            out[$i] = $value;
        }
        out
    }};
}

/// A half by arithmetic without branches, so that the compiler can make vectors of it.
#[inline(always)]
unsafe fn half_at(p: *const u8) -> f32 {
    let bits = u32::from(p.cast::<u16>().read_unaligned());
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    // Infinity and not-a-number have all exponent bits set.
    let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
}

#[inline(always)]
fn shifted(x: u8, right: i32) -> u8 {
    if right >= 0 { x >> right } else { x << -right }
}

/// Sums of four products each. The compiler does not find the instruction for pairs by itself, and x86-64 always has
/// it.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn dot<const SIGNED: bool>(mut acc: [i32; 16], a: &[u8; 64], s: &[u8; 64]) -> [i32; 16] {
    use std::arch::x86_64::*;
    let zero = _mm_setzero_si128();
    for i in 0..4 {
        let a = _mm_loadu_si128(a.as_ptr().add(16 * i).cast());
        let s = _mm_loadu_si128(s.as_ptr().add(16 * i).cast());
        let (low, high) = if SIGNED {
            (_mm_srai_epi16::<8>(_mm_unpacklo_epi8(a, a)), _mm_srai_epi16::<8>(_mm_unpackhi_epi8(a, a)))
        } else {
            (_mm_unpacklo_epi8(a, zero), _mm_unpackhi_epi8(a, zero))
        };
        // Signed bytes in the upper half of words: products are 256 times too large, and fit.
        let low = _mm_castsi128_ps(_mm_madd_epi16(low, _mm_unpacklo_epi8(zero, s)));
        let high = _mm_castsi128_ps(_mm_madd_epi16(high, _mm_unpackhi_epi8(zero, s)));
        let even = _mm_castps_si128(_mm_shuffle_ps::<0b10_00_10_00>(low, high));
        let odd = _mm_castps_si128(_mm_shuffle_ps::<0b11_01_11_01>(low, high));
        let sums = _mm_srai_epi32::<8>(_mm_add_epi32(even, odd));
        let to = acc.as_mut_ptr().add(4 * i).cast();
        _mm_storeu_si128(to, _mm_add_epi32(_mm_loadu_si128(to), sums));
    }
    acc
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
unsafe fn dot<const SIGNED: bool>(mut acc: [i32; 16], a: &[u8; 64], s: &[u8; 64]) -> [i32; 16] {
    for i in 0..64 {
        let a = if SIGNED { i32::from(a[i] as i8) } else { i32::from(a[i]) };
        acc[i / 4] += a * i32::from(s[i] as i8);
    }
    acc
}

/// Sums of two products each; the instruction for it again.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn dot_pairs(mut acc: [i32; 16], a: &[u8; 64], b: &[u8; 64]) -> [i32; 16] {
    use std::arch::x86_64::*;
    for i in 0..4 {
        let at = |x: &[u8; 64]| _mm_loadu_si128(x.as_ptr().add(16 * i).cast());
        let to = acc.as_mut_ptr().add(4 * i).cast();
        _mm_storeu_si128(to, _mm_add_epi32(_mm_loadu_si128(to), _mm_madd_epi16(at(a), at(b))));
    }
    acc
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
unsafe fn dot_pairs(mut acc: [i32; 16], a: &[u8; 64], b: &[u8; 64]) -> [i32; 16] {
    let (a, b) = (a.as_ptr().cast::<[i16; 32]>().read_unaligned(), b.as_ptr().cast::<[i16; 32]>().read_unaligned());
    for i in 0..32 {
        acc[i / 2] = acc[i / 2].wrapping_add(i32::from(a[i]) * i32::from(b[i]));
    }
    acc
}

impl Simd for Portable {
    type B = [u8; 64];
    type I = [i32; 16];
    type F = [f32; 16];

    const Q8_BIAS: i32 = 0;
    const REGISTERS: usize = 8;

    #[inline(always)]
    unsafe fn bytes_as_f(x: [u8; 64]) -> [f32; 16] {
        std::mem::transmute(x)
    }
    #[inline(always)]
    unsafe fn f_as_bytes(x: [f32; 16]) -> [u8; 64] {
        std::mem::transmute(x)
    }
    #[inline(always)]
    unsafe fn load(p: *const u8) -> [u8; 64] {
        p.cast::<[u8; 64]>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn load_halves(p: *const u8, q: *const u8) -> [u8; 64] {
        std::mem::transmute([p.cast::<[u8; 32]>().read_unaligned(), q.cast::<[u8; 32]>().read_unaligned()])
    }
    #[inline(always)]
    unsafe fn load_quarters(p: [*const u8; 4]) -> [u8; 64] {
        let mut out = [0; 64];
        for (i, p) in p.into_iter().enumerate() {
            std::ptr::copy_nonoverlapping(p, out.as_mut_ptr().add(16 * i), 16);
        }
        out
    }
    #[inline(always)]
    unsafe fn of_longs(x: impl Fn(usize) -> u64) -> [u8; 64] {
        std::mem::transmute([0, 1, 2, 3, 4, 5, 6, 7].map(|i| x(i).to_le_bytes()))
    }
    #[inline(always)]
    unsafe fn of_words(x: impl Fn(usize) -> u32) -> [u8; 64] {
        Self::of_longs(|i| u64::from(x(2 * i)) | u64::from(x(2 * i + 1)) << 32)
    }
    #[inline(always)]
    unsafe fn store_halves(p: *mut u8, q: *mut u8, x: [u8; 64]) {
        std::ptr::copy_nonoverlapping(x.as_ptr(), p, 32);
        std::ptr::copy_nonoverlapping(x.as_ptr().add(32), q, 32);
    }
    #[inline(always)]
    unsafe fn splat_byte(x: u8) -> [u8; 64] {
        [x; 64]
    }
    #[inline(always)]
    unsafe fn splat_dword(p: *const u8) -> [u8; 64] {
        std::mem::transmute([p.cast::<u32>().read_unaligned(); 16])
    }
    #[inline(always)]
    unsafe fn and(a: [u8; 64], b: [u8; 64]) -> [u8; 64] {
        each!(64, 0, i => a[i] & b[i])
    }
    #[inline(always)]
    unsafe fn or(a: [u8; 64], b: [u8; 64]) -> [u8; 64] {
        each!(64, 0, i => a[i] | b[i])
    }
    #[inline(always)]
    unsafe fn high_nibbles(x: [u8; 64]) -> [u8; 64] {
        each!(64, 0, i => x[i] >> 4)
    }
    #[inline(always)]
    unsafe fn twice_shifted(p: *const u8, first: i32, second: i32) -> [u8; 64] {
        let mut out = [0; 64];
        for i in 0..32 {
            out[i] = shifted(*p.add(i), first);
            out[32 + i] = shifted(*p.add(i), second);
        }
        out
    }
    #[inline(always)]
    unsafe fn nibbles(p: *const u8, q: *const u8) -> [u8; 64] {
        let mut out = [0; 64];
        for i in 0..16 {
            out[i] = *p.add(i) & 15;
            out[16 + i] = *p.add(i) >> 4;
            out[32 + i] = *q.add(i) & 15;
            out[48 + i] = *q.add(i) >> 4;
        }
        out
    }
    #[inline(always)]
    unsafe fn bits_to_16(bits: u64) -> [u8; 64] {
        const ONES: u64 = 0x0101010101010101;
        let mut out = [0u64; 8];
        for (i, out) in out.iter_mut().enumerate() {
            // Bit j of byte j; then the top bit of each byte that is not 0, moved to bit 4.
            let bit = ((bits >> (8 * i) & 0xff) * ONES) & 0x8040201008040201;
            *out = ((((bit & (0x7f * ONES)) + 0x7f * ONES) | bit) & (0x80 * ONES)) >> 3;
        }
        std::mem::transmute(out)
    }
    #[inline(always)]
    unsafe fn signed(x: [u8; 64], bits: u64, offset: u8) -> [u8; 64] {
        // A number changes its sign if all its bits are flipped and 1 is added.
        let negative = Self::bits_to_16(bits);
        each!(64, 0, i => {
            let all = 0u8.wrapping_sub(negative[i] >> 4);
            offset.wrapping_add((x[i] ^ all).wrapping_sub(all))
        })
    }
    #[inline(always)]
    unsafe fn table(p: *const u8) -> [u8; 64] {
        std::mem::transmute([p.cast::<[u8; 16]>().read_unaligned(); 4])
    }
    #[inline(always)]
    unsafe fn lookup(table: [u8; 64], indices: [u8; 64]) -> [u8; 64] {
        each!(64, 0, i => table[usize::from(indices[i] & 15)])
    }
    #[inline(always)]
    unsafe fn bias_q8(x: [u8; 64]) -> [u8; 64] {
        x
    }

    #[inline(always)]
    unsafe fn dot(acc: [i32; 16], u: [u8; 64], s: [u8; 64]) -> [i32; 16] {
        dot::<false>(acc, &u, &s)
    }
    #[inline(always)]
    unsafe fn dot_q8(acc: [i32; 16], q: [u8; 64], s: [u8; 64]) -> [i32; 16] {
        dot::<true>(acc, &q, &s)
    }
    #[inline(always)]
    unsafe fn pairs(low: [f32; 16], high: [f32; 16], factor: [f32; 16]) -> [u8; 64] {
        // At 1.5 * 2^52 the last bit of a double is 1: an integer in two's complement is in the low bits of the sum.
        let integer =
            |x: f32, factor: f32| (f64::from(x) * f64::from(factor) + 6_755_399_441_055_744.0).to_bits() as u32;
        std::mem::transmute(each!(16, 0, i => integer(low[i], factor[i]) & 0xffff | integer(high[i], factor[i]) << 16))
    }
    #[inline(always)]
    unsafe fn dot_pairs(acc: [i32; 16], a: [u8; 64], b: [u8; 64]) -> [i32; 16] {
        dot_pairs(acc, &a, &b)
    }
    #[inline(always)]
    unsafe fn max_magnitudes(a: [u8; 64], b: [u8; 64]) -> [u8; 64] {
        let (a, b) = (std::mem::transmute::<[u8; 64], [i16; 32]>(a), std::mem::transmute::<[u8; 64], [i16; 32]>(b));
        std::mem::transmute(each!(32, 0, i => a[i].max(b[i] & 0x7fff)))
    }
    #[inline(always)]
    unsafe fn sum_quads(s: [u8; 64]) -> [i32; 16] {
        Self::dot([0; 16], [1; 64], s)
    }
    #[inline(always)]
    unsafe fn zero_i() -> [i32; 16] {
        [0; 16]
    }
    #[inline(always)]
    unsafe fn splat_i(x: i32) -> [i32; 16] {
        [x; 16]
    }
    #[inline(always)]
    unsafe fn load_i(p: *const i32) -> [i32; 16] {
        p.cast::<[i32; 16]>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn add_i(a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        each!(16, 0, i => a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn scale_i(x: [i32; 16], y: i32) -> [i32; 16] {
        each!(16, 0, i => x[i] * y)
    }
    #[inline(always)]
    unsafe fn to_f(x: [i32; 16]) -> [f32; 16] {
        each!(16, 0.0, i => x[i] as f32)
    }

    #[inline(always)]
    unsafe fn zero() -> [f32; 16] {
        [0.0; 16]
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 16] {
        [x; 16]
    }
    #[inline(always)]
    unsafe fn load_f(p: *const f32) -> [f32; 16] {
        p.cast::<[f32; 16]>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn store_f(p: *mut f32, x: [f32; 16]) {
        p.cast::<[f32; 16]>().write_unaligned(x)
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each!(16, 0.0, i => a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each!(16, 0.0, i => a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each!(16, 0.0, i => a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each!(16, 0.0, i => a[i] / b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        each!(16, 0.0, i => a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn fnma(a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        each!(16, 0.0, i => c[i] - a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn clamp(x: [f32; 16], low: f32, high: f32) -> [f32; 16] {
        each!(16, 0.0, i => x[i].clamp(low, high))
    }
    #[inline(always)]
    unsafe fn round(x: [f32; 16]) -> [f32; 16] {
        // Adding and taking away 1.5 * 2^23 rounds to nearest even; exact for the magnitudes below 2^22 that are used.
        each!(16, 0.0, i => x[i] + 12582912.0 - 12582912.0)
    }
    #[inline(always)]
    unsafe fn exp2_int(x: [f32; 16]) -> [f32; 16] {
        each!(16, 0.0, i => f32::from_bits(((x[i] as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn sum(x: [f32; 16]) -> f32 {
        let eight: [f32; 8] = each!(8, 0.0, i => x[i] + x[i + 8]);
        let four: [f32; 4] = each!(4, 0.0, i => eight[i] + eight[i + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }
    #[inline(always)]
    unsafe fn powers(x: [f32; 16]) -> [[f32; 16]; 2] {
        let exponent = 0x7f80_0000;
        [
            each!(16, 0.0, i => f32::from_bits(x[i].to_bits() & exponent)),
            each!(16, 0.0, i => f32::from_bits(!x[i].to_bits() & exponent)),
        ]
    }
    #[inline(always)]
    unsafe fn max(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each!(16, 0.0, i => a[i].max(b[i]))
    }
    #[inline(always)]
    unsafe fn abs_max(x: [f32; 16]) -> f32 {
        // Without the sign, bits order as the numbers do, and not-a-number comes last.
        let mut max = 0;
        for v in x {
            max = max.max(v.abs().to_bits());
        }
        f32::from_bits(max)
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut u8, x: [f32; 16]) {
        let x = Self::round(x);
        for i in 0..16 {
            *p.add(i) = x[i] as i8 as u8;
        }
    }

    #[inline(always)]
    unsafe fn load_half(p: *const u8) -> [f32; 16] {
        each!(16, 0.0, i => half_at(p.add(2 * i)))
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> [f32; 16] {
        each!(16, 0.0, i => f32::from_bits(u32::from(p.add(2 * i).cast::<u16>().read_unaligned()) << 16))
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> [f32; 16] {
        each!(16, 0.0, i => f32::from(*p.add(i)))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8) -> [f32; 16] {
        each!(16, 0.0, i => f32::from(*p.add(i) as i8))
    }
    #[inline(always)]
    unsafe fn two_halves(p: *const u8, q: *const u8) -> [f32; 16] {
        let (a, b) = (half_at(p), half_at(q));
        each!(16, 0.0, i => if i < 8 { a } else { b })
    }
    #[inline(always)]
    unsafe fn strided_halves(p: *const u8, stride: usize, both: bool) -> [f32; 16] {
        let mut out = [0.0; 16];
        for i in 0..8 {
            out[i] = half_at(p.add(i * stride));
            if both {
                out[8 + i] = half_at(p.add(i * stride + 2));
            }
        }
        out
    }
    #[inline(always)]
    unsafe fn block_sums(x: [[i32; 16]; 4]) -> [i32; 16] {
        let mut out = [0; 16];
        for j in 0..4 {
            for c in 0..4 {
                out[4 * j + c] = (x[c][4 * j] + x[c][4 * j + 1]) + (x[c][4 * j + 2] + x[c][4 * j + 3]);
            }
        }
        out
    }
    #[inline(always)]
    unsafe fn even_odd(a: [i32; 16], b: [i32; 16]) -> [[i32; 16]; 2] {
        let mut out = [[0; 16]; 2];
        for i in 0..4 {
            for odd in 0..2 {
                out[odd][i] = a[4 * odd + i];
                out[odd][4 + i] = a[8 + 4 * odd + i];
                out[odd][8 + i] = b[4 * odd + i];
                out[odd][12 + i] = b[8 + 4 * odd + i];
            }
        }
        out
    }
    #[inline(always)]
    unsafe fn spread_32(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        let half = |x: &[f32; 16]| -> [f32; 8] { each!(8, 0.0, i => x[2 * (i % 4) + i / 4]) };
        std::mem::transmute([half(&a), half(&b)])
    }
    #[inline(always)]
    unsafe fn spread_32_upper(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        let half = |x: &[f32; 16]| -> [f32; 8] { each!(8, 0.0, i => x[8 + 2 * (i % 4) + i / 4]) };
        std::mem::transmute([half(&a), half(&b)])
    }
    #[inline(always)]
    unsafe fn spread_16(a: [f32; 16], b: [f32; 16]) -> [[f32; 16]; 2] {
        let half = |x: &[f32; 16], odd: usize| -> [f32; 8] { each!(8, 0.0, i => x[4 * (i % 4) + 2 * (i / 4) + odd]) };
        std::mem::transmute([half(&a, 0), half(&b, 0), half(&a, 1), half(&b, 1)])
    }
}
