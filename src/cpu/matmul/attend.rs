//! The inner part of attention: the query rows of a tile go over a block of 64 keys and values.
//!
//! # Problem
//!
//! A score is a dot product of a query and a key, and a result is a sum of values, weighted. Both are small products of
//! matrices, of which one (keys, values) comes from the cache in some type, and the other is a few rows long. A sum
//! across lanes for each score would cost more than the score itself.
//!
//! # Idea
//!
//! Keys and values of a block are turned into floats once, for all rows of the tile. Keys are transposed on the way:
//!
//! ```text
//! keys      [elements of a key][64 keys]    a lane is a key        score += q[d] * keys[d]       for d = 0, 1, ...
//! values    [keys][elements of a value]     a lane is an element   sum += weight[i] * value[i]   for keys i = 0, 1,
//! ...
//! ```
//!
//! So an element of a query, or a weight, is broadcast to all lanes, and nothing is added up across lanes. Several rows
//! go together, as many as registers allow, and share what is loaded.
//!
//! Between the two products stands the softmax: the scores become weights `exp(score - largest)`, under the largest
//! score so far (`attention.rs` tells of the running maximum).
//!
//! # Order of sums
//!
//! A score is made in the order of elements, a sum of values in the order of keys, for each row by itself. So a row's
//! bits do not depend on which other rows are there.

// SAFETY: of the whole module: `Operation::run` is inlined into a function that enables the instructions of `V`;
// pointers are as `Keys`, `Values` and `BlockOfKeys` say.
#![allow(unsafe_op_in_unsafe_fn)]

use std::marker::PhantomData;

use super::kernels::Kernels;
use super::vector::{Elements, Exp, Half, Operation, Q4, Q8, Single, padded};
use crate::cpu::simd::Simd;
use crate::quant::Type;

/// Keys in a block.
pub(crate) const BLOCK: usize = 64;

/// Some cells of one side of the cache, of one head. The elements of cell `i` are at `base + i * row_bytes`.
#[derive(Clone, Copy)]
pub(crate) struct Cells<'a> {
    pub base: *const u8,
    pub row_bytes: usize,
    pub cells: &'a [u32],
    /// Elements of the head.
    pub dim: usize,
}

impl Cells<'_> {
    #[inline(always)]
    fn at<E: Elements>(&self, cell: u32) -> *const E::Raw {
        self.base.wrapping_add(cell as usize * self.row_bytes).cast()
    }
}

/// Elements 16c..16c + 16 of a row of `dim` elements, with zeros behind its end.
#[inline(always)]
unsafe fn sixteen<V: Simd, E: Elements>(row: *const E::Raw, c: usize, dim: usize) -> V::F {
    let raw = row.add(16 * c / E::FLOATS * E::RAW);
    if 16 * c + 16 <= dim {
        return E::load::<V>(raw, 16 * c % E::FLOATS / 16);
    }
    // Only types of whole elements have rows that are no multiple of 16.
    let rest = padded::<_, 16>(std::slice::from_raw_parts(raw, dim - 16 * c));
    E::load::<V>(rest.as_ptr(), 0)
}

/// Asks for the cell a block further on, which is likely to be used next.
#[inline(always)]
unsafe fn prefetch<V: Simd, E: Elements>(row: *const E::Raw, cells: &Cells) {
    let bytes = cells.dim.div_ceil(E::FLOATS) * E::RAW * size_of::<E::Raw>();
    let next = row.cast::<u8>().wrapping_add(BLOCK * cells.row_bytes);
    for line in 0..bytes.div_ceil(64) {
        V::prefetch(next.wrapping_add(64 * line));
    }
}

/// Writes keys as `[dim up to a multiple of 16][BLOCK]`. Keys past the last are zeros, up to a multiple of 16.
struct Keys<'a, E> {
    from: Cells<'a>,
    to: *mut f32,
    elements: PhantomData<E>,
}

impl<E: Elements> Operation for Keys<'_, E> {
    #[inline(always)]
    unsafe fn run<V: Simd>(&mut self) -> f32 {
        for (i, cells) in self.from.cells.chunks(16).enumerate() {
            for cell in cells {
                prefetch::<V, E>(self.from.at::<E>(*cell), &self.from);
            }
            for c in 0..self.from.dim.div_ceil(16) {
                let mut x = [V::zero(); 16];
                for (x, cell) in x.iter_mut().zip(cells) {
                    *x = sixteen::<V, E>(self.from.at::<E>(*cell), c, self.from.dim);
                }
                for (j, x) in V::transpose(x).into_iter().enumerate() {
                    V::store_f(self.to.add((16 * c + j) * BLOCK + 16 * i), x);
                }
            }
        }
        0.0
    }
}

