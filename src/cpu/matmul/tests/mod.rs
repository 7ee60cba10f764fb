//! Tests of the kernels, for every instruction set of this machine. Here are the things that they share.

mod attention;
mod limits;
mod products;
mod vectors;

use super::*;
use crate::cpu::isa::Isa;
use crate::quant::{Type, dequantize, quantize};
use std::ops::Range;

/// The types that there are kernels for.
fn types() -> impl Iterator<Item = Type> {
    Type::ALL.iter().copied().filter(|ty| ty.on_cpu())
}

/// Numbers in -1..1, the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
    fn vector(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }
}

/// Memory for `bytes` bytes, aligned to 64, with a guard value after it.
struct Workspace {
    bytes: usize,
    memory: Vec<u8>,
}

impl Workspace {
    const GUARD: u8 = 0xa5;

    fn new(bytes: usize) -> Workspace {
        Workspace { bytes, memory: vec![Workspace::GUARD; bytes + 128] }
    }
    fn start(&mut self) -> *mut u8 {
        let shift = self.memory.as_ptr().align_offset(64);
        self.memory[shift..].as_mut_ptr()
    }
    fn guard_is_whole(&self) -> bool {
        let shift = self.memory.as_ptr().align_offset(64);
        self.memory[shift + self.bytes..].iter().all(|b| *b == Workspace::GUARD)
    }
}

/// A row with the columns of each lane, every 16th of 512, rounded to multiples of a unit made of their greatest
/// magnitude.
fn rounded_in_lanes(x: &[f32], inverse_and_unit: impl Fn(f32) -> (f32, f32)) -> Vec<f32> {
    let mut out = x.to_vec();
    for step in out.chunks_mut(512) {
        for lane in 0..16 {
            let max = step.iter().skip(lane).step_by(16).fold(0f32, |m, v| m.max(v.abs()));
            let (inverse, unit) = inverse_and_unit(max);
            for v in step.iter_mut().skip(lane).step_by(16) {
                *v = (f64::from(*v) * f64::from(inverse)).round_ties_even() as f32 * unit;
            }
        }
    }
    out
}

/// A row of weights as products see it. Weights of 16 bits are rounded to multiples of 2^-12 of the greatest power of
/// two in a lane; all others are exact.
fn rounded_weights(ty: Type, row: &[f32]) -> Vec<f32> {
    if !matches!(ty, Type::F16 | Type::BF16) {
        return row.to_vec();
    }
    rounded_in_lanes(row, |max| {
        let power = f32::from_bits(max.to_bits() & 0x7f80_0000);
        if power == 0.0 { (0.0, 0.0) } else { (4096.0 / power, power / 4096.0) }
    })
}

/// Activations as a format rounds them: to int8 in blocks of 16, to 8191ths of the greatest in a lane, or not at all.
fn rounded(fmt: ActFormat, x: &[f32]) -> Vec<f32> {
    let round = |block: &[f32]| {
        let max = block.iter().fold(0f32, |m, v| m.max(v.abs()));
        let inverse = if max == 0.0 { 0.0 } else { 127.0 / max };
        block.iter().map(|v| (v * inverse).round_ties_even() * (max / 127.0)).collect::<Vec<_>>()
    };
    match fmt {
        ActFormat::F32 => x.to_vec(),
        ActFormat::Q14x32 => rounded_in_lanes(x, |max| (8191.0 / max.max(1e-30), max.max(1e-30) / 8191.0)),
        ActFormat::Q8x16 => x.chunks(16).flat_map(round).collect(),
    }
}

/// Activations `[n_tokens, 256]` to prepare in one go.
fn one_part(fmt: ActFormat, x: &[f32], n_tokens: usize, ws: *mut u8) -> Source {
    let x = x.as_ptr();
    Source { fmt, x, x_stride: 256, x_rows: std::ptr::null(), n_tokens, n_cols: 256, part: 0, n_parts: 1, ws }
}

struct Case {
    ty: Type,
    n_cols: usize,
    n_rows: usize,
    weights: Vec<u8>,
    values: Vec<f32>,
    bias: Vec<f32>,
}

