//! Attention over whole texts, the mean of a text's rows, softmax over a row.
//!
//! Attention may be off by as much as that over a cache (`attention`); the fall of a score with distance adds a
//! rounding of its own size. A mean of n rows rounds n times.

use rekindle::graph::{AttendText, Op, Run, Span};

use super::noise::Noise;
use super::row::{Batch, Matrix, Near, Row, ULP};

pub fn attend_text(row: &Row, o: &AttendText) -> Vec<Near> {
    let [q, k, v] = &row.inputs[..] else { panic!("{}: three inputs", row.name) };
    let (dk, dv, group) = (k.cols / o.n_head_kv, v.cols / o.n_head_kv, o.n_head / o.n_head_kv);
    let positions = &row.batch.positions;
    let mut all = Vec::new();
    for (run, t) in row.batch.runs.iter().flat_map(|r| (r.first..r.first + r.n).map(move |t| (r, t as usize))) {
        let text = run.first as usize..(run.first + run.n) as usize;
        let far = |u: usize| positions[u].abs_diff(positions[t]);
        for h in 0..o.n_head {
            let part = |m: &Matrix, u: usize, head: usize, n: usize| m.row(u)[head * n..(head + 1) * n].to_vec();
            let query = part(q, t, h, dk);
            // Of a number of heads that is a power of two: 2^(-spread / n), to the power of the head's number from 1.
            let slope = o.alibi.map_or(0.0, |spread| {
                let n = 2f64.powi(o.n_head.ilog2() as i32);
                let (base, step) = match (h as f64) < n {
                    true => (f64::from(spread) / n, h as f64 + 1.0),
                    false => (f64::from(spread) / (2.0 * n), 2.0 * (h as f64 - n) + 1.0),
                };
                2f64.powf(-base * step)
            });
            let (mut e, mut scores, mut values) = (0f64, Vec::new(), Vec::new());
            for u in text.clone().filter(|u| o.reach.is_none_or(|reach| far(*u) <= reach)) {
                let key = part(k, u, h / group, dk);
                let terms = || query.iter().zip(&key).map(|(q, k)| f64::from(*q) * f64::from(*k));
                let fall = slope * f64::from(far(u));
                let score = terms().sum::<f64>() * f64::from(o.scale) - fall;
                e = e.max(2.0 * ULP * (terms().map(f64::abs).sum::<f64>() * f64::from(o.scale) + fall));
                scores.push(score);
                values.push(part(v, u, h / group, dv));
            }
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|s| (s - most).exp()).sum();
            let largest = values.iter().flatten().fold(0f64, |m, x| m.max(f64::from(x.abs())));
            let within = largest * (4.0 * e + 8.0 * ULP);
            all.extend((0..dv).map(|i| {
                let sum: f64 = scores.iter().zip(&values).map(|(s, v)| (s - most).exp() * f64::from(v[i])).sum();
                Near { is: sum / total, within }
            }));
        }
    }
    all
}

pub fn mean(row: &Row) -> Vec<Near> {
    let (x, ends) = (&row.inputs[0], &row.batch.outputs);
    let mut all = Vec::new();
    for (i, end) in ends.iter().enumerate() {
        let first = if i == 0 { 0 } else { ends[i - 1] as usize + 1 };
        let n = (*end as usize + 1 - first) as f64;
        for c in 0..x.cols {
            let column = (first..=*end as usize).map(|t| f64::from(x.row(t)[c]));
            let size: f64 = column.clone().map(f64::abs).sum();
            all.push(Near { is: column.sum::<f64>() / n, within: (n + 2.0) * ULP * size / n });
        }
    }
    all
}

pub fn softmax(row: &Row) -> Vec<Near> {
    let one = |x: &[f32]| {
        let most = x.iter().fold(f64::NEG_INFINITY, |m, x| m.max(f64::from(*x)));
        let all: Vec<f64> = x.iter().map(|x| (f64::from(*x) - most).exp()).collect();
        let sum: f64 = all.iter().sum();
        let near =
            |e: f64| Near { is: e / sum, within: (12.0 + x.len() as f64 - 2.0 * e.ln().max(-80.0)) * ULP * e / sum };
        all.into_iter().map(near).collect::<Vec<_>>()
    };
    row.inputs[0].x.chunks(row.cols).flat_map(one).collect()
}

