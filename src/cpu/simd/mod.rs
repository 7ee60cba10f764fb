//! Vectors of 64 bytes, 16 int32 or 16 float, over which the kernels are written once.
//!
//! An instruction set has registers of 16, 32 or 64 bytes, so a vector is four, two or one of them (`neon`, `avx2`,
//! `avx512`), or an array (`portable`).

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;

/// The operations of one instruction set.
///
/// # Safety
/// A function may be called only if the processor has the instructions. It should be inlined into a function that
/// enables them (`#[target_feature]`), else every vector goes through memory. Pointers need no alignment and must be
/// readable (or writable) for the bytes named.
pub(crate) trait Simd: Copy {
    /// 64 bytes, signed or not.
    type B: Copy;
    /// 16 int32.
    type I: Copy;
    /// 16 float.
    type F: Copy;

    /// Vectors that fit into the registers.
    const REGISTERS: usize;

    /// The number that `bias_q8` adds to signed bytes, because `dot_q8` wants them so.
    const Q8_BIAS: i32;

    /// Brings the cache line at any address into the second-level cache: its queue of reads is longer than the first
    /// level's.
    unsafe fn prefetch(_: *const u8) {}
    /// Brings the cache line at any address, which `prefetch` was called with before, on into the first-level cache.
    unsafe fn prefetch_near(_: *const u8) {}
    /// The same bits.
    unsafe fn bytes_as_f(x: Self::B) -> Self::F;
    /// The same bits.
    unsafe fn f_as_bytes(x: Self::F) -> Self::B;
    /// 64 bytes.
    unsafe fn load(p: *const u8) -> Self::B;
    /// 32 bytes from each address.
    unsafe fn load_halves(p: *const u8, q: *const u8) -> Self::B;
    /// 16 bytes from each address.
    unsafe fn load_quarters(p: [*const u8; 4]) -> Self::B;
    /// The bytes of words 0 to 7 of 64 bits. A function gives them, not an array, as that would go through memory.
    unsafe fn of_longs(x: impl Fn(usize) -> u64) -> Self::B;
    /// The bytes of words 0 to 15 of 32 bits.
    unsafe fn of_words(x: impl Fn(usize) -> u32) -> Self::B;
    /// 32 bytes to each address.
    unsafe fn store_halves(p: *mut u8, q: *mut u8, x: Self::B);
    unsafe fn splat_byte(x: u8) -> Self::B;
    /// The same 4 bytes 16 times.
    unsafe fn splat_dword(p: *const u8) -> Self::B;
    unsafe fn and(a: Self::B, b: Self::B) -> Self::B;
    unsafe fn or(a: Self::B, b: Self::B) -> Self::B;
    /// Each byte's high nibble in its low one; the high one is anything.
    unsafe fn high_nibbles(x: Self::B) -> Self::B;
    /// 32 bytes twice, shifted right by `first` and by `second` bits (left if negative); bits shifted in are anything.
    unsafe fn twice_shifted(p: *const u8, first: i32, second: i32) -> Self::B;
    /// The low nibbles of 16 bytes at `p`, their high nibbles, then the same of 16 bytes at `q`.
    unsafe fn nibbles(p: *const u8, q: *const u8) -> Self::B;
    /// Byte i is 16 if bit i is set, else 0.
    unsafe fn bits_to_16(bits: u64) -> Self::B;
    /// `offset` plus each byte of x, or less it where its bit is set. No sum is beyond 0..=127.
    unsafe fn signed(x: Self::B, bits: u64, offset: u8) -> Self::B;
    /// 16 bytes four times.
    unsafe fn table(p: *const u8) -> Self::B;
    /// The bytes of a `table` at these indices, 0..=15.
    unsafe fn lookup(table: Self::B, indices: Self::B) -> Self::B;
    /// Signed bytes plus `Q8_BIAS`.
    unsafe fn bias_q8(x: Self::B) -> Self::B;

