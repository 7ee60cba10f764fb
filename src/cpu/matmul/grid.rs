//! The IQ1, IQ2 and IQ3 types as the kernels see them: groups of levels, looked up in a grid (`quant/grid.rs` tells how
//! their blocks lie).
//!
//! Eight weights are a word of 64 bits from a table, or two of 32 bits, so 64 levels are eight loads (sixteen) and the
//! moves that bring them into a vector. Levels are magnitudes; `Simd::signed` applies 64 signs at once, and adds the
//! OFFSET that keeps levels from being negative, so that they need no `dot_q8`. In IQ1 the table has eight times the
//! levels, plus eight; the shift of a group by an eighth up is 2 more for each byte, and that down nothing. So the
//! OFFSET is 9.
//!
//! If seven signs of eight are stored, [`even_signs`] makes the eighth of eight groups at once.

// SAFETY: of the whole module: as in `weight`; every number of a group is below the length of its table.
#![allow(unsafe_op_in_unsafe_fn)]

use super::weight::{Weight, nibbles_apart};
use crate::cpu::simd::Simd;
use crate::quant::{IQ1_GRID, IQ2_S_GRID, IQ2_XS_GRID, IQ2_XXS_GRID, IQ3_S_GRID, IQ3_XXS_GRID, Type};

pub(super) struct Iq2Xxs;
pub(super) struct Iq2Xs;
pub(super) struct Iq2S;
pub(super) struct Iq3Xxs;
pub(super) struct Iq3S;
pub(super) struct Iq1S;
pub(super) struct Iq1M;

const ONES: u64 = u64::MAX / 255;

#[inline(always)]
unsafe fn short(p: *const u8) -> u16 {
    p.cast::<u16>().read_unaligned()
}
#[inline(always)]
unsafe fn word(p: *const u8) -> u32 {
    p.cast::<u32>().read_unaligned()
}
#[inline(always)]
unsafe fn long(p: *const u8) -> u64 {
    p.cast::<u64>().read_unaligned()
}

/// The entry of a table.
#[inline(always)]
unsafe fn entry<T: Copy, const N: usize>(table: &[T; N], i: usize) -> T {
    *table.as_ptr().add(i)
}

/// Sets the top bit of each byte, so that it has an even number of ones. The other seven bits are given.
#[inline(always)]
fn even_signs(sevens: u64) -> u64 {
    let mut odd = sevens ^ sevens >> 4;
    odd ^= odd >> 2;
    odd ^= odd >> 1;
    sevens | (odd & ONES) << 7
}

/// Two words with four numbers of seven bits each, as eight bytes.
#[inline(always)]
fn sevens_apart(first: u32, second: u32) -> u64 {
    let x = u64::from(first) | u64::from(second) << 32;
    let x = (x & 0x0fff_c000_0fff_c000) << 2 | x & 0x0000_3fff_0000_3fff;
    (x & 0x3f80_3f80_3f80_3f80) << 1 | x & 0x007f_007f_007f_007f
}

/// The first 8 lanes: s + 1/2, times `unit` and the half at `d`.
#[inline(always)]
unsafe fn coarse_head<V: Simd>(scales: u64, d: *const u8, unit: f32) -> V::F {
    let scales = [scales, 0];
    fine_head::<V>(scales, d, unit)
}
/// The same of all 16 lanes.
#[inline(always)]
unsafe fn fine_head<V: Simd>(scales: [u64; 2], d: *const u8, unit: f32) -> V::F {
    let scales = V::add(V::load_u8(scales.as_ptr().cast()), V::splat(0.5));
    V::mul(scales, V::mul(V::two_halves(d, d), V::splat(unit)))
}

/// The top nibbles of the last bytes of 8 pieces of `stride` bytes each, as 8 bytes.
#[inline(always)]
unsafe fn top_nibbles(p: *const u8, stride: usize) -> u64 {
    let mut out = 0;
    for i in 0..8 {
        out |= u64::from(*p.add(stride * i + stride - 1)) << (8 * i);
    }
    out >> 4 & (15 * ONES)
}

impl Weight for Iq2Xxs {
    const TYPE: Type = Type::IQ2_XXS;
    const MOST: i32 = 86;
    const OFFSET: i32 = 43;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        coarse_head::<V>(top_nibbles(p.add(2), 8), p, 0.25)
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        let p = p.add(2 + 16 * c);
        let levels = V::of_longs(|i| entry(&IQ2_XXS_GRID, usize::from(*p.add(i / 4 * 8 + i % 4))));
        let signs = even_signs(sevens_apart(word(p.add(4)), word(p.add(12))));
        V::signed(levels, signs, Self::OFFSET as u8)
    }
}

