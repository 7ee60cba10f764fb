//! Layers that keep a state per sequence, in the words of the builder: gated delta nets, Mamba, short convolutions.
//! Their operations are told of in `recurrence`.

use super::build::{Builder, Norms};
use super::op::{Activation, Gate, Norm, NormKind, Op, Scale};
use super::recurrence::{Convolve, LinearAttention, Rule, Scan, Sharing};
use super::value::{Rows, ValueId};
use crate::error::{Error, Result};

/// The kinds of recurrent layer, with their sizes.
#[derive(Debug, Clone, Copy)]
pub enum Recurrent {
    Delta(Delta),
    Kimi(Kimi),
    Mamba(Mamba),
    Mamba2(Mamba2),
    Plamo(Plamo),
    /// A short convolution, with so many taps (LFM2).
    Convolution(usize),
}

/// A layer of the gated delta net (qwen3next, qwen3.5).
#[derive(Debug, Clone, Copy)]
pub struct Delta {
    pub n_head: usize,
    pub n_head_k: usize,
    /// Elements of a head's key, and of its value.
    pub head: usize,
    pub n_taps: usize,
    pub sharing: Sharing,
    /// True if scales of its matrices are applied, if files have such.
    pub scaled: bool,
}

/// A layer of Kimi Delta Attention.
#[derive(Debug, Clone, Copy)]
pub struct Kimi {
    pub n_head: usize,
    pub head: usize,
    pub n_taps: usize,
}

/// A layer of Mamba.
#[derive(Debug, Clone, Copy)]
pub struct Mamba {
    pub n_inner: usize,
    pub n_state: usize,
    /// Numbers that steps are made of.
    pub dt_rank: usize,
    pub n_taps: usize,
    /// True if those numbers, B and C are normed even where there is no weight for it.
    pub normed: bool,
}

/// A layer of Mamba-2.
#[derive(Debug, Clone, Copy)]
pub struct Mamba2 {
    pub n_inner: usize,
    pub n_state: usize,
    pub n_head: usize,
    /// Heads of B and C.
    pub n_group: usize,
    pub n_taps: usize,
}

/// A layer of PLaMo 2: Mamba-2 whose steps, B and C are made of the values, normed.
#[derive(Debug, Clone, Copy)]
pub struct Plamo {
    pub n_inner: usize,
    pub n_state: usize,
    pub n_head: usize,
    /// Numbers that steps are made of.
    pub dt_rank: usize,
    pub n_taps: usize,
}

