//! AVX2 with FMA and F16C: two registers are one vector.

// SAFETY: of the whole module: see `Simd`; the callers run where `Isa::Avx2` is available.
#![allow(unsafe_op_in_unsafe_fn)]

use super::Simd;
use super::avx512::eight_halves;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// One instruction on both registers.
macro_rules! both {
    ($f:ident($($x:ident),*)) => { [$f($($x[0]),*), $f($($x[1]),*)] };
}

#[inline(always)]
unsafe fn ymm(p: *const u8) -> __m256i {
    _mm256_loadu_si256(p.cast())
}

/// Shift right by `by` bits, left if negative, within pairs of bytes.
#[inline(always)]
unsafe fn shifted(x: __m256i, by: i32) -> __m256i {
    if by >= 0 { _mm256_srl_epi16(x, _mm_cvtsi32_si128(by)) } else { _mm256_sll_epi16(x, _mm_cvtsi32_si128(-by)) }
}

/// `acc[i]` + sum of `u[4i+j] s[4i+j]`; pairs of products must fit in 16 bits.
#[inline(always)]
unsafe fn dot(acc: __m256i, u: __m256i, s: __m256i) -> __m256i {
    _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(u, s), _mm256_set1_epi16(1)))
}

#[inline(always)]
unsafe fn nibbles(p: *const u8) -> __m256i {
    let bytes = _mm_loadu_si128(p.cast());
    let both = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(bytes), _mm_srli_epi16::<4>(bytes));
    _mm256_and_si256(both, _mm256_set1_epi8(15))
}

/// Byte i is all ones if bit i is set, else 0.
#[inline(always)]
unsafe fn spread_bits(bits: u32) -> __m256i {
    // Byte i gets byte i / 8 of the bits, then keeps bit i % 8 only.
    let spread = _mm256_shuffle_epi8(
        _mm256_set1_epi32(bits as i32),
        _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0),
    );
    let bit = _mm256_set1_epi64x(0x8040201008040201u64 as i64);
    _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit)
}

#[inline(always)]
unsafe fn bits_to_16(bits: u32) -> __m256i {
    _mm256_and_si256(spread_bits(bits), _mm256_set1_epi8(16))
}

/// The last three of the four additions of `Simd::sum`.
#[inline(always)]
pub(super) unsafe fn sum(eight: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

#[inline(always)]
unsafe fn block_sums(x: [__m256i; 4]) -> __m256i {
    _mm256_hadd_epi32(_mm256_hadd_epi32(x[0], x[1]), _mm256_hadd_epi32(x[2], x[3]))
}

/// Even lanes, then odd lanes.
#[inline(always)]
unsafe fn even_then_odd(x: __m256) -> __m256 {
    _mm256_permutevar8x32_ps(x, _mm256_set_epi32(7, 5, 3, 1, 6, 4, 2, 0))
}

/// Of 16 lanes: 0, 4, 8, 12 and 2, 6, 10, 14, then those after each.
#[inline(always)]
unsafe fn fourths(x: [__m256; 2]) -> [__m256; 2] {
    let low = _mm256_permutevar8x32_ps(x[0], _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0));
    let high = _mm256_permutevar8x32_ps(x[1], _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0));
    // Pairs of lanes 0, 4 | 1, 5 | 2, 6 | 3, 7 of both.
    let (low, high) = (_mm256_castps_pd(low), _mm256_castps_pd(high));
    [_mm256_castpd_ps(_mm256_unpacklo_pd(low, high)), _mm256_castpd_ps(_mm256_unpackhi_pd(low, high))]
}

