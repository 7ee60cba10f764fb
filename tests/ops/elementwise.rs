//! Scale, Add, Gate and SoftCap.
//!
//! A few roundings of the numbers that go into a result; exp and tanh may err by some units in the last place, and exp
//! of x by x roundings besides.

use rekindle::graph::{Gate, Op, Scale, SoftCap, WeightId};

use super::noise::Noise;
use super::product::routes;
use super::row::{Matrix, Near, Row, ULP};
use super::weight::Weight;

pub fn scale(row: &Row, o: &Scale) -> Vec<Near> {
    let (scales, bias) = (row.weights[o.scale.0 as usize].values(), o.bias.map(|b| row.weights[b.0 as usize].values()));
    let parts = o.n_expert_used.max(1);
    let cols = row.cols / parts;
    let one = |(at, x): (usize, &f32)| {
        let (part, c) = (at / cols, at % cols);
        let expert = row.inputs.get(1).map_or(0, |r| r.row(part / parts)[part % parts] as usize);
        let (x, b) =
            (f64::from(*x) * f64::from(scales[expert]), bias.as_ref().map_or(0.0, |b| f64::from(b[expert * cols + c])));
        Near { is: x + b, within: 2.0 * ULP * (x.abs() + b.abs()) }
    };
    row.inputs[0].x.iter().enumerate().map(one).collect()
}

/// `within` of both inputs and the result: roundings. Where `exp` is of a large negative number, its least normal result
/// (2^-126) may stand for it, which both inputs then multiply.
fn each(row: &Row, f: impl Fn(f64, f64) -> f64, within: impl Fn(f64, f64, f64) -> f64) -> Vec<Near> {
    let b = row.inputs.get(1).unwrap_or(&row.inputs[0]);
    let one = |(a, b): (&f32, &f32)| {
        let (a, b) = (f64::from(*a), f64::from(*b));
        let is = f(a, b);
        let least = f64::from(f32::MIN_POSITIVE) * (1.0 + a.abs()) * (1.0 + b.abs());
        Near { is, within: ULP * within(a, b, is) + 8.0 * least }
    };
    row.inputs[0].x.iter().zip(&b.x).map(one).collect()
}

pub fn add(row: &Row) -> Vec<Near> {
    each(row, |a, b| a + b, |_, _, is| is.abs())
}

pub fn gate(row: &Row, gate: Gate) -> Vec<Near> {
    let exp = |a: f64, _, is: f64| (8.0 + 2.0 * a.abs()) * is.abs();
    match gate {
        Gate::Silu => each(row, |a, b| a / (1.0 + (-a).exp()) * b, exp),
        // 1 + tanh is a small difference where a is far below zero.
        Gate::Gelu => {
            let gelu = |a: f64| 0.5 * a * (1.0 + (0.797_884_560_802_865_4 * (a + 0.044_715 * a.powi(3))).tanh());
            each(row, |a, b| gelu(a) * b, |a, b, is| exp(a, b, is) + 8.0 * (a * b).abs())
        }
        Gate::SiluClamped { alpha, limit } => {
            let (alpha, limit) = (f64::from(alpha), f64::from(limit));
            let most = |a: f64| if a > limit { limit } else { a };
            let gated = |a: f64, b: f64| most(a) / (1.0 + (-alpha * most(a)).exp()) * (b.clamp(-limit, limit) + 1.0);
            // The other half and 1 may cancel.
            each(row, gated, |a, b, is| exp(most(a) * alpha, b, is) + 2.0 * most(a).abs())
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
    inputs.truncate(if let Op::SoftCap(_) = op { 1 } else { 2 });
    let name = format!("{} {op:?} {n_rows} x {cols}, kept {kept}", op.name());
    Row { kept, ..Row::new(name, op, inputs, cols) }
}

pub fn scaled(noise: &mut Noise, n_rows: usize, cols: usize, n_used: usize, with_bias: bool, kept: bool) -> Row {
    let (n_expert, parts) = (7, n_used.max(1));
    let bias = with_bias.then_some(WeightId(1));
    let op = Op::Scale(Scale { scale: WeightId(0), bias, n_expert_used: n_used });
    let mut inputs = vec![Matrix::random(noise, n_rows, parts * cols)];
    if n_used > 0 {
        inputs.push(routes(noise, n_rows, n_used, n_expert, n_expert));
    }
    let name = format!("scale {n_rows} x {cols}, {n_used} experts, bias {with_bias}, kept {kept}");
    let n = if n_used > 0 { n_expert } else { 1 };
    let weights = vec![Weight::floats(noise.floats(n)), Weight::floats(noise.floats(n * cols))];
    Row { kept, ..Row::new(name, op, inputs, parts * cols) }.with(weights)
}

pub fn rows() -> Vec<Row> {
    let noise = &mut Noise::new(3);
    let mut rows = Vec::new();
    for n_used in [0, 1, 3] {
        rows.push(scaled(noise, 4, 300, n_used, false, n_used == 0));
        rows.push(scaled(noise, 5, 7, n_used, true, n_used == 3));
    }
    let ops = [
        Op::Add,
        Op::Gate(Gate::Silu),
        Op::Gate(Gate::Gelu),
        Op::Gate(Gate::SiluClamped { alpha: 1.702, limit: 7.0 }),
        Op::SoftCap(SoftCap { cap: 30.0 }),
    ];
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