    /// `acc[i]` + sum of `u[4i+j] s[4i+j]`; `u` in 0..=127, `s` in -127..=127.
    unsafe fn dot(acc: Self::I, u: Self::B, s: Self::B) -> Self::I;
    /// True if `dot_four` takes fewer instructions than four times `dot`.
    const FOUR: bool = false;
    /// `acc[i]` + sum of `u[k][4i+j] s[k][4i+j]`; `u` in 0..=`most`, `s` in -127..=127.
    #[inline(always)]
    unsafe fn dot_four(acc: Self::I, u: [Self::B; 4], s: [Self::B; 4], _most: i32) -> Self::I {
        let mut acc = acc;
        for (u, s) in u.into_iter().zip(s) {
            // SAFETY: the caller's promise.
            acc = unsafe { Self::dot(acc, u, s) };
        }
        acc
    }
    /// `dot` for `q` from `bias_q8`.
    unsafe fn dot_q8(acc: Self::I, q: Self::B, s: Self::B) -> Self::I;
    /// 32 int16: lane i has `low[i] factor[i]`, then `high[i] factor[i]`, rounded to the nearest, ties to even.
    /// Magnitudes must be below 2^15; a number that is not finite becomes anything.
    unsafe fn pairs(low: Self::F, high: Self::F, factor: Self::F) -> Self::B;
    /// `acc[i] + a[2i] b[2i] + a[2i+1] b[2i+1]` of int16.
    unsafe fn dot_pairs(acc: Self::I, a: Self::B, b: Self::B) -> Self::I;
    /// The greater of each of 32 words of 16 bits, without their top bits.
    unsafe fn max_magnitudes(a: Self::B, b: Self::B) -> Self::B;
    /// `acc[i]` + sum of `s[4i+j]`.
    unsafe fn sum_quads(s: Self::B) -> Self::I;
    unsafe fn zero_i() -> Self::I;
    unsafe fn splat_i(x: i32) -> Self::I;
    unsafe fn load_i(p: *const i32) -> Self::I;
    unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I;
    /// `x[i] y`
    unsafe fn scale_i(x: Self::I, y: i32) -> Self::I;
    unsafe fn to_f(x: Self::I) -> Self::F;