/// Writes values as `[cells][dim up to a multiple of 16]`.
struct Values<'a, E> {
    from: Cells<'a>,
    to: *mut f32,
    elements: PhantomData<E>,
}

impl<E: Elements> Operation for Values<'_, E> {
    #[inline(always)]
    unsafe fn run<V: Simd>(&mut self) -> f32 {
        let chunks = self.from.dim.div_ceil(16);
        for (i, cell) in self.from.cells.iter().enumerate() {
            let row = self.from.at::<E>(*cell);
            prefetch::<V, E>(row, &self.from);
            for c in 0..chunks {
                V::store_f(self.to.add((i * chunks + c) * 16), sixteen::<V, E>(row, c, self.from.dim));
            }
        }
        0.0
    }
}

/// The fall of a row's scores with the distance between the query's position and a key's.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fall {
    pub slope: f32,
    pub pos: i32,
}

/// Some query rows, and the keys `from..to` of a block that they go over.
pub(crate) struct BlockOfKeys<'a> {
    pub keys: *const f32,
    pub values: *const f32,
    pub from: usize,
    pub to: usize,
    /// Elements of a key.
    pub dim_k: usize,
    /// Floats of a row of values and of sums, a multiple of 16.
    pub dim_v: usize,
    /// By row.
    pub queries: &'a [*const f32],
    pub scale: f32,
    pub softcap: Option<f32>,
    /// The keys' positions.
    pub positions: &'a [i32; BLOCK],
    /// By row, if scores fall with distance; else empty.
    pub falls: &'a [Fall],
    /// `[rows][BLOCK]`, scratch.
    pub scores: *mut f32,
    /// Sums of weighted values, `[rows][dim_v]`.
    pub sums: *mut f32,
    /// By row: the largest score so far.
    pub max: &'a mut [f32],
    /// By row: the sum of weights.
    pub total: &'a mut [f32],
}

impl Operation for BlockOfKeys<'_> {
    #[inline(always)]
    unsafe fn run<V: Simd>(&mut self) -> f32 {
        let rows = self.queries.len();
        let mut row = 0;
        while row < rows {
            row += match rows - row {
                1 => self.scores::<V, 1>(row),
                2 | 3 => self.scores::<V, 2>(row),
                _ => self.scores::<V, 4>(row),
            };
        }
        for row in 0..rows {
            self.softmax::<V>(row);
        }
        let mut row = 0;
        while row < rows {
            row += match rows - row {
                1 => self.sum::<V, 1>(row),
                2 | 3 => self.sum::<V, 2>(row),
                _ => self.sum::<V, 4>(row),
            };
        }
        0.0
    }
}

