//! The kernels of one instruction set, as the operations call them.

use super::acts::{self, ActFormat, Source, act_format};
use super::product::Product;
use super::vector::{Dot, Exp, Operation, SiluMul, Single};
use super::{dispatch, float, half, panel, tile, weight};
use crate::cpu::isa::Isa;
use crate::quant::Type;

/// Bytes of scratch that each thread needs for products of weights of `ty` with these activations, a multiple of 64;
/// `None` if that overflows.
pub fn scratch_bytes(ty: Type, n_tokens: usize, n_cols: usize) -> Option<usize> {
    match act_format(ty) {
        ActFormat::F32 => Some(panel::scratch_bytes::<float::Floats>(n_tokens)),
        ActFormat::Q14x32 => Some(panel::scratch_bytes::<half::Halves<weight::F16>>(n_tokens)),
        format @ ActFormat::Q8x16 => tile::scratch_bytes(ty, &acts::Layout::new(format, n_tokens, n_cols)),
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

    /// True if there are kernels for products with weights of a type.
    pub fn supports(ty: Type) -> bool {
        ty.on_cpu()
    }

    /// Prepares activations for products. All parts may run at the same time.
    ///
    /// # Safety
    /// `s.x` must be readable as the source describes, `s.ws` writable for [`act_bytes`](super::act_bytes) bytes and
    /// 64-aligned, `s.part < s.n_parts`.
    pub unsafe fn prepare_acts(&self, s: &Source) {
        // SAFETY: the caller vouches for the pointers, `new` for the instructions.
        unsafe { dispatch::prepare(self.isa, s) }
    }

    /// Computes `y[t, r]` = sum over k of `w[r, k] x[t, k]` (+ `bias[r]` unless null) for the rows given. A token's
    /// results are the same bits whatever `n_tokens` and `rows` are. Nothing is allocated. Threads may call it at the
    /// same time with disjoint rows and their own scratch.
    ///
    /// # Safety
    /// `p.w` must be a matrix of `p.ty` with `n_cols` columns and at least `rows.end` rows (any alignment), `acts` what
    /// `prepare_acts` made of `[n_tokens, n_cols]` in the type's [`act_format`], `scratch` writable for
    /// [`scratch_bytes`] bytes and 64-aligned, `y` writable, `bias` null or `rows.end` floats.
    pub unsafe fn matmul(&self, p: &Product) {
        if p.rows.is_empty() {
            return;
        }
        // SAFETY: the caller vouches for the pointers, `new` for the instructions.
        unsafe { dispatch::product(self.isa, p) }
    }
}

impl Kernels {
    pub(super) fn vector(&self, operation: impl Operation) -> f32 {
        // SAFETY: `Kernels::new` made sure that this processor has the instructions.
        unsafe { dispatch::vector(self.isa, operation) }
    }

    /// Sum of `a[i] b[i]`.
    pub fn dot_f32(&self, a: &[f32], b: &[f32]) -> f32 {
        self.vector(Dot::<Single> { a, b })
    }

    /// x = exp(x - sub), 0 where x is minus infinity; returns the sum.
    pub fn exp_inplace(&self, x: &mut [f32], sub: f32) -> f32 {
        self.vector(Exp { x, sub })
    }

    /// out = silu(gate) up, with silu(g) = g / (1 + exp(-g)).
    pub fn silu_mul(&self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        self.vector(SiluMul { gate, up, out });
    }
}