    unsafe fn zero() -> Self::F;
    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn load_f(p: *const f32) -> Self::F;
    unsafe fn store_f(p: *mut f32, x: Self::F);
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// a b + c
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// c - a b
    unsafe fn fnma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// x between `low` and `high`; not-a-number stays.
    unsafe fn clamp(x: Self::F, low: f32, high: f32) -> Self::F;
    /// To the nearest integer, ties to even.
    unsafe fn round(x: Self::F) -> Self::F;
    /// 2^x for integers in -127..=127, where 2^-127 is taken as 0.
    unsafe fn exp2_int(x: Self::F) -> Self::F;
    /// 2^e and 2^(1-e), of which 2^e is the greatest power of two that is not greater than |x|. For x that is 0 or
    /// below the normal numbers, they are 0 and infinity; for x that is not finite, infinity and 0.
    unsafe fn powers(x: Self::F) -> [Self::F; 2];
    /// The sum of all 16 lanes, by halves: lanes i and i + 8 are added, of these sums i and i + 4, then i and i + 2,
    /// then i and i + 1. Every instruction set keeps to this order, since other code repeats it.
    unsafe fn sum(x: Self::F) -> f32;
    /// The greater of each, if both are numbers.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// The greatest of all 16.
    #[inline(always)]
    unsafe fn greatest(x: Self::F) -> f32 {
        let mut all = [0f32; 16];
        // SAFETY: the caller's promise; the array is as long as a vector.
        unsafe { Self::store_f(all.as_mut_ptr(), x) };
        all.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    /// Transposes 16 vectors of 16 lanes: lane i of vector j goes to lane j of vector i.
    #[inline(always)]
    unsafe fn transpose(x: [Self::F; 16]) -> [Self::F; 16] {
        let (mut rows, mut out) = ([[0f32; 16]; 16], x);
        for (row, x) in rows.iter_mut().zip(x) {
            // SAFETY: as above, of a row of the result.
            unsafe { Self::store_f(row.as_mut_ptr(), x) };
        }
        for (i, out) in out.iter_mut().enumerate() {
            let column: [f32; 16] = std::array::from_fn(|j| rows[j][i]);
            // SAFETY: the column is an array of 16.
            *out = unsafe { Self::load_f(column.as_ptr()) };
        }
        out
    }
    /// The greatest magnitude; not-a-number is greater than all.
    unsafe fn abs_max(x: Self::F) -> f32;
    /// 16 signed bytes, nearest, ties to even; values in -127..=127.
    unsafe fn store_i8(p: *mut u8, x: Self::F);

    /// 16 halves.
    unsafe fn load_half(p: *const u8) -> Self::F;
    /// 16 bfloat16.
    unsafe fn load_bf16(p: *const u8) -> Self::F;
    /// 16 unsigned bytes.
    unsafe fn load_u8(p: *const u8) -> Self::F;
    /// 16 signed bytes.
    unsafe fn load_i8(p: *const u8) -> Self::F;
    /// The half at `p` in lanes 0..8, the half at `q` in lanes 8..16.
    unsafe fn two_halves(p: *const u8, q: *const u8) -> Self::F;
    /// Lane i has the half at p + i * stride, for i below 8; lane 8 + i the half after that if `both`, else 0. All 8
    /// strides must be readable.
    unsafe fn strided_halves(p: *const u8, stride: usize, both: bool) -> Self::F;
    /// The 8 scales, then the 8 mins, of a block of Q4_K or Q5_K at `p`.
    #[inline(always)]
    unsafe fn k_head(p: *const u8) -> Self::F {
        const LOW_SIX: u32 = 0x3f3f3f3f;
        const LOW_FOUR: u32 = 0x0f0f0f0f;
        const TOP_TWO: u32 = 0x03030303;
        // SAFETY: a block is longer than the 16 bytes read; the rest is the caller's promise.
        unsafe {
            let word = p.add(4).cast::<u32>();
            let (a, b, c) = (word.read_unaligned(), word.add(1).read_unaligned(), word.add(2).read_unaligned());
            // A word has numbers of four sub-blocks. Those of the first four are in a and b; those of the last four are
            // in c, with their top bits in a and b.
            let packed = [
                a & LOW_SIX,
                c & LOW_FOUR | (a >> 6 & TOP_TWO) << 4,
                b & LOW_SIX,
                c >> 4 & LOW_FOUR | (b >> 6 & TOP_TWO) << 4,
            ];
            Self::mul(Self::load_u8(packed.as_ptr().cast()), Self::two_halves(p, p.add(2)))
        }
    }
    /// Adds sums of 4 elements up to sums of blocks of 16. Vector c has the sums of 4 of elements 64c..64c + 64, so its
    /// lanes 4j..4j + 4 are a block; their sum goes to lane 4j + c.
    unsafe fn block_sums(x: [Self::I; 4]) -> Self::I;
    /// Parts the `block_sums` of two times 256 elements: the even blocks of all 16 pairs, and the odd ones. Both
    /// results have the pairs in this order: 0 2 4 6, 1 3 5 7 (of `a`), 8 10 12 14, 9 11 13 15 (of `b`). They are
    /// quarters (4 lanes each) 0 and 2 of `a` and of `b`, and quarters 1 and 3 of both.
    unsafe fn even_odd(a: Self::I, b: Self::I) -> [Self::I; 2];
    /// Brings numbers of pairs into that order: pair i from lane i of `a`, and pair 8 + i from lane i of `b`, i below
    /// 8.
    unsafe fn spread_32(a: Self::F, b: Self::F) -> Self::F;
    /// The same from lanes 8..16.
    unsafe fn spread_32_upper(a: Self::F, b: Self::F) -> Self::F;
    /// Brings numbers of blocks into that order: those of the even blocks, and those of the odd ones. Block i is lane i
    /// of `a`, and block 16 + i lane i of `b`.
    unsafe fn spread_16(a: Self::F, b: Self::F) -> [Self::F; 2];
}
