//! Embed and SelectOutputs: rows that are picked.

use rekindle::graph::{Embed, EmbedBy, Op, WeightId};
use rekindle::quant::Type;

use super::noise::Noise;
use super::row::{Batch, Matrix, Near, Row, ULP};
use super::weight::Weight;

pub fn embed(row: &Row, o: &Embed) -> Vec<Near> {
    let table = &row.weights[o.table.0 as usize];
    let one = |x: f32| {
        let is = f64::from(x) * f64::from(o.scale);
        Near { is, within: ULP * is.abs() }
    };
    let numbers = if o.by == EmbedBy::Token { &row.batch.tokens } else { &row.batch.positions };
    numbers.iter().flat_map(|t| table.row(0, *t as usize)).map(one).collect()
}

pub fn select_outputs(row: &Row) -> Vec<Near> {
    let picked = row.batch.outputs.iter().flat_map(|i| row.inputs[0].row(*i as usize));
    picked.map(|x| Near::exactly(*x)).collect()
}

/// Rows of a table of 40.
pub fn of_tokens(noise: &mut Noise, ty: Type, cols: usize, tokens: Vec<i32>, scale: f32) -> Row {
    picked(noise, ty, cols, EmbedBy::Token, tokens, scale)
}

/// The same by tokens or positions, which are `numbers`; the others are 0.
fn picked(noise: &mut Noise, ty: Type, cols: usize, by: EmbedBy, numbers: Vec<i32>, scale: f32) -> Row {
    let op = Op::Embed(Embed { table: WeightId(0), scale, by });
    let name = format!("embed {} of {cols} columns, {} by {by:?}, scale {scale}", ty.name(), numbers.len());
    let zeros = vec![0; numbers.len()];
    let (tokens, positions) = if by == EmbedBy::Token { (numbers, zeros) } else { (zeros, numbers) };
    let batch = Batch { positions, tokens, ..Batch::default() };
    let row = Row { batch, ..Row::new(name, op, vec![], cols) };
    row.with(vec![Weight::random(noise, ty, [cols, 40, 1])])
}

pub fn select(noise: &mut Noise, n_rows: usize, cols: usize, outputs: &[u32], first_output: usize) -> Row {
    let name = format!("select_outputs {outputs:?} of {n_rows} x {cols}, after {first_output}");
    let mut row = Row::new(name, Op::SelectOutputs, vec![Matrix::random(noise, n_rows, cols)], cols);
    (row.batch.outputs, row.batch.first_output) = (outputs.to_vec(), first_output);
    row
}

pub fn rows() -> Vec<Row> {
    let noise = &mut Noise::new(4);
    let mut rows = Vec::new();
    for ty in Type::ALL.iter().copied().filter(|ty| ty.on_cpu()) {
        let tokens = vec![3, 0, 39, 3, 17];
        rows.push(of_tokens(noise, ty, 2 * ty.block_len().max(32), tokens.clone(), 1.0));
        rows.push(of_tokens(noise, ty, 3 * ty.block_len(), tokens, 5.5));
    }
    rows.push(picked(noise, Type::F32, 70, EmbedBy::Position, vec![0, 1, 39, 39], 1.0));
    rows.push(select(noise, 10, 300, &[9, 0, 4], 0));
    rows.push(select(noise, 10, 1, &[9], 3));
    rows.push(select(noise, 10, 513, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 2));
    rows
}
