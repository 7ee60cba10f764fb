//! Columns and Concat: to the bit.

use rekindle::graph::{Columns, Concat, Op};

use super::noise::Noise;
use super::row::{Matrix, Near, Row};

pub fn columns(row: &Row, o: &Columns) -> Vec<Near> {
    let (x, n) = (&row.inputs[0], row.cols / o.n_head);
    let heads = x.x.chunks(x.cols / o.n_head);
    heads.flat_map(|head| &head[o.first..o.first + n]).map(|x| Near::exactly(*x)).collect()
}

pub fn concat(row: &Row, o: &Concat) -> Vec<Near> {
    let (a, b) = (&row.inputs[0], &row.inputs[1]);
    let (n_a, n) = (a.cols / o.n_head, row.cols / o.n_head);
    let n_b = n - n_a;
    let mut all = Vec::new();
    for i in 0..a.rows() {
        for h in 0..o.n_head {
            // One part for all heads, or one for each.
            let part = if b.cols == n_b { 0 } else { h };
            all.extend_from_slice(&a.row(i)[h * n_a..(h + 1) * n_a]);
            all.extend_from_slice(&b.row(i)[part * n_b..(part + 1) * n_b]);
        }
    }
    all.into_iter().map(Near::exactly).collect()
}

pub fn apart(noise: &mut Noise, n_rows: usize, n_head: usize, head: usize, first: usize, n: usize) -> Row {
    let name = format!("columns {first}.. of {n} of {n_head} heads of {head}, {n_rows} rows");
    let op = Op::Columns(Columns { n_head, first });
    Row::new(name, op, vec![Matrix::random(noise, n_rows, n_head * head)], n_head * n)
}

pub fn together(noise: &mut Noise, n_rows: usize, n_head: usize, [n_a, n_b]: [usize; 2], parts: usize) -> Row {
    let name = format!("concat {n_a} and {n_b} of {n_head} heads, {parts} parts, {n_rows} rows");
    let inputs = [n_head * n_a, parts * n_b].map(|cols| Matrix::random(noise, n_rows, cols));
    Row::new(name, Op::Concat(Concat { n_head }), inputs.to_vec(), n_head * (n_a + n_b))
}

pub fn rows() -> Vec<Row> {
    let noise = &mut Noise::new(5);
    let mut all = vec![apart(noise, 3, 4, 192, 128, 64), apart(noise, 2, 1, 300, 7, 290), apart(noise, 5, 3, 5, 0, 1)];
    for (n_rows, n_head, n, parts) in
        [(3, 4, [128, 64], 1), (3, 4, [5, 300], 4), (1, 1, [1, 1], 1), (7, 2, [512, 64], 1), (2, 3, [130, 2], 3)]
    {
        all.push(together(noise, n_rows, n_head, n, parts));
    }
    all
}
