//! MatMul, MatMulHeads, MatMulExperts: products with matrices of every type.
//!
//! What a result may be off by, in double precision's eyes:
//!
//! - Roundings of float32. Each of n additions rounds the sum so far by at most 2^-24 of it, up or down, so that
//!   together they grow with the root of n; six standard deviations are allowed, for the table has a million results
//!   and more, of which one in 10^9 is beyond that by chance. Where a kernel decodes levels by adding an offset and
//!   taking it away again, the terms are larger on the way: up to `ON_THE_WAY` times the largest value of the block
//!   (MXFP4: an offset of 48 where values reach 6).
//! - On the CPU, activations are rounded to 127ths of the largest of 16 for weights of blocks, to 8191ths of the
//!   largest of some for halves, which are rounded themselves to 4096ths of such a largest: each as likely up as down,
//!   by 1/sqrt(12) of a step on average; six standard deviations again.
//! - Tiles on dies decode to the very weight: where a row of activations is a single 1, the result is that to the bit.

use rekindle::cpu::matmul::{ActFormat, act_format};
use rekindle::graph::{MatMul, MatMulExperts, MatMulHeads, Op, WeightId, WeightSlice};
use rekindle::quant::Type;

use super::noise::Noise;
use super::row::{Matrix, Near, On, Row, ULP};
use super::weight::Weight;

const ON_THE_WAY: f64 = 9.0;
/// Columns of which the CPU may look for the largest, and rows from which dies compute in tiles.
const STEP: usize = 512;
const TILES: usize = 9;
/// Standard deviations that are allowed.
const DEVIATIONS: f64 = 6.0;
/// 1 / sqrt(12).
const SPREAD: f64 = 0.288_675_134_594_812_9;

// --- References ---

/// Numbers, and beside each the largest of its block and of its step.
struct Line {
    x: Vec<f32>,
    block: Vec<f32>,
    step: Vec<f32>,
}

impl Line {
    fn new(x: Vec<f32>, block: usize) -> Line {
        let largest = |n: usize| -> Vec<f32> {
            let most = |c: &[f32]| vec![c.iter().fold(0f32, |m, x| m.max(x.abs())); c.len()];
            x.chunks(n).flat_map(most).collect()
        };
        Line { block: largest(block), step: largest(STEP), x }
    }
}

/// Rows of activations and of weights, as the reference wants them.
struct Dot {
    on: On,
    ty: Type,
    in_tiles: bool,
}

impl Dot {
    fn weights(&self, values: &[f32]) -> Line {
        Line::new(values.to_vec(), self.ty.block_len())
    }
    fn acts(&self, values: &[f32]) -> Line {
        Line::new(values.to_vec(), 16)
    }

    fn of(&self, w: &Line, x: &Line, bias: f32) -> Near {
        let format = (self.on == On::Cpu).then(|| act_format(self.ty));
        let on_the_way = if self.ty.block_len() == 1 { 1.0 } else { ON_THE_WAY };
        let (mut sum, mut squares, mut rounding, mut n) = (f64::from(bias), 0.0, 0.0, 0);
        for i in (0..x.x.len()).filter(|i| x.x[*i] != 0.0) {
            let [w_i, x_i, w_block, w_step, x_block, x_step] =
                [w.x[i], x.x[i], w.block[i], w.step[i], x.block[i], x.step[i]].map(f64::from);
            sum += w_i * x_i;
            squares += (on_the_way * w_block * x_i).powi(2);
            rounding += match format {
                Some(ActFormat::Q8x16) => (w_i * x_block / 127.0).powi(2),
                Some(ActFormat::Q14x32) => (w_i * x_step / 8191.0).powi(2) + (x_i * w_step / 4096.0).powi(2),
                Some(ActFormat::F32) | None => 0.0,
            };
            n += 1;
        }
        let is_pick = n == 1 && x.x.contains(&1.0) && bias == 0.0;
        if self.on == On::Cuda && self.in_tiles && is_pick {
            return Near { is: sum, within: 0.0 };
        }
        let sums = ULP * (DEVIATIONS * ((40 + n) as f64 * squares).sqrt() + sum.abs());
        Near { is: sum, within: sums + DEVIATIONS * SPREAD * rounding.sqrt() + 1e-36 }
    }
}

fn bias(row: &Row, id: Option<WeightId>) -> Option<Vec<f32>> {
    id.map(|b| row.weights[b.0 as usize].values())
}

