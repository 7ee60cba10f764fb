//! Matrix products of quantised weights with activations, and the vector helpers of the executor.

mod acts;
pub(super) mod attend;
mod dispatch;
mod few;
mod float;
mod half;
mod panel;
mod row;
mod tile;
mod vector;
mod weight;

#[cfg(test)]
mod tests;

use super::isa::Isa;
use crate::quant::Type;
use std::ops::Range;

/// How activations are prepared for a weight type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActFormat {
    /// f32, as they are.
    F32,
    /// int8 in blocks of 16 with an f32 scale each.
    Q8x16,
    /// int16 of 13 bits and a sign in blocks of 32, every 16th column of 512, with an f32 scale each.
    Q14x32,
}

/// The format that products with weights of `ty` need, or would need if there were kernels for it.
pub fn act_format(ty: Type) -> ActFormat {
    match ty {
        Type::F32 => ActFormat::F32,
        Type::F16 | Type::BF16 => ActFormat::Q14x32,
        _ => ActFormat::Q8x16,
    }
}

/// Bytes of workspace for the prepared activations `[n_tokens, n_cols]`, a multiple of 64; `None` if that overflows.
pub fn act_bytes(fmt: ActFormat, n_tokens: usize, n_cols: usize) -> Option<usize> {
    acts::Layout::new(fmt, n_tokens, n_cols).bytes()
}

/// Bytes of scratch that each thread needs for products of weights of `ty` with these activations, a multiple of 64; `None` if
/// that overflows.
pub fn scratch_bytes(ty: Type, n_tokens: usize, n_cols: usize) -> Option<usize> {
    match act_format(ty) {
        ActFormat::F32 => Some(panel::scratch_bytes::<float::Floats>(n_tokens)),
        ActFormat::Q14x32 => Some(panel::scratch_bytes::<half::Halves<weight::F16>>(n_tokens)),
        format @ ActFormat::Q8x16 => tile::scratch_bytes(ty, &acts::Layout::new(format, n_tokens, n_cols)),
    }
}

/// A product of rows of weights with prepared activations.
///
/// # Safety
/// What `Kernels::matmul` asks for holds, whenever one is handed to a kernel.
struct Product {
    w: *const u8,
    row_bytes: usize,
    n_cols: usize,
    rows: Range<usize>,
    acts: *const u8,
    n_tokens: usize,
    scratch: *mut u8,
    y: *mut f32,
    y_stride: usize,
    /// Null, or which row of y each token is.
    y_rows: *const u32,
    bias: *const f32,
}

impl Product {
    /// Where token `t`'s results go.
    ///
    /// # Safety
    /// That of the whole; `t < n_tokens`.
    #[inline(always)]
    unsafe fn row_of_y(&self, t: usize) -> *mut f32 {
        // SAFETY: as the caller says.
        let row = if self.y_rows.is_null() { t } else { unsafe { self.y_rows.add(t).read() as usize } };
        self.y.wrapping_add(row * self.y_stride)
    }
}

/// The kernels of one instruction set.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    /// Always one that this processor has.
    isa: Isa,
}

impl Kernels {
    /// The kernels for `isa`; the portable ones if this processor does not have it.
    pub fn new(isa: Isa) -> Kernels {
        Kernels { isa: if isa.is_available() { isa } else { Isa::Portable } }
    }

    /// Packs the activations x `[n_tokens, n_cols]` (rows `x_stride` floats apart; `x_rows` null, or which row each token is) into `ws`.
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
        x_rows: *const u32,
        n_tokens: usize,
        n_cols: usize,
        part: usize,
        n_parts: usize,
        ws: *mut u8,
    ) {
        let source = acts::Source { fmt, x, x_stride, x_rows, n_tokens, n_cols, part, n_parts, ws };
        // SAFETY: the caller vouches for the pointers, `new` for the instructions.
        unsafe { dispatch::prepare(self.isa, &source) }
    }

    /// `y[t, r]` = sum over k of `w[r, k] x[t, k]` (+ `bias[r]` unless null) for the rows given; rows of y are `y_stride` floats
    /// apart, and `y_rows` is null, or tells which row each token is.
    /// A token's results are the same bits whatever `n_tokens` and `rows` are.
    /// Allocates nothing. Threads may call it at the same time with disjoint rows and their own scratch.
    ///
    /// # Safety
    /// `w` must be a tensor of `ty` with `n_cols` columns and at least `rows.end` rows (any alignment), `acts` what
    /// `prepare_acts` made of `[n_tokens, n_cols]` in the type's [`act_format`], `scratch` writable for [`scratch_bytes`] bytes
    /// and 64-aligned, `y` writable, `bias` null or `rows.end` floats.
    #[allow(clippy::too_many_arguments)]
    pub unsafe fn matmul(
        &self,
        ty: Type,
        w: *const u8,
        n_cols: usize,
        rows: Range<usize>,
        acts: *const u8,
        n_tokens: usize,
        scratch: *mut u8,
        y: *mut f32,
        y_stride: usize,
        y_rows: *const u32,
        bias: *const f32,
    ) {
        let row_bytes = n_cols / ty.block_len() * ty.block_bytes();
        if rows.is_empty() {
            return;
        }
        let product = Product { w, row_bytes, n_cols, rows, acts, n_tokens, scratch, y, y_stride, y_rows, bias };
        // SAFETY: the caller vouches for the pointers, `new` for the instructions.
        unsafe { dispatch::product(self.isa, ty, &product) }
    }
}
