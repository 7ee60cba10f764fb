//! Scale, Add, Activation, Gate and SoftCap.
//!
//! A few roundings of the numbers that go into a result; exp and tanh may err by some units in the last place, and exp
//! of x by x roundings besides.

use rekindle::graph::{Activation, Gate, Op, Scale, SoftCap, WeightId};

use super::noise::Noise;
use super::product::routes;
use super::row::{Matrix, Near, Row, ULP};
use super::weight::Weight;

pub fn scale(row: &Row, o: &Scale) -> Vec<Near> {
    let values = |w: Option<WeightId>| w.map(|w| row.weights[w.0 as usize].values());
    let (scales, bias) = (values(o.scale), values(o.bias));
    let parts = o.n_expert_used.max(1);
    let cols = row.cols / parts;
    let one = |(at, x): (usize, &f32)| {
        let (part, c) = (at / cols, at % cols);
        let expert = row.inputs.get(1).map_or(0, |r| r.row(part / parts)[part % parts] as usize);
        let own = |s: &Vec<f32>| f64::from(s[if o.n_expert_used == 0 && s.len() > 1 { c } else { expert }]);
        let x = f64::from(*x) * f64::from(o.by) * scales.as_ref().map_or(1.0, own);
        let b = bias.as_ref().map_or(0.0, |b| f64::from(b[expert * cols + c]));
        Near { is: x + b, within: 3.0 * ULP * (x.abs() + b.abs()) }
    };
    row.inputs[0].x.iter().enumerate().map(one).collect()
}

/// `within` of both inputs and the result: roundings. Where `exp` is of a large negative number, its least normal
/// result (2^-126) may stand for it, which both inputs then multiply.
fn each(row: &Row, f: impl Fn(f64, f64) -> f64, within: impl Fn(f64, f64, f64) -> f64) -> Vec<Near> {
    let b = row.inputs.get(1).unwrap_or(&row.inputs[0]);
    let wide = b.cols / row.inputs[0].cols;
    let one = |(i, b): (usize, &f32)| {
        let (a, b) = (f64::from(row.inputs[0].x[i / wide]), f64::from(*b));
        let is = f(a, b);
        let least = f64::from(f32::MIN_POSITIVE) * (1.0 + a.abs()) * (1.0 + b.abs());
        Near { is, within: ULP * within(a, b, is) + 8.0 * least }
    };
    b.x.iter().enumerate().map(one).collect()
}

pub fn add(row: &Row) -> Vec<Near> {
    each(row, |a, b| a + b, |_, _, is| is.abs())
}

/// The function, and what its result may be off by in units in the last place.
fn function(f: Activation, a: f64) -> (f64, f64) {
    let exp = |is: f64| (8.0 + 2.0 * a.abs()) * is.abs();
    match f {
        Activation::Identity => (a, 0.0),
        Activation::Silu => {
            let is = a / (1.0 + (-a).exp());
            (is, exp(is))
        }
        // 1 + tanh is a small difference where a is far below zero.
        Activation::Gelu => {
            let is = 0.5 * a * (1.0 + (0.797_884_560_802_865_4 * (a + 0.044_715 * a.powi(3))).tanh());
            (is, exp(is) + 8.0 * a.abs())
        }
        Activation::GeluErf => {
            let is = a * below(a);
            // The factor of x and the product are rounded, and the tail falls like exp(-x^2 / 2).
            (is, 16.0 * is.abs() + 2.0 * a * a * is.abs())
        }
        Activation::Relu => (if a < 0.0 { 0.0 } else { a }, 0.0),
        Activation::ReluSquared => (if a < 0.0 { 0.0 } else { a * a }, a * a),
        Activation::Sigmoid => {
            let is = 1.0 / (1.0 + (-a).exp());
            (is, exp(is))
        }
        Activation::Softplus => {
            let is = if a > 700.0 { a } else { a.exp().ln_1p() };
            (is, exp(is) + 4.0)
        }
        Activation::Reciprocal => (1.0 / a, 2.0 / a.abs()),
        Activation::Clamp { limit } => (a.clamp(-f64::from(limit), f64::from(limit)), 0.0),
        Activation::Xielu { positive, negative, beta, eps } => {
            let [p, n, b, e] = [positive, negative, beta, eps].map(f64::from);
            let curve = if a > 0.0 { p * a * a } else { n * (a.min(e).exp_m1() - a) };
            (curve + b * a, 8.0 * (curve.abs() + (b * a).abs() + n * a.abs()))
        }
    }
}

