//! Norm.

use rekindle::graph::{Norm, NormKind, Op, WeightId};

use super::noise::Noise;
use super::row::{Matrix, Near, Row, ULP};
use super::weight::Weight;

/// A sum of n squares rounds some sqrt(n) times, the rest a few times. A mean is off by the size of what it sums up.
pub fn norm(row: &Row, o: &Norm) -> Vec<Near> {
    let floats = |w: Option<WeightId>| w.map(|w| row.weights[w.0 as usize].values());
    let (weight, bias) = (floats(o.weight), floats(o.bias));
    let rounds = 6.0 + (o.group as f64).sqrt();
    let normed = |(g, x): (usize, &[f32])| {
        let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        let n = x.len() as f64;
        let (mean, most) = (x.iter().sum::<f64>() / n, x.iter().fold(0f64, |most, x| most.max(x.abs())));
        let squares = |mean: f64| x.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        let (mean, by) = match o.kind {
            NormKind::Rms => (0.0, 1.0 / (squares(0.0) / n + f64::from(o.eps)).sqrt()),
            NormKind::Layer => (mean, 1.0 / (squares(mean) / n + f64::from(o.eps)).sqrt()),
            NormKind::L2 => (0.0, 1.0 / squares(0.0).sqrt().max(f64::from(o.eps))),
        };
        let off_mean = if o.kind == NormKind::Layer { rounds * ULP * most } else { 0.0 };
        let at = |of: &Option<Vec<f32>>, i: usize, without: f64| {
            of.as_ref().map_or(without, |f| f64::from(f[(g * o.group + i) % row.cols % f.len()]))
        };
        let one = |(i, x): (usize, &f64)| {
            let (w, b) = (at(&weight, i, 1.0), at(&bias, i, 0.0));
            let is = (x - mean) * by * w;
            let within = rounds * ULP * is.abs() + off_mean * by * w.abs() + ULP * (is + b).abs();
            Near { is: is + b, within }
        };
        x.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    row.inputs[0].x.chunks(o.group).enumerate().flat_map(normed).collect()
}

/// Weight and bias of a row: there are none; or one for each column of a group, or of the row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Of {
    Nothing,
    Group,
    Row,
}

/// `n_groups` groups in each row, with a weight for each column of a group.
pub fn rms(noise: &mut Noise, n_rows: usize, group: usize, n_groups: usize, kept: bool) -> Row {
    of_kind(noise, NormKind::Rms, [Of::Group, Of::Nothing], n_rows, [group, n_groups], kept)
}

/// `of` tells the weight and the bias.
fn of_kind(
    noise: &mut Noise,
    kind: NormKind,
    of: [Of; 2],
    n_rows: usize,
    [group, n_groups]: [usize; 2],
    kept: bool,
) -> Row {
    let cols = group * n_groups;
    let x = Matrix { cols, x: noise.floats(n_rows * cols).iter().map(|x| 3.0 * x + 1.0).collect() };
    let n = |of: Of| if of == Of::Row { cols } else { group };
    let [weight, bias] = [0, 1].map(|i| (of[i] != Of::Nothing).then_some(WeightId(i as u32)));
    let op = Op::Norm(Norm { kind, weight, bias, eps: 1e-5, group });
    let name = format!("norm {kind:?} {of:?}, {n_rows} rows of {n_groups} groups of {group}, kept {kept}");
    let weights = of.map(|of| Weight::floats(noise.floats(n(of))));
    Row { kept, ..Row::new(name, op, vec![x], cols) }.with(weights.to_vec())
}

pub fn rows() -> Vec<Row> {
    let noise = &mut Noise::new(2);
    let mut rows = Vec::new();
    for (i, group) in [1, 31, 64, 128, 255, 256, 257, 576, 2048, 2049, 5000].into_iter().enumerate() {
        rows.push(rms(noise, 5, group, 1, i % 2 == 0));
    }
    for kept in [false, true] {
        rows.push(rms(noise, 3, 64, 3, kept));
        rows.push(rms(noise, 2, 300, 5, kept));
    }
    for kind in [NormKind::Rms, NormKind::Layer, NormKind::L2] {
        for of in [[Of::Nothing; 2], [Of::Group; 2], [Of::Row; 2], [Of::Group, Of::Nothing], [Of::Nothing, Of::Row]] {
            for (i, groups) in [[64, 3], [300, 2], [5, 7], [2500, 1]].into_iter().enumerate() {
                rows.push(of_kind(noise, kind, of, 3, groups, i % 2 == 0));
            }
        }
    }
    // Next to nothing but for a number, which alone then counts.
    let mut row = rms(noise, 2, 40, 1, false);
    row.inputs[0].x.iter_mut().skip(1).for_each(|x| *x *= 1e-4);
    rows.push(Row { name: row.name + ", nearly nothing", ..row });
    rows
}