impl Case {
    fn new(ty: Type, n_rows: usize, n_cols: usize) -> Case {
        let mut noise = Noise(n_cols as u64 + ty.gguf() as u64);
        let row_bytes = ty.row_bytes(n_cols).unwrap();
        // One byte in front: the weights of a file may lie at any address.
        let mut weights = vec![0u8; 1 + n_rows * row_bytes];
        for row in weights[1..].chunks_exact_mut(row_bytes) {
            let scale = noise.next().abs() + 0.1;
            let x: Vec<f32> = noise.vector(n_cols).iter().map(|v| v * scale + 0.1).collect();
            quantize(ty, &x, row);
        }
        let mut values = vec![0f32; n_rows * n_cols];
        dequantize(ty, &weights[1..], &mut values);
        let values = values.chunks(n_cols).flat_map(|row| rounded_weights(ty, row)).collect();
        Case { ty, n_cols, n_rows, weights, values, bias: noise.vector(n_rows) }
    }

    /// A product with these weights, but for where things are.
    fn shape(&self) -> Product {
        Product { rows: 0..0, ..Product::new(self.ty, std::ptr::null(), 0, self.n_cols, 0) }
    }

    /// Rows that are not asked for stay not-a-number.
    fn product(
        &self,
        kernels: &Kernels,
        x: &[f32],
        x_stride: usize,
        y_stride: usize,
        n_tokens: usize,
        rows: Range<usize>,
    ) -> Vec<f32> {
        let fmt = act_format(self.ty);
        let mut ws = Workspace::new(act_bytes(fmt, n_tokens, self.n_cols).unwrap());
        let mut scratch = Workspace::new(scratch_bytes(self.ty, n_tokens, self.n_cols).unwrap());
        let start = ws.start();
        let mut y = vec![f32::NAN; n_tokens * y_stride];
        // SAFETY: the vectors above are as long as the shapes say.
        unsafe {
            for part in 0..3 {
                kernels.prepare_acts(&Source {
                    fmt,
                    x: x.as_ptr(),
                    x_stride,
                    x_rows: std::ptr::null(),
                    n_tokens,
                    n_cols: self.n_cols,
                    part,
                    n_parts: 3,
                    ws: start,
                });
            }
            let (w, bias) = (self.weights[1..].as_ptr(), self.bias.as_ptr());
            let (scratch, y) = (scratch.start(), y.as_mut_ptr());
            let shape = self.shape();
            kernels.matmul(&Product { w, rows, acts: start, n_tokens, scratch, y, y_stride, bias, ..shape });
        }
        assert!(ws.guard_is_whole(), "{} {n_tokens} tokens: written past the workspace", self.ty.name());
        assert!(scratch.guard_is_whole(), "{} {n_tokens} tokens: written past the scratch", self.ty.name());
        y
    }

    /// The product of `rows`, checked against sums in f64 over the rounded activations.
    fn check(&self, isa: Isa, n_tokens: usize, rows: Range<usize>) {
        let kernels = Kernels::new(isa);
        let fmt = act_format(self.ty);
        let (x_stride, y_stride) = (self.n_cols + 3, self.n_rows + 5);
        let x = Noise(9).vector(n_tokens * x_stride);
        let y = self.product(&kernels, &x, x_stride, y_stride, n_tokens, rows.clone());
        for t in 0..n_tokens {
            let x = rounded(fmt, &x[t * x_stride..][..self.n_cols]);
            for r in 0..y_stride {
                let ours = y[t * y_stride + r];
                if !rows.contains(&r) {
                    assert!(ours.is_nan(), "{} row {r} of token {t} was written", self.ty.name());
                    continue;
                }
                let terms =
                    || self.values[r * self.n_cols..].iter().zip(&x).map(|(w, x)| f64::from(*w) * f64::from(*x));
                let exact = terms().sum::<f64>() + f64::from(self.bias[r]);
                // Single precision: each sum passes through some dozens of roundings of the magnitudes that it adds up;
                // with mins, those of the levels before the min is taken away, here up to twice as large.
                let tolerance = 2e-6 * (terms().map(f64::abs).sum::<f64>() + 1.0);
                assert!(
                    (f64::from(ours) - exact).abs() <= tolerance,
                    "{} on {}, {n_tokens} tokens, row {r} of token {t}: {ours} instead of {exact} (within {tolerance})",
                    self.ty.name(),
                    isa.name()
                );
            }
        }
    }
}
