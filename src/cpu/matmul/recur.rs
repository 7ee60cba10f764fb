//! The inner part of linear attention: a token or a chunk of tokens changes the state of a head, and reads it.
//!
//! # Token by token
//!
//! A column of the state depends on no other column. So up to 64 columns are taken at a time: their rows stay in the
//! first-level cache while tokens come one after the other. A token goes over them twice: first for what the state says
//! about its key (`S^T k`, the delta rule alone), then to change each row and to add it up for the result.
//!
//! # Chunks
//!
//! A prompt would go over the state twice for each token. Instead, up to 64 tokens are taken together, and all is said
//! as products of matrices (Yang et al. 2024, arXiv:2412.06464, section 3.3). With `G[t]` the sum of the decays of the
//! chunk's tokens up to t, and `S` the state before it,
//!
//! ```text
//! the state after token t     S[t] = exp(G[t]) S + sum over i <= t of exp(G[t] - G[i]) k[i] u[i]^T
//! what token t adds           u[t] = beta[t] (v[t] - exp(G[t]) S^T k[t]
//!                                     - sum over i < t of exp(G[t] - G[i]) (k[i] k[t]) u[i])
//! the result                  out[t] = S[t]^T q[t]
//! ```
//!
//! So the tokens' keys are multiplied by each other and by the queries once (`[C, C]`), keys and queries by the state
//! (`[C, head_v]`), then the `u` are found one after the other, and the rest is again two products. With `Rule::Sum`,
//! `u[t]` is just `beta[t] v[t]`. All exponents are of sums of decays, which are at most 0, so nothing overflows.
//!
//! # Order of sums
//!
//! Each result is summed up over the rows of the state, or over the tokens of a chunk, in their order, whatever else is
//! computed beside it. So the bits depend neither on threads nor on other sequences.

// SAFETY: of the whole module: `Operation::run` is inlined into a function that enables the instructions of `V`;
// pointers are as `Token` and `Product` say.
#![allow(unsafe_op_in_unsafe_fn)]

use super::kernels::Kernels;
use super::vector::Operation;
use crate::cpu::simd::Simd;

/// One token, and some neighbouring columns of a head's state.
pub(crate) struct Token<'a> {
    /// The state before, and after; rows of `stride` floats, of which `n` columns are used. Null: all zeros. Both may
    /// be the same.
    pub from: *const f32,
    pub to: *mut f32,
    pub stride: usize,
    pub n: usize,
    /// By row of the state: query, key, decay.
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub decay: &'a [f32],
    /// By column.
    pub v: *const f32,
    pub out: *mut f32,
    pub beta: f32,
    /// True for the delta rule.
    pub delta: bool,
}

impl Operation for Token<'_> {
    #[inline(always)]
    unsafe fn run<V: Simd>(&mut self) -> f32 {
        let mut c = 0;
        while c + 64 <= self.n && V::REGISTERS >= 32 {
            self.columns::<V, 4>(c);
            c += 64;
        }
        while c + 32 <= self.n {
            self.columns::<V, 2>(c);
            c += 32;
        }
        while c + 16 <= self.n {
            self.columns::<V, 1>(c);
            c += 16;
        }
        for c in c..self.n {
            self.column(c);
        }
        0.0
    }
}

