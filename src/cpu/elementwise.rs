//! Scale, Add, Activation, Gate and SoftCap: element by element.

use super::pool::Over;
use super::step::Step;
use crate::graph::{Activation, Gate, Node, Scale, SoftCap};

/// Elements in a piece of work, which takes some microseconds.
const CHUNK: usize = 4096;

/// x times a number and a scale, plus a bias. With a route, each expert has its own.
pub(super) fn scale(s: &Step, node: &Node, o: &Scale) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    let (scales, biases) = (o.scale.map(|w| s.weight_floats(w)), o.bias.map(|b| s.weight_floats(b)));
    let scales = scales.as_deref().unwrap_or(&[1.0]);
    let (n_used, parts) = (o.n_expert_used, o.n_expert_used.max(1));
    let cols = s.x.graph.value(output).cols / parts;
    // Without a route, several scales are those of the columns.
    let of_columns = n_used == 0 && scales.len() > 1;
    s.worker.share(s.n_rows(output) * parts, 1, |items| {
        for i in items {
            // SAFETY: a row of a route begins with the numbers of its experts.
            let expert = node
                .inputs
                .get(1)
                .map_or(0, |r| unsafe { s.floats(*r, i / parts * 2 * n_used, n_used)[i % parts] } as usize);
            let bias = biases.as_ref().map(|b| &b[expert * cols..(expert + 1) * cols]);
            let (x, y) = (s.at(node.inputs[0]).wrapping_add(i * cols), s.at(output).wrapping_add(i * cols));
            for c in 0..cols {
                let scale = o.by * scales[if of_columns { c } else { expert }];
                // SAFETY: within the part, one writer per part; the output may be the input's place, by whole elements.
                unsafe { *y.add(c) = *x.add(c) * scale + bias.map_or(0.0, |b| b[c]) };
            }
        }
    })
}

pub(super) fn add(s: &Step, node: &Node) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    let n = s.n_rows(output) * s.x.graph.value(output).cols;
    let (a, b, y) = (s.at(node.inputs[0]), s.at(node.inputs[1]), s.at(output));
    s.worker.share(n.div_ceil(CHUNK), 1, |chunks| {
        for i in chunks.start * CHUNK..n.min(chunks.end * CHUNK) {
            // SAFETY: all three have n elements; the output is one input's place or a place of its own, by whole
            // elements.
            unsafe { *y.add(i) = *a.add(i) + *b.add(i) };
        }
    })
}

/// gate(a) * b (Shazeer 2020, arXiv:2002.05202). A number of a narrower a counts for several columns of b.
pub(super) fn gate(s: &Step, node: &Node, gate: Gate) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    let (a, b) = (node.inputs[0], node.inputs[1]);
    let cols = s.x.graph.value(output).cols;
    let (n, each) = (s.n_rows(output) * cols, cols / s.x.graph.value(a).cols);
    s.worker.share(n.div_ceil(CHUNK), 1, |chunks| {
        let (first, last) = (chunks.start * CHUNK, n.min(chunks.end * CHUNK));
        let mut piece = [0f32; CHUNK / 8];
        for first in (first..last).step_by(piece.len()) {
            let piece = &mut piece[..(last - first).min(CHUNK / 8)];
            // SAFETY: b and the output have n elements, a has n / each, one writer per piece; the output may be a's
            // place if that has as many, so it is written last.
            let (a, b) = unsafe {
                let to_a = (first + piece.len()).div_ceil(each);
                (s.floats(a, first / each, to_a - first / each), s.floats(b, first, piece.len()))
            };
            let a = Wide { x: a, skip: first % each, each };
            match gate {
                Gate::Plain(Activation::Silu) if each == 1 => s.x.kernels.silu_mul(a.x, b, piece),
                Gate::Plain(Activation::Identity) => a.zip(piece, b, |x, y| x * y),
                Gate::Plain(f) => a.zip(piece, b, |x, y| apply(f, x) * y),
                Gate::SiluClamped { alpha, limit } => a.zip(piece, b, |x, y| {
                    let x = at_most(x, limit);
                    x / (1.0 + (-alpha * x).exp()) * (y.clamp(-limit, limit) + 1.0)
                }),
                Gate::SiluOfLimited { limit } => a.zip(piece, b, |x, y| {
                    let x = at_most(x, limit);
                    x / (1.0 + (-x).exp()) * y.clamp(-limit, limit)
                }),
                Gate::SiluLimited { limit } => {
                    a.zip(piece, b, |x, y| at_most(x / (1.0 + (-x).exp()), limit) * y.clamp(-limit, limit))
                }
            }
            // SAFETY: as above.
            unsafe { s.floats_mut(output, first, piece.len()).copy_from_slice(piece) };
        }
    })
}