impl Weight for Iq2Xs {
    const TYPE: Type = Type::IQ2_XS;
    const MOST: i32 = 86;
    const FINE: bool = true;
    const OFFSET: i32 = 43;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        fine_head::<V>([nibbles_apart(word(p.add(66))), nibbles_apart(word(p.add(70)))], p, 0.25)
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        let p = p.add(2 + 16 * c);
        let levels = V::of_longs(|i| entry(&IQ2_XS_GRID, usize::from(short(p.add(2 * i)) & 511)));
        // The signs are the upper seven bits of each 16.
        let mut signs = 0;
        for half in 0..2 {
            let x = long(p.add(8 * half)) >> 9 & 0x007f_007f_007f_007f;
            let x = (x | x >> 8) & 0x0000_ffff_0000_ffff;
            signs |= ((x | x >> 16) & 0xffff_ffff) << (32 * half);
        }
        V::signed(levels, even_signs(signs), Self::OFFSET as u8)
    }
}

impl Weight for Iq2S {
    const TYPE: Type = Type::IQ2_S;
    const MOST: i32 = 86;
    const FINE: bool = true;
    const OFFSET: i32 = 43;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        fine_head::<V>([nibbles_apart(word(p.add(74))), nibbles_apart(word(p.add(78)))], p, 0.25)
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        let (low, high) = (p.add(2 + 8 * c), usize::from(short(p.add(66 + 2 * c))));
        let number = |i: usize| usize::from(*low.add(i)) | (high >> (2 * i) & 3) << 8;
        let levels = V::of_longs(|i| entry(&IQ2_S_GRID, number(i)));
        V::signed(levels, long(p.add(34 + 8 * c)), Self::OFFSET as u8)
    }
}

impl Weight for Iq3Xxs {
    const TYPE: Type = Type::IQ3_XXS;
    const MOST: i32 = 124;
    const OFFSET: i32 = 62;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        coarse_head::<V>(top_nibbles(p.add(66), 4), p, 0.5)
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        let numbers = p.add(2 + 16 * c);
        let levels = V::of_words(|i| entry(&IQ3_XXS_GRID, usize::from(*numbers.add(i))));
        let signs = p.add(66 + 8 * c);
        let signs = even_signs(sevens_apart(word(signs), word(signs.add(4))));
        V::signed(levels, signs, Self::OFFSET as u8)
    }
}

impl Weight for Iq3S {
    const TYPE: Type = Type::IQ3_S;
    const MOST: i32 = 30;
    const OFFSET: i32 = 15;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        coarse_head::<V>(nibbles_apart(word(p.add(106))), p, 2.0)
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        let (low, high) = (p.add(2 + 16 * c), usize::from(short(p.add(66 + 2 * c))));
        let number = |i: usize| usize::from(*low.add(i)) | (high >> i & 1) << 8;
        let levels = V::of_words(|i| entry(&IQ3_S_GRID, number(i)));
        V::signed(levels, long(p.add(74 + 8 * c)), Self::OFFSET as u8)
    }
}

impl Weight for Iq1S {
    const TYPE: Type = Type::IQ1_S;
    const MOST: i32 = 18;
    const OFFSET: i32 = 9;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        // The scales are bits 4 to 6 of the upper bytes.
        coarse_head::<V>(top_nibbles(p.add(34), 2) & (7 * ONES), p, 0.25)
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        let (low, words) = (p.add(2 + 8 * c), word(p.add(34 + 4 * c)) as usize);
        V::of_longs(|i| {
            let word = words >> (i / 4 * 16);
            let up = if word & 0x8000 == 0 { 2 * ONES } else { 0 };
            entry(&IQ1_GRID, usize::from(*low.add(i)) | (word >> (i % 4 * 3) & 7) << 8) + up
        })
    }
}

impl Weight for Iq1M {
    const TYPE: Type = Type::IQ1_M;
    const MOST: i32 = 18;
    const FINE: bool = true;
    const OFFSET: i32 = 9;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        // Four words of four scales of three bits; their top bits are the half.
        let mut scales = [0u64; 2];
        let mut d = 0;
        for i in 0..4 {
            let word = short(p.add(48 + 2 * i));
            d |= word >> 12 << (4 * i);
            let x = u64::from(word & 0x0fff);
            let x = (x | x << 10) & 0x003f_003f;
            scales[i / 2] |= ((x | x << 5) & 0x0707_0707) << (32 * (i % 2));
        }
        fine_head::<V>(scales, (&raw const d).cast(), 0.25)
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        let (low, high) = (p.add(8 * c), word(p.add(32 + 4 * c)));
        V::of_longs(|i| {
            let high = high >> (4 * i);
            let up = if high & 8 == 0 { 2 * ONES } else { 0 };
            entry(&IQ1_GRID, usize::from(*low.add(i)) | (high as usize & 7) << 8) + up
        })
    }
}
