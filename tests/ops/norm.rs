//! RmsNorm.

use rekindle::graph::{Op, RmsNorm, WeightId};

use super::noise::Noise;
use super::row::{Matrix, Near, Row, ULP};
use super::weight::Weight;

/// A sum of n squares rounds some sqrt(n) times, the rest a few times.
pub fn rms_norm(row: &Row, o: &RmsNorm) -> Vec<Near> {
    let weight = row.weights[o.weight.0 as usize].values();
    let norm = |x: &[f32]| {
        let squares: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
        let by = 1.0 / (squares / x.len() as f64 + f64::from(o.eps)).sqrt();
        let one = |(x, w): (&f32, &f32)| {
            let is = f64::from(*x) * by * f64::from(*w);
            Near { is, within: (6.0 + (o.group as f64).sqrt()) * ULP * is.abs() }
        };
        x.iter().zip(&weight).map(one).collect::<Vec<_>>()
    };
    row.inputs[0].x.chunks(o.group).flat_map(norm).collect()
}

/// `n_groups` groups in each row.
pub fn norm(noise: &mut Noise, n_rows: usize, group: usize, n_groups: usize, kept: bool) -> Row {
    let cols = group * n_groups;
    let x = Matrix { cols, x: noise.floats(n_rows * cols).iter().map(|x| 3.0 * x).collect() };
    let op = Op::RmsNorm(RmsNorm { weight: WeightId(0), eps: 1e-5, group });
    let name = format!("rms_norm {n_rows} rows of {n_groups} groups of {group}, kept {kept}");
    Row { kept, ..Row::new(name, op, vec![x], cols) }.with(vec![Weight::floats(noise.floats(group))])
}

pub fn rows() -> Vec<Row> {
    let noise = &mut Noise::new(2);
    let mut rows = Vec::new();
    for (i, group) in [1, 31, 64, 128, 255, 256, 257, 576, 2048, 2049, 5000].into_iter().enumerate() {
        rows.push(norm(noise, 5, group, 1, i % 2 == 0));
    }
    for kept in [false, true] {
        rows.push(norm(noise, 3, 64, 3, kept));
        rows.push(norm(noise, 2, 300, 5, kept));
    }
    // Next to nothing but for a number, which alone then counts.
    let mut row = norm(noise, 2, 40, 1, false);
    row.inputs[0].x.iter_mut().skip(1).for_each(|x| *x *= 1e-4);
    rows.push(Row { name: row.name + ", nearly nothing", ..row });
    rows
}
