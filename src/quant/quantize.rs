//! Plain quantisers, for a quantised KV cache (F16, Q8_0, Q4_0) and to make weights for tests. They take the scale that
//! reaches the largest element and do not search for a better one. `dequantize` describes the formats.

use super::dequantize::{IQ4_LEVELS, MXFP4_LEVELS, NVFP4_SCALES, half_power, tq1_0_place};
use super::grid;
use super::scale::{inverse, level, put_half};
use super::types::Type;
use half::bf16;

/// Writes `src` as blocks of `ty` to `dst`; each type with [`Type::on_cpu`].
///
/// # Panics
/// If `ty` is not supported or the lengths do not belong together.
pub fn quantize(ty: Type, src: &[f32], dst: &mut [u8]) {
    assert_eq!(
        ty.row_bytes(src.len()),
        Some(dst.len()),
        "{} bytes of {} are not {} elements",
        dst.len(),
        ty.name(),
        src.len()
    );
    for (block, x) in dst.chunks_exact_mut(ty.block_bytes()).zip(src.chunks_exact(ty.block_len())) {
        match ty {
            Type::F32 => block.copy_from_slice(&x[0].to_le_bytes()),
            Type::F16 => _ = put_half(block, 0, x[0]),
            Type::BF16 => block.copy_from_slice(&bf16::from_f32(x[0]).to_bits().to_le_bytes()),
            Type::Q8_0 => {
                // A NaN makes the scale NaN: a KV cache must not turn it into a zero.
                let amax = x.iter().fold(0f32, |m, v| if v.abs() > m || v.is_nan() { v.abs() } else { m });
                put_half(block, 0, amax / 127.0);
                let id = inverse(amax / 127.0);
                for (q, &v) in block[2..].iter_mut().zip(x) {
                    *q = level(v * id, -127, 127) as i8 as u8;
                }
            }
            Type::Q4_0 | Type::Q5_0 => {
                let half_range = if ty == Type::Q4_0 { 8 } else { 16 };
                let d = put_half(block, 0, extreme(x) / -(half_range as f32));
                small(&mut block[2..], x, ty == Type::Q5_0, inverse(d), half_range as f32, 2 * half_range - 1);
            }
            Type::Q4_1 | Type::Q5_1 => {
                let top = if ty == Type::Q4_1 { 15 } else { 31 };
                let (low, high) = range(x);
                let min = put_half(block, 2, low);
                let d = put_half(block, 0, (high - min) / top as f32);
                small(&mut block[4..], x, ty == Type::Q5_1, inverse(d), -min * inverse(d), top);
            }
            Type::Q4_K | Type::Q5_K => k_with_mins(ty, block, x),
            Type::Q6_K => q6_k(block, x),
            Type::IQ4_NL => {
                let d = put_half(block, 0, extreme(x) / -127.0);
                indices(&mut block[2..], x, inverse(d), &IQ4_LEVELS);
            }
            Type::IQ4_XS => iq4_xs(block, x),
            Type::Q2_K => q2_k(block, x),
            Type::Q3_K => q3_k(block, x),
            Type::TQ2_0 => tq2_0(block, x),
            Type::TQ1_0 => tq1_0(block, x),
            Type::Q1_0 => {
                block.fill(0);
                put_half(block, 0, x.iter().map(|v| v.abs()).sum::<f32>() / x.len() as f32);
                x.iter().enumerate().for_each(|(i, v)| block[2 + i / 8] |= u8::from(*v >= 0.0) << (i % 8));
            }
            Type::Q2_0 => {
                block.fill(0);
                // -1 or 2 is the end that is reached.
                let (low, high) = range(x);
                let d = put_half(block, 0, (high / 2.0).max(-low));
                for (i, &v) in x.iter().enumerate() {
                    block[2 + i / 4] |= (level(v * inverse(d) + 1.0, 0, 3) as u8) << (i % 4 * 2);
                }
            }
            Type::NVFP4 => nvfp4(block, x),
            Type::IQ1_S | Type::IQ1_M | Type::IQ2_XXS | Type::IQ2_XS | Type::IQ2_S | Type::IQ3_XXS | Type::IQ3_S => {
                grid::quantize(ty, block, x)
            }
            Type::MXFP4 => {
                let amax = x.iter().fold(0f32, |m, v| m.max(v.abs()));
                // The largest level is 6 of these powers of two. The largest element may be up to 8 of them and is
                // rounded to 6 then.
                let exponent = ((amax.to_bits() >> 23) as i32 - 2).clamp(2, 254) as u8;
                block[0] = exponent;
                indices(&mut block[1..], x, inverse(half_power(exponent)), &MXFP4_LEVELS);
            }
            _ => panic!("no quantisation to {}", ty.name()),
        }
    }
}