impl Builder<'_> {
    /// A recurrent layer.
    pub fn recurrent(&mut self, x: ValueId, kind: Recurrent) -> Result<ValueId> {
        match kind {
            Recurrent::Delta(d) => self.delta_net(x, d),
            Recurrent::Kimi(d) => self.kimi_delta(x, d),
            Recurrent::Mamba(m) => self.mamba(x, m),
            Recurrent::Mamba2(m) => self.mamba2(x, m),
            Recurrent::Plamo(m) => self.plamo(x, m),
            Recurrent::Convolution(n_taps) => self.short_convolution(x, n_taps),
        }
    }

    /// The convolution `{role}.weight` `[n_taps, cols]` over the tokens of a sequence.
    fn convolve(&mut self, x: ValueId, role: &'static str, ne: &[usize], silu: bool) -> Result<ValueId> {
        let ((_, cols), n_taps) = (self.shape(x), ne[0]);
        if n_taps > Convolve::MOST_TAPS {
            let name = self.name(role, "weight");
            let text = format!("tensor '{name}' has {n_taps} taps, expected at most {}", Convolve::MOST_TAPS);
            return Err(Error::unsupported(text).subject(name));
        }
        let weight = self.required_floats(&self.name(role, "weight"), ne)?;
        let bias = self.floats(&self.name(role, "bias"), &[cols])?;
        let state = self.recurrent_state((n_taps - 1) * cols);
        Ok(self.like(Op::Convolve(Convolve { state, weight, bias, n_taps, silu }), &[x], role, cols))
    }

    fn linear_attention(&mut self, inputs: [ValueId; 5], op: LinearAttention) -> ValueId {
        self.node(Op::LinearAttention(op), &inputs, "linear_attn", Rows::Tokens, op.n_head * op.head_v)
    }

    fn activation(&mut self, x: ValueId, f: Activation, name: &'static str) -> ValueId {
        let (_, cols) = self.shape(x);
        self.like(Op::Activation(f), &[x], name, cols)
    }

    /// f(gate) * x
    fn gated(&mut self, gate: ValueId, x: ValueId, f: Activation, name: &'static str) -> ValueId {
        let (_, cols) = self.shape(x);
        self.like(Op::Gate(Gate::Plain(f)), &[gate, x], name, cols)
    }

    /// softplus(x + ssm_dt.bias)
    fn steps(&mut self, x: ValueId) -> Result<ValueId> {
        let (_, cols) = self.shape(x);
        let bias = Some(self.required_floats(&self.name("ssm_dt", "bias"), &[cols])?);
        let op = Op::Scale(Scale { by: 1.0, scale: None, bias, n_expert_used: 0 });
        let x = self.like(op, &[x], "ssm_dt", cols);
        Ok(self.activation(x, Activation::Softplus, "steps"))
    }

    /// Heads of length sqrt(head): the norm of each, but for a factor that the recurrence brings in.
    fn unit_heads(&mut self, x: ValueId, head: usize, name: &'static str) -> ValueId {
        let ((_, cols), eps) = (self.shape(x), self.norms.eps / head as f32);
        self.like(Op::Norm(Norm { kind: NormKind::Rms, weight: None, bias: None, eps, group: head }), &[x], name, cols)
    }

    /// Queries, keys and values from attn_qkv (or ssm_in, with the gate) through a convolution, the gated delta rule, a
    /// norm of heads, a gate, ssm_out.
    fn delta_net(&mut self, x: ValueId, d: Delta) -> Result<ValueId> {
        let (_, n_embd) = self.shape(x);
        let (keys, values, each) = (d.n_head_k * d.head, d.n_head * d.head, d.n_head / d.n_head_k);
        let times = if d.scaled { Self::linear } else { Self::product };
        let (qkv, z) = if self.has("attn_qkv") {
            (times(self, x, "attn_qkv", 2 * keys + values)?, times(self, x, "attn_gate", values)?)
        } else {
            // Head of keys by head of keys: its query, key, values and gates.
            let all = times(self, x, "ssm_in", 2 * keys + 2 * values)?;
            let part = |g: &mut Self, first, n, name| g.columns(all, d.n_head_k, first * d.head, n * d.head, name);
            let (q, k) = (part(self, 0, 1, "q"), part(self, 1, 1, "k"));
            let (v, z) = (part(self, 2, each, "v"), part(self, 2 + each, each, "z"));
            let qk = self.concat(q, k, 1, 2 * keys, "qk");
            (self.concat(qk, v, 1, 2 * keys + values, "qkv"), z)
        };
        let (alpha, beta) = if self.has("ssm_alpha") {
            (times(self, x, "ssm_alpha", d.n_head)?, times(self, x, "ssm_beta", d.n_head)?)
        } else {
            let both = times(self, x, "ssm_ba", 2 * d.n_head)?;
            let beta = self.columns(both, d.n_head_k, 0, each, "beta");
            (self.columns(both, d.n_head_k, each, each, "alpha"), beta)
        };
        let steps = self.steps(alpha)?;
        let beta = self.activation(beta, Activation::Sigmoid, "beta");
        let qkv = self.convolve(qkv, "ssm_conv1d", &[d.n_taps, 2 * keys + values], true)?;
        let q = self.columns(qkv, 1, 0, keys, "q");
        let k = self.columns(qkv, 1, keys, keys, "k");
        let v = self.columns(qkv, 1, 2 * keys, values, "v");
        let (q, k) = (self.unit_heads(q, d.head, "q_norm"), self.unit_heads(k, d.head, "k_norm"));
        let scale_k = 1.0 / (d.head as f32).sqrt();
        let op = LinearAttention {
            rule: Rule::Delta,
            state: self.recurrent_state(values * d.head),
            a: self.bare_floats("ssm_a", &[d.n_head])?,
            skip: None,
            n_head: d.n_head,
            n_head_k: d.n_head_k,
            head_k: d.head,
            head_v: d.head,
            sharing: d.sharing,
            scale_q: scale_k * scale_k,
            scale_k,
            by_row: false,
        };
        let out = self.linear_attention([q, k, v, steps, beta], op);
        let out = self.group_norm(out, "ssm_norm", self.norms, d.head, &[d.head])?;
        let out = self.gated(z, out, Activation::Silu, "ssm_gated");
        times(self, out, "ssm_out", n_embd)
    }

    /// The same with a convolution for each of attn_q, attn_k and attn_v, a decay for each row of the state, and a
    /// gate by the sigmoid; attn_output.
    fn kimi_delta(&mut self, x: ValueId, d: Kimi) -> Result<ValueId> {
        let ((_, n_embd), n) = (self.shape(x), d.n_head * d.head);
        let ne = [d.n_taps, 1, n];
        let mut through = |role, conv| {
            let y = self.product(x, role, n)?;
            self.convolve(y, conv, &ne, true)
        };
        let (q, k) = (through("attn_q", "ssm_conv1d_q")?, through("attn_k", "ssm_conv1d_k")?);
        let v = through("attn_v", "ssm_conv1d_v")?;
        let low = self.product(x, "ssm_f_a", d.head)?;
        let steps = self.product(low, "ssm_f_b", n)?;
        let steps = self.steps(steps)?;
        let beta = self.product(x, "ssm_beta", d.n_head)?;
        let beta = self.activation(beta, Activation::Sigmoid, "beta");
        let (q, k) = (self.unit_heads(q, d.head, "q_norm"), self.unit_heads(k, d.head, "k_norm"));
        let scale_k = 1.0 / (d.head as f32).sqrt();
        let op = LinearAttention {
            rule: Rule::Delta,
            state: self.recurrent_state(n * d.head),
            a: self.bare_floats("ssm_a", &[1, d.n_head])?,
            skip: None,
            n_head: d.n_head,
            n_head_k: d.n_head,
            head_k: d.head,
            head_v: d.head,
            sharing: Sharing::Neighbours,
            scale_q: scale_k * scale_k,
            scale_k,
            by_row: true,
        };
        let out = self.linear_attention([q, k, v, steps, beta], op);
        let out = self.group_norm(out, "ssm_norm", self.norms, d.head, &[d.head])?;
        let low = self.product(x, "ssm_g_a", d.head)?;
        let gate = self.product(low, "ssm_g_b", n)?;
        let out = self.gated(gate, out, Activation::Sigmoid, "ssm_gated");
        self.product(out, "attn_output", n_embd)
    }

    /// ssm_in gives values and gates; the values go through a convolution; ssm_x makes steps, B and C of them.
    fn mamba(&mut self, x: ValueId, m: Mamba) -> Result<ValueId> {
        let ((_, n_embd), n) = (self.shape(x), m.n_inner);
        let v = self.linear_part(x, "ssm_in", "v", 0, n, 2 * n)?;
        let z = self.linear_part(x, "ssm_in", "z", n, n, 2 * n)?;
        let v = self.convolve(v, "ssm_conv1d", &[m.n_taps, n], true)?;
        let all = self.linear(v, "ssm_x", m.dt_rank + 2 * m.n_state)?;
        let mut low = self.columns(all, 1, 0, m.dt_rank, "dt");
        let mut b = self.columns(all, 1, m.dt_rank, m.n_state, "b");
        let mut c = self.columns(all, 1, m.dt_rank + m.n_state, m.n_state, "c");
        if m.normed || self.has("ssm_dt_norm") {
            low = self.ssm_norm(low, "ssm_dt_norm")?;
            b = self.ssm_norm(b, "ssm_b_norm")?;
            c = self.ssm_norm(c, "ssm_c_norm")?;
        }
        let steps = self.product(low, "ssm_dt", n)?;
        let steps = self.steps(steps)?;
        let state = self.recurrent_state(n * m.n_state);
        let a = self.bare_floats("ssm_a", &[m.n_state, n])?;
        let op = Op::Scan(Scan { state, a, n_state: m.n_state });
        let out = self.node(op, &[v, steps, b, c], "scan", Rows::Tokens, n);
        let skip = Some(self.bare_floats("ssm_d", &[n])?);
        let skip = self.like(Op::Scale(Scale { by: 1.0, scale: skip, bias: None, n_expert_used: 0 }), &[v], "ssm_d", n);
        let out = self.add(out, skip, "ssm_sum");
        let out = self.gated(z, out, Activation::Silu, "ssm_gated");
        self.linear(out, "ssm_out", n_embd)
    }

    /// A norm with a weight, if the file has that.
    fn ssm_norm(&mut self, x: ValueId, role: &'static str) -> Result<ValueId> {
        let (_, cols) = self.shape(x);
        if self.has(role) { self.norm(x, role) } else { Ok(self.bare_norm(x, cols, role)) }
    }

    /// ssm_in gives gates, what goes through a convolution (values, B, C) and steps.
    fn mamba2(&mut self, x: ValueId, m: Mamba2) -> Result<ValueId> {
        let ((_, n_embd), n) = (self.shape(x), m.n_inner);
        let group = m.n_group * m.n_state;
        let (mixed, all) = (n + 2 * group, 2 * n + 2 * group + m.n_head);
        let z = self.linear_part(x, "ssm_in", "z", 0, n, all)?;
        let vbc = self.linear_part(x, "ssm_in", "vbc", n, mixed, all)?;
        let dt = self.linear_part(x, "ssm_in", "dt", n + mixed, m.n_head, all)?;
        let vbc = self.convolve(vbc, "ssm_conv1d", &[m.n_taps, mixed], true)?;
        let v = self.columns(vbc, 1, 0, n, "v");
        let b = self.columns(vbc, 1, n, group, "b");
        let c = self.columns(vbc, 1, n + group, group, "c");
        let steps = self.steps(dt)?;
        let op = LinearAttention {
            rule: Rule::Sum,
            state: self.recurrent_state(n * m.n_state),
            a: self.bare_floats("ssm_a", &[1, m.n_head])?,
            skip: Some(self.bare_floats("ssm_d", &[1, m.n_head])?),
            n_head: m.n_head,
            n_head_k: m.n_group,
            head_k: m.n_state,
            head_v: n / m.n_head,
            sharing: Sharing::Neighbours,
            scale_q: 1.0,
            scale_k: 1.0,
            by_row: false,
        };
        let out = self.linear_attention([c, b, v, steps, steps], op);
        let mut out = self.gated(z, out, Activation::Silu, "ssm_gated");
        if self.has("ssm_norm") {
            let each = n / m.n_group;
            out = self.group_norm(
                out,
                "ssm_norm",
                Norms { kind: NormKind::Rms, ..self.norms },
                each,
                &[each, m.n_group],
            )?;
        }
        self.linear(out, "ssm_out", n_embd)
    }

    /// ssm_in gives each head's gates and values; ssm_x makes B, C and steps of the values.
    fn plamo(&mut self, x: ValueId, m: Plamo) -> Result<ValueId> {
        let ((_, n_embd), n) = (self.shape(x), m.n_inner);
        let head = n / m.n_head;
        let both = self.product(x, "ssm_in", 2 * n)?;
        let z = self.columns(both, m.n_head, 0, head, "z");
        let v = self.columns(both, m.n_head, head, head, "v");
        let v = self.convolve(v, "ssm_conv1d", &[m.n_taps, n], true)?;
        let all = self.product(v, "ssm_x", 2 * m.n_state + m.dt_rank)?;
        let b = self.columns(all, 1, 0, m.n_state, "b");
        let c = self.columns(all, 1, m.n_state, m.n_state, "c");
        let low = self.columns(all, 1, 2 * m.n_state, m.dt_rank, "dt");
        let (b, c) = (self.norm(b, "ssm_b_norm")?, self.norm(c, "ssm_c_norm")?);
        let low = self.norm(low, "ssm_dt_norm")?;
        let steps = self.product(low, "ssm_dt", m.n_head)?;
        let steps = self.steps(steps)?;
        let op = LinearAttention {
            rule: Rule::Sum,
            state: self.recurrent_state(n * m.n_state),
            a: self.bare_floats("ssm_a", &[m.n_head])?,
            skip: Some(self.bare_floats("ssm_d", &[m.n_head])?),
            n_head: m.n_head,
            n_head_k: 1,
            head_k: m.n_state,
            head_v: head,
            sharing: Sharing::Neighbours,
            scale_q: 1.0,
            scale_k: 1.0,
            by_row: false,
        };
        let out = self.linear_attention([c, b, v, steps, steps], op);
        let out = self.gated(z, out, Activation::Silu, "ssm_gated");
        self.product(out, "ssm_out", n_embd)
    }

    /// shortconv.in_proj gives b, c and x; a convolution over b x; times c; shortconv.out_proj.
    fn short_convolution(&mut self, x: ValueId, n_taps: usize) -> Result<ValueId> {
        let (_, n) = self.shape(x);
        let b = self.linear_part(x, "shortconv.in_proj", "b", 0, n, 3 * n)?;
        let c = self.linear_part(x, "shortconv.in_proj", "c", n, n, 3 * n)?;
        let y = self.linear_part(x, "shortconv.in_proj", "x", 2 * n, n, 3 * n)?;
        let y = self.gated(b, y, Activation::Identity, "bx");
        let y = self.convolve(y, "shortconv.conv", &[n_taps, n], false)?;
        let y = self.gated(c, y, Activation::Identity, "cbx");
        self.linear(y, "shortconv.out_proj", n)
    }
}
