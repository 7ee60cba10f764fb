//! Weight types as the kernels see them: 256 levels at a time, with their scales and mins.
//!
//! # Problem
//!
//! There are some thirty formats of quantised weights, three kernels for them and four instruction sets. None of the
//! kernels should know a format.
//!
//! # Idea
//!
//! All formats are of one kind. A block of neighbouring weights has levels, which are small whole numbers, and a scale:
//!
//! ```text
//! weight = scale * (level - OFFSET)           Q4_0, Q5_0, Q8_0, Q3_K, Q6_K, IQ4, MXFP4, NVFP4 and those of other files
//! weight = scale * level + min                Q4_1, Q5_1           (MINS)
//! weight = scale * level - min                Q4_K, Q5_K           (MINS, MINUS)    Q2_K (FINE_MINS)
//! ```
//!
//! A scale covers 32 weights, or 16 (FINE). So a type is a few constants and two functions, which [`Weight`] lists.
//! Both work on 256 weights, half a step of the kernels, which is a whole number of blocks of every type:
//!
//! - `levels` unpacks 64 levels into the 64 bytes of a vector.
//! - `head` gives 16 floats: 16 scales, or 8 scales and then 8 mins.
//!
//! ```text
//! Q4_0: a block is 18 bytes   | half: scale | 16 bytes: levels of columns 0..16 low, 16..32 high |
//! `levels` of 2 blocks        | low nibbles of block 0 | high ones of block 0 | low of block 1 | high of block 1 |
//! `head` of 8 blocks          | 8 halves, 18 bytes apart, as floats | 0 ... |
//! ```
//!
//! Types whose levels are all nibbles say where these lie ([`Nibbles`]), which lets `few` transpose before it unpacks.
//! IQ4, MXFP4 and NVFP4 look their levels up in a table of 16. Two files have formats of other kinds: `grid` those that
//! look up groups of levels in a large table, `ternary` those of two to four levels.

// SAFETY: of the whole module: callers pass whole halves of steps (256 elements), and run where `V`'s instructions are.
#![allow(unsafe_op_in_unsafe_fn)]

use crate::cpu::simd::Simd;
use crate::quant::{IQ4_LEVELS, MXFP4_LEVELS, NVFP4_SCALES, Type};

/// The place of levels in nibbles: of 256 weights, 8 pieces of 16 bytes have 32 levels each.
pub(super) struct Nibbles {
    /// Byte at which the first piece starts.
    pub at: usize,
    /// Bytes from one piece to the next.
    pub stride: usize,
    /// Columns by which the high nibbles are behind the low ones: 16 or 32.
    pub behind: usize,
}

/// A type of quantised weights.
pub(super) trait Weight {
    const TYPE: Type;
    /// True if a scale covers 16 elements, not 32.
    const FINE: bool = false;
    /// True if there are mins of 32 elements each, in lanes 8..16 of the head.
    const MINS: bool = false;
    /// True if these mins are taken away, not added.
    const MINUS: bool = false;
    /// True if there are mins of 16 elements each instead, which are taken away.
    const FINE_MINS: bool = false;
    /// True if levels are signed bytes, which need `dot_q8`.
    const WIDE: bool = false;
    /// The greatest level, if they are not signed.
    const MOST: i32 = 15;
    /// The number that is taken from each level.
    const OFFSET: i32 = 0;

    /// Bytes of 256 elements, half a step.
    const HALF_BYTES: usize = 256 / Self::TYPE.block_len() * Self::TYPE.block_bytes();

    /// The scales of the 256 elements at `p`: 16 of 16 elements each, or 8 of 32 each and then the mins.
    unsafe fn head<V: Simd>(p: *const u8) -> V::F;
    /// The 16 mins of the 256 elements at `p`, of types with `FINE_MINS`.
    #[inline(always)]
    unsafe fn mins<V: Simd>(_: *const u8) -> V::F {
        V::zero()
    }
    /// Levels 64c..64c + 64 of the 256 elements at `p`.
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B;

    /// The place of the levels, if all of them are nibbles.
    const NIBBLES: Option<Nibbles> = None;
    /// Turns nibbles into levels.
    #[inline(always)]
    unsafe fn of_nibbles<V: Simd>(nibbles: V::B) -> V::B {
        nibbles
    }
}

