//! Convolve, LinearAttention and Scan: results, and the states that are kept.
//!
//! The references take one token after the other, whatever form a device takes them in.

use std::collections::BTreeMap;

use rekindle::graph::{
    Convolve, KeyRope, KvShape, LinearAttention, Move, NO_CELL, Op, RopeKind, Rule, Run, Scan, Sharing, Span, StateId,
    WeightId,
};
use rekindle::quant::Type;

use super::noise::Noise;
use super::row::{Batch, Cached, Matrix, Near, Row, ULP};
use super::weight::Weight;

/// Errors are sums of many roundings, so with all their signs at random they are rarely beyond so many deviations.
const DEVIATIONS: f64 = 8.0;

/// Goes over the runs of a row: `token` changes a state and returns the token's results. Gives all results, then the
/// states of the cells that hold something in the end.
fn walk(row: &Row, mut token: impl FnMut(&mut Vec<f64>, usize) -> Vec<f64>) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let Some(c) = &row.cached else { panic!("{}: no states", row.name) };
    let mut cells: BTreeMap<u32, Vec<f64>> =
        c.filled.iter().map(|(cell, state, _)| (*cell, state.iter().map(|x| f64::from(*x)).collect())).collect();
    let mut results = vec![Vec::new(); row.batch.tokens.len()];
    for run in &row.batch.runs {
        let mut state = match run.n_spans {
            0 => vec![0.0; c.shape.head_dim_k],
            _ => cells[&row.batch.spans[run.first_span as usize].cell].clone(),
        };
        for t in run.first as usize..(run.first + run.n) as usize {
            results[t] = token(&mut state, t);
            if row.batch.cells[t] != NO_CELL {
                cells.insert(row.batch.cells[t], state.clone());
            }
        }
    }
    for m in &c.moves {
        cells.insert(m.to, cells[&m.from].clone());
    }
    (results, cells.into_values().collect())
}

/// All numbers, each as far off as `of_its_size` times the largest of its kind, or exact where that is 0.
fn near((results, states): (Vec<Vec<f64>>, Vec<Vec<f64>>), of_its_size: f64) -> Vec<Near> {
    let mut all = Vec::new();
    for numbers in [results, states] {
        let most = numbers.iter().flatten().fold(0.0f64, |most, x| most.max(x.abs()));
        all.extend(numbers.iter().flatten().map(|x| Near { is: *x, within: of_its_size * most }));
    }
    all
}

pub fn convolve(row: &Row, o: &Convolve) -> Vec<Near> {
    let (weight, bias) = (row.weights[0].values(), o.bias.map(|_| row.weights[1].values()));
    let cols = row.cols;
    let walked = walk(row, |state, t| {
        let x = row.inputs[0].row(t);
        let mut out = Vec::with_capacity(cols);
        for (c, x) in x.iter().enumerate() {
            let mut sum = bias.as_ref().map_or(0.0, |b| f64::from(b[c]));
            for tap in 0..o.n_taps - 1 {
                sum += state[tap * cols + c] * f64::from(weight[c * o.n_taps + tap]);
            }
            sum += f64::from(*x) * f64::from(weight[c * o.n_taps + o.n_taps - 1]);
            out.push(if o.silu { sum / (1.0 + (-sum).exp()) } else { sum });
        }
        state.drain(..cols);
        state.extend(x.iter().map(|x| f64::from(*x)));
        out
    });
    // A few products, and an exponential that is off by two units.
    near(walked, DEVIATIONS * ULP * (2.0 + (o.n_taps as f64).sqrt()))
}

