//! Types of few levels as the kernels see them: Q1_0 (-1 and 1), TQ1_0 and TQ2_0 (-1, 0 and 1), Q2_0 (-1 to 2).

// SAFETY: of the whole module: as in `weight`.
#![allow(unsafe_op_in_unsafe_fn)]

use super::weight::{Weight, bit_pairs};
use crate::cpu::simd::Simd;
use crate::quant::Type;

pub(super) struct Q1_0;
pub(super) struct Q2_0;
pub(super) struct Tq1_0;
pub(super) struct Tq2_0;

impl Weight for Tq2_0 {
    const TYPE: Type = Type::TQ2_0;
    const MOST: i32 = 3;
    const OFFSET: i32 = 1;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        V::two_halves(p.add(64), p.add(64))
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        V::and(bit_pairs::<V>(p, c), V::splat_byte(3))
    }
}

/// The first digit in base 3 of each byte's fraction (`quant/dequantize.rs`), after `skipped` others.
#[inline(always)]
unsafe fn digits<const N: usize>(p: *const u8, skipped: u32) -> [u8; N] {
    let mut out = [0; N];
    for (i, to) in out.iter_mut().enumerate() {
        let rest = (*p.add(i)).wrapping_mul(3u8.pow(skipped));
        // The whole part of three times the rest: it becomes 1 at 86 / 256, 2 at 171 / 256.
        *to = u8::from(rest >= 86) + u8::from(rest >= 171);
    }
    out
}

impl Weight for Tq1_0 {
    const TYPE: Type = Type::TQ1_0;
    const MOST: i32 = 2;
    const OFFSET: i32 = 1;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        V::two_halves(p.add(52), p.add(52))
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        // Five digits of 32 bytes, five of 16 bytes, four of 4 bytes.
        if c < 2 {
            let (a, b) = (digits::<32>(p, 2 * c as u32), digits::<32>(p, 2 * c as u32 + 1));
            return V::load_halves(a.as_ptr(), b.as_ptr());
        }
        if c == 2 {
            let (a, b, d) = (digits::<32>(p, 4), digits::<16>(p.add(32), 0), digits::<16>(p.add(32), 1));
            return V::load_quarters([a.as_ptr(), a.as_ptr().add(16), b.as_ptr(), d.as_ptr()]);
        }
        let (a, b, d) = (digits::<16>(p.add(32), 2), digits::<16>(p.add(32), 3), digits::<16>(p.add(32), 4));
        let mut last = [0; 16];
        for (skipped, to) in last.chunks_exact_mut(4).enumerate() {
            to.copy_from_slice(&digits::<4>(p.add(48), skipped as u32));
        }
        V::load_quarters([a.as_ptr(), b.as_ptr(), d.as_ptr(), last.as_ptr()])
    }
}

impl Weight for Q1_0 {
    const TYPE: Type = Type::Q1_0;
    const MOST: i32 = 16;
    // A bit is 0 or 16 here, where it should be -1 or 1: an eighth of the scale makes up for it.
    const OFFSET: i32 = 8;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        // Scales of four sub-blocks of 32 each.
        let (a, b) = (half(p), half(p.add(18)));
        repeated_halves::<V>([a, a, a, a, b, b, b, b], 0.125)
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        V::bits_to_16(p.add(18 * (c / 2) + 2 + 8 * (c % 2)).cast::<u64>().read_unaligned())
    }
}

impl Weight for Q2_0 {
    const TYPE: Type = Type::Q2_0;
    const MOST: i32 = 3;
    const OFFSET: i32 = 1;

    #[inline(always)]
    unsafe fn head<V: Simd>(p: *const u8) -> V::F {
        // Scales of two sub-blocks of 32 each.
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| half(p.add(18 * i)));
        repeated_halves::<V>([a, a, b, b, c, c, d, d], 1.0)
    }
    #[inline(always)]
    unsafe fn levels<V: Simd>(p: *const u8, c: usize) -> V::B {
        // A byte has four neighbouring levels, which are moved apart to a byte each.
        let p = p.add(18 * c + 2);
        let mut levels = [0u32; 16];
        for (i, to) in levels.iter_mut().enumerate() {
            let x = u32::from(*p.add(i));
            let x = x | x << 12;
            *to = (x | x << 6) & 0x0303_0303;
        }
        V::load(levels.as_ptr().cast())
    }
}

#[inline(always)]
unsafe fn half(p: *const u8) -> u16 {
    p.cast::<u16>().read_unaligned()
}

/// Eight halves, times `unit`, then zeros.
#[inline(always)]
unsafe fn repeated_halves<V: Simd>(halves: [u16; 8], unit: f32) -> V::F {
    V::mul(V::strided_halves(halves.as_ptr().cast(), 2, false), V::splat(unit))
}