/// The number of the greatest magnitude, the first of them; NaN if there is one, as in Q8_0.
fn extreme(x: &[f32]) -> f32 {
    x.iter().fold(0f32, |m, &v| if v.abs() > m.abs() || v.is_nan() { v } else { m })
}

fn range(x: &[f32]) -> (f32, f32) {
    x.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)))
}

fn small(block: &mut [u8], x: &[f32], fifth: bool, id: f32, offset: f32, top: i32) {
    block.fill(0);
    let (bits, nibbles) = block.split_at_mut(if fifth { 4 } else { 0 });
    for (i, &v) in x.iter().enumerate() {
        let q = level(v * id + offset, 0, top) as u8;
        nibbles[i % 16] |= (q & 15) << (i / 16 * 4);
        if fifth {
            bits[i / 8] |= (q >> 4) << (i % 8);
        }
    }
}

/// Writes the indices of the nearest entries of `table`; of two that are equally near, the first.
fn indices(nibbles: &mut [u8], x: &[f32], id: f32, table: &[i8; 16]) {
    nibbles.fill(0);
    for (i, &v) in x.iter().enumerate() {
        let distance = |k: &usize| (v * id - f32::from(table[*k])).abs();
        let nearest = (1..16).fold(0, |best, k| if distance(&k) < distance(&best) { k } else { best });
        nibbles[i % 16] |= (nearest as u8) << (i / 16 * 4);
    }
}

fn k_with_mins(ty: Type, block: &mut [u8], x: &[f32]) {
    block.fill(0);
    let top = if ty == Type::Q4_K { 15 } else { 31 };
    let (mut scales, mut mins) = ([0f32; 8], [0f32; 8]);
    for (j, sub) in x.chunks_exact(32).enumerate() {
        let (low, high) = range(sub);
        mins[j] = (-low).max(0.0);
        scales[j] = (high + mins[j]).max(0.0) / top as f32;
    }
    let d = put_half(block, 0, range(&scales).1 / 63.0);
    let dmin = put_half(block, 2, range(&mins).1 / 63.0);
    for (j, sub) in x.chunks_exact(32).enumerate() {
        let (scale, min) = (level(scales[j] * inverse(d), 0, 63) as u8, level(mins[j] * inverse(dmin), 0, 63) as u8);
        let packed = &mut block[4..16];
        if j < 4 {
            packed[j] |= scale;
            packed[j + 4] |= min;
        } else {
            packed[j + 4] |= scale & 15 | min << 4;
            packed[j - 4] |= (scale >> 4) << 6;
            packed[j] |= (min >> 4) << 6;
        }
        let (scale, min) = (inverse(d * f32::from(scale)), dmin * f32::from(min));
        let nibbles_at = if ty == Type::Q4_K { 16 } else { 48 };
        for (l, &v) in sub.iter().enumerate() {
            let q = level((v + min) * scale, 0, top) as u8;
            block[nibbles_at + j / 2 * 32 + l] |= (q & 15) << (j % 2 * 4);
            if ty == Type::Q5_K {
                block[16 + l] |= (q >> 4) << j;
            }
        }
    }
}

fn q6_k(block: &mut [u8], x: &[f32]) {
    block.fill(0);
    let mut scales = [0f32; 16];
    for (scale, sub) in scales.iter_mut().zip(x.chunks_exact(16)) {
        *scale = extreme(sub) / -32.0;
    }
    let d = put_half(block, 208, scales.iter().fold(0f32, |m, v| m.max(v.abs())) / 127.0);
    for (i, &v) in x.iter().enumerate() {
        let scale = level(scales[i / 16] * inverse(d), -128, 127);
        block[192 + i / 16] = scale as i8 as u8;
        let q = (level(v * inverse(d * scale as f32), -32, 31) + 32) as u8;
        let (half, quarter, l) = (i / 128, i / 32 % 4, i % 32);
        block[half * 64 + quarter % 2 * 32 + l] |= (q & 15) << (quarter / 2 * 4);
        block[128 + half * 32 + l] |= (q >> 4) << (2 * quarter);
    }
}