pub fn linear_attention(row: &Row, o: &LinearAttention) -> Vec<Near> {
    let (a, skip) = (row.weights[0].values(), o.skip.map(|_| row.weights[1].values()));
    let input = |i: usize, t: usize, at: usize| f64::from(row.inputs[i].row(t)[at]);
    let walked = walk(row, |state, t| {
        let mut out = vec![0.0; o.n_head * o.head_v];
        for head in 0..o.n_head {
            let shared = match o.sharing {
                Sharing::Neighbours => head * o.n_head_k / o.n_head,
                Sharing::Turns => head % o.n_head_k,
            };
            let q = |i: usize| input(0, t, shared * o.head_k + i) * f64::from(o.scale_q);
            let k = |i: usize| input(1, t, shared * o.head_k + i) * f64::from(o.scale_k);
            let decay = |i: usize| {
                let step = if o.by_row { input(3, t, head * o.head_k + i) } else { input(3, t, head) };
                (f64::from(a[head]) * step).exp()
            };
            for col in 0..o.head_v {
                let at = |i: usize| (head * o.head_k + i) * o.head_v + col;
                (0..o.head_k).for_each(|i| state[at(i)] *= decay(i));
                let read: f64 = match o.rule {
                    Rule::Delta => (0..o.head_k).map(|i| state[at(i)] * k(i)).sum(),
                    Rule::Sum => 0.0,
                };
                let u = input(4, t, head) * (input(2, t, head * o.head_v + col) - read);
                (0..o.head_k).for_each(|i| state[at(i)] += k(i) * u);
                let skipped = skip.as_ref().map_or(0.0, |d| f64::from(d[head]) * input(2, t, head * o.head_v + col));
                out[head * o.head_v + col] = (0..o.head_k).map(|i| state[at(i)] * q(i)).sum::<f64>() + skipped;
            }
        }
        out
    });
    // With keys of length 1 and betas up to 1 a token shrinks what earlier ones erred by. So errors are those of sums
    // over a state's rows and a chunk's tokens, whose terms are about as large as the largest result.
    near(walked, DEVIATIONS * ULP * (o.head_k as f64 + 64.0).sqrt())
}

pub fn scan(row: &Row, o: &Scan) -> Vec<Near> {
    let (a, cols) = (row.weights[0].values(), row.cols);
    let input = |i: usize, t: usize, at: usize| f64::from(row.inputs[i].row(t)[at]);
    let walked = walk(row, |state, t| {
        (0..cols)
            .map(|c| {
                let step = input(1, t, c);
                (0..o.n_state)
                    .map(|i| {
                        let s = &mut state[i * cols + c];
                        *s = (f64::from(a[c * o.n_state + i]) * step).exp() * *s
                            + input(2, t, i) * step * input(0, t, c);
                        *s * input(3, t, i)
                    })
                    .sum()
            })
            .collect()
    });
    near(walked, DEVIATIONS * ULP * (o.n_state as f64 + 16.0).sqrt())
}