impl Token<'_> {
    /// 16 N columns.
    #[inline(always)]
    unsafe fn columns<V: Simd, const N: usize>(&self, c: usize) {
        let fresh = self.from.is_null();
        let mut u = [V::zero(); N];
        if self.delta && !fresh {
            for (row, (k, decay)) in self.k.iter().zip(self.decay).enumerate() {
                let k = V::splat(k * decay);
                let s = self.from.add(row * self.stride + c);
                for j in 0..N {
                    u[j] = V::fma(k, V::load_f(s.add(16 * j)), u[j]);
                }
            }
        }
        let beta = V::splat(self.beta);
        for j in 0..N {
            u[j] = V::mul(beta, V::sub(V::load_f(self.v.add(c + 16 * j)), u[j]));
        }
        let mut out = [V::zero(); N];
        for row in 0..self.k.len() {
            let (q, k, decay) = (V::splat(self.q[row]), V::splat(self.k[row]), V::splat(self.decay[row]));
            for j in 0..N {
                let at = row * self.stride + c + 16 * j;
                let mut s = V::mul(k, u[j]);
                if !fresh {
                    s = V::fma(decay, V::load_f(self.from.add(at)), s);
                }
                V::store_f(self.to.add(at), s);
                out[j] = V::fma(q, s, out[j]);
            }
        }
        for j in 0..N {
            V::store_f(self.out.add(c + 16 * j), out[j]);
        }
    }

    /// A single column.
    #[inline(always)]
    unsafe fn column(&self, c: usize) {
        let s = |row: usize| if self.from.is_null() { 0.0 } else { *self.from.add(row * self.stride + c) };
        let mut u = 0.0;
        if self.delta {
            for row in 0..self.k.len() {
                u += self.k[row] * self.decay[row] * s(row);
            }
        }
        u = self.beta * (*self.v.add(c) - u);
        let mut out = 0.0;
        for row in 0..self.k.len() {
            let x = self.decay[row] * s(row) + self.k[row] * u;
            *self.to.add(row * self.stride + c) = x;
            out += self.q[row] * x;
        }
        *self.out.add(c) = out;
    }
}

/// `y[r] += sum over i of a[r, i] x[i]` for rows of floats: a small product of matrices that adds to what is there. Row
/// r of `a` begins at `a + r * a_row` and goes on by `a_step`.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    pub a: *const f32,
    pub a_row: usize,
    pub a_step: usize,
    pub x: *const f32,
    pub x_row: usize,
    pub y: *mut f32,
    pub y_row: usize,
    pub rows: usize,
    pub inner: usize,
    /// A multiple of 16.
    pub cols: usize,
}

impl Operation for Product {
    #[inline(always)]
    unsafe fn run<V: Simd>(&mut self) -> f32 {
        let mut r = 0;
        while r < self.rows {
            r += match self.rows - r {
                1 => self.row_group::<V, 1>(r),
                2 | 3 => self.row_group::<V, 2>(r),
                _ => self.row_group::<V, 4>(r),
            };
        }
        0.0
    }
}

impl Product {
    #[inline(always)]
    unsafe fn row_group<V: Simd, const R: usize>(&self, r: usize) -> usize {
        let mut c = 0;
        while c < self.cols {
            c += 16
                * match (self.cols - c) / 16 {
                    4.. if V::REGISTERS >= 32 => self.block::<V, R, 4>(r, c),
                    2.. if V::REGISTERS >= 32 || R <= 2 => self.block::<V, R, 2>(r, c),
                    _ => self.block::<V, R, 1>(r, c),
                };
        }
        R
    }

    /// R rows, 16 C columns. Returns C.
    #[inline(always)]
    unsafe fn block<V: Simd, const R: usize, const C: usize>(&self, r: usize, c: usize) -> usize {
        let mut y = [[V::zero(); C]; R];
        for i in 0..R {
            for j in 0..C {
                y[i][j] = V::load_f(self.y.add((r + i) * self.y_row + c + 16 * j));
            }
        }
        for n in 0..self.inner {
            let mut x = [V::zero(); C];
            for j in 0..C {
                x[j] = V::load_f(self.x.add(n * self.x_row + c + 16 * j));
            }
            for i in 0..R {
                let a = V::splat(*self.a.add((r + i) * self.a_row + n * self.a_step));
                for j in 0..C {
                    y[i][j] = V::fma(a, x[j], y[i][j]);
                }
            }
        }
        for i in 0..R {
            for j in 0..C {
                V::store_f(self.y.add((r + i) * self.y_row + c + 16 * j), y[i][j]);
            }
        }
        C
    }
}

impl Kernels {
    /// Lets a token change and read some columns of a state.
    ///
    /// # Safety
    /// Pointers are as `Token` says, slices equally long; nobody else uses these columns.
    pub(crate) unsafe fn token(&self, t: Token) {
        self.vector(t);
    }

    /// Adds a small product of matrices to what is there.
    ///
    /// # Safety
    /// Pointers are as `Product` says, and nobody else uses `y`.
    pub(crate) unsafe fn add_product(&self, p: Product) {
        self.vector(p);
    }
}