/// The share of a normal distribution below x: half, and the integral of its density from 0 to x by Simpson's rule; the
/// tails by a continued fraction.
fn below(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if x.abs() > 4.0 {
        let fraction = (1..60).rev().fold(x.abs(), |rest, k| x.abs() + f64::from(k) / rest);
        let tail = if x.is_infinite() { 0.0 } else { density(x) / fraction };
        return if x < 0.0 { tail } else { 1.0 - tail };
    }
    let (n, h) = (2000, x / 2000.0);
    let weight = |i: i32| {
        if i == 0 || i == n {
            1.0
        } else if i % 2 == 1 {
            4.0
        } else {
            2.0
        }
    };
    0.5 + h / 3.0 * (0..=n).map(|i| weight(i) * density(f64::from(i) * h)).sum::<f64>()
}

pub fn activation(row: &Row, f: Activation) -> Vec<Near> {
    each(row, |a, _| function(f, a).0, |a, _, _| function(f, a).1)
}

pub fn gate(row: &Row, gate: Gate) -> Vec<Near> {
    let exp = |a: f64, _, is: f64| (8.0 + 2.0 * a.abs()) * is.abs();
    let most = |a: f64, limit: f64| if a > limit { limit } else { a };
    match gate {
        Gate::Plain(f) => each(row, |a, b| function(f, a).0 * b, |a, b, is| function(f, a).1 * b.abs() + is.abs()),
        Gate::SiluClamped { alpha, limit } => {
            let (alpha, limit) = (f64::from(alpha), f64::from(limit));
            let most = |a: f64| most(a, limit);
            let gated = |a: f64, b: f64| most(a) / (1.0 + (-alpha * most(a)).exp()) * (b.clamp(-limit, limit) + 1.0);
            // The other half and 1 may cancel.
            each(row, gated, |a, b, is| exp(most(a) * alpha, b, is) + 2.0 * most(a).abs())
        }
        Gate::SiluOfLimited { limit } => {
            let limit = f64::from(limit);
            let most = |a: f64| most(a, limit);
            let gated = |a: f64, b: f64| most(a) / (1.0 + (-most(a)).exp()) * b.clamp(-limit, limit);
            each(row, gated, |a, b, is| exp(most(a), b, is))
        }
        Gate::SiluLimited { limit } => {
            let limit = f64::from(limit);
            let gated = |a: f64, b: f64| most(a / (1.0 + (-a).exp()), limit) * b.clamp(-limit, limit);
            each(row, gated, exp)
        }
    }
}

pub fn soft_cap(row: &Row, o: &SoftCap) -> Vec<Near> {
    let cap = f64::from(o.cap);
    each(row, |a, _| cap * (a / cap).tanh(), |_, _, is| 8.0 * is.abs())
}

/// Numbers of -12 to 12, the first few odd ones.
fn odd(noise: &mut Noise, n_rows: usize, cols: usize) -> Matrix {
    let mut m = Matrix { cols, x: noise.floats(n_rows * cols).iter().map(|x| 12.0 * x).collect() };
    let odd = [0.0, -0.0, 80.0, -80.0, 200.0, -200.0, 1e-30, f32::NAN, f32::INFINITY];
    if m.x.len() > odd.len() {
        m.x[..odd.len()].copy_from_slice(&odd);
    }
    m
}