fn iq4_xs(block: &mut [u8], x: &[f32]) {
    block.fill(0);
    let mut scales = [0f32; 8];
    for (scale, sub) in scales.iter_mut().zip(x.chunks_exact(32)) {
        *scale = extreme(sub) / -127.0;
    }
    let d = put_half(block, 0, extreme(&scales) / -32.0);
    for (j, sub) in x.chunks_exact(32).enumerate() {
        let scale = level(scales[j] * inverse(d), -32, 31);
        let bits = (scale + 32) as u8;
        block[4 + j / 2] |= (bits & 15) << (4 * (j % 2));
        block[2 + j / 4] |= (bits >> 4) << (2 * (j % 4));
        indices(&mut block[8 + 16 * j..24 + 16 * j], sub, inverse(d * scale as f32), &IQ4_LEVELS);
    }
}

fn tq2_0(block: &mut [u8], x: &[f32]) {
    block.fill(0);
    let d = put_half(block, 64, extreme(x).abs());
    for (i, &v) in x.iter().enumerate() {
        let q = level(v * inverse(d) + 1.0, 0, 2) as u8;
        block[i / 128 * 32 + i % 32] |= q << (i / 32 % 4 * 2);
    }
}

fn tq1_0(block: &mut [u8], x: &[f32]) {
    block.fill(0);
    let d = put_half(block, 52, extreme(x).abs());
    let mut fractions = [0u16; 52];
    for (i, &v) in x.iter().enumerate() {
        let (byte, digit) = tq1_0_place(i);
        fractions[byte] += level(v * inverse(d) + 1.0, 0, 2) as u16 * 3u16.pow(4 - digit as u32);
    }
    for (byte, n) in block.iter_mut().zip(fractions) {
        *byte = (n * 256).div_ceil(243) as u8;
    }
}

/// The largest level is 6; each scale is the least that reaches its 16 elements.
fn nvfp4(block: &mut [u8], x: &[f32]) {
    block.fill(0);
    for (j, sub) in x.chunks_exact(16).enumerate() {
        let wanted = extreme(sub).abs() / 12.0;
        let scale = (0..126u8).find(|s| NVFP4_SCALES[usize::from(*s)] >= wanted).unwrap_or(126);
        block[j] = scale;
        let mut nibbles = [0; 16];
        indices(&mut nibbles, sub, inverse(NVFP4_SCALES[usize::from(scale)]), &MXFP4_LEVELS);
        (0..8).for_each(|i| block[4 + 8 * j + i] = nibbles[i] | nibbles[i + 8] << 4);
    }
}

fn q2_k(block: &mut [u8], x: &[f32]) {
    block.fill(0);
    let (mut scales, mut mins) = ([0f32; 16], [0f32; 16]);
    for (j, sub) in x.chunks_exact(16).enumerate() {
        let (low, high) = range(sub);
        mins[j] = (-low).max(0.0);
        scales[j] = (high + mins[j]).max(0.0) / 3.0;
    }
    let d = put_half(block, 80, range(&scales).1 / 15.0);
    let dmin = put_half(block, 82, range(&mins).1 / 15.0);
    for (i, &v) in x.iter().enumerate() {
        let j = i / 16;
        let (scale, min) = (level(scales[j] * inverse(d), 0, 15), level(mins[j] * inverse(dmin), 0, 15));
        block[j] = (scale | min << 4) as u8;
        let q = level((v + dmin * min as f32) * inverse(d * scale as f32), 0, 3) as u8;
        block[16 + i / 128 * 32 + i % 32] |= q << (i / 32 % 4 * 2);
    }
}

fn q3_k(block: &mut [u8], x: &[f32]) {
    block.fill(0);
    let mut scales = [0f32; 16];
    for (scale, sub) in scales.iter_mut().zip(x.chunks_exact(16)) {
        *scale = extreme(sub) / -4.0;
    }
    let d = put_half(block, 108, extreme(&scales) / -32.0);
    for (j, sub) in x.chunks_exact(16).enumerate() {
        let scale = level(scales[j] * inverse(d), -32, 31);
        let bits = (scale + 32) as u8;
        block[96 + j % 8] |= (bits & 15) << (j / 8 * 4);
        block[104 + j % 4] |= (bits >> 4) << (j / 4 * 2);
        for (l, &v) in sub.iter().enumerate() {
            let (i, q) = (16 * j + l, (level(v * inverse(d * scale as f32), -4, 3) + 4) as u8);
            block[32 + i / 128 * 32 + i % 32] |= (q & 3) << (i / 32 % 4 * 2);
            block[i % 32] |= (q >> 2) << (i / 32);
        }
    }
}