pub(super) struct Q4_0;
pub(super) struct Q4_1;
pub(super) struct Q5_0;
pub(super) struct Q5_1;
pub(super) struct Q8_0;
pub(super) struct Q4K;
pub(super) struct Q5K;
pub(super) struct Q6K;
pub(super) struct Mxfp4;
pub(super) struct Iq4Nl;
pub(super) struct Iq4Xs;
pub(super) struct Q2K;
pub(super) struct Q3K;
pub(super) struct Nvfp4;

impl Weight for Q4_0 {
    const TYPE: Type = Type::Q4_0;
    const OFFSET: i32 = 8;
    const NIBBLES: Option<Nibbles> = Some(Nibbles { at: 2, stride: 18, behind: 16 });

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        V::strided_halves(p, 18, false)
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        let p = p.add(36 * c);
        V::nibbles(p.add(2), p.add(20))
    }
}

impl Weight for Q4_1 {
    const TYPE: Type = Type::Q4_1;
    const MINS: bool = true;
    const NIBBLES: Option<Nibbles> = Some(Nibbles { at: 4, stride: 20, behind: 16 });

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        V::strided_halves(p, 20, true)
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        let p = p.add(40 * c);
        V::nibbles(p.add(4), p.add(24))
    }
}

/// Two 32-bit words as one.
#[inline(always)]
unsafe fn two_words(p: *const u8, q: *const u8) -> u64 {
    u64::from(p.cast::<u32>().read_unaligned()) | u64::from(q.cast::<u32>().read_unaligned()) << 32
}

impl Weight for Q5_0 {
    const TYPE: Type = Type::Q5_0;
    const MOST: i32 = 31;
    const OFFSET: i32 = 16;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        V::strided_halves(p, 22, false)
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        let p = p.add(44 * c);
        V::or(V::nibbles(p.add(6), p.add(28)), V::bits_to_16(two_words(p.add(2), p.add(24))))
    }
}

impl Weight for Q5_1 {
    const TYPE: Type = Type::Q5_1;
    const MOST: i32 = 31;
    const MINS: bool = true;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        V::strided_halves(p, 24, true)
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        let p = p.add(48 * c);
        V::or(V::nibbles(p.add(8), p.add(32)), V::bits_to_16(two_words(p.add(4), p.add(28))))
    }
}

impl Weight for Q8_0 {
    const TYPE: Type = Type::Q8_0;
    const WIDE: bool = true;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        V::strided_halves(p, 34, false)
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        let p = p.add(68 * c);
        V::bias_q8(V::load_halves(p.add(2), p.add(36)))
    }
}

impl Weight for Q4K {
    const TYPE: Type = Type::Q4_K;
    const MINS: bool = true;
    const MINUS: bool = true;
    const NIBBLES: Option<Nibbles> = Some(Nibbles { at: 16, stride: 16, behind: 32 });

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        V::k_head(p)
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        V::and(V::twice_shifted(p.add(16 + 32 * c), 0, 4), V::splat_byte(15))
    }
}

impl Weight for Q5K {
    const TYPE: Type = Type::Q5_K;
    const MOST: i32 = 31;
    const MINS: bool = true;
    const MINUS: bool = true;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        V::k_head(p)
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        let low = V::and(V::twice_shifted(p.add(48 + 32 * c), 0, 4), V::splat_byte(15));
        // The fifth bits of chunk c are bits 2c and 2c + 1 of 32 bytes. They go to bit 4.
        let bit = 2 * c as i32 - 4;
        V::or(low, V::and(V::twice_shifted(p.add(16), bit, bit + 1), V::splat_byte(16)))
    }
}

impl Weight for Q6K {
    const TYPE: Type = Type::Q6_K;
    const MOST: i32 = 63;
    const FINE: bool = true;
    const OFFSET: i32 = 32;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        V::mul(V::load_i8(p.add(192)), V::two_halves(p.add(208), p.add(208)))
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        let nibbles = V::load(p.add(64 * (c / 2)));
        let low = V::and(if c.is_multiple_of(2) { nibbles } else { V::high_nibbles(nibbles) }, V::splat_byte(15));
        // The upper two bits of chunk c are pair 2 (c % 2) of 32 bytes, then the next pair. They go to bits 4 and 5.
        let bit = 4 * (c % 2) as i32 - 4;
        V::or(low, V::and(V::twice_shifted(p.add(128 + 32 * (c / 2)), bit, bit + 2), V::splat_byte(48)))
    }
}