pub fn matmul(row: &Row, o: &MatMul, on: On) -> Vec<Near> {
    let (w, s) = (&row.weights[o.matrix.weight.0 as usize], o.matrix);
    let dot = Dot { on, ty: w.info.ty, in_tiles: row.n_rows() >= TILES };
    let bias = bias(row, o.bias);
    let matrix: Vec<Line> = (s.first_row..s.first_row + s.n_rows)
        .map(|r| dot.weights(&w.row(0, r)[s.first_col..s.first_col + s.n_cols]))
        .collect();
    let line = |i: usize| {
        let x = dot.acts(row.inputs[0].row(i));
        let one = |(r, w)| dot.of(w, &x, bias.as_ref().map_or(0.0, |b| b[s.first_row + r]));
        matrix.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    (0..row.n_rows()).flat_map(line).collect()
}

pub fn matmul_heads(row: &Row, o: &MatMulHeads, on: On) -> Vec<Near> {
    let (w, s) = (&row.weights[o.matrices.weight.0 as usize], o.matrices);
    let dot = Dot { on, ty: w.info.ty, in_tiles: row.n_rows() >= TILES };
    let matrix = |h: usize| (0..s.n_rows).map(|r| dot.weights(&w.row(h, r))).collect::<Vec<_>>();
    let matrices: Vec<Vec<Line>> = (0..o.n_head).map(matrix).collect();
    let mut all = Vec::new();
    for i in 0..row.n_rows() {
        for (h, matrix) in matrices.iter().enumerate() {
            let x = dot.acts(&row.inputs[0].row(i)[h * s.n_cols..(h + 1) * s.n_cols]);
            all.extend(matrix.iter().map(|w| dot.of(w, &x, 0.0)));
        }
    }
    all
}

pub fn matmul_experts(row: &Row, o: &MatMulExperts, on: On) -> Vec<Near> {
    let (w, s) = (&row.weights[o.matrices.weight.0 as usize], o.matrices);
    let dot = Dot { on, ty: w.info.ty, in_tiles: false };
    let (bias, n_all) = (bias(row, o.bias), w.info.ne[1] as usize);
    let mut all = Vec::new();
    for i in 0..row.n_rows() {
        for (j, e) in row.inputs[1].row(i)[..o.n_expert_used].iter().enumerate() {
            // One row of the input for all experts, or one for each.
            let part = if row.inputs[0].cols == s.n_cols { 0 } else { j };
            let x = dot.acts(&row.inputs[0].row(i)[part * s.n_cols..(part + 1) * s.n_cols]);
            for r in s.first_row..s.first_row + s.n_rows {
                let e = *e as usize;
                all.push(dot.of(&dot.weights(&w.row(e, r)), &x, bias.as_ref().map_or(0.0, |b| b[e * n_all + r])));
            }
        }
    }
    all
}

// --- Rows ---

/// All of the first weight.
fn whole(w: &Weight) -> WeightSlice {
    WeightSlice::whole(WeightId(0), &w.info)
}

/// `[n_rows, n_in]` times `[n_in, n_out]`.
pub fn plain(noise: &mut Noise, ty: Type, n_in: usize, n_out: usize, n_rows: usize, with_bias: bool) -> Row {
    let x = Matrix::random(noise, n_rows, n_in);
    product(noise, ty, [n_in, n_out], x, with_bias)
}

fn product(noise: &mut Noise, ty: Type, [n_in, n_out]: [usize; 2], x: Matrix, with_bias: bool) -> Row {
    let w = Weight::random(noise, ty, [n_in, n_out, 1]);
    let op = Op::MatMul(MatMul { matrix: whole(&w), bias: with_bias.then_some(WeightId(1)) });
    let name = format!("matmul {} {n_in} x {n_out}, {} rows, bias {with_bias}", ty.name(), x.rows());
    Row::new(name, op, vec![x], n_out).with(vec![w, Weight::floats(noise.floats(n_out))])
}

/// Rows of activations that pick a column each.
fn picks(noise: &mut Noise, ty: Type, n_in: usize, n_out: usize, n_rows: usize) -> Row {
    let mut x = Matrix { cols: n_in, x: vec![0.0; n_in * n_rows] };
    (0..n_rows).for_each(|i| x.x[i * n_in + i % n_in] = 1.0);
    let row = product(noise, ty, [n_in, n_out], x, false);
    Row { name: row.name + ", picking columns", ..row }
}

/// Some rows (or columns) of a matrix, of which the device holds more, or all.
fn slice(noise: &mut Noise, ty: Type, n_rows: usize, of: [WeightSlice; 2], ne: [usize; 2]) -> Row {
    let [matrix, held] = of;
    let row = plain(noise, ty, matrix.n_cols, ne[1], n_rows, true);
    let mut w = Weight::random(noise, ty, [ne[0], ne[1], 1]);
    w.held = (!held.is_whole(&w.info)).then_some(held);
    let op = Op::MatMul(MatMul { matrix, bias: Some(WeightId(1)) });
    let name = format!("matmul {} part {matrix:?} of {ne:?}, {n_rows} rows", ty.name());
    let bias = Weight::floats(noise.floats(ne[1]));
    Row { name, op, cols: matrix.n_rows, ..row }.with(vec![w, bias])
}

pub fn heads(noise: &mut Noise, ty: Type, n_in: usize, n_out: usize, n_rows: usize, n_head: usize) -> Row {
    let w = Weight::random(noise, ty, [n_in, n_out, n_head]);
    let mut x = Matrix::random(noise, n_rows, n_in * n_head);
    // What is no number in one head does not matter to another.
    if n_rows > 2 && n_head > 1 {
        x.x[2 * n_in * n_head + n_in] = f32::NAN;
    }
    let op = Op::MatMulHeads(MatMulHeads { matrices: whole(&w), n_head });
    let name = format!("matmul_heads {} {n_in} x {n_out}, {n_head} heads, {n_rows} rows", ty.name());
    Row::new(name, op, vec![x], n_head * n_out).with(vec![w])
}

/// Numbers of experts and their weights: others in each row, the first crowded, `empty` never.
pub fn routes(noise: &mut Noise, n_rows: usize, n_used: usize, n_expert: usize, empty: usize) -> Matrix {
    let mut x = Vec::new();
    for _ in 0..n_rows {
        let mut taken: Vec<usize> = Vec::new();
        while taken.len() < n_used {
            let e = if taken.is_empty() && noise.below(3) > 0 { 0 } else { noise.below(n_expert) };
            if e != empty && !taken.contains(&e) {
                taken.push(e);
            }
        }
        x.extend(taken.iter().map(|e| *e as f32));
        x.extend(noise.floats(n_used));
    }
    Matrix { cols: 2 * n_used, x }
}

/// Rows `first..first + n_out` of each expert's `n_all`.
#[derive(Debug, Clone, Copy)]
pub struct Experts {
    pub ty: Type,
    pub n_in: usize,
    pub n_all: usize,
    pub first: usize,
    pub n_out: usize,
    pub n_expert: usize,
    pub n_used: usize,
    pub n_rows: usize,
    /// Each expert has a row of activations of its own.
    pub each: bool,
    pub with_bias: bool,
}

pub fn experts(noise: &mut Noise, e: Experts) -> Row {
    let Experts { n_in, n_out, n_used, n_expert, .. } = e;
    let w = Weight::random(noise, e.ty, [n_in, e.n_all, n_expert]);
    let matrices = WeightSlice { first_row: e.first, n_rows: n_out, ..whole(&w) };
    let bias = e.with_bias.then_some(WeightId(1));
    let op = Op::MatMulExperts(MatMulExperts { matrices, bias, n_expert_used: n_used });
    let x = Matrix::random(noise, e.n_rows, if e.each { n_used * n_in } else { n_in });
    let route = routes(noise, e.n_rows, n_used, n_expert, n_expert.min(4) - 1);
    let bias = Weight::floats(noise.floats(n_expert * e.n_all));
    Row::new(format!("matmul_experts {e:?}"), op, vec![x, route], n_used * n_out).with(vec![w, bias])
}

fn of_type(noise: &mut Noise, ty: Type, rows: &mut Vec<Row>) {
    // One block, odd numbers of them, more than a step of 512 columns, a whole number of steps or not.
    let widths = match ty.block_len() {
        1 => [1, 36, 131, 1024, 1377],
        32 => [32, 96, 544, 1024, 2880],
        _ => [256, 512, 768, 2560, 2304],
    };
    let [one, small, middle, ..] = widths;
    let mut turn = 0;
    let mut is_odd = || {
        turn += 1;
        turn % 2 == 1
    };
    for n_rows in [1, 2, 3, 8, 9, 33, 70] {
        rows.push(plain(noise, ty, middle, 33, n_rows, is_odd()));
    }
    for n_in in widths {
        for (n_rows, n_out) in [(1, 3), (5, 1), (4, 33), (11, 17)] {
            rows.push(plain(noise, ty, n_in, n_out, n_rows, is_odd()));
        }
    }
    // Few matrices' rows are shared by warps, more are not; the largest take blocks with nothing shared.
    for (n_out, n_rows) in [(4100, 1), (8200, 1), (4100, 2), (1020, 8), (130, 67)] {
        rows.push(plain(noise, ty, one, n_out, n_rows, true));
    }
    // Every weight of some rows, to the bit where tiles are small and where they are large.
    rows.push(picks(noise, ty, one.max(64), 40, one.max(64)));
    rows.push(picks(noise, ty, one.max(64), 3300, if one < 256 { 250 } else { 256 }));
    let slice_of = |first_row, n_rows, first_col, n_cols| WeightSlice {
        weight: WeightId(0),
        first_row,
        n_rows,
        first_col,
        n_cols,
        first_matrix: 0,
        n_matrices: 1,
    };
    let all = slice_of(0, 30, 0, 2 * small);
    for n_rows in [1, 10] {
        let some_rows = slice_of(7, 19, 0, 2 * small);
        rows.push(slice(noise, ty, n_rows, [some_rows, all], [2 * small, 30]));
        rows.push(slice(noise, ty, n_rows, [some_rows, slice_of(5, 22, 0, 2 * small)], [2 * small, 30]));
        let some_columns = slice_of(2, 20, small, small);
        rows.push(slice(noise, ty, n_rows, [some_columns, all], [2 * small, 30]));
        rows.push(slice(noise, ty, n_rows, [some_columns, slice_of(1, 23, small, small)], [2 * small, 30]));
    }
    rows.push(heads(noise, ty, one, 17, 1, 2));
    rows.push(heads(noise, ty, small, 5, 3, 3));
    rows.push(heads(noise, ty, small, 66, 33, 2));
    rows.push(heads(noise, ty, one, 33, 1, 130));
    let few = Experts {
        ty,
        n_in: middle,
        n_all: 40,
        first: 7,
        n_out: 19,
        n_expert: 5,
        n_used: 3,
        n_rows: 2,
        each: false,
        with_bias: true,
    };
    rows.push(experts(noise, few));
    rows.push(experts(noise, Experts { each: true, with_bias: false, ..few }));
    rows.push(experts(noise, Experts { n_all: 150, first: 80, n_out: 70, n_rows: 1, each: true, ..few }));
    let many = Experts { n_in: small, n_all: 70, first: 0, n_out: 70, n_used: 2, n_rows: 50, ..few };
    rows.push(experts(noise, many));
    rows.push(experts(noise, Experts { n_all: 9, first: 4, n_out: 5, n_rows: 20, each: true, ..many }));
    rows.push(experts(
        noise,
        Experts { n_in: one, n_all: 66, first: 1, n_out: 65, n_rows: 9, with_bias: false, ..many },
    ));
}

pub fn rows() -> Vec<Row> {
    let (mut noise, mut rows) = (Noise::new(1), Vec::new());
    for ty in Type::ALL.iter().copied().filter(|ty| ty.on_cpu() || ty.on_cuda()) {
        of_type(&mut noise, ty, &mut rows);
    }
    // Odd numbers of columns, where there are no blocks.
    for ty in [Type::F32, Type::F16, Type::BF16] {
        for n_in in [1, 2, 33, 36, 63, 100] {
            rows.push(plain(&mut noise, ty, n_in, 17, 11, true));
            rows.push(heads(&mut noise, ty, n_in, 17, 11, 2));
        }
    }
    // Pairs sorted by expert, for few experts and many.
    for (n_expert, n_rows) in [(2, 1), (2, 17), (2, 300), (32, 17), (32, 300), (256, 300), (257, 300), (700, 300)] {
        let n_used = if n_expert < 8 { 1 } else { 7 };
        let (ty, n_in, n_all, n_out) = (Type::F32, 4, 3, 2);
        let e = Experts { ty, n_in, n_all, first: 1, n_out, n_expert, n_used, n_rows, each: false, with_bias: true };
        rows.push(experts(&mut noise, e));
    }
    rows
}
