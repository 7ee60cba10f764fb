//! Route and SumExperts.

use rekindle::graph::{Gating, Op, Route, SumExperts, WeightId};

use super::noise::Noise;
use super::product::routes;
use super::row::{Matrix, Near, Row, ULP};
use super::weight::Weight;

fn softmax(x: &mut [f64]) {
    let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    x.iter_mut().for_each(|x| *x = (*x - most).exp());
    let sum: f64 = x.iter().sum();
    x.iter_mut().for_each(|x| *x /= sum);
}

/// From the best to the worst; of equal ones the first; what is no number comes last.
fn order(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (scores[*a], scores[*b]);
        a.is_nan().cmp(&b.is_nan()).then(b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal))
    });
    order
}

/// The groups whose two best are the best together stay.
fn keep_groups(scores: &mut [f64], r: &Route) {
    let size = r.n_expert / r.n_group;
    let worth = |g: &[f64]| {
        let best = order(g);
        g[best[0]] + best.get(1).map_or(0.0, |second| g[*second])
    };
    let worths: Vec<f64> = scores.chunks(size).map(worth).collect();
    for (g, group) in scores.chunks_mut(size).enumerate() {
        let is_better = |o: &usize| worths[*o] > worths[g] || (worths[*o] == worths[g] && *o < g);
        if (0..worths.len()).filter(is_better).count() >= r.n_group_used {
            group.fill(f64::NEG_INFINITY);
        }
    }
}

/// Experts exactly; weights within the roundings of an exp, of a sum of all, and of a division or two.
pub fn route(row: &Row, r: &Route) -> Vec<Near> {
    let bias = r.bias.map(|b| row.weights[b.0 as usize].values());
    let mut all = Vec::new();
    for i in 0..row.n_rows() {
        let mut probs: Vec<f64> = row.inputs[0].row(i).iter().map(|x| f64::from(*x)).collect();
        match r.gating {
            Gating::Softmax => softmax(&mut probs),
            Gating::Sigmoid => probs.iter_mut().for_each(|x| *x = 1.0 / (1.0 + (-*x).exp())),
            Gating::SoftmaxOfChosen => {}
        }
        let with_bias = |(i, p): (usize, &f64)| bias.as_ref().map_or(*p, |b| p + f64::from(b[i]));
        let mut scores: Vec<f64> = probs.iter().enumerate().map(with_bias).collect();
        if r.n_group > 1 {
            keep_groups(&mut scores, r);
        }
        let ids = &order(&scores)[..r.n_expert_used];
        let mut weights: Vec<f64> = ids.iter().map(|i| probs[*i]).collect();
        if r.gating == Gating::SoftmaxOfChosen {
            softmax(&mut weights);
        }
        // The least normal half stands for smaller sums.
        let sum = weights.iter().sum::<f64>().max(6.103_515_6e-5);
        let by = f64::from(r.scale) / if r.normalise { sum } else { 1.0 };
        all.extend(ids.iter().map(|i| Near::exactly(*i as f32)));
        let within = (16.0 + (r.n_expert as f64).sqrt()) * ULP;
        // Below the least normal number a weight may be 0.
        let least = f64::from(f32::MIN_POSITIVE);
        all.extend(weights.iter().map(|w| Near { is: w * by, within: within * (w * by).abs() + least }));
    }
    all
}

pub fn sum_experts(row: &Row, o: &SumExperts) -> Vec<Near> {
    let (parts, n) = (&row.inputs[0], o.n_expert_used);
    let mut all = Vec::new();
    for i in 0..row.n_rows() {
        let weights: Vec<f32> = match o.weighted {
            true => row.inputs[1].row(i)[n..].to_vec(),
            false => vec![1.0; n],
        };
        for c in 0..row.cols {
            let terms =
                || weights.iter().enumerate().map(|(j, w)| f64::from(*w) * f64::from(parts.row(i)[j * row.cols + c]));
            let within = (n + 1) as f64 * ULP * terms().map(f64::abs).sum::<f64>();
            all.push(Near { is: terms().sum(), within });
        }
    }
    all
}

/// Random logits.
pub fn routed(noise: &mut Noise, r: Route, n_rows: usize) -> Row {
    let x = noise.floats(n_rows * r.n_expert).iter().map(|x| 4.0 * x).collect();
    let inputs = vec![Matrix { cols: r.n_expert, x }];
    let row = Row::new(format!("route {r:?}"), Op::Route(r), inputs, 2 * r.n_expert_used);
    row.with(vec![Weight::floats(noise.floats(r.n_expert))])
}

/// The same with odd numbers in the first ten of twelve rows.
fn odd(noise: &mut Noise, r: Route) -> Row {
    let mut row = routed(noise, r, 12);
    let (n, x) = (r.n_expert, &mut row.inputs[0].x);
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    for i in 0..n {
        let mut set = |row: usize, to: f32| x[row * n + i] = to;
        set(0, 1.0); // all alike
        set(1, nan);
        set(3, -inf);
        set(5, (i / 2 % 5) as f32); // ties
        set(6, if i == 0 { 1.0 } else { nan });
        set(7, if i == n - 1 { 3.0 } else { -inf });
        set(8, if i % 2 == 1 { inf } else { -inf });
        set(9, -100.0); // weights below the least sum
        if i % 3 == 0 {
            set(2, nan);
        }
        if i == 1 {
            set(4, inf);
        }
    }
    row
}

pub fn summed(noise: &mut Noise, n_rows: usize, n_used: usize, cols: usize) -> Row {
    let inputs = vec![Matrix::random(noise, n_rows, n_used * cols), routes(noise, n_rows, n_used, 20, 20)];
    let weighted = n_used != 3;
    let name = format!("sum_experts {n_used} of {cols} columns, {n_rows} rows, weighted {weighted}");
    Row::new(name, Op::SumExperts(SumExperts { n_expert_used: n_used, weighted }), inputs, cols)
}

pub fn rows() -> Vec<Row> {
    let noise = &mut Noise::new(7);
    let mut rows = vec![summed(noise, 3, 4, 300), summed(noise, 2, 9, 31), summed(noise, 5, 1, 257)];
    rows.push(summed(noise, 4, 3, 300));
    for gating in [Gating::Softmax, Gating::Sigmoid, Gating::SoftmaxOfChosen] {
        for normalise in [false, true] {
            for (n_expert, n_expert_used, n_group, n_group_used, with_bias) in [
                (4, 2, 1, 1, false),
                (32, 4, 1, 1, true),
                (128, 8, 1, 1, false),
                (256, 8, 8, 4, true),
                (40, 40, 1, 1, false),
                (6, 3, 6, 3, false),
                (513, 10, 27, 2, true),
                (4096, 3, 1, 1, false),
            ] {
                let bias = with_bias.then_some(WeightId(0));
                let scale = 2.5;
                let r = Route { n_expert, n_expert_used, gating, normalise, scale, n_group, n_group_used, bias };
                rows.push(odd(noise, r));
            }
        }
    }
    rows
}
