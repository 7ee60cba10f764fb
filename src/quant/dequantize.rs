//! The plain decoding of each block format, one block at a time. Everything faster is tested against it.
//!
//! There are five kinds of formats. d and m are halves (16-bit floats) of the block, and bytes lie in the order in
//! which they are named:
//!
//! - **Blocks of 32 with a scale** (Q4_0, Q5_0, Q8_0): x = d (q - offset), where the offset makes levels signed. Q4_1
//!   and Q5_1 have a minimum instead: x = d q + m. The 4 low bits of elements 0 to 15 are the low nibbles of 16 bytes,
//!   those of elements 16 to 31 the high nibbles; the fifth bits, if there are any, are a word of 32 bits before them.
//!   Q8_0 has a byte for each element.
//! - **Blocks of 256 with scales of their own** (the K types, IQ4_XS): the block is cut into sub-blocks of 16 or 32,
//!   each with a small integer scale s, and in Q2_K, Q4_K and Q5_K with an integer minimum n: x = d s q - m n. In Q3_K,
//!   Q6_K and IQ4_XS scales are signed and there is no minimum: x = d s (q - offset). The scales themselves are packed
//!   in 4, 6 or 8 bits.
//! - **Levels from a table** (IQ4_NL, IQ4_XS, MXFP4, NVFP4): q is an index into 16 levels that lie closer together near
//!   zero.
//! - **Few levels** (Q1_0: -1 and 1; TQ1_0, TQ2_0: -1, 0 and 1; Q2_0: -1 to 2) with a scale of the block.
//! - **Groups of levels from a grid** (the IQ1, IQ2 and IQ3 types): `grid.rs`.
//! - **Plain floats** (F32, F16, BF16).
//!
//! MXFP4 has no half but a power of two as its scale, NVFP4 small floats of 8 bits. The fields that a function names
//! are in the order of the block's bytes.

use super::grid;
use super::scale::half_at;
use super::types::Type;

/// The levels of MXFP4. Its numbers have two bits of exponent and one of fraction (e2m1); doubled they are whole.
pub(crate) const MXFP4_LEVELS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The levels of IQ4_NL and IQ4_XS.
pub(crate) const IQ4_LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Half of 2^(e - 127), because the levels of MXFP4 are doubled.
pub(super) fn half_power(e: u8) -> f32 {
    // The results for the first two exponents are below the normal numbers of f32.
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { u32::from(e - 1) << 23 })
}

/// Writes the values of `src`, whole blocks of `ty`, to `dst`.
///
/// Only types with [`Type::on_cpu`] have values.
///
/// # Panics
/// If `ty` is not supported or the lengths do not belong together. Callers check both when a tensor is loaded.
pub fn dequantize(ty: Type, src: &[u8], dst: &mut [f32]) {
    assert_eq!(
        ty.row_bytes(dst.len()),
        Some(src.len()),
        "{} bytes of {} are not {} elements",
        src.len(),
        ty.name(),
        dst.len()
    );
    for (block, out) in src.chunks_exact(ty.block_bytes()).zip(dst.chunks_exact_mut(ty.block_len())) {
        match ty {
            Type::F32 => out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
            Type::F16 => out[0] = half_at(block, 0),
            Type::BF16 => out[0] = f32::from_bits(u32::from(u16::from_le_bytes([block[0], block[1]])) << 16),
            Type::Q4_0 => small(out, &block[2..], None, half_at(block, 0), -8, 0.0),
            Type::Q4_1 => small(out, &block[4..], None, half_at(block, 0), 0, half_at(block, 2)),
            Type::Q5_0 => small(out, &block[6..], Some(&block[2..6]), half_at(block, 0), -16, 0.0),
            Type::Q5_1 => small(out, &block[8..], Some(&block[4..8]), half_at(block, 0), 0, half_at(block, 2)),
            Type::Q8_0 => {
                for (x, &q) in out.iter_mut().zip(&block[2..]) {
                    *x = half_at(block, 0) * f32::from(q as i8);
                }
            }
            Type::Q4_K => k_with_mins(out, &block[..16], None, &block[16..]),
            Type::Q5_K => k_with_mins(out, &block[..16], Some(&block[16..48]), &block[48..]),
            Type::Q6_K => q6_k(out, block),
            Type::IQ4_NL => from_table(out, &block[2..], &IQ4_LEVELS, half_at(block, 0)),
            Type::IQ4_XS => iq4_xs(out, block),
            Type::Q2_K => q2_k(out, block),
            Type::Q3_K => q3_k(out, block),
            Type::TQ2_0 => tq2_0(out, block),
            Type::TQ1_0 => tq1_0(out, block),
            Type::MXFP4 => from_table(out, &block[1..], &MXFP4_LEVELS, half_power(block[0])),
            Type::NVFP4 => nvfp4(out, block),
            Type::Q1_0 => {
                for (i, x) in out.iter_mut().enumerate() {
                    *x = half_at(block, 0) * if block[2 + i / 8] >> (i % 8) & 1 == 1 { 1.0 } else { -1.0 };
                }
            }
            Type::Q2_0 => {
                for (i, x) in out.iter_mut().enumerate() {
                    *x = (f32::from(block[2 + i / 4] >> (i % 4 * 2) & 3) - 1.0) * half_at(block, 0);
                }
            }
            Type::IQ1_S | Type::IQ1_M | Type::IQ2_XXS | Type::IQ2_XS | Type::IQ2_S | Type::IQ3_XXS | Type::IQ3_S => {
                grid::dequantize(ty, block, out)
            }
            _ => panic!("no dequantisation of {}", ty.name()),
        }
    }
}