impl BlockOfKeys<'_> {
    /// Makes R rows' scores, for as many keys at a time as registers allow. Returns R.
    #[inline(always)]
    unsafe fn scores<V: Simd, const R: usize>(&self, row: usize) -> usize {
        let (mut g, end) = (self.from / 16, self.to.div_ceil(16));
        while g < end {
            g += match end - g {
                4.. if V::REGISTERS >= 32 => self.dots::<V, R, 4>(row, g),
                2.. if V::REGISTERS >= 32 || R <= 2 => self.dots::<V, R, 2>(row, g),
                _ => self.dots::<V, R, 1>(row, g),
            };
        }
        R
    }

    /// Makes R rows' scores for 16 G keys, from group `g` of 16 on. Returns G.
    #[inline(always)]
    unsafe fn dots<V: Simd, const R: usize, const G: usize>(&self, row: usize, g: usize) -> usize {
        let mut acc = [[V::zero(); G]; R];
        let mut queries = [std::ptr::null::<f32>(); R];
        queries.copy_from_slice(&self.queries[row..row + R]);
        let keys = self.keys.add(16 * g);
        for d in 0..self.dim_k {
            let mut k = [V::zero(); G];
            for j in 0..G {
                k[j] = V::load_f(keys.add(d * BLOCK + 16 * j));
            }
            for r in 0..R {
                let q = V::splat(*queries[r].add(d));
                for j in 0..G {
                    acc[r][j] = V::fma(q, k[j], acc[r][j]);
                }
            }
        }
        let scale = V::splat(self.scale);
        for r in 0..R {
            for j in 0..G {
                V::store_f(self.scores.add((row + r) * BLOCK + 16 * (g + j)), V::mul(acc[r][j], scale));
            }
        }
        G
    }

    /// Turns a row's scores into weights. If one is larger than the largest so far, the row's sums are scaled down
    /// first.
    #[inline(always)]
    unsafe fn softmax<V: Simd>(&mut self, row: usize) {
        let scores = std::slice::from_raw_parts_mut(self.scores.add(row * BLOCK + self.from), self.to - self.from);
        if let Some(cap) = self.softcap {
            scores.iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
        }
        if let Some(fall) = self.falls.get(row) {
            let positions = &self.positions[self.from..self.to];
            scores.iter_mut().zip(positions).for_each(|(x, p)| *x -= fall.slope * p.abs_diff(fall.pos) as f32);
        }
        let chunks = scores.chunks_exact(16);
        let rest = chunks.remainder().iter().copied().fold(self.max[row], f32::max);
        let mut highest = V::splat(rest);
        for x in chunks {
            highest = V::max(highest, V::load_f(x.as_ptr()));
        }
        let highest = V::greatest(highest);
        if highest > self.max[row] {
            let shrink = (self.max[row] - highest).exp();
            let factor = V::splat(shrink);
            for i in (0..self.dim_v).step_by(16) {
                let at = self.sums.add(row * self.dim_v + i);
                V::store_f(at, V::mul(V::load_f(at), factor));
            }
            self.total[row] *= shrink;
            self.max[row] = highest;
        }
        self.total[row] += Exp { x: scores, sub: self.max[row] }.run::<V>();
    }

    /// Adds the weighted values to R rows' sums, for as many elements at a time as registers allow. Returns R.
    #[inline(always)]
    unsafe fn sum<V: Simd, const R: usize>(&self, row: usize) -> usize {
        let (mut c, end) = (0, self.dim_v / 16);
        while c < end {
            c += match end - c {
                4.. if V::REGISTERS >= 32 => self.columns::<V, R, 4>(row, c),
                2.. if V::REGISTERS >= 32 || R <= 2 => self.columns::<V, R, 2>(row, c),
                _ => self.columns::<V, R, 1>(row, c),
            };
        }
        R
    }

    /// Adds 16 C elements of the weighted values to R rows' sums. Returns C.
    #[inline(always)]
    unsafe fn columns<V: Simd, const R: usize, const C: usize>(&self, row: usize, c: usize) -> usize {
        let mut acc = [[V::zero(); C]; R];
        for r in 0..R {
            for j in 0..C {
                acc[r][j] = V::load_f(self.sums.add((row + r) * self.dim_v + 16 * (c + j)));
            }
        }
        for i in self.from..self.to {
            let mut v = [V::zero(); C];
            for j in 0..C {
                v[j] = V::load_f(self.values.add(i * self.dim_v + 16 * (c + j)));
            }
            for r in 0..R {
                let p = V::splat(*self.scores.add((row + r) * BLOCK + i));
                for j in 0..C {
                    acc[r][j] = V::fma(p, v[j], acc[r][j]);
                }
            }
        }
        for r in 0..R {
            for j in 0..C {
                V::store_f(self.sums.add((row + r) * self.dim_v + 16 * (c + j)), acc[r][j]);
            }
        }
        C
    }
}

impl Kernels {
    /// Writes at most BLOCK keys as floats, transposed: `[dim up to a multiple of 16][BLOCK]`.
    ///
    /// # Safety
    /// The cells hold elements of `ty`, and `to` is writable.
    pub(crate) unsafe fn block_of_keys(&self, ty: Type, from: Cells, to: *mut f32) {
        match ty {
            Type::F32 => self.vector(Keys::<Single> { from, to, elements: PhantomData }),
            Type::F16 => self.vector(Keys::<Half> { from, to, elements: PhantomData }),
            Type::Q4_0 => self.vector(Keys::<Q4> { from, to, elements: PhantomData }),
            _ => self.vector(Keys::<Q8> { from, to, elements: PhantomData }),
        };
    }

    /// Writes values as floats: `[cells][dim up to a multiple of 16]`.
    ///
    /// # Safety
    /// As for `block_of_keys`.
    pub(crate) unsafe fn block_of_values(&self, ty: Type, from: Cells, to: *mut f32) {
        match ty {
            Type::F32 => self.vector(Values::<Single> { from, to, elements: PhantomData }),
            Type::F16 => self.vector(Values::<Half> { from, to, elements: PhantomData }),
            Type::Q4_0 => self.vector(Values::<Q4> { from, to, elements: PhantomData }),
            _ => self.vector(Values::<Q8> { from, to, elements: PhantomData }),
        };
    }

    /// Lets query rows go over a block of keys.
    ///
    /// # Safety
    /// The pointers of `a` are as it says, `from < to`, and nobody else uses the scores and sums.
    pub(crate) unsafe fn attend(&self, a: BlockOfKeys) {
        self.vector(a);
    }
}
