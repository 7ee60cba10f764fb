//! The description of a product, as every kernel gets it.

use std::ops::Range;

use crate::quant::Type;

/// A product of rows of weights with prepared activations.
///
/// # Safety
/// Whenever one is handed to a kernel, all that `Kernels::matmul` asks for holds.
pub struct Product {
    pub ty: Type,
    /// The first row of weights.
    pub w: *const u8,
    /// Bytes from one row of weights to the next.
    pub row_bytes: usize,
    pub n_cols: usize,
    pub rows: Range<usize>,
    pub acts: *const u8,
    pub n_tokens: usize,
    pub scratch: *mut u8,
    pub y: *mut f32,
    /// Floats from one row of y to the next.
    pub y_stride: usize,
    /// The row of y that each token is; null if they follow each other.
    pub y_rows: *const u32,
    /// Null, or an element for each row of the matrix; at any address, as a file has it.
    pub bias: *const f32,
}

impl Product {
    /// The product of all rows of a matrix with `n_tokens` tokens, if its rows follow each other. The caller adds the
    /// addresses of activations, scratch and results.
    pub fn new(ty: Type, w: *const u8, n_rows: usize, n_cols: usize, n_tokens: usize) -> Product {
        let (row_bytes, rows) = (n_cols / ty.block_len() * ty.block_bytes(), 0..n_rows);
        let (acts, y_rows, bias) = (std::ptr::null(), std::ptr::null(), std::ptr::null());
        let (scratch, y, y_stride) = (std::ptr::null_mut(), std::ptr::null_mut(), n_rows);
        Product { ty, w, row_bytes, n_cols, rows, acts, n_tokens, scratch, y, y_stride, y_rows, bias }
    }

    /// The address of token `t`'s results.
    ///
    /// # Safety
    /// That of the whole; `t < n_tokens`.
    #[inline(always)]
    pub(super) unsafe fn row_of_y(&self, t: usize) -> *mut f32 {
        // SAFETY: as the caller says.
        let row = if self.y_rows.is_null() { t } else { unsafe { self.y_rows.add(t).read() as usize } };
        self.y.wrapping_add(row * self.y_stride)
    }

    /// What is added to the results of a row of the matrix.
    ///
    /// # Safety
    /// That of the whole; `row` is one of the rows.
    #[inline(always)]
    pub(super) unsafe fn bias(&self, row: usize) -> f32 {
        // SAFETY: as the caller says.
        if self.bias.is_null() { 0.0 } else { unsafe { self.bias.add(row).read_unaligned() } }
    }
}