/// Texts of these lengths, each from a first position on.
fn texts(noise: &mut Noise, o: AttendText, [dk, dv]: [usize; 2], lengths: &[(usize, i32)]) -> Row {
    let n: usize = lengths.iter().map(|(n, _)| n).sum();
    let mut batch = Batch { positions: Vec::new(), ..Batch::of(n) };
    for (n, pos) in lengths {
        let first = batch.positions.len() as u32;
        // Some positions are left out behind the third token.
        let (near, far) = ((*n).min(3), n.saturating_sub(3));
        let first_span = batch.spans.len() as u32;
        batch.spans.push(Span { cell: first, pos: *pos, len: near as u32 });
        batch.positions.extend(*pos..*pos + near as i32);
        if far > 0 {
            let pos = pos + near as i32 + 2;
            batch.spans.push(Span { cell: first + 3, pos, len: far as u32 });
            batch.positions.extend(pos..pos + far as i32);
        }
        let n_spans = batch.spans.len() as u32 - first_span;
        batch.runs.push(Run { first, n: *n as u32, first_span, n_spans });
    }
    let inputs =
        [o.n_head * dk, o.n_head_kv * dk, o.n_head_kv * dv].map(|cols| Matrix::random(noise, n, cols)).to_vec();
    let name = format!("{o:?}, heads of {dk} and {dv}, texts {lengths:?}");
    Row { batch, ..Row::new(name, Op::AttendText(o), inputs, o.n_head * dv) }
}

pub fn rows() -> Vec<Row> {
    let noise = &mut Noise::new(41);
    let plain = AttendText { n_head: 4, n_head_kv: 4, scale: 0.2, reach: None, alibi: None };
    let mut rows = vec![
        texts(noise, plain, [32, 32], &[(7, 0)]),
        texts(noise, plain, [32, 16], &[(70, 0), (3, 0), (2, 5), (129, 60)]),
        texts(noise, AttendText { n_head_kv: 1, ..plain }, [20, 24], &[(33, 0), (65, 2040)]),
        // Past a part of 2048 positions.
        texts(noise, AttendText { n_head: 1, n_head_kv: 1, ..plain }, [16, 16], &[(2200, 0)]),
    ];
    for reach in [1, 5, 64, 200] {
        rows.push(texts(noise, AttendText { reach: Some(reach), ..plain }, [16, 16], &[(150, 0), (9, 100)]));
    }
    for (n_head, spread) in [(4, 8.0), (6, 8.0), (12, 4.0)] {
        let o = AttendText { n_head, n_head_kv: n_head, alibi: Some(spread), ..plain };
        rows.push(texts(noise, o, [16, 16], &[(100, 0), (5, 0)]));
        rows.push(texts(noise, AttendText { n_head_kv: n_head / 2, reach: Some(9), ..o }, [16, 16], &[(40, 30)]));
    }
    for (cols, ends) in [(64, vec![0, 4, 9]), (33, vec![19]), (5, vec![3, 4, 5, 200])] {
        let n = ends[ends.len() - 1] as usize + 1;
        let mut row =
            Row::new(format!("mean of {ends:?}, {cols} columns"), Op::Mean, vec![Matrix::random(noise, n, cols)], cols);
        (row.batch.outputs, row.batch.first_output) = (ends, cols % 3);
        rows.push(row);
    }
    for (n, cols, kept) in [(3, 2, false), (2, 1000, true), (1, 7, false)] {
        let name = format!("softmax of {n} rows of {cols}, kept {kept}");
        rows.push(Row { kept, ..Row::new(name, Op::Softmax, vec![Matrix::random(noise, n, cols)], cols) });
    }
    rows
}