/// Takes 32 from each byte of an integer; the bytes are numbers of 6 bits.
macro_rules! less_32 {
    ($bytes:expr, $int:ty) => {
        // The top bit of each byte is set meanwhile, so that no byte borrows from the next.
        (($bytes | <$int>::MAX / 255 * 128) - <$int>::MAX / 255 * 32) ^ <$int>::MAX / 255 * 128
    };
}

impl Weight for Q2K {
    const TYPE: Type = Type::Q2_K;
    const MOST: i32 = 3;
    const FINE: bool = true;
    const FINE_MINS: bool = true;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        let scales = p.cast::<u128>().read_unaligned() & LOW_NIBBLES;
        V::mul(V::load_u8((&raw const scales).cast()), V::two_halves(p.add(80), p.add(80)))
    }
    #[inline(always)]
    unsafe fn mins<V: Simd>(p: *const u8) -> V::F {
        let mins = p.cast::<u128>().read_unaligned() >> 4 & LOW_NIBBLES;
        V::mul(V::load_u8((&raw const mins).cast()), V::two_halves(p.add(82), p.add(82)))
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        V::and(bit_pairs::<V>(p.add(16), c), V::splat_byte(3))
    }
}

const LOW_NIBBLES: u128 = u128::MAX / 255 * 15;

/// Bit pairs 64c..64c + 64 of Q2_K, Q3_K and TQ2_0. A byte has four, of elements that are 32 apart. The other bits are
/// anything.
#[inline(always)]
pub(super) unsafe fn bit_pairs<V: Simd>(p: *const u8, c: usize) -> V::B {
    let bit = 4 * (c % 2) as i32;
    V::twice_shifted(p.add(32 * (c / 2)), bit, bit + 2)
}

impl Weight for Q3K {
    const TYPE: Type = Type::Q3_K;
    const MOST: i32 = 7;
    const FINE: bool = true;
    const OFFSET: i32 = 4;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        const LOW_FOUR: u32 = 0x0f0f0f0f;
        const LOW_TWO: u32 = 0x03030303;
        let word = p.add(96).cast::<u32>();
        let (a, b, top) = (word.read_unaligned(), word.add(1).read_unaligned(), word.add(2).read_unaligned());
        let scales = [
            less_32!(a & LOW_FOUR | (top & LOW_TWO) << 4, u32),
            less_32!(b & LOW_FOUR | (top >> 2 & LOW_TWO) << 4, u32),
            less_32!(a >> 4 & LOW_FOUR | (top >> 4 & LOW_TWO) << 4, u32),
            less_32!(b >> 4 & LOW_FOUR | (top >> 6 & LOW_TWO) << 4, u32),
        ];
        V::mul(V::load_i8(scales.as_ptr().cast()), V::two_halves(p.add(108), p.add(108)))
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        // The third bits of chunk c are bits 2c and 2c + 1 of 32 bytes. They go to bit 2.
        let bit = 2 * c as i32 - 2;
        let high = V::and(V::twice_shifted(p, bit, bit + 1), V::splat_byte(4));
        V::or(V::and(bit_pairs::<V>(p.add(32), c), V::splat_byte(3)), high)
    }
}

impl Weight for Iq4Nl {
    const TYPE: Type = Type::IQ4_NL;
    const WIDE: bool = true;
    const NIBBLES: Option<Nibbles> = Some(Nibbles { at: 2, stride: 18, behind: 16 });

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        V::strided_halves(p, 18, false)
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        let p = p.add(36 * c);
        Self::of_nibbles::<V>(V::nibbles(p.add(2), p.add(20)))
    }
    #[inline(always)]
    unsafe fn of_nibbles<V: Simd>(nibbles: V::B) -> V::B {
        iq4_levels::<V>(nibbles)
    }
}

#[inline(always)]
unsafe fn iq4_levels<V: Simd>(nibbles: V::B) -> V::B {
    V::lookup(V::bias_q8(V::table(IQ4_LEVELS.as_ptr().cast())), nibbles)
}

