//! The blocks of the IQ1, IQ2 and IQ3 types: 256 weights as numbers of groups in a grid (`grids.rs`).
//!
//! A block is cut into sub-blocks of 32 or 16 weights, each with a scale s of 3 or 4 bits, and these into groups of 8
//! or 4. x = d c (s + 1/2) g, where d is a half, c a constant of the type and g a level of the group, with a sign.
//!
//! | | bytes, in their order | scales of | c | signs |
//! |---|---|---|---|---|
//! | IQ2_XXS | d; for each 32: 4 numbers, a word of signs and scale | 32 | 1/4 | 7 bits of 8 |
//! | IQ2_XS | d; 32 words of a number (9 bits) and signs; 8 of scales | 16 | 1/4 | 7 bits of 8 |
//! | IQ2_S | d; 32 of numbers; 32 of signs; 8 of high bits; 8 of scales | 16 | 1/4 | 8 |
//! | IQ3_XXS | d; 64 of numbers; for each 32 a word of signs and scale | 32 | 1/2 | 7 bits of 8 |
//! | IQ3_S | d; 64 of numbers; 8 of high bits; 32 of signs; 4 of scales | 32 | 2 | 8 |
//! | IQ1_S | d; 32 of numbers; for each 32 a word of high bits, scale, shift | 32 | 2 | none |
//! | IQ1_M | 32 of numbers; 16 of high bits and shifts; 4 words of scales and d | 16 | 2 | none |
//!
//! If 7 signs are stored, the eighth makes their number even. In IQ1 all levels of a group of 8 (IQ1_M) or of 32
//! (IQ1_S) are shifted up or down by 1/8.

use super::grids::*;
use super::scale::{half_at, half_to_f32, inverse, level, put_half};
use super::types::Type;

/// One of the types here.
#[derive(Clone, Copy)]
struct Format {
    /// Weights that share a scale.
    sub: usize,
    /// The greatest s.
    most: i32,
    /// c.
    unit: f32,
    /// The greatest level; in IQ1 with the shift.
    top: f32,
}

fn format(ty: Type) -> Format {
    let (sub, most, unit, top) = match ty {
        Type::IQ2_XXS => (32, 15, 0.25, 43.0),
        Type::IQ2_XS | Type::IQ2_S => (16, 15, 0.25, 43.0),
        Type::IQ3_XXS => (32, 15, 0.5, 62.0),
        Type::IQ3_S => (32, 15, 2.0, 15.0),
        Type::IQ1_S => (32, 7, 2.0, 1.125),
        Type::IQ1_M => (16, 7, 2.0, 1.125),
        _ => panic!("{} has no grid", ty.name()),
    };
    Format { sub, most, unit, top }
}

