//! LinearAttention: each head's state changes with every token, and is read by its query.
//!
//! Few tokens are taken one by one, a prompt in chunks of 64; `matmul/recur.rs` tells of both. Threads share chains
//! (`recurrent.rs`) and heads. The two forms differ in rounding alone.

use super::matmul::recur::{Product, Token};
use super::pool::Over;
use super::recurrent::{States, Stretch};
use super::step::Step;
use crate::graph::{LinearAttention, Node, Rule};

/// Tokens of a chunk.
const CHUNK: usize = 64;

/// Floats of a thread's scratch: keys with a lane per token, two products of tokens by tokens, two of tokens by
/// columns, and some vectors.
fn scratch_floats(o: &LinearAttention) -> Option<usize> {
    let by_token = CHUNK.checked_mul(o.head_k.checked_add(2 * CHUNK)?.checked_add(o.head_v.checked_mul(2)?)?)?;
    by_token.checked_add(o.head_k.checked_mul(3)?)?.checked_add(CHUNK)
}

/// Bytes of the threads' scratch.
pub(super) fn workspace_bytes(o: &LinearAttention, n_threads: usize) -> Option<usize> {
    scratch_floats(o)?.checked_mul(n_threads)?.checked_mul(size_of::<f32>())
}

/// One head of one chain.
struct Head<'a> {
    s: &'a Step<'a>,
    o: &'a LinearAttention,
    inputs: &'a [*const f32; 5],
    out: *mut f32,
    head: usize,
    head_k: usize,
    a: f32,
}

pub(super) fn linear_attention(s: &Step, node: &Node, o: &LinearAttention) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    // The scratch below takes the place of prepared activations.
    s.prepared.set(None);
    let (a, skip) = (s.weight_floats(o.a), o.skip.map(|w| s.weight_floats(w)));
    let inputs: [*const f32; 5] = std::array::from_fn(|i| s.at(node.inputs[i]).cast_const());
    let n_floats = scratch_floats(o).unwrap_or(0);
    let states = States::new(s, o.state);
    let by_token = o.by_row || !o.head_v.is_multiple_of(16);
    s.worker.share(states.chains.len() * o.n_head, 1, |items| {
        // SAFETY: the workspace was measured for this many floats per thread.
        let scratch = unsafe {
            std::slice::from_raw_parts_mut(s.workspace().cast::<f32>().add(n_floats * s.worker.index), n_floats)
        };
        for item in items {
            let (chain, head) = (item / o.n_head, item % o.n_head);
            let head = Head { s, o, inputs: &inputs, out: s.at(output), head, head_k: o.head_k_of(head), a: a[head] };
            states.stretches(chain, head.head * o.head_k * o.head_v, |st| {
                if st.short || by_token {
                    head.tokens(&st, scratch);
                } else {
                    head.chunks(&st, scratch);
                }
                if let Some(skip) = &skip {
                    head.skip(&st, skip[head.head]);
                }
            });
        }
    })
}

impl Head<'_> {
    fn q(&self, t: usize) -> *const f32 {
        self.inputs[0].wrapping_add((t * self.o.n_head_k + self.head_k) * self.o.head_k)
    }
    fn k(&self, t: usize) -> *const f32 {
        self.inputs[1].wrapping_add((t * self.o.n_head_k + self.head_k) * self.o.head_k)
    }
    fn v(&self, t: usize) -> *const f32 {
        self.inputs[2].wrapping_add((t * self.o.n_head + self.head) * self.o.head_v)
    }
    /// The logarithm of the decay of a row of the state.
    fn decay(&self, t: usize, row: usize) -> f32 {
        let i = t * self.o.n_head + self.head;
        // SAFETY: a step for each token and head, or for each row of a head.
        self.a * unsafe { *self.inputs[3].add(if self.o.by_row { i * self.o.head_k + row } else { i }) }
    }
    fn beta(&self, t: usize) -> f32 {
        // SAFETY: a beta for each token and head.
        unsafe { *self.inputs[4].add(t * self.o.n_head + self.head) }
    }
    fn out(&self, t: usize) -> *mut f32 {
        self.out.wrapping_add((t * self.o.n_head + self.head) * self.o.head_v)
    }

    /// Adds the values times a number to the results.
    fn skip(&self, st: &Stretch, by: f32) {
        for t in st.first..st.first + st.n {
            // SAFETY: a head's value and its result have `head_v` elements each, and this thread alone uses the latter.
            let (v, out) = unsafe {
                let n = self.o.head_v;
                (std::slice::from_raw_parts(self.v(t), n), std::slice::from_raw_parts_mut(self.out(t), n))
            };
            out.iter_mut().zip(v).for_each(|(out, v)| *out += by * v);
        }
    }

    fn tokens(&self, st: &Stretch, scratch: &mut [f32]) {
        let (n, o) = (self.o.head_k, self.o);
        let (q, rest) = scratch.split_at_mut(n);
        let (k, rest) = rest.split_at_mut(n);
        let decay = &mut rest[..n];
        let mut from = st.from.unwrap_or(std::ptr::null());
        for t in st.first..st.first + st.n {
            // SAFETY: a head's query and key have `head_k` elements each.
            let (of_q, of_k) =
                unsafe { (std::slice::from_raw_parts(self.q(t), n), std::slice::from_raw_parts(self.k(t), n)) };
            q.iter_mut().zip(of_q).for_each(|(to, x)| *to = x * o.scale_q);
            k.iter_mut().zip(of_k).for_each(|(to, x)| *to = x * o.scale_k);
            if o.by_row {
                decay.iter_mut().enumerate().for_each(|(row, d)| *d = self.decay(t, row).exp());
            } else {
                decay.fill(self.decay(t, 0).exp());
            }
            let token = Token {
                from,
                to: st.to,
                stride: o.head_v,
                n: o.head_v,
                q,
                k,
                decay,
                v: self.v(t),
                out: self.out(t),
                beta: self.beta(t),
                delta: o.rule == Rule::Delta,
            };
            // SAFETY: the cells have a state of `head_k` rows for this head, values and results `head_v` columns.
            unsafe { self.s.x.kernels.token(token) };
            from = st.to;
        }
    }

    fn chunks(&self, st: &Stretch, scratch: &mut [f32]) {
        let mut from = st.from;
        let (mut t, end) = (st.first, st.first + st.n);
        while t < end {
            let n = CHUNK.min(end - t);
            Chunk::new(self, t, n, from, st.to, scratch).compute();
            from = Some(st.to.cast_const());
            t += n;
        }
    }
}