/// The blocks of 32 with a scale, and a minimum or an offset. Bit i of `high` is the fifth bit of element i.
fn small(out: &mut [f32], nibbles: &[u8], high: Option<&[u8]>, d: f32, offset: i32, min: f32) {
    for (i, x) in out.iter_mut().enumerate() {
        let byte = nibbles[i % 16];
        let mut q = i32::from(if i < 16 { byte & 15 } else { byte >> 4 });
        if let Some(bits) = high {
            q |= i32::from(bits[i / 8] >> (i % 8) & 1) << 4;
        }
        *x = (q + offset) as f32 * d + min;
    }
}

/// The blocks of 32 whose nibbles, in the same order, are indices into a table.
fn from_table(out: &mut [f32], nibbles: &[u8], table: &[i8; 16], d: f32) {
    for (i, x) in out.iter_mut().enumerate() {
        let byte = nibbles[i % 16];
        *x = d * f32::from(table[usize::from(if i < 16 { byte & 15 } else { byte >> 4 })]);
    }
}

/// The 6-bit scale and min of sub-block `j` (of 8), packed in 12 bytes.
pub(crate) fn scale_min(packed: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (packed[j + 4] & 15 | (packed[j - 4] >> 6) << 4, packed[j + 4] >> 4 | (packed[j] >> 6) << 4)
    }
}

/// Q4_K and Q5_K: d, m, eight packed pairs of scale and minimum, the fifth bits of Q5_K, nibbles. Of each 64 elements
/// the first 32 lie in the low nibbles of 32 bytes, the others in the high ones. Bit j of `high[l]` is the fifth bit of
/// element l of sub-block j.
fn k_with_mins(out: &mut [f32], head: &[u8], high: Option<&[u8]>, nibbles: &[u8]) {
    let (d, dmin) = (half_at(head, 0), half_at(head, 2));
    for (j, sub) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_min(&head[4..], j);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        for (l, x) in sub.iter_mut().enumerate() {
            let byte = nibbles[j / 2 * 32 + l];
            let mut q = if j % 2 == 0 { byte & 15 } else { byte >> 4 };
            if let Some(high) = high {
                q |= (high[l] >> j & 1) << 4;
            }
            *x = scale * f32::from(q) - min;
        }
    }
}

/// Q6_K: nibbles, bit pairs above them, 16 signed scales, d. Each half of 128 elements has 64 bytes of nibbles and 32
/// bytes of four bit pairs.
fn q6_k(out: &mut [f32], block: &[u8]) {
    let (low, high, scales, d) = (&block[..128], &block[128..192], &block[192..208], half_at(block, 208));
    for (i, x) in out.iter_mut().enumerate() {
        let (half, quarter, l) = (i / 128, i / 32 % 4, i % 32);
        let byte = low[half * 64 + quarter % 2 * 32 + l];
        let nibble = if quarter < 2 { byte & 15 } else { byte >> 4 };
        let q = i32::from(nibble | (high[half * 32 + l] >> (2 * quarter) & 3) << 4) - 32;
        *x = d * f32::from(scales[i / 16] as i8) * q as f32;
    }
}