#[inline(always)]
unsafe fn transpose_8(x: [__m256; 8]) -> [__m256; 8] {
    // Half h of vector 4i + k gets column 4h + k of rows 4i..4i + 4.
    let mut u = x;
    for i in [0, 4] {
        let (a, b) = (_mm256_unpacklo_ps(x[i], x[i + 1]), _mm256_unpackhi_ps(x[i], x[i + 1]));
        let (c, d) = (_mm256_unpacklo_ps(x[i + 2], x[i + 3]), _mm256_unpackhi_ps(x[i + 2], x[i + 3]));
        u[i] = _mm256_shuffle_ps::<0b01_00_01_00>(a, c);
        u[i + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(a, c);
        u[i + 2] = _mm256_shuffle_ps::<0b01_00_01_00>(b, d);
        u[i + 3] = _mm256_shuffle_ps::<0b11_10_11_10>(b, d);
    }
    let mut out = u;
    for k in 0..4 {
        out[k] = _mm256_permute2f128_ps::<0x20>(u[k], u[4 + k]);
        out[4 + k] = _mm256_permute2f128_ps::<0x31>(u[k], u[4 + k]);
    }
    out
}

impl Simd for Avx2 {
    type B = [__m256i; 2];
    type I = [__m256i; 2];
    type F = [__m256; 2];

    const Q8_BIAS: i32 = 0;
    const REGISTERS: usize = 8;
    const FOUR: bool = true;

    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        _mm_prefetch::<_MM_HINT_T1>(p.cast());
    }
    #[inline(always)]
    unsafe fn prefetch_near(p: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
    #[inline(always)]
    unsafe fn bytes_as_f(x: Self::B) -> Self::F {
        both!(_mm256_castsi256_ps(x))
    }
    #[inline(always)]
    unsafe fn f_as_bytes(x: Self::F) -> Self::B {
        both!(_mm256_castps_si256(x))
    }
    #[inline(always)]
    unsafe fn load(p: *const u8) -> Self::B {
        [ymm(p), ymm(p.add(32))]
    }
    #[inline(always)]
    unsafe fn load_halves(p: *const u8, q: *const u8) -> Self::B {
        [ymm(p), ymm(q)]
    }
    #[inline(always)]
    unsafe fn load_quarters(p: [*const u8; 4]) -> Self::B {
        let [a, b, c, d] = p.map(|p| _mm_loadu_si128(p.cast()));
        [
            _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(a), b),
            _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(c), d),
        ]
    }
    #[inline(always)]
    unsafe fn of_longs(x: impl Fn(usize) -> u64) -> Self::B {
        let x = |i| x(i) as i64;
        [_mm256_setr_epi64x(x(0), x(1), x(2), x(3)), _mm256_setr_epi64x(x(4), x(5), x(6), x(7))]
    }
    #[inline(always)]
    unsafe fn of_words(x: impl Fn(usize) -> u32) -> Self::B {
        let x = |i| x(i) as i32;
        [
            _mm256_setr_epi32(x(0), x(1), x(2), x(3), x(4), x(5), x(6), x(7)),
            _mm256_setr_epi32(x(8), x(9), x(10), x(11), x(12), x(13), x(14), x(15)),
        ]
    }
    #[inline(always)]
    unsafe fn store_halves(p: *mut u8, q: *mut u8, x: Self::B) {
        _mm256_storeu_si256(p.cast(), x[0]);
        _mm256_storeu_si256(q.cast(), x[1]);
    }
    #[inline(always)]
    unsafe fn splat_byte(x: u8) -> Self::B {
        [_mm256_set1_epi8(x as i8); 2]
    }
    #[inline(always)]
    unsafe fn splat_dword(p: *const u8) -> Self::B {
        [_mm256_set1_epi32(p.cast::<i32>().read_unaligned()); 2]
    }
    #[inline(always)]
    unsafe fn and(a: Self::B, b: Self::B) -> Self::B {
        both!(_mm256_and_si256(a, b))
    }
    #[inline(always)]
    unsafe fn or(a: Self::B, b: Self::B) -> Self::B {
        both!(_mm256_or_si256(a, b))
    }
    #[inline(always)]
    unsafe fn high_nibbles(x: Self::B) -> Self::B {
        [_mm256_srli_epi16::<4>(x[0]), _mm256_srli_epi16::<4>(x[1])]
    }
    #[inline(always)]
    unsafe fn twice_shifted(p: *const u8, first: i32, second: i32) -> Self::B {
        [shifted(ymm(p), first), shifted(ymm(p), second)]
    }
    #[inline(always)]
    unsafe fn nibbles(p: *const u8, q: *const u8) -> Self::B {
        [nibbles(p), nibbles(q)]
    }
    #[inline(always)]
    unsafe fn bits_to_16(bits: u64) -> Self::B {
        [bits_to_16(bits as u32), bits_to_16((bits >> 32) as u32)]
    }
    #[inline(always)]
    unsafe fn signed(x: Self::B, bits: u64, offset: u8) -> Self::B {
        let (negative, offset) =
            ([spread_bits(bits as u32), spread_bits((bits >> 32) as u32)], Self::splat_byte(offset));
        // A number changes its sign if all its bits are flipped and 1 is added.
        let x = both!(_mm256_xor_si256(x, negative));
        let plus = both!(_mm256_sub_epi8(offset, negative));
        both!(_mm256_add_epi8(x, plus))
    }
    #[inline(always)]
    unsafe fn table(p: *const u8) -> Self::B {
        [_mm256_broadcastsi128_si256(_mm_loadu_si128(p.cast())); 2]
    }
    #[inline(always)]
    unsafe fn lookup(table: Self::B, indices: Self::B) -> Self::B {
        both!(_mm256_shuffle_epi8(table, indices))
    }
    #[inline(always)]
    unsafe fn bias_q8(x: Self::B) -> Self::B {
        x
    }

    #[inline(always)]
    unsafe fn dot(acc: Self::I, u: Self::B, s: Self::B) -> Self::I {
        both!(dot(acc, u, s))
    }
    #[inline(always)]
    unsafe fn dot_four(acc: Self::I, u: [Self::B; 4], s: [Self::B; 4], most: i32) -> Self::I {
        let mut acc = acc;
        for i in 0..2 {
            let pairs = [0, 1, 2, 3].map(|k| _mm256_maddubs_epi16(u[k][i], s[k][i]));
            let (a, b) = (_mm256_add_epi16(pairs[0], pairs[1]), _mm256_add_epi16(pairs[2], pairs[3]));
            let ones = _mm256_set1_epi16(1);
            // A pair is at most 2 * 127 * most: of 31 four fit in 16 bits, of 63 two, of 127 one.
            acc[i] = if most > 63 {
                pairs.into_iter().fold(acc[i], |acc, pair| _mm256_add_epi32(acc, _mm256_madd_epi16(pair, ones)))
            } else if most <= 31 {
                _mm256_add_epi32(acc[i], _mm256_madd_epi16(_mm256_add_epi16(a, b), ones))
            } else {
                _mm256_add_epi32(_mm256_add_epi32(acc[i], _mm256_madd_epi16(a, ones)), _mm256_madd_epi16(b, ones))
            };
        }
        acc
    }
    #[inline(always)]
    unsafe fn dot_q8(acc: Self::I, q: Self::B, s: Self::B) -> Self::I {
        // |q| s sign(q): magnitudes up to 128, and 2 * 128 * 127 still fits in 16 bits.
        let (magnitude, signed) = (both!(_mm256_abs_epi8(q)), both!(_mm256_sign_epi8(s, q)));
        both!(dot(acc, magnitude, signed))
    }
    #[inline(always)]
    unsafe fn pairs(low: Self::F, high: Self::F, factor: Self::F) -> Self::B {
        // As in `avx512`.
        let integers = |x, factor| _mm256_castps_si256(_mm256_fmadd_ps(x, factor, _mm256_set1_ps(12_582_912.0)));
        [0, 1].map(|i| {
            let high = _mm256_slli_epi32::<16>(integers(high[i], factor[i]));
            _mm256_blend_epi16::<0xaa>(integers(low[i], factor[i]), high)
        })
    }
    #[inline(always)]
    unsafe fn dot_pairs(acc: Self::I, a: Self::B, b: Self::B) -> Self::I {
        let sums = both!(_mm256_madd_epi16(a, b));
        both!(_mm256_add_epi32(acc, sums))
    }
    #[inline(always)]
    unsafe fn max_magnitudes(a: Self::B, b: Self::B) -> Self::B {
        let magnitudes = b.map(|b| _mm256_and_si256(b, _mm256_set1_epi16(0x7fff)));
        both!(_mm256_max_epu16(a, magnitudes))
    }
    #[inline(always)]
    unsafe fn sum_quads(s: Self::B) -> Self::I {
        Self::dot(Self::zero_i(), Self::splat_byte(1), s)
    }
    #[inline(always)]
    unsafe fn zero_i() -> Self::I {
        [_mm256_setzero_si256(); 2]
    }
    #[inline(always)]
    unsafe fn splat_i(x: i32) -> Self::I {
        [_mm256_set1_epi32(x); 2]
    }
    #[inline(always)]
    unsafe fn load_i(p: *const i32) -> Self::I {
        Self::load(p.cast())
    }
    #[inline(always)]
    unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I {
        both!(_mm256_add_epi32(a, b))
    }
    #[inline(always)]
    unsafe fn scale_i(x: Self::I, y: i32) -> Self::I {
        let y = [_mm256_set1_epi32(y); 2];
        both!(_mm256_mullo_epi32(x, y))
    }
    #[inline(always)]
    unsafe fn to_f(x: Self::I) -> Self::F {
        both!(_mm256_cvtepi32_ps(x))
    }

    #[inline(always)]
    unsafe fn zero() -> Self::F {
        [_mm256_setzero_ps(); 2]
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::F {
        [_mm256_set1_ps(x); 2]
    }
    #[inline(always)]
    unsafe fn load_f(p: *const f32) -> Self::F {
        [_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))]
    }
    #[inline(always)]
    unsafe fn store_f(p: *mut f32, x: Self::F) {
        _mm256_storeu_ps(p, x[0]);
        _mm256_storeu_ps(p.add(8), x[1]);
    }
    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_add_ps(a, b))
    }
    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_sub_ps(a, b))
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_mul_ps(a, b))
    }
    #[inline(always)]
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_div_ps(a, b))
    }
    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        both!(_mm256_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    unsafe fn fnma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        both!(_mm256_fnmadd_ps(a, b, c))
    }
    #[inline(always)]
    unsafe fn clamp(x: Self::F, low: f32, high: f32) -> Self::F {
        let (low, high) = ([_mm256_set1_ps(low); 2], [_mm256_set1_ps(high); 2]);
        let x = both!(_mm256_max_ps(low, x));
        both!(_mm256_min_ps(high, x))
    }
    #[inline(always)]
    unsafe fn round(x: Self::F) -> Self::F {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        [_mm256_round_ps::<NEAREST>(x[0]), _mm256_round_ps::<NEAREST>(x[1])]
    }
    #[inline(always)]
    unsafe fn exp2_int(x: Self::F) -> Self::F {
        let (x, bias) = (both!(_mm256_cvtps_epi32(x)), [_mm256_set1_epi32(127); 2]);
        let x = both!(_mm256_add_epi32(x, bias));
        [_mm256_castsi256_ps(_mm256_slli_epi32::<23>(x[0])), _mm256_castsi256_ps(_mm256_slli_epi32::<23>(x[1]))]
    }
    #[inline(always)]
    unsafe fn sum(x: Self::F) -> f32 {
        sum(_mm256_add_ps(x[0], x[1]))
    }
    #[inline(always)]
    unsafe fn powers(x: Self::F) -> [Self::F; 2] {
        let exponent = [_mm256_castsi256_ps(_mm256_set1_epi32(0x7f80_0000)); 2];
        [both!(_mm256_and_ps(x, exponent)), both!(_mm256_andnot_ps(x, exponent))]
    }
    #[inline(always)]
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_max_ps(a, b))
    }
    #[inline(always)]
    unsafe fn greatest(x: Self::F) -> f32 {
        let eight = _mm256_max_ps(x[0], x[1]);
        let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
    #[inline(always)]
    unsafe fn transpose(x: [Self::F; 16]) -> [Self::F; 16] {
        let mut out = x;
        for rows in 0..2 {
            for cols in 0..2 {
                let mut square = [x[0][0]; 8];
                for i in 0..8 {
                    square[i] = x[8 * rows + i][cols];
                }
                let square = transpose_8(square);
                for i in 0..8 {
                    out[8 * cols + i][rows] = square[i];
                }
            }
        }
        out
    }
    #[inline(always)]
    unsafe fn abs_max(x: Self::F) -> f32 {
        // Without the sign, bits order as the numbers do, and not-a-number comes last.
        let magnitude = _mm256_set1_epi32(0x7fff_ffff);
        let a = _mm256_and_si256(_mm256_castps_si256(x[0]), magnitude);
        let b = _mm256_and_si256(_mm256_castps_si256(x[1]), magnitude);
        let eight = _mm256_max_epi32(a, b);
        let four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
        let two = _mm_max_epi32(four, _mm_shuffle_epi32::<0b11_10_11_10>(four));
        let one = _mm_max_epi32(two, _mm_shuffle_epi32::<1>(two));
        f32::from_bits(_mm_cvtsi128_si32(one) as u32)
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut u8, x: Self::F) {
        let x = both!(_mm256_cvtps_epi32(x));
        // The pack works within 128-bit lanes: [0..4, 8..12], [4..8, 12..16] as words.
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(x[0], x[1]));
        let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        _mm_storeu_si128(p.cast(), bytes);
    }

    #[inline(always)]
    unsafe fn load_half(p: *const u8) -> Self::F {
        [_mm256_cvtph_ps(_mm_loadu_si128(p.cast())), _mm256_cvtph_ps(_mm_loadu_si128(p.add(16).cast()))]
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> Self::F {
        let x = [
            _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast())),
            _mm256_cvtepu16_epi32(_mm_loadu_si128(p.add(16).cast())),
        ];
        [_mm256_castsi256_ps(_mm256_slli_epi32::<16>(x[0])), _mm256_castsi256_ps(_mm256_slli_epi32::<16>(x[1]))]
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> Self::F {
        let x =
            [_mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast())), _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.add(8).cast()))];
        Self::to_f(x)
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8) -> Self::F {
        let x =
            [_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast())), _mm256_cvtepi8_epi32(_mm_loadl_epi64(p.add(8).cast()))];
        Self::to_f(x)
    }
    #[inline(always)]
    unsafe fn two_halves(p: *const u8, q: *const u8) -> Self::F {
        let (a, b) = (p.cast::<i16>().read_unaligned(), q.cast::<i16>().read_unaligned());
        [_mm256_cvtph_ps(_mm_set1_epi16(a)), _mm256_cvtph_ps(_mm_set1_epi16(b))]
    }
    #[inline(always)]
    unsafe fn strided_halves(p: *const u8, stride: usize, both: bool) -> Self::F {
        let upper = if both { eight_halves(p.add(2), stride) } else { _mm_setzero_si128() };
        [_mm256_cvtph_ps(eight_halves(p, stride)), _mm256_cvtph_ps(upper)]
    }
    #[inline(always)]
    unsafe fn block_sums(x: [Self::I; 4]) -> Self::I {
        [block_sums([x[0][0], x[1][0], x[2][0], x[3][0]]), block_sums([x[0][1], x[1][1], x[2][1], x[3][1]])]
    }
    #[inline(always)]
    unsafe fn even_odd(a: Self::I, b: Self::I) -> [Self::I; 2] {
        [
            [_mm256_permute2x128_si256::<0x20>(a[0], a[1]), _mm256_permute2x128_si256::<0x20>(b[0], b[1])],
            [_mm256_permute2x128_si256::<0x31>(a[0], a[1]), _mm256_permute2x128_si256::<0x31>(b[0], b[1])],
        ]
    }
    #[inline(always)]
    unsafe fn spread_32(a: Self::F, b: Self::F) -> Self::F {
        [even_then_odd(a[0]), even_then_odd(b[0])]
    }
    #[inline(always)]
    unsafe fn spread_32_upper(a: Self::F, b: Self::F) -> Self::F {
        [even_then_odd(a[1]), even_then_odd(b[1])]
    }
    #[inline(always)]
    unsafe fn spread_16(a: Self::F, b: Self::F) -> [Self::F; 2] {
        let (a, b) = (fourths(a), fourths(b));
        [[a[0], b[0]], [a[1], b[1]]]
    }
}