/// An op of one or two inputs of a shape.
pub fn of_shape(noise: &mut Noise, op: Op, n_rows: usize, cols: usize, kept: bool) -> Row {
    let mut inputs = vec![odd(noise, n_rows, cols), Matrix::random(noise, n_rows, cols)];
    inputs[1].x.iter_mut().for_each(|x| *x *= 12.0);
    // The other half may be no number, or any size, where the gate is open.
    if n_rows * cols > 20 {
        inputs[0].x[10..13].fill(3.0);
        inputs[1].x[10..13].copy_from_slice(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
    }
    inputs.truncate(if let Op::SoftCap(_) | Op::Activation(_) = op { 1 } else { 2 });
    let name = format!("{} {op:?} {n_rows} x {cols}, kept {kept}", op.name());
    Row { kept, ..Row::new(name, op, inputs, cols) }
}

/// A narrow input of `n_a` columns gates a wide one.
fn narrow(noise: &mut Noise, op: Op, n_rows: usize, n_a: usize, cols: usize) -> Row {
    let inputs = vec![odd(noise, n_rows, n_a), Matrix::random(noise, n_rows, cols)];
    let name = format!("{} {op:?} {n_rows} x {cols} by {n_a}", op.name());
    Row::new(name, op, inputs, cols)
}

/// The scale of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Of {
    /// A number of the op's own.
    Constant,
    One,
    Columns,
    /// One for each of so many experts.
    Experts(usize),
}

pub fn scaled(noise: &mut Noise, n_rows: usize, cols: usize, of: Of, with_bias: bool, kept: bool) -> Row {
    let n_expert = 7;
    let n_used = if let Of::Experts(n) = of { n } else { 0 };
    let (bias, scale) = (with_bias.then_some(WeightId(1)), (of != Of::Constant).then_some(WeightId(0)));
    let by = if matches!(of, Of::Constant | Of::Columns) { -2.3 } else { 1.0 };
    let op = Op::Scale(Scale { by, scale, bias, n_expert_used: n_used });
    let parts = n_used.max(1);
    let mut inputs = vec![Matrix::random(noise, n_rows, parts * cols)];
    if n_used > 0 {
        inputs.push(routes(noise, n_rows, n_used, n_expert, n_expert));
    }
    let name = format!("scale {n_rows} x {cols} by {of:?}, bias {with_bias}, kept {kept}");
    let n = match of {
        Of::Columns => cols,
        Of::Experts(_) => n_expert,
        Of::Constant | Of::One => 1,
    };
    let biases = if n_used > 0 { n_expert } else { 1 };
    let weights = vec![Weight::floats(noise.floats(n)), Weight::floats(noise.floats(biases * cols))];
    Row { kept, ..Row::new(name, op, inputs, parts * cols) }.with(weights)
}

pub fn rows() -> Vec<Row> {
    let noise = &mut Noise::new(3);
    let mut rows = Vec::new();
    for (i, of) in [Of::One, Of::Experts(1), Of::Experts(3), Of::Constant, Of::Columns].into_iter().enumerate() {
        rows.push(scaled(noise, 4, 300, of, false, i % 2 == 0));
        rows.push(scaled(noise, 5, 7, of, true, i % 2 == 1));
    }
    let functions = [
        Activation::Identity,
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluErf,
        Activation::Relu,
        Activation::ReluSquared,
        Activation::Sigmoid,
        Activation::Softplus,
        Activation::Clamp { limit: 0.75 },
        Activation::Reciprocal,
        Activation::Xielu { positive: 0.8, negative: 1.3, beta: 0.5, eps: -1e-6 },
    ];
    let gates = [
        Gate::SiluClamped { alpha: 1.702, limit: 7.0 },
        Gate::SiluLimited { limit: 5.0 },
        Gate::SiluOfLimited { limit: 2.0 },
    ];
    for f in functions {
        for (n_a, cols) in [(1, 700), (5, 640), (300, 600)] {
            rows.push(narrow(noise, Op::Gate(Gate::Plain(f)), 3, n_a, cols));
        }
    }
    let ops = [Op::Add, Op::SoftCap(SoftCap { cap: 30.0 })].into_iter();
    let ops = ops
        .chain(functions.map(Op::Activation))
        .chain(functions.map(|f| Op::Gate(f.into())))
        .chain(gates.map(Op::Gate));
    for op in ops {
        // Fewer than a block of threads, and more than a thread's share of the CPU.
        for (i, (n_rows, cols)) in [(1, 1), (3, 85), (2, 4099), (1, 3001)].into_iter().enumerate() {
            rows.push(of_shape(noise, op.clone(), n_rows, cols, i % 2 == 1));
        }
    }
    // More elements than a launch has threads.
    rows.push(of_shape(noise, Op::Add, 1025, 1024, false));
    rows
}