/// IQ4_XS: d, the high bit pairs of 8 scales, their nibbles, indices. A scale is offset by 32, and each sub-block of 32
/// has 16 bytes of indices.
fn iq4_xs(out: &mut [f32], block: &[u8]) {
    let (d, high) = (half_at(block, 0), u16::from_le_bytes([block[2], block[3]]));
    for (j, sub) in out.chunks_exact_mut(32).enumerate() {
        let low = block[4 + j / 2] >> (4 * (j % 2)) & 15;
        let scale = i32::from(low) + (i32::from(high >> (2 * j) & 3) << 4) - 32;
        from_table(sub, &block[8 + 16 * j..], &IQ4_LEVELS, d * scale as f32);
    }
}

/// The bit pair of element i of Q2_K, Q3_K and TQ2_0. Each half of 128 elements has 32 bytes of four bit pairs.
fn bit_pair(pairs: &[u8], i: usize) -> u8 {
    pairs[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3
}

/// Q2_K: 16 bytes that hold a scale in the low and a minimum in the high nibble, bit pairs, d, m.
fn q2_k(out: &mut [f32], block: &[u8]) {
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    for (i, x) in out.iter_mut().enumerate() {
        let (scale, min) = (block[i / 16] & 15, block[i / 16] >> 4);
        *x = d * f32::from(scale) * f32::from(bit_pair(&block[16..80], i)) - dmin * f32::from(min);
    }
}

/// TQ2_0 has bit pairs that stand for -1, 0 and 1, and then their scale d.
fn tq2_0(out: &mut [f32], block: &[u8]) {
    let d = half_at(block, 64);
    for (i, x) in out.iter_mut().enumerate() {
        *x = (f32::from(bit_pair(&block[..64], i)) - 1.0) * d;
    }
}

/// The digit in base 3 of element i of TQ1_0: which byte has it, and at which place. A byte is the fraction
/// 0.d0 d1 d2 d3 d4 in base 3 (or of four digits), in 256ths, rounded up. So three times the byte has d0 as its whole
/// part, and what is left is a fraction again.
pub(crate) fn tq1_0_place(i: usize) -> (usize, usize) {
    match i {
        0..160 => (i % 32, i / 32),
        160..240 => (32 + i % 16, (i - 160) / 16),
        _ => (48 + i % 4, (i - 240) / 4),
    }
}

/// TQ1_0 has digits in base 3 that stand for -1, 0 and 1, and then their scale d.
fn tq1_0(out: &mut [f32], block: &[u8]) {
    let d = half_at(block, 52);
    for (i, x) in out.iter_mut().enumerate() {
        let (byte, digit) = tq1_0_place(i);
        let rest = block[byte].wrapping_mul(3u8.pow(digit as u32));
        *x = ((u16::from(rest) * 3 / 256) as f32 - 1.0) * d;
    }
}

/// Half of each scale of NVFP4, as its levels are doubled, by the scale's byte: four bits of exponent, three of
/// fraction, a top bit that does not count. 127 stands for no number, and is taken as 0.
pub(crate) static NVFP4_SCALES: [f32; 256] = {
    let mut out = [0f32; 256];
    let mut i = 0;
    while i < 256 {
        let (exponent, fraction) = (i >> 3 & 15, (i & 7) as f32);
        if exponent == 0 {
            out[i] = fraction / 1024.0;
        } else if i != 127 {
            out[i] = (8.0 + fraction) * (1 << exponent) as f32 / 2048.0;
        }
        i += 1;
    }
    out
};

/// NVFP4: a scale for each 16 of 64 elements, indices. Of each 16 the first 8 are the low nibbles of 8 bytes.
fn nvfp4(out: &mut [f32], block: &[u8]) {
    for (i, x) in out.iter_mut().enumerate() {
        let byte = block[4 + i / 16 * 8 + i % 8];
        let level = MXFP4_LEVELS[usize::from(if i % 16 < 8 { byte & 15 } else { byte >> 4 })];
        *x = f32::from(level) * NVFP4_SCALES[usize::from(block[i / 16])];
    }
}

/// Q3_K: third bits, bit pairs, 16 scales, d. Bit j of byte l is the third bit of element 32j + l. The scales are
/// stored as nibbles and as bit pairs above them, and are offset by 32.
fn q3_k(out: &mut [f32], block: &[u8]) {
    let (high, scales, d) = (&block[..32], &block[96..108], half_at(block, 108));
    for (i, x) in out.iter_mut().enumerate() {
        let j = i / 16;
        let scale = scales[j % 8] >> (j / 8 * 4) & 15 | (scales[8 + j % 4] >> (j / 4 * 2) & 3) << 4;
        let q = bit_pair(&block[32..96], i) | (high[i % 32] >> (i / 32) & 1) << 2;
        *x = d * (f32::from(scale) - 32.0) * (f32::from(q) - 4.0);
    }
}
