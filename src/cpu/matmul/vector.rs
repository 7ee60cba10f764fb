//! Vector helpers of the executor: dot products, exp, SwiGLU.

// SAFETY: of the whole module: `Operation::run` is inlined into a function that enables the instructions of `V`; the
// chunks of slices that pointers are taken from are as long as what is read or written.
#![allow(unsafe_op_in_unsafe_fn)]

use crate::cpu::simd::Simd;

/// A computation that is compiled for each instruction set.
pub(super) trait Operation {
    /// Computes it.
    ///
    /// # Safety
    /// That of `Simd`.
    unsafe fn run<V: Simd>(&mut self) -> f32;
}

/// A format of elements, which come in chunks of a fixed size.
pub(super) trait Elements {
    type Raw: Copy + Default;
    /// Raw items of a chunk.
    const RAW: usize;
    /// Floats that a chunk stands for.
    const FLOATS: usize;
    /// Floats 16i..16i + 16 of the chunk at `p`.
    unsafe fn load<V: Simd>(p: *const Self::Raw, i: usize) -> V::F;
}

pub(super) struct Single;
pub(super) struct Half;
pub(super) struct Q8;
pub(super) struct Q4;

impl Elements for Single {
    type Raw = f32;
    const RAW: usize = 16;
    const FLOATS: usize = 16;
    #[inline(always)]
    unsafe fn load<V: Simd>(p: *const f32, _: usize) -> V::F {
        V::load_f(p)
    }
}

impl Elements for Half {
    type Raw = u16;
    const RAW: usize = 16;
    const FLOATS: usize = 16;
    #[inline(always)]
    unsafe fn load<V: Simd>(p: *const u16, _: usize) -> V::F {
        V::load_half(p.cast())
    }
}

impl Elements for Q8 {
    type Raw = u8;
    const RAW: usize = 34;
    const FLOATS: usize = 32;
    #[inline(always)]
    unsafe fn load<V: Simd>(p: *const u8, i: usize) -> V::F {
        V::mul(V::load_i8(p.add(2 + 16 * i)), V::two_halves(p, p))
    }
}

impl Elements for Q4 {
    type Raw = u8;
    const RAW: usize = 18;
    const FLOATS: usize = 32;
    #[inline(always)]
    unsafe fn load<V: Simd>(p: *const u8, i: usize) -> V::F {
        // The low nibbles are the first 16 elements.
        let levels = p.add(2).cast::<u128>().read_unaligned() >> (4 * i) & (u128::MAX / 17);
        let levels = V::sub(V::load_u8((&raw const levels).cast()), V::splat(8.0));
        V::mul(levels, V::two_halves(p, p))
    }
}

/// A slice, padded with zeros.
#[inline(always)]
pub(super) fn padded<T: Copy + Default, const N: usize>(x: &[T]) -> [T; N] {
    let mut out = [T::default(); N];
    out[..x.len()].copy_from_slice(x);
    out
}

pub(super) struct Dot<'a, E: Elements> {
    pub a: &'a [E::Raw],
    pub b: &'a [f32],
}

impl<E: Elements> Operation for Dot<'_, E> {
    #[inline(always)]
    unsafe fn run<V: Simd>(&mut self) -> f32 {
        let (mut a, mut b) = (self.a.chunks_exact(E::RAW), self.b.chunks_exact(E::FLOATS));
        let mut acc = [V::zero(); 4];
        let mut n = 0;
        while let (Some(x), Some(y)) = (a.next(), b.next()) {
            for i in 0..E::FLOATS / 16 {
                let into = (n * (E::FLOATS / 16) + i) % 4;
                acc[into] = V::fma(E::load::<V>(x.as_ptr(), i), V::load_f(y.as_ptr().add(16 * i)), acc[into]);
            }
            n += 1;
        }
        if !a.remainder().is_empty() && !b.remainder().is_empty() {
            let x = padded::<_, 16>(a.remainder());
            let y = padded::<_, 16>(b.remainder());
            acc[0] = V::fma(E::load::<V>(x.as_ptr(), 0), V::load_f(y.as_ptr()), acc[0]);
        }
        V::sum(V::add(V::add(acc[0], acc[1]), V::add(acc[2], acc[3])))
    }
}

/// exp, correct to 2 units in the last place. Below -87.6 it is 0; above 88.3 it stays at its value there.
///
/// With n the nearest integer to x / ln 2, exp(x) is 2^n exp(r), where r = x - n ln 2 is small enough for a short
/// series.
#[inline(always)]
pub(super) unsafe fn exp<V: Simd>(x: V::F) -> V::F {
    let x = V::clamp(x, -88.0, 88.3);
    let n = V::round(V::mul(x, V::splat(std::f32::consts::LOG2_E)));
    // ln 2 is in two parts. The first has few bits, so n times it is exact, and so is the difference.
    let r = V::fnma(n, V::splat(0.693_359_4), x);
    let r = V::fnma(n, V::splat(-2.121_944_4e-4), r);
    // Taylor's series to r^7, for |r| <= ln 2 / 2. The next term is below 1e-8.
    let mut p = V::splat(1.0 / 5040.0);
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = V::fma(p, r, V::splat(c));
    }
    V::mul(p, V::exp2_int(n))
}

pub(super) struct Exp<'a> {
    pub x: &'a mut [f32],
    pub sub: f32,
}

impl Operation for Exp<'_> {
    #[inline(always)]
    unsafe fn run<V: Simd>(&mut self) -> f32 {
        let sub = V::splat(self.sub);
        let mut sum = V::zero();
        let mut chunks = self.x.chunks_exact_mut(16);
        for x in chunks.by_ref() {
            let e = exp::<V>(V::sub(V::load_f(x.as_ptr()), sub));
            V::store_f(x.as_mut_ptr(), e);
            sum = V::add(sum, e);
        }
        let mut total = V::sum(sum);
        let rest = chunks.into_remainder();
        if !rest.is_empty() {
            let mut last = padded::<_, 16>(rest);
            let e = exp::<V>(V::sub(V::load_f(last.as_ptr()), sub));
            V::store_f(last.as_mut_ptr(), e);
            rest.copy_from_slice(&last[..rest.len()]);
            total += rest.iter().sum::<f32>();
        }
        total
    }
}

pub(super) struct SiluMul<'a> {
    pub gate: &'a [f32],
    pub up: &'a [f32],
    pub out: &'a mut [f32],
}

#[inline(always)]
unsafe fn silu_mul<V: Simd>(gate: *const f32, up: *const f32, out: *mut f32) {
    let gate = V::load_f(gate);
    let e = exp::<V>(V::sub(V::zero(), gate));
    V::store_f(out, V::mul(V::div(gate, V::add(V::splat(1.0), e)), V::load_f(up)));
}

impl Operation for SiluMul<'_> {
    #[inline(always)]
    unsafe fn run<V: Simd>(&mut self) -> f32 {
        let n = self.out.len().min(self.gate.len()).min(self.up.len());
        let whole = n / 16 * 16;
        for i in (0..whole).step_by(16) {
            silu_mul::<V>(self.gate.as_ptr().add(i), self.up.as_ptr().add(i), self.out.as_mut_ptr().add(i));
        }
        let gate = padded::<_, 16>(&self.gate[whole..n]);
        let up = padded::<_, 16>(&self.up[whole..n]);
        let mut out = [0f32; 16];
        silu_mul::<V>(gate.as_ptr(), up.as_ptr(), out.as_mut_ptr());
        self.out[whole..n].copy_from_slice(&out[..n - whole]);
        0.0
    }
}