/// Eight nibbles as eight bytes, the lowest first.
#[inline(always)]
pub(super) fn nibbles_apart(nibbles: u32) -> u64 {
    // First the upper half is moved away from the lower, then the quarters apart, then each from the next.
    let x = u64::from(nibbles);
    let x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    let x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
    (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f
}

impl Weight for Iq4Xs {
    const TYPE: Type = Type::IQ4_XS;
    const WIDE: bool = true;
    const NIBBLES: Option<Nibbles> = Some(Nibbles { at: 8, stride: 16, behind: 16 });

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        // A scale has a nibble in one place and a bit pair in another. Eight of each are spread over a word's bytes.
        let low = nibbles_apart(p.add(4).cast::<u32>().read_unaligned());
        let mut high = u64::from(p.add(2).cast::<u16>().read_unaligned());
        high = (high | high << 24) & 0x0000_00ff_0000_00ff;
        high = (high | high << 12) & 0x000f_000f_000f_000f;
        high = (high | high << 6) & 0x0303_0303_0303_0303;
        let scales = [less_32!(low | high << 4, u64), 0];
        V::mul(V::load_i8(scales.as_ptr().cast()), V::two_halves(p, p))
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        let p = p.add(8 + 32 * c);
        Self::of_nibbles::<V>(V::nibbles(p, p.add(16)))
    }
    #[inline(always)]
    unsafe fn of_nibbles<V: Simd>(nibbles: V::B) -> V::B {
        iq4_levels::<V>(nibbles)
    }
}

/// Entries of a type's table, each plus `offset`.
const fn plus(table: [i8; 16], offset: i8) -> [u8; 16] {
    let mut out = [0; 16];
    let mut i = 0;
    while i < 16 {
        out[i] = (table[i] + offset) as u8;
        i += 1;
    }
    out
}

impl Weight for Mxfp4 {
    const TYPE: Type = Type::MXFP4;
    const MOST: i32 = 24;
    // The table's entries are signed. With this added they need no `dot_q8`.
    const OFFSET: i32 = 12;
    const NIBBLES: Option<Nibbles> = Some(Nibbles { at: 1, stride: 17, behind: 16 });

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        let mut exponents = [0u8; 16];
        for (i, exponent) in exponents[..8].iter_mut().enumerate() {
            *exponent = *p.add(17 * i);
        }
        let power = V::sub(V::load_u8(exponents.as_ptr()), V::splat(128.0));
        // Powers below the normal numbers become 0.
        V::exp2_int(V::clamp(power, -127.0, 127.0))
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        let p = p.add(34 * c);
        Self::of_nibbles::<V>(V::nibbles(p.add(1), p.add(18)))
    }
    #[inline(always)]
    unsafe fn of_nibbles<V: Simd>(nibbles: V::B) -> V::B {
        V::lookup(V::table(FP4_TABLE.as_ptr()), nibbles)
    }
}

const FP4_TABLE: [u8; 16] = plus(MXFP4_LEVELS, 12);

impl Weight for Nvfp4 {
    const TYPE: Type = Type::NVFP4;
    const MOST: i32 = 24;
    const FINE: bool = true;
    const OFFSET: i32 = 12;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        let mut scales = [0f32; 16];
        for (i, scale) in scales.iter_mut().enumerate() {
            *scale = NVFP4_SCALES[usize::from(*p.add(36 * (i / 4) + i % 4))];
        }
        V::load_f(scales.as_ptr())
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        // Of each 16 levels the first 8 are the low nibbles of 8 bytes.
        let p = p.add(36 * c + 4).cast::<u64>();
        let nibbles = V::of_longs(|i| p.add(i / 2).read_unaligned() >> (i % 2 * 4) & (u64::MAX / 17));
        V::lookup(V::table(FP4_TABLE.as_ptr()), nibbles)
    }
}

/// A type of weights of 16 bits, of which the top one is the sign.
pub(super) trait HalfWeight {
    /// 16 weights as floats.
    unsafe fn load<V: Simd>(p: *const u8) -> V::F;
}

pub(super) struct F16;
pub(super) struct Bf16;

impl HalfWeight for F16 {
    #[inline(always)]
    unsafe fn load<V: Simd>(p: *const u8) -> V::F {
        V::load_half(p)
    }
}

impl HalfWeight for Bf16 {
    #[inline(always)]
    unsafe fn load<V: Simd>(p: *const u8) -> V::F {
        V::load_bf16(p)
    }
}