/// Runs of tokens: (tokens, cell it goes on from, cells kept after some of its tokens, the last one's among them).
type Runs<'a> = &'a [(usize, Option<u32>, &'a [(usize, u32)])];

fn batch(runs: Runs) -> Batch {
    let n = runs.iter().map(|r| r.0).sum();
    let mut b = Batch { cells: vec![NO_CELL; n], ..Batch::of(n) };
    b.runs.clear();
    b.spans.clear();
    let mut first = 0;
    for (n, from, kept) in runs {
        let first_span = b.spans.len() as u32;
        b.spans.extend(from.map(|cell| Span { cell, pos: 0, len: 1 }));
        b.runs.push(Run { first: first as u32, n: *n as u32, first_span, n_spans: u32::from(from.is_some()) });
        kept.iter().for_each(|(t, cell)| b.cells[first + t] = *cell);
        first += n;
    }
    b
}

fn states(noise: &mut Noise, n: usize, size: f32) -> Cached {
    let mut filled = |cell| (cell, noise.floats(n).iter().map(|x| x * size).collect(), Vec::new());
    let filled = [0, 3, 5].map(&mut filled).to_vec();
    let rope = Some(KeyRope { rope: 0, first: 0, kind: RopeKind::Norm });
    let shape =
        KvShape { n_head_kv: 1, head_dim_k: n, head_dim_v: n, v_in_k: true, window: None, chunked: false, rope };
    let (type_k, type_v) = (Type::F32, Type::F32);
    let moves = vec![Move { from: 5, to: 7, delta: 0 }];
    Cached { shape, type_k, type_v, n_cells: 8, cache: 1, filled, moves, recurrent: true }
}

/// The shapes of batches: single tokens, a few, prompts about the length of a chunk, states that are kept in the
/// middle, several sequences, and one whose second run goes on from the first.
const BATCHES: [(&str, Runs); 9] = [
    ("a token", &[(1, Some(3), &[(0, 1)])]),
    ("a token in place", &[(1, Some(3), &[(0, 3)])]),
    ("a first token", &[(1, None, &[(0, 1)])]),
    ("few tokens", &[(16, Some(0), &[(4, 2), (15, 1)])]),
    ("a prompt of 17", &[(17, None, &[(16, 6)])]),
    ("a prompt of 64", &[(64, Some(5), &[(63, 6)])]),
    ("a prompt of 65", &[(65, Some(5), &[(64, 5)])]),
    ("a prompt of 150", &[(150, Some(0), &[(99, 2), (133, 4), (149, 1)])]),
    (
        "sequences that take turns",
        &[(2, Some(0), &[(1, 1)]), (1, None, &[(0, 2)]), (3, Some(1), &[(2, 1)]), (20, Some(5), &[(19, 6)])],
    ),
];

fn row(
    name: String,
    op: Op,
    inputs: Vec<Matrix>,
    cols: usize,
    weights: Vec<Weight>,
    cached: Cached,
    runs: Runs,
) -> Row {
    Row { batch: batch(runs), cached: Some(cached), ..Row::new(name, op, inputs, cols) }.with(weights)
}

fn n_tokens(runs: Runs) -> usize {
    runs.iter().map(|r| r.0).sum()
}

fn positive(noise: &mut Noise, rows: usize, cols: usize, most: f32) -> Matrix {
    let mut m = Matrix::random(noise, rows, cols);
    m.x.iter_mut().for_each(|x| *x = x.abs().min(1.0) * most);
    m
}

/// A weight of floats below 0: the logarithm of a decay per step.
fn decays(noise: &mut Noise, n: usize) -> Weight {
    Weight::floats(noise.floats(n).iter().map(|x| -0.02 - x.abs()).collect())
}

pub fn convolved(
    noise: &mut Noise,
    cols: usize,
    n_taps: usize,
    bias: bool,
    silu: bool,
    (what, runs): (&str, Runs),
) -> Row {
    let weights = vec![Weight::floats(noise.floats(n_taps * cols)), Weight::floats(noise.floats(cols))];
    let bias = bias.then_some(WeightId(1));
    let op = Op::Convolve(Convolve { state: StateId(1), weight: WeightId(0), bias, n_taps, silu });
    let name = format!("convolve {cols} columns, {n_taps} taps, bias {}, silu {silu}, {what}", bias.is_some());
    let input = Matrix::random(noise, n_tokens(runs), cols);
    let cached = states(noise, (n_taps - 1) * cols, 1.0);
    row(name, op, vec![input], cols, weights, cached, runs)
}

/// Heads of values and of keys, and their lengths.
type Shape = [usize; 4];

pub fn attended(
    noise: &mut Noise,
    rule: Rule,
    shape: Shape,
    sharing: Sharing,
    by_row: bool,
    (what, runs): (&str, Runs),
) -> Row {
    let [n_head, n_head_k, head_k, head_v] = shape;
    let n = n_tokens(runs);
    let scale = 1.0 / (head_k as f32).sqrt();
    let o = LinearAttention {
        rule,
        state: StateId(1),
        a: WeightId(0),
        skip: (rule == Rule::Sum).then_some(WeightId(1)),
        n_head,
        n_head_k,
        head_k,
        head_v,
        sharing,
        scale_q: scale,
        scale_k: if rule == Rule::Delta { 1.0 } else { scale },
        by_row,
    };
    let mut keys = Matrix::random(noise, n, n_head_k * head_k);
    for key in keys.x.chunks_mut(head_k) {
        let length = key.iter().map(|x| x * x).sum::<f32>().sqrt();
        key.iter_mut().for_each(|x| *x /= length);
    }
    let inputs = vec![
        Matrix::random(noise, n, n_head_k * head_k),
        keys,
        Matrix::random(noise, n, n_head * head_v),
        positive(noise, n, if by_row { n_head * head_k } else { n_head }, 1.0),
        positive(noise, n, n_head, 1.0),
    ];
    let name = format!("linear_attention {rule:?} {shape:?}, {sharing:?}, by row {by_row}, {what}");
    let cached = states(noise, n_head * head_k * head_v, 0.3);
    row(
        name,
        Op::LinearAttention(o),
        inputs,
        n_head * head_v,
        vec![decays(noise, n_head), Weight::floats(noise.floats(n_head))],
        cached,
        runs,
    )
}

pub fn scanned(noise: &mut Noise, cols: usize, n_state: usize, (what, runs): (&str, Runs)) -> Row {
    let n = n_tokens(runs);
    let inputs = vec![
        Matrix::random(noise, n, cols),
        positive(noise, n, cols, 0.5),
        Matrix::random(noise, n, n_state),
        Matrix::random(noise, n, n_state),
    ];
    let op = Op::Scan(Scan { state: StateId(1), a: WeightId(0), n_state });
    let name = format!("scan {cols} columns of {n_state}, {what}");
    let cached = states(noise, cols * n_state, 1.0);
    row(name, op, inputs, cols, vec![decays(noise, n_state * cols)], cached, runs)
}

pub fn rows() -> Vec<Row> {
    let noise = &mut Noise::new(21);
    let mut rows = Vec::new();
    for (i, batch) in BATCHES.into_iter().enumerate() {
        rows.push(convolved(noise, 40, 4, i % 2 == 0, i % 3 != 0, batch));
        rows.push(convolved(noise, 300, 3, i % 2 == 1, i % 3 == 0, batch));
        rows.push(attended(noise, Rule::Delta, [4, 2, 32, 32], Sharing::Turns, false, batch));
        rows.push(attended(noise, Rule::Delta, [4, 2, 16, 48], Sharing::Neighbours, false, batch));
        rows.push(attended(noise, Rule::Delta, [2, 2, 24, 20], Sharing::Turns, false, batch));
        rows.push(attended(noise, Rule::Delta, [2, 2, 32, 32], Sharing::Turns, true, batch));
        rows.push(attended(noise, Rule::Sum, [4, 2, 16, 64], Sharing::Neighbours, false, batch));
        rows.push(attended(noise, Rule::Sum, [3, 1, 20, 5], Sharing::Neighbours, false, batch));
        rows.push(scanned(noise, 40, 16, batch));
        rows.push(scanned(noise, 150, 5, batch));
    }
    // More taps, more rows of a head's state, more numbers of a column's: dies have other kernels for them.
    for batch in [BATCHES[4], BATCHES[8]] {
        rows.push(convolved(noise, 40, 9, true, true, batch));
        rows.push(attended(noise, Rule::Delta, [2, 1, 128, 40], Sharing::Turns, false, batch));
        rows.push(attended(noise, Rule::Sum, [2, 2, 200, 16], Sharing::Neighbours, false, batch));
        rows.push(attended(noise, Rule::Delta, [1, 1, 100, 20], Sharing::Turns, true, batch));
        rows.push(attended(noise, Rule::Delta, [1, 1, 256, 8], Sharing::Turns, true, batch));
        rows.push(scanned(noise, 40, 40, batch));
    }
    rows
}

/// Rows, and a batch with as many tokens and runs but other cells, which writes none that the rows look at.
pub fn after_others() -> (Vec<Row>, Batch) {
    let noise = &mut Noise::new(22);
    let runs: (&str, Runs) = ("after others", &[(2, Some(3), &[(1, 1)]), (1, Some(5), &[(0, 2)])]);
    let rows = vec![
        convolved(noise, 40, 4, true, true, runs),
        attended(noise, Rule::Delta, [4, 2, 32, 32], Sharing::Turns, false, runs),
        scanned(noise, 40, 16, runs),
    ];
    (rows, batch(&[(1, None, &[(0, 4)]), (2, Some(0), &[(1, 6)])]))
}
