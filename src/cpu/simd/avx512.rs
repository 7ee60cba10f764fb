//! AVX-512 with VNNI: one register is one vector.

// SAFETY: of the whole module: see `Simd`; the callers run where `Isa::Avx512` is available.
#![allow(unsafe_op_in_unsafe_fn)]

use super::Simd;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx512;

#[inline(always)]
unsafe fn half_bits(p: *const u8) -> i16 {
    p.cast::<i16>().read_unaligned()
}

/// The bits of 8 halves, `stride` bytes apart.
#[inline(always)]
pub(super) unsafe fn eight_halves(p: *const u8, stride: usize) -> __m128i {
    _mm_set_epi16(
        half_bits(p.add(7 * stride)),
        half_bits(p.add(6 * stride)),
        half_bits(p.add(5 * stride)),
        half_bits(p.add(4 * stride)),
        half_bits(p.add(3 * stride)),
        half_bits(p.add(2 * stride)),
        half_bits(p.add(stride)),
        half_bits(p),
    )
}

impl Simd for Avx512 {
    type B = __m512i;
    type I = __m512i;
    type F = __m512;

    const Q8_BIAS: i32 = 128;
    const REGISTERS: usize = 32;

    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        _mm_prefetch::<_MM_HINT_T1>(p.cast());
    }
    #[inline(always)]
    unsafe fn prefetch_near(p: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
    #[inline(always)]
    unsafe fn bytes_as_f(x: __m512i) -> __m512 {
        _mm512_castsi512_ps(x)
    }
    #[inline(always)]
    unsafe fn f_as_bytes(x: __m512) -> __m512i {
        _mm512_castps_si512(x)
    }
    #[inline(always)]
    unsafe fn load(p: *const u8) -> __m512i {
        _mm512_loadu_si512(p.cast())
    }
    #[inline(always)]
    unsafe fn load_halves(p: *const u8, q: *const u8) -> __m512i {
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(_mm256_loadu_si256(p.cast())), _mm256_loadu_si256(q.cast()))
    }
    #[inline(always)]
    unsafe fn load_quarters(p: [*const u8; 4]) -> __m512i {
        let [a, b, c, d] = p.map(|p| _mm_loadu_si128(p.cast()));
        let (low, high) = (
            _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(a), b),
            _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(c), d),
        );
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    }
    #[inline(always)]
    unsafe fn of_longs(x: impl Fn(usize) -> u64) -> __m512i {
        let x = |i| x(i) as i64;
        _mm512_setr_epi64(x(0), x(1), x(2), x(3), x(4), x(5), x(6), x(7))
    }
    #[inline(always)]
    unsafe fn of_words(x: impl Fn(usize) -> u32) -> __m512i {
        let x = |i| x(i) as i32;
        let low = _mm256_setr_epi32(x(0), x(1), x(2), x(3), x(4), x(5), x(6), x(7));
        let high = _mm256_setr_epi32(x(8), x(9), x(10), x(11), x(12), x(13), x(14), x(15));
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    }
    #[inline(always)]
    unsafe fn store_halves(p: *mut u8, q: *mut u8, x: __m512i) {
        _mm256_storeu_si256(p.cast(), _mm512_castsi512_si256(x));
        _mm256_storeu_si256(q.cast(), _mm512_extracti64x4_epi64::<1>(x));
    }
    #[inline(always)]
    unsafe fn splat_byte(x: u8) -> __m512i {
        _mm512_set1_epi8(x as i8)
    }
    #[inline(always)]
    unsafe fn splat_dword(p: *const u8) -> __m512i {
        _mm512_set1_epi32(p.cast::<i32>().read_unaligned())
    }
    #[inline(always)]
    unsafe fn and(a: __m512i, b: __m512i) -> __m512i {
        _mm512_and_si512(a, b)
    }
    #[inline(always)]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        _mm512_or_si512(a, b)
    }
    #[inline(always)]
    unsafe fn high_nibbles(x: __m512i) -> __m512i {
        _mm512_srli_epi32::<4>(x)
    }
    #[inline(always)]
    unsafe fn twice_shifted(p: *const u8, first: i32, second: i32) -> __m512i {
        let both = _mm512_broadcast_i64x4(_mm256_loadu_si256(p.cast()));
        // A rotation is a shift either way.
        let by = _mm512_inserti64x4::<1>(_mm512_set1_epi32(first & 31), _mm256_set1_epi32(second & 31));
        _mm512_rorv_epi32(both, by)
    }
    #[inline(always)]
    unsafe fn nibbles(p: *const u8, q: *const u8) -> __m512i {
        let first = _mm256_broadcastsi128_si256(_mm_loadu_si128(p.cast()));
        let second = _mm256_broadcastsi128_si256(_mm_loadu_si128(q.cast()));
        let bytes = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), second);
        let by = _mm512_set_epi32(4, 4, 4, 4, 0, 0, 0, 0, 4, 4, 4, 4, 0, 0, 0, 0);
        _mm512_and_si512(_mm512_srlv_epi32(bytes, by), _mm512_set1_epi8(15))
    }
    #[inline(always)]
    unsafe fn bits_to_16(bits: u64) -> __m512i {
        _mm512_maskz_mov_epi8(bits, _mm512_set1_epi8(16))
    }
    #[inline(always)]
    unsafe fn signed(x: __m512i, bits: u64, offset: u8) -> __m512i {
        let offset = _mm512_set1_epi8(offset as i8);
        _mm512_mask_sub_epi8(_mm512_add_epi8(offset, x), bits, offset, x)
    }
    #[inline(always)]
    unsafe fn table(p: *const u8) -> __m512i {
        _mm512_broadcast_i32x4(_mm_loadu_si128(p.cast()))
    }
    #[inline(always)]
    unsafe fn lookup(table: __m512i, indices: __m512i) -> __m512i {
        _mm512_shuffle_epi8(table, indices)
    }
    #[inline(always)]
    unsafe fn bias_q8(x: __m512i) -> __m512i {
        _mm512_xor_si512(x, _mm512_set1_epi8(-128))
    }

    #[inline(always)]
    unsafe fn dot(acc: __m512i, u: __m512i, s: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(acc, u, s)
    }
    #[inline(always)]
    unsafe fn dot_q8(acc: __m512i, q: __m512i, s: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(acc, q, s)
    }
    #[inline(always)]
    unsafe fn pairs(low: __m512, high: __m512, factor: __m512) -> __m512i {
        // At 1.5 * 2^23 the last bit of a float is 1: an integer in two's complement is in the low bits of the sum.
        let integers = |x| _mm512_castps_si512(_mm512_fmadd_ps(x, factor, _mm512_set1_ps(12_582_912.0)));
        let (low, high) = (integers(low), _mm512_slli_epi32::<16>(integers(high)));
        // low & 0xffff | high; a mask for single words would be made anew each time.
        _mm512_ternarylogic_epi32::<0xea>(low, _mm512_set1_epi32(0xffff), high)
    }
    #[inline(always)]
    unsafe fn dot_pairs(acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
        _mm512_dpwssd_epi32(acc, a, b)
    }
    #[inline(always)]
    unsafe fn max_magnitudes(a: __m512i, b: __m512i) -> __m512i {
        _mm512_max_epu16(a, _mm512_and_si512(b, _mm512_set1_epi16(0x7fff)))
    }
    #[inline(always)]
    unsafe fn sum_quads(s: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), s)
    }
    #[inline(always)]
    unsafe fn zero_i() -> __m512i {
        _mm512_setzero_si512()
    }
    #[inline(always)]
    unsafe fn splat_i(x: i32) -> __m512i {
        _mm512_set1_epi32(x)
    }
    #[inline(always)]
    unsafe fn load_i(p: *const i32) -> __m512i {
        _mm512_loadu_si512(p.cast())
    }
    #[inline(always)]
    unsafe fn add_i(a: __m512i, b: __m512i) -> __m512i {
        _mm512_add_epi32(a, b)
    }
    #[inline(always)]
    unsafe fn scale_i(x: __m512i, y: i32) -> __m512i {
        _mm512_mullo_epi32(x, _mm512_set1_epi32(y))
    }
    #[inline(always)]
    unsafe fn to_f(x: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(x)
    }

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        _mm512_setzero_ps()
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        _mm512_set1_ps(x)
    }
    #[inline(always)]
    unsafe fn load_f(p: *const f32) -> __m512 {
        _mm512_loadu_ps(p)
    }
    #[inline(always)]
    unsafe fn store_f(p: *mut f32, x: __m512) {
        _mm512_storeu_ps(p, x)
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        _mm512_div_ps(a, b)
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn fnma(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fnmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn clamp(x: __m512, low: f32, high: f32) -> __m512 {
        _mm512_min_ps(_mm512_set1_ps(high), _mm512_max_ps(_mm512_set1_ps(low), x))
    }
    #[inline(always)]
    unsafe fn round(x: __m512) -> __m512 {
        _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)
    }
    #[inline(always)]
    unsafe fn exp2_int(x: __m512) -> __m512 {
        let biased = _mm512_add_epi32(_mm512_cvtps_epi32(x), _mm512_set1_epi32(127));
        _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
    }
    #[inline(always)]
    unsafe fn powers(x: __m512) -> [__m512; 2] {
        let (x, exponent) = (_mm512_castps_si512(x), _mm512_set1_epi32(0x7f80_0000));
        [_mm512_castsi512_ps(_mm512_and_si512(x, exponent)), _mm512_castsi512_ps(_mm512_andnot_si512(x, exponent))]
    }
    #[inline(always)]
    unsafe fn sum(x: __m512) -> f32 {
        super::avx2::sum(_mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x)))
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        _mm512_max_ps(a, b)
    }
    #[inline(always)]
    unsafe fn greatest(x: __m512) -> f32 {
        _mm512_reduce_max_ps(x)
    }
    #[inline(always)]
    unsafe fn transpose(x: [__m512; 16]) -> [__m512; 16] {
        // Quarter q of vector 4i + k gets column 4q + k of rows 4i..4i + 4.
        let mut u = x;
        for i in (0..16).step_by(4) {
            let (a, b) = (_mm512_unpacklo_ps(x[i], x[i + 1]), _mm512_unpackhi_ps(x[i], x[i + 1]));
            let (c, d) = (_mm512_unpacklo_ps(x[i + 2], x[i + 3]), _mm512_unpackhi_ps(x[i + 2], x[i + 3]));
            let [a, b, c, d] = [a, b, c, d].map(|x| _mm512_castps_pd(x));
            let four = [
                _mm512_unpacklo_pd(a, c),
                _mm512_unpackhi_pd(a, c),
                _mm512_unpacklo_pd(b, d),
                _mm512_unpackhi_pd(b, d),
            ];
            for k in 0..4 {
                u[i + k] = _mm512_castpd_ps(four[k]);
            }
        }
        let mut out = u;
        for k in 0..4 {
            let (a, b, c, d) = (u[k], u[4 + k], u[8 + k], u[12 + k]);
            let even = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c, d));
            let odd = (_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(c, d));
            out[k] = _mm512_shuffle_f32x4::<0x88>(even.0, even.1);
            out[4 + k] = _mm512_shuffle_f32x4::<0x88>(odd.0, odd.1);
            out[8 + k] = _mm512_shuffle_f32x4::<0xdd>(even.0, even.1);
            out[12 + k] = _mm512_shuffle_f32x4::<0xdd>(odd.0, odd.1);
        }
        out
    }
    #[inline(always)]
    unsafe fn abs_max(x: __m512) -> f32 {
        // Without the sign, bits order as the numbers do, and not-a-number comes last.
        f32::from_bits(_mm512_reduce_max_epi32(_mm512_castps_si512(_mm512_abs_ps(x))) as u32)
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut u8, x: __m512) {
        _mm_storeu_si128(p.cast(), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)))
    }

    #[inline(always)]
    unsafe fn load_half(p: *const u8) -> __m512 {
        // The plain conversion asks for no exceptions, and so takes no operand in memory.
        _mm512_cvt_roundph_ps::<_MM_FROUND_CUR_DIRECTION>(_mm256_loadu_si256(p.cast()))
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> __m512 {
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()))))
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> __m512 {
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast())))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8) -> __m512 {
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast())))
    }
    #[inline(always)]
    unsafe fn two_halves(p: *const u8, q: *const u8) -> __m512 {
        let halves = _mm256_inserti128_si256::<1>(
            _mm256_castsi128_si256(_mm_set1_epi16(half_bits(p))),
            _mm_set1_epi16(half_bits(q)),
        );
        _mm512_cvtph_ps(halves)
    }
    #[inline(always)]
    unsafe fn strided_halves(p: *const u8, stride: usize, both: bool) -> __m512 {
        if stride == 18 && !both {
            // All in the first 128 bytes: words 0, 9, ... 63.
            let words = _mm512_castsi128_si512(_mm_set_epi16(63, 54, 45, 36, 27, 18, 9, 0));
            let (a, b) = (_mm512_loadu_si512(p.cast()), _mm512_loadu_si512(p.add(64).cast()));
            let halves = _mm512_castsi512_si128(_mm512_permutex2var_epi16(a, words, b));
            return _mm512_cvtph_ps(_mm256_zextsi128_si256(halves));
        }
        let lower = eight_halves(p, stride);
        let upper = if both { eight_halves(p.add(2), stride) } else { _mm_setzero_si128() };
        _mm512_cvtph_ps(_mm256_inserti128_si256::<1>(_mm256_castsi128_si256(lower), upper))
    }
    #[inline(always)]
    unsafe fn k_head(p: *const u8) -> __m512 {
        // Words: d and dmin, then a, b, c as in the plain version.
        let x = _mm_loadu_si128(p.cast());
        let low = _mm_srlv_epi32(_mm_shuffle_epi32::<0b11_10_11_01>(x), _mm_set_epi32(4, 0, 0, 0));
        let low = _mm_and_si128(low, _mm_set_epi32(0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f));
        let top = _mm_srli_epi32::<2>(_mm_shuffle_epi32::<0b10_00_01_00>(x));
        let top = _mm_and_si128(top, _mm_set_epi32(0x30303030, 0, 0x30303030, 0));
        let d_and_dmin = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
        let levels = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_or_si128(low, top)));
        _mm512_mul_ps(levels, _mm512_permutexvar_ps(d_and_dmin, _mm512_castps128_ps512(_mm_cvtph_ps(x))))
    }
    #[inline(always)]
    unsafe fn block_sums(x: [__m512i; 4]) -> __m512i {
        // A transposition of 4 x 4 within each 128 bits, adding on the way.
        let a = _mm512_add_epi32(_mm512_unpacklo_epi32(x[0], x[1]), _mm512_unpackhi_epi32(x[0], x[1]));
        let b = _mm512_add_epi32(_mm512_unpacklo_epi32(x[2], x[3]), _mm512_unpackhi_epi32(x[2], x[3]));
        _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b))
    }
    #[inline(always)]
    unsafe fn even_odd(a: __m512i, b: __m512i) -> [__m512i; 2] {
        [_mm512_shuffle_i32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b)]
    }
    #[inline(always)]
    unsafe fn spread_32(a: __m512, b: __m512) -> __m512 {
        let from = _mm512_set_epi32(23, 21, 19, 17, 22, 20, 18, 16, 7, 5, 3, 1, 6, 4, 2, 0);
        _mm512_permutex2var_ps(a, from, b)
    }
    #[inline(always)]
    unsafe fn spread_32_upper(a: __m512, b: __m512) -> __m512 {
        let from = _mm512_set_epi32(31, 29, 27, 25, 30, 28, 26, 24, 15, 13, 11, 9, 14, 12, 10, 8);
        _mm512_permutex2var_ps(a, from, b)
    }
    #[inline(always)]
    unsafe fn spread_16(a: __m512, b: __m512) -> [__m512; 2] {
        let even = _mm512_set_epi32(30, 26, 22, 18, 28, 24, 20, 16, 14, 10, 6, 2, 12, 8, 4, 0);
        let odd = _mm512_set_epi32(31, 27, 23, 19, 29, 25, 21, 17, 15, 11, 7, 3, 13, 9, 5, 1);
        [_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b)]
    }
}