/// Up to 64 tokens of one head, and the scratch for them. Names are those of `matmul/recur.rs`.
struct Chunk<'a> {
    h: &'a Head<'a>,
    t: usize,
    n: usize,
    from: Option<*const f32>,
    to: *mut f32,
    /// `[head_k, CHUNK]`: keys, a lane per token, zeros behind the last.
    keys: &'a mut [f32],
    /// `[CHUNK, CHUNK]`: keys times keys, queries times keys.
    kk: &'a mut [f32],
    qk: &'a mut [f32],
    /// `[CHUNK, head_v]`: what each token adds, and what the state says about its key.
    u: &'a mut [f32],
    read: &'a mut [f32],
    /// By token: the sum of decays up to it.
    sums: &'a mut [f32],
}

impl<'a> Chunk<'a> {
    fn new(
        h: &'a Head<'a>,
        t: usize,
        n: usize,
        from: Option<*const f32>,
        to: *mut f32,
        scratch: &'a mut [f32],
    ) -> Chunk<'a> {
        let (dk, dv) = (h.o.head_k, h.o.head_v);
        let (keys, rest) = scratch.split_at_mut(dk * CHUNK);
        let (kk, rest) = rest.split_at_mut(CHUNK * CHUNK);
        let (qk, rest) = rest.split_at_mut(CHUNK * CHUNK);
        let (u, rest) = rest.split_at_mut(CHUNK * dv);
        let (read, rest) = rest.split_at_mut(CHUNK * dv);
        Chunk { h, t, n, from, to, keys, kk, qk, u, read, sums: &mut rest[..CHUNK] }
    }

    fn compute(&mut self) {
        self.decays_and_keys();
        self.by_tokens(self.h.q(self.t), false);
        if self.h.o.rule == Rule::Delta {
            self.by_tokens(self.h.k(self.t), true);
        }
        self.added();
        self.results();
        self.state();
    }

    fn product(&self, p: Product) {
        // SAFETY: rows of the inputs, of the state and of the scratch, as long as the product reads; `y` is this head's
        // alone.
        unsafe { self.h.s.x.kernels.add_product(p) };
    }

    /// `factors[i] = exp(sums[t] - sums[i])` for tokens `i < n`.
    fn decays_to(&self, t: usize, factors: &mut [f32]) {
        for (f, sum) in factors.iter_mut().zip(&*self.sums) {
            *f = self.sums[t] - sum;
        }
        self.h.s.x.kernels.exp_inplace(factors, 0.0);
    }

    fn decays_and_keys(&mut self) {
        let (h, dk) = (self.h, self.h.o.head_k);
        let mut sum = 0.0;
        for i in 0..self.n {
            sum += h.decay(self.t + i, 0);
            self.sums[i] = sum;
        }
        for i in 0..self.n.next_multiple_of(16) {
            // SAFETY: a head's key has `head_k` elements.
            let k = (i < self.n).then(|| unsafe { std::slice::from_raw_parts(h.k(self.t + i), dk) });
            for c in 0..dk {
                self.keys[c * CHUNK + i] = k.map_or(0.0, |k| k[c] * h.o.scale_k);
            }
        }
    }

    /// Multiplies queries or keys, which lie at `rows`, by the keys.
    fn by_tokens(&mut self, rows: *const f32, keys: bool) {
        let y = if keys { &mut *self.kk } else { &mut *self.qk };
        y[..self.n * CHUNK].fill(0.0);
        let y = y.as_mut_ptr();
        self.product(Product {
            a: rows,
            a_row: self.h.o.n_head_k * self.h.o.head_k,
            a_step: 1,
            x: self.keys.as_ptr(),
            x_row: CHUNK,
            y,
            y_row: CHUNK,
            rows: self.n,
            inner: self.h.o.head_k,
            cols: self.n.next_multiple_of(16),
        });
    }

    /// Multiplies queries or keys by the state before the chunk, if there is one, and adds that to `y`.
    fn by_state(&self, rows: *const f32, y: *mut f32, y_row: usize) {
        let Some(state) = self.from else { return };
        let dv = self.h.o.head_v;
        self.product(Product {
            a: rows,
            a_row: self.h.o.n_head_k * self.h.o.head_k,
            a_step: 1,
            x: state,
            x_row: dv,
            y,
            y_row,
            rows: self.n,
            inner: self.h.o.head_k,
            cols: dv,
        });
    }

    /// Makes `u`, token by token.
    fn added(&mut self) {
        let (h, dv) = (self.h, self.h.o.head_v);
        let delta = h.o.rule == Rule::Delta;
        if delta {
            self.read[..self.n * dv].fill(0.0);
            let read = self.read.as_mut_ptr();
            self.by_state(h.k(self.t), read, dv);
        }
        let mut factors = [0f32; CHUNK];
        for t in 0..self.n {
            let (beta, grown) = (h.beta(self.t + t), self.sums[t].exp() * h.o.scale_k);
            // SAFETY: a head's value has `head_v` elements.
            let v = unsafe { std::slice::from_raw_parts(h.v(self.t + t), dv) };
            let (u, read) = (&mut self.u[t * dv..(t + 1) * dv], &self.read[t * dv..(t + 1) * dv]);
            if !delta {
                u.iter_mut().zip(v).for_each(|(u, v)| *u = beta * v);
                continue;
            }
            u.iter_mut().zip(v).zip(read).for_each(|((u, v), r)| *u = beta * (v - grown * r));
            self.decays_to(t, &mut factors[..t]);
            let row = &mut self.kk[t * CHUNK..t * CHUNK + t];
            row.iter_mut().zip(&factors).for_each(|(x, f)| *x *= -beta * h.o.scale_k * f);
            let (a, x, y) = (row.as_ptr(), self.u.as_ptr(), self.u[t * dv..].as_mut_ptr());
            let p = Product { a, a_row: 0, a_step: 1, x, x_row: dv, y, y_row: dv, rows: 1, inner: t, cols: dv };
            self.product(p);
        }
    }

    /// Makes the results: the state before the chunk, read by the queries, and what the chunk's tokens add.
    fn results(&mut self) {
        let (h, dv) = (self.h, self.h.o.head_v);
        let out_row = h.o.n_head * dv;
        for t in 0..self.n {
            // SAFETY: a head's result has `head_v` elements, and this thread alone writes them.
            unsafe { std::slice::from_raw_parts_mut(h.out(self.t + t), dv) }.fill(0.0);
        }
        self.by_state(h.q(self.t), h.out(self.t), out_row);
        let mut factors = [0f32; CHUNK];
        for t in 0..self.n {
            let grown = self.sums[t].exp() * h.o.scale_q;
            // SAFETY: as above.
            let out = unsafe { std::slice::from_raw_parts_mut(h.out(self.t + t), dv) };
            out.iter_mut().for_each(|x| *x *= grown);
            self.decays_to(t, &mut factors[..=t]);
            let (seen, later) = self.qk[t * CHUNK..(t + 1) * CHUNK].split_at_mut(t + 1);
            seen.iter_mut().zip(&factors).for_each(|(x, f)| *x *= h.o.scale_q * f);
            later.fill(0.0);
        }
        // Of later tokens a row has zeros, so some rows can go together.
        const ROWS: usize = 4;
        for t in (0..self.n).step_by(ROWS) {
            let rows = ROWS.min(self.n - t);
            self.product(Product {
                a: self.qk[t * CHUNK..].as_ptr(),
                a_row: CHUNK,
                a_step: 1,
                x: self.u.as_ptr(),
                x_row: dv,
                y: h.out(self.t + t),
                y_row: out_row,
                rows,
                inner: t + rows,
                cols: dv,
            });
        }
    }

    /// Makes the state after the chunk.
    fn state(&mut self) {
        let (dk, dv, last) = (self.h.o.head_k, self.h.o.head_v, self.n - 1);
        let mut factors = [0f32; CHUNK];
        self.decays_to(last, &mut factors[..self.n]);
        for (u, f) in self.u.chunks_exact_mut(dv).zip(&factors[..self.n]) {
            u.iter_mut().for_each(|u| *u *= f);
        }
        let grown = self.sums[last].exp();
        for i in 0..dk * dv {
            // SAFETY: both states have `head_k` rows of `head_v` for this head, and may be the same.
            unsafe { *self.to.add(i) = self.from.map_or(0.0, |from| grown * *from.add(i)) };
        }
        self.product(Product {
            a: self.keys.as_ptr(),
            a_row: CHUNK,
            a_step: 1,
            x: self.u.as_ptr(),
            x_row: dv,
            y: self.to,
            y_row: dv,
            rows: dk,
            inner: self.n,
            cols: dv,
        });
    }
}
