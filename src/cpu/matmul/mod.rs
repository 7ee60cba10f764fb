//! Matrix products of quantised weights with activations, and the vector helpers of the executor.

use super::isa::Isa;
use crate::quant::{Type, dequantize, half_to_f32};
use std::ops::Range;

/// How activations are prepared for a weight type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActFormat {
    /// f32, as they are.
    F32,
    /// int8 in blocks of 16 with an f32 scale each.
    Q8x16,
}

/// Columns are padded to this, so that every kernel reads whole vectors.
const CHUNK: usize = 64;

/// The format that products with weights of `ty` need; `None` if there is no kernel for it.
pub fn act_format(ty: Type) -> Option<ActFormat> {
    match ty {
        Type::F32 | Type::F16 | Type::BF16 => Some(ActFormat::F32),
        _ if ty.is_supported() => Some(ActFormat::Q8x16),
        _ => None,
    }
}

/// Bytes of workspace for the prepared activations `[n_tokens, n_cols]`, a multiple of 64; `None` if that overflows.
pub fn act_bytes(_fmt: ActFormat, n_tokens: usize, n_cols: usize) -> Option<usize> {
    n_cols.checked_next_multiple_of(CHUNK)?.checked_mul(n_tokens)?.checked_mul(4)
}

/// The kernels of one instruction set.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    #[allow(dead_code)]
    isa: Isa,
}

impl Kernels {
    /// The kernels for `isa`, which must be available on this processor; an unavailable one gives the portable kernels.
    pub fn new(isa: Isa) -> Kernels {
        Kernels { isa: if isa.is_available() { isa } else { Isa::Portable } }
    }

    /// Packs the activations x `[n_tokens, n_cols]` (rows `x_stride` floats apart) into `ws`.
    /// Does part `part` of `n_parts`; all parts may run at the same time.
    ///
    /// # Safety
    /// `x` must be readable as described, `ws` writable for [`act_bytes`] bytes and 64-aligned, `part < n_parts`.
    #[allow(clippy::too_many_arguments)]
    pub unsafe fn prepare_acts(
        &self,
        fmt: ActFormat,
        x: *const f32,
        x_stride: usize,
        n_tokens: usize,
        n_cols: usize,
        part: usize,
        n_parts: usize,
        ws: *mut u8,
    ) {
        let padded = n_cols.next_multiple_of(CHUNK);
        for t in (0..n_tokens).skip(part).step_by(n_parts) {
            // SAFETY: the caller vouches for x and ws; parts write disjoint tokens.
            let (x, out) = unsafe {
                let out = std::slice::from_raw_parts_mut(ws.cast::<f32>().add(t * padded), padded);
                (std::slice::from_raw_parts(x.add(t * x_stride), n_cols), out)
            };
            out.fill(0.0);
            out[..n_cols].copy_from_slice(x);
            if fmt == ActFormat::Q8x16 {
                for block in out.chunks_exact_mut(16) {
                    let amax = block.iter().fold(0f32, |m, v| m.max(v.abs()));
                    let (d, id) = if amax > 1e-30 { (amax / 127.0, 127.0 / amax) } else { (0.0, 0.0) };
                    block.iter_mut().for_each(|v| *v = (*v * id).round_ties_even() * d);
                }
            }
        }
    }

    /// y[t, r] = sum over k of w[r, k] x[t, k] (+ bias[r] unless null) for the rows given; rows of y are `y_stride` floats apart.
    /// Allocates nothing. Threads may call it at the same time with disjoint rows.
    ///
    /// # Safety
    /// `w` must be a tensor of `ty` with `n_cols` columns and at least `rows.end` rows (any alignment), `acts` what
    /// `prepare_acts` made of `[n_tokens, n_cols]` in the type's [`act_format`], `y` writable, `bias` null or `rows.end` floats.
    #[allow(clippy::too_many_arguments)]
    pub unsafe fn matmul(
        &self,
        ty: Type,
        w: *const u8,
        n_cols: usize,
        rows: Range<usize>,
        acts: *const u8,
        n_tokens: usize,
        y: *mut f32,
        y_stride: usize,
        bias: *const f32,
    ) {
        let row_bytes = n_cols / ty.block_len() * ty.block_bytes();
        let padded = n_cols.next_multiple_of(CHUNK);
        let mut values = [0f32; 256];
        for r in rows {
            // SAFETY: the caller vouches for w, acts, y and bias.
            unsafe {
                let row = std::slice::from_raw_parts(w.add(r * row_bytes), row_bytes);
                for t in 0..n_tokens {
                    *y.add(t * y_stride + r) = if bias.is_null() { 0.0 } else { *bias.add(r) };
                }
                let blocks = 256 / ty.block_len();
                for (b, bytes) in row.chunks(blocks * ty.block_bytes()).enumerate() {
                    let n = bytes.len() / ty.block_bytes() * ty.block_len();
                    dequantize(ty, bytes, &mut values[..n]);
                    for t in 0..n_tokens {
                        let x = std::slice::from_raw_parts(acts.cast::<f32>().add(t * padded + b * 256), n);
                        *y.add(t * y_stride + r) += self.dot_f32(&values[..n], x);
                    }
                }
            }
        }
    }

    /// Sum of a[i] b[i].
    pub fn dot_f32(&self, a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// Sum of a[i] b[i]; `a` are the bits of halves.
    pub fn dot_f16(&self, a: &[u16], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| half_to_f32(*a) * b).sum()
    }

    /// Sum of a[i] b[i]; `a` are Q8_0 blocks.
    pub fn dot_q8_0(&self, a: &[u8], b: &[f32]) -> f32 {
        let mut values = [0f32; 32];
        let mut sum = 0.0;
        for (block, b) in a.chunks_exact(34).zip(b.chunks_exact(32)) {
            dequantize(Type::Q8_0, block, &mut values);
            sum += self.dot_f32(&values, b);
        }
        sum
    }

    /// y += a x
    pub fn axpy_f32(&self, a: f32, x: &[f32], y: &mut [f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
    }

    /// y += a x; `x` are the bits of halves.
    pub fn axpy_f16(&self, a: f32, x: &[u16], y: &mut [f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += a * half_to_f32(*x));
    }

    /// y += a x; `x` are Q8_0 blocks.
    pub fn axpy_q8_0(&self, a: f32, x: &[u8], y: &mut [f32]) {
        let mut values = [0f32; 32];
        for (block, y) in x.chunks_exact(34).zip(y.chunks_exact_mut(32)) {
            dequantize(Type::Q8_0, block, &mut values);
            self.axpy_f32(a, &values, y);
        }
    }

    /// x = exp(x - sub); returns the sum.
    pub fn exp_inplace(&self, x: &mut [f32], sub: f32) -> f32 {
        let mut sum = 0.0;
        for x in x {
            *x = (*x - sub).exp();
            sum += *x;
        }
        sum
    }

    /// out = silu(gate) up, with silu(g) = g / (1 + exp(-g)).
    pub fn silu_mul(&self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((g, u), out) in gate.iter().zip(up).zip(out) {
            *out = g / (1.0 + (-g).exp()) * u;
        }
    }
}
