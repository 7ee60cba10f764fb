//! RopeTable and Rope.

use rekindle::graph::{Factors, Op, Rope, RopeKind, RopeTable, Rotate, Temperature};

use super::noise::Noise;
use super::row::{Batch, Matrix, Near, Row, ULP};

/// Angles err by their size in double precision.
pub fn rope_table(row: &Row) -> Vec<Near> {
    let Some(rope) = &row.rope else { panic!("{}: no rope", row.name) };
    let mut all = Vec::new();
    for position in &row.batch.positions {
        for i in 0..rope.n_rot / 2 {
            let turn = f64::from(rope.freq_base).powf(-2.0 * i as f64 / rope.n_rot as f64) * f64::from(rope.freq_scale);
            let angle = f64::from(*position) * turn;
            let within = 2.0 * ULP + angle * 1e-15;
            let by = f64::from(rope.attn_factor);
            all.extend([by * angle.cos(), by * angle.sin()].map(|is| Near { is, within }));
        }
    }
    all
}

/// Two products and their sum, then a factor: a few roundings of what goes into it.
pub fn rope(row: &Row, o: &Rotate) -> Vec<Near> {
    let (x, table) = (&row.inputs[0], row.inputs.get(1));
    let n_rot = table.map_or(0, |t| t.cols);
    let mut all = Vec::new();
    for (h, head) in x.x.chunks(o.head_dim).enumerate() {
        let token = h / o.n_head;
        let mut y: Vec<(f64, f64)> = head.iter().map(|x| (f64::from(*x), 0.0)).collect();
        for i in 0..n_rot / 2 {
            let [a, b] = match o.kind {
                RopeKind::Norm => [2 * i, 2 * i + 1],
                RopeKind::Neox => [i, i + n_rot / 2],
            }
            .map(|i| o.first + i);
            let Some(turn) = table.map(|t| t.row(token)) else { continue };
            let (c, s) = (f64::from(turn[2 * i]), f64::from(turn[2 * i + 1]));
            let (v, w) = (y[a].0, y[b].0);
            y[a] = (v * c - w * s, 3.0 * ULP * ((v * c).abs() + (w * s).abs()));
            y[b] = (v * s + w * c, 3.0 * ULP * ((v * s).abs() + (w * c).abs()));
        }
        let by = o.temperature.map_or(1.0, |t| {
            let steps = (f64::from(row.batch.positions[token] + t.offset as i32) / f64::from(t.length)).floor();
            1.0 + f64::from(t.scale) * (steps + 1.0).ln()
        });
        let rounds = if o.temperature.is_some() { 4.0 } else { 0.0 };
        all.extend(y.iter().map(|(y, e)| Near { is: y * by, within: (e + rounds * ULP * y.abs()) * by }));
    }
    all
}

pub fn table(n_rot: usize, positions: &[i32], freq_scale: f32, attn_factor: f32) -> Row {
    let rope =
        Rope { n_rot, freq_base: 10000.0, freq_scale, attn_factor, yarn: None, factors: Factors::None, sections: None };
    let name = format!("rope_table of {n_rot} at {positions:?}, times {freq_scale} and {attn_factor}");
    let row = Row::new(name, Op::RopeTable(RopeTable { rope: 0 }), vec![], n_rot);
    let batch = Batch { positions: positions.to_vec(), ..Batch::of(positions.len()) };
    Row { batch, rope: Some(rope), ..row }
}

pub fn turned(noise: &mut Noise, n_tokens: usize, o: Rotate, n_rot: usize, kept: bool) -> Row {
    let inputs = vec![Matrix::random(noise, n_tokens, o.n_head * o.head_dim), Matrix::random(noise, n_tokens, n_rot)];
    let name = format!("rope {n_rot} of {o:?}, {n_tokens} tokens, kept {kept}");
    let mut row = Row::new(name, Op::Rope(o), inputs, o.n_head * o.head_dim);
    row.batch.positions = (0..n_tokens as i32).map(|t| t * 4099).collect();
    Row { kept, ..row }
}

pub fn rows() -> Vec<Row> {
    let noise = &mut Noise::new(6);
    let mut rows = vec![table(2, &[0], 1.0, 1.0), table(128, &[0, 1, 7, 1000, 131_071], 0.25, 1.5)];
    rows.push(table(64, &[5; 40], 1.0, 1.0));
    for kind in [RopeKind::Norm, RopeKind::Neox] {
        for kept in [false, true] {
            let plain = Rotate { n_head: 2, head_dim: 128, first: 0, kind, temperature: None };
            let warm = |length| Some(Temperature { scale: 0.1, length, offset: 0 });
            rows.push(turned(noise, 3, plain, 128, kept));
            rows.push(turned(noise, 3, Rotate { n_head: 4, head_dim: 80, ..plain }, 32, kept));
            let behind = Rotate { n_head: 3, head_dim: 192, first: 128, temperature: warm(8192), ..plain };
            rows.push(turned(noise, 2, behind, 64, kept));
            // Nothing but the temperature, of which a position is the first of a length only thanks to the offset.
            let late = Temperature { scale: 0.5, length: 4100, offset: 1 };
            let mut still = turned(noise, 5, Rotate { temperature: Some(late), ..plain }, 2, kept);
            still.inputs.truncate(1);
            rows.push(Row { name: still.name + ", no table", ..still });
            let few = Rotate { n_head: 1, head_dim: 576, first: 5, temperature: warm(16), ..plain };
            rows.push(turned(noise, 5, few, 6, kept));
        }
    }
    rows
}