fn word(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

fn short(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// Two groups of four as one of eight.
fn pair(low: u32, high: u32) -> [u8; 8] {
    (u64::from(low) | u64::from(high) << 32).to_le_bytes()
}

/// Bit `at` of a byte, as bit `to` of a number.
fn bit(byte: u8, at: usize, to: usize) -> usize {
    usize::from(byte >> at & 1) << to
}

/// Eight weights as the fields of a block describe them.
struct Eight {
    /// s.
    scale: u8,
    /// Levels without signs; in IQ1 eight times the level, plus eight.
    levels: [u8; 8],
    signs: u8,
    /// True if levels of IQ1 are shifted down.
    down: bool,
}

/// Weights 8i..8i + 8 of a block.
fn eight(ty: Type, block: &[u8], i: usize) -> Eight {
    let (j, l) = (i / 4, i % 4);
    let (scale, levels, signs, down) = match ty {
        Type::IQ2_XXS => {
            let (word, number) = (word(block, 6 + 8 * j), usize::from(block[2 + 8 * j + l]));
            (word >> 28, IQ2_XXS_GRID[number].to_le_bytes(), even_signs((word >> (7 * l) & 127) as u8), false)
        }
        Type::IQ2_XS => {
            let word = short(block, 2 + 2 * i);
            let scale = block[66 + j] >> (4 * (l / 2)) & 15;
            let levels = IQ2_XS_GRID[usize::from(word & 511)].to_le_bytes();
            (u32::from(scale), levels, even_signs((word >> 9) as u8), false)
        }
        Type::IQ2_S => {
            let number = usize::from(block[2 + i]) | usize::from(block[66 + j] >> (2 * l) & 3) << 8;
            let scale = block[74 + j] >> (4 * (l / 2)) & 15;
            (u32::from(scale), IQ2_S_GRID[number].to_le_bytes(), block[34 + i], false)
        }
        Type::IQ3_XXS => {
            let four = |k: usize| IQ3_XXS_GRID[usize::from(block[2 + 2 * i + k])];
            let word = word(block, 66 + 4 * j);
            (word >> 28, pair(four(0), four(1)), even_signs((word >> (7 * l) & 127) as u8), false)
        }
        Type::IQ3_S => {
            let four = |k: usize| IQ3_S_GRID[usize::from(block[2 + 2 * i + k]) | bit(block[66 + j], 2 * l + k, 8)];
            let scale = block[106 + j / 2] >> (4 * (j % 2)) & 15;
            (u32::from(scale), pair(four(0), four(1)), block[74 + i], false)
        }
        Type::IQ1_S => {
            let word = short(block, 34 + 2 * j);
            let number = usize::from(block[2 + i]) | usize::from(word >> (3 * l) & 7) << 8;
            (u32::from(word >> 12 & 7), IQ1_GRID[number].to_le_bytes(), 0, word >> 15 == 1)
        }
        _ => {
            let high = block[32 + i / 2] >> (4 * (i % 2));
            let scale = short(block, 48 + 2 * (i / 8)) >> (3 * (i / 2 % 4)) & 7;
            let number = usize::from(block[i]) | usize::from(high & 7) << 8;
            (u32::from(scale), IQ1_GRID[number].to_le_bytes(), 0, high & 8 != 0)
        }
    };
    Eight { scale: scale as u8, levels, signs, down }
}

/// d of IQ1_M: four bits of it are the top bits of each word of scales.
fn scattered_half(block: &[u8]) -> f32 {
    let bits = (0..4).map(|k| short(block, 48 + 2 * k) >> 12 << (4 * k)).sum();
    half_to_f32(bits)
}

/// Writes the values of a block.
pub(super) fn dequantize(ty: Type, block: &[u8], out: &mut [f32]) {
    let f = format(ty);
    let d = if ty == Type::IQ1_M { scattered_half(block) } else { half_at(block, 0) };
    let is_iq1 = matches!(ty, Type::IQ1_S | Type::IQ1_M);
    for (i, out) in out.chunks_exact_mut(8).enumerate() {
        let e = eight(ty, block, i);
        let scale = d * (f32::from(e.scale) + 0.5) * f.unit;
        for (k, (x, q)) in out.iter_mut().zip(e.levels).enumerate() {
            *x = if is_iq1 {
                scale * (f32::from(q) / 8.0 - 1.0 + if e.down { -0.125 } else { 0.125 })
            } else {
                scale * f32::from(q) * if e.signs >> k & 1 == 1 { -1.0 } else { 1.0 }
            };
        }
    }
}

/// The number of the group nearest to `x`, of levels without signs.
fn nearest<const N: usize>(grid: impl Iterator<Item = [u8; N]>, x: &[f32]) -> (usize, f32) {
    let distance = |levels: [u8; N]| levels.iter().zip(x).map(|(q, x)| (f32::from(*q) - x).powi(2)).sum::<f32>();
    let (mut best, mut least) = (0, f32::INFINITY);
    for (i, levels) in grid.enumerate() {
        let d = distance(levels);
        if d < least {
            (best, least) = (i, d);
        }
    }
    (best, least)
}

fn nearest_eight(grid: &[u64], x: &[f32]) -> usize {
    nearest(grid.iter().map(|g| g.to_le_bytes()), x).0
}

fn nearest_four(grid: &[u32], x: &[f32]) -> usize {
    nearest(grid.iter().map(|g| g.to_le_bytes()), x).0
}

/// Writes a block for tests: scales that reach the largest weight, and the nearest groups under them. Nothing is known
/// of how important a weight is, which good files of these types are made with.
pub(super) fn quantize(ty: Type, block: &mut [u8], x: &[f32]) {
    block.fill(0);
    let f = format(ty);
    let most = |x: &[f32]| x.iter().fold(0f32, |m, v| m.max(v.abs()));
    let wanted = most(x) * inverse(f.unit * (f.most as f32 + 0.5) * f.top);
    let mut half = [0; 2];
    let d = put_half(&mut half, 0, wanted);
    if ty == Type::IQ1_M {
        (0..4).for_each(|k| block[49 + 2 * k] |= (half[k / 2] >> (4 * (k % 2)) & 15) << 4);
    } else {
        block[..2].copy_from_slice(&half);
    }
    for (sub, values) in x.chunks_exact(f.sub).enumerate() {
        let s = level(most(values) * inverse(f.unit * d * f.top) - 0.5, 0, f.most);
        let scale = inverse(f.unit * d * (s as f32 + 0.5));
        put_scale(ty, block, sub, s as u8);
        let first = sub * f.sub / 8;
        let levels: Vec<f32> = values.iter().map(|v| v * scale).collect();
        if matches!(ty, Type::IQ1_S | Type::IQ1_M) {
            put_iq1(ty, block, first, &levels);
            continue;
        }
        for (k, levels) in levels.chunks_exact(8).enumerate() {
            put_signed(ty, block, first + k, levels);
        }
    }
}

fn put_scale(ty: Type, block: &mut [u8], sub: usize, s: u8) {
    match ty {
        Type::IQ2_XXS => block[9 + 8 * sub] |= s << 4,
        Type::IQ2_XS => block[66 + sub / 2] |= s << (4 * (sub % 2)),
        Type::IQ2_S => block[74 + sub / 2] |= s << (4 * (sub % 2)),
        Type::IQ3_XXS => block[69 + 4 * sub] |= s << 4,
        Type::IQ3_S => block[106 + sub / 2] |= s << (4 * (sub % 2)),
        Type::IQ1_S => block[35 + 2 * sub] |= s << 4,
        _ => or_short(block, 48 + 2 * (sub / 4), u16::from(s) << (3 * (sub % 4))),
    }
}

fn or_short(block: &mut [u8], at: usize, bits: u16) {
    block[at] |= bits as u8;
    block[at + 1] |= (bits >> 8) as u8;
}

fn or_word(block: &mut [u8], at: usize, bits: u32) {
    or_short(block, at, bits as u16);
    or_short(block, at + 2, (bits >> 16) as u16);
}

/// Writes the group of eight weights `i`, which have signs.
fn put_signed(ty: Type, block: &mut [u8], i: usize, x: &[f32]) {
    let (j, l) = (i / 4, i % 4);
    let mut signs = x.iter().enumerate().fold(0u8, |s, (k, x)| s | u8::from(*x < 0.0) << k);
    if !matches!(ty, Type::IQ2_S | Type::IQ3_S) && signs.count_ones() % 2 == 1 {
        // The least of them gets the wrong sign.
        let least = (1..8).fold(0, |least, k| if x[k].abs() < x[least].abs() { k } else { least });
        signs ^= 1 << least;
    }
    let levels: Vec<f32> = x.iter().enumerate().map(|(k, x)| if signs >> k & 1 == 1 { -x } else { *x }).collect();
    let seven = u32::from(signs & 127);
    match ty {
        Type::IQ2_XXS => {
            block[2 + 8 * j + l] = nearest_eight(&IQ2_XXS_GRID, &levels) as u8;
            or_word(block, 6 + 8 * j, seven << (7 * l));
        }
        Type::IQ2_XS => {
            or_short(block, 2 + 2 * i, nearest_eight(&IQ2_XS_GRID, &levels) as u16 | (seven as u16) << 9);
        }
        Type::IQ2_S => {
            let number = nearest_eight(&IQ2_S_GRID, &levels);
            block[2 + i] = number as u8;
            block[34 + i] = signs;
            block[66 + j] |= (number >> 8 << (2 * l)) as u8;
        }
        Type::IQ3_XXS => {
            for k in 0..2 {
                block[2 + 2 * i + k] = nearest_four(&IQ3_XXS_GRID, &levels[4 * k..4 * k + 4]) as u8;
            }
            or_word(block, 66 + 4 * j, seven << (7 * l));
        }
        _ => {
            for k in 0..2 {
                let number = nearest_four(&IQ3_S_GRID, &levels[4 * k..4 * k + 4]);
                block[2 + 2 * i + k] = number as u8;
                block[66 + j] |= (number >> 8 << (2 * l + k)) as u8;
            }
            block[74 + i] = signs;
        }
    }
}

/// Writes a sub-block of IQ1 from group `first` on, under the shift that is nearer.
fn put_iq1(ty: Type, block: &mut [u8], first: usize, x: &[f32]) {
    let numbers = |x: &[f32], down: bool| {
        let shift = if down { -1.0 } else { 1.0 };
        let group = |x: &[f32]| {
            let levels: Vec<f32> = x.iter().map(|v| 8.0 * v + 8.0 - shift).collect();
            nearest(IQ1_GRID.iter().map(|g| g.to_le_bytes()), &levels)
        };
        x.chunks_exact(8).map(group).collect::<Vec<_>>()
    };
    // IQ1_M has a shift for each group.
    let step = if ty == Type::IQ1_S { 32 } else { 8 };
    for (k, x) in x.chunks_exact(step).enumerate() {
        let [up, low] = [false, true].map(|down| numbers(x, down));
        let error = |n: &[(usize, f32)]| n.iter().map(|(_, e)| e).sum::<f32>();
        let down = error(&low) < error(&up);
        for (l, (number, _)) in if down { low } else { up }.into_iter().enumerate() {
            let (i, high) = (first + step / 8 * k + l, (number >> 8) as u8);
            if ty == Type::IQ1_S {
                block[2 + i] = number as u8;
                or_short(block, 34 + 2 * (i / 4), u16::from(high) << (3 * l) | u16::from(down) << 15);
            } else {
                block[i] = number as u8;
                block[32 + i / 2] |= (high | u8::from(down) << 3) << (4 * (i % 2));
            }
        }
    }
}