/// Numbers that each count `each` times, but for the first `skip` times.
struct Wide<'a> {
    x: &'a [f32],
    skip: usize,
    each: usize,
}

impl Wide<'_> {
    fn zip(&self, out: &mut [f32], b: &[f32], f: impl Fn(f32, f32) -> f32) {
        if self.each == 1 {
            out.iter_mut().zip(self.x).zip(b).for_each(|((o, a), b)| *o = f(*a, *b));
            return;
        }
        for (i, (o, b)) in out.iter_mut().zip(b).enumerate() {
            *o = f(self.x[(self.skip + i) / self.each], *b);
        }
    }
}

/// `min` would turn what is no number into a number.
fn at_most(x: f32, limit: f32) -> f32 {
    if x > limit { limit } else { x }
}

/// A function of each element.
pub(super) fn activation(s: &Step, node: &Node, f: Activation) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    let n = s.n_rows(output) * s.x.graph.value(output).cols;
    let (x, y) = (s.at(node.inputs[0]), s.at(output));
    s.worker.share(n.div_ceil(CHUNK), 1, |chunks| {
        for i in chunks.start * CHUNK..n.min(chunks.end * CHUNK) {
            // SAFETY: both have n elements; the output is the input's place or a place of its own, by whole elements.
            unsafe { *y.add(i) = apply(f, *x.add(i)) };
        }
    })
}

fn apply(f: Activation, x: f32) -> f32 {
    match f {
        Activation::Identity => x,
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => gelu(x),
        Activation::GeluErf => gelu_erf(x),
        // `max` would turn what is no number into 0.
        Activation::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Activation::ReluSquared => {
            if x < 0.0 {
                0.0
            } else {
                x * x
            }
        }
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Softplus => {
            if x > 20.0 {
                x
            } else {
                x.exp().ln_1p()
            }
        }
        Activation::Reciprocal => 1.0 / x,
        Activation::Clamp { limit } => x.clamp(-limit, limit),
        Activation::Xielu { positive, beta, .. } if x > 0.0 => positive * x * x + beta * x,
        Activation::Xielu { negative, beta, eps, .. } => negative * (x.min(eps).exp_m1() - x) + beta * x,
    }
}

/// The tanh form (Hendrycks and Gimpel 2016, arXiv:1606.08415).
fn gelu(x: f32) -> f32 {
    const SQRT_2_BY_PI: f32 = 0.797_884_6;
    0.5 * x * (1.0 + (SQRT_2_BY_PI * x * (1.0 + 0.044_715 * x * x)).tanh())
}

/// x times the normal distribution's share below x, which is erfc(-x / sqrt(2)) / 2. The complement of the error
/// function is exp of a polynomial, off by no more than 1.2e-7 of itself (Press et al., Numerical Recipes, 6.2).
fn gelu_erf(x: f32) -> f32 {
    const TERMS: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let z = f64::from(x).abs() * std::f64::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * z);
    let tail = t * (-z * z + TERMS.iter().rev().fold(0.0, |sum, term| sum * t + term)).exp();
    (0.5 * f64::from(x) * if x < 0.0 { tail } else { 2.0 - tail }) as f32
}

/// cap tanh(x / cap)
pub(super) fn soft_cap(s: &Step, node: &Node, o: &SoftCap) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    let n = s.n_rows(output) * s.x.graph.value(output).cols;
    let (x, y) = (s.at(node.inputs[0]), s.at(output));
    s.worker.share(n.div_ceil(CHUNK), 1, |chunks| {
        for i in chunks.start * CHUNK..n.min(chunks.end * CHUNK) {
            // SAFETY: both have n elements; the output is the input's place or a place of its own, by whole elements.
            unsafe { *y.add(i) = o.cap * (*x.add(i) / o.cap).tanh() };
        }
    })
}
