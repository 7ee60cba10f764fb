//! The inner part of the selective scan: one token and neighbouring columns, a lane each.

// SAFETY: of the whole module: `Operation::run` is inlined into a function that enables the instructions of `V`;
// pointers are as `Token` says.
#![allow(unsafe_op_in_unsafe_fn)]

use super::kernels::Kernels;
use super::vector::{Operation, exp};
use crate::cpu::simd::Simd;

/// Columns of a piece of work.
pub(crate) const COLUMNS: usize = 64;

/// One token, and `n` neighbouring columns.
pub(crate) struct Token<'a> {
    /// The states before and after: a row of `stride` floats for each number of a column's state. Null: all zeros. Both
    /// may be the same.
    pub from: *const f32,
    pub to: *mut f32,
    pub stride: usize,
    pub n: usize,
    /// `[n_state, COLUMNS]`
    pub a: &'a [f32],
    pub v: *const f32,
    pub steps: *const f32,
    /// `[n_state]`
    pub b: &'a [f32],
    pub c: &'a [f32],
    pub out: *mut f32,
}

impl Operation for Token<'_> {
    #[inline(always)]
    unsafe fn run<V: Simd>(&mut self) -> f32 {
        for col in (0..self.n).step_by(16) {
            let n = (self.n - col).min(16);
            let step = load::<V>(self.steps.add(col), n);
            let added = V::mul(step, load::<V>(self.v.add(col), n));
            let mut out = V::zero();
            for i in 0..self.b.len() {
                let at = i * self.stride + col;
                let mut s = V::mul(V::splat(self.b[i]), added);
                if !self.from.is_null() {
                    let decay = exp::<V>(V::mul(V::load_f(self.a[i * COLUMNS + col..].as_ptr()), step));
                    s = V::fma(decay, load::<V>(self.from.add(at), n), s);
                }
                store::<V>(self.to.add(at), s, n);
                out = V::fma(V::splat(self.c[i]), s, out);
            }
            store::<V>(self.out.add(col), out, n);
        }
        0.0
    }
}

/// `n` of 16 floats, zeros behind them.
#[inline(always)]
unsafe fn load<V: Simd>(p: *const f32, n: usize) -> V::F {
    if n == 16 {
        return V::load_f(p);
    }
    let mut all = [0f32; 16];
    std::ptr::copy_nonoverlapping(p, all.as_mut_ptr(), n);
    V::load_f(all.as_ptr())
}

#[inline(always)]
unsafe fn store<V: Simd>(p: *mut f32, x: V::F, n: usize) {
    if n == 16 {
        return V::store_f(p, x);
    }
    let mut all = [0f32; 16];
    V::store_f(all.as_mut_ptr(), x);
    std::ptr::copy_nonoverlapping(all.as_ptr(), p, n);
}

impl Kernels {
    /// Lets a token change and read some columns' states.
    ///
    /// # Safety
    /// Pointers are as `Token` says, and nobody else uses these columns.
    pub(crate) unsafe fn scan(&self, t: Token) {
        self.vector(t);
    }
}
