//! Attention over a cache.
//!
//! What a result may be off by: the largest |value| seen times (4 e + 2^-21). Here e = 2^-23 times the largest sum of
//! |q k| * scale is what rounding may do to a score: a sum of up to 576 products in float32 goes wrong like a random
//! walk, by some sqrt(576) = 24 halves of units of its partial sums, which are far smaller than the sum of |q k|. A
//! score that is off by e makes its weight off by e, and the sum of weights too; 2^-21 is for exp and the sums over
//! keys. That this is narrow enough is tested: a key too few, or one too many, must show.

use std::collections::HashMap;

use rekindle::graph::{Attend, KeyRope, KvShape, Op, RopeKind, Run, Span, StateId, WeightId, slope};
use rekindle::quant::Type;

use super::kv::kept;
use super::noise::Noise;
use super::row::{Batch, Cached, Matrix, Near, Row, ULP};
use super::weight::Weight;

/// `without`: that many of the last keys left out; `more`: that many before the window.
pub fn attention(row: &Row, o: &Attend, without: i32, more: i32) -> Vec<Near> {
    let Some(c) = &row.cached else { panic!("{}: no cache", row.name) };
    let (shape, batch) = (&c.shape, &row.batch);
    let (dk, dv, group) = (shape.head_dim_k, shape.head_dim_v, o.n_head / shape.n_head_kv);
    let sinks = o.sinks.map(|s| row.weights[s.0 as usize].values());
    let known = |(cell, k, v): &(u32, Vec<f32>, Vec<f32>)| (*cell, (kept(c.type_k, k), kept(c.type_v, v)));
    let known: HashMap<u32, _> = c.filled.iter().map(known).collect();
    let mut all = Vec::new();
    for (run, t) in batch.runs.iter().flat_map(|r| (r.first..r.first + r.n).map(move |t| (r, t as usize))) {
        let last = batch.positions[t] - without;
        let first = shape.window.map_or(0, |w| match shape.chunked {
            true => batch.positions[t] / w as i32 * w as i32 - more,
            false => batch.positions[t] - w as i32 + 1 - more,
        });
        let spans = &batch.spans[run.first_span as usize..][..run.n_spans as usize];
        let cells = spans.iter().flat_map(|s| (0..s.len).map(move |i| (s.cell + i, s.pos + i as i32)));
        let seen: Vec<_> =
            cells.filter(|(_, pos)| (first..=last).contains(pos)).map(|(cell, pos)| (&known[&cell], pos)).collect();
        for h in 0..o.n_head {
            let kv = h / group;
            let key = |(k, _): &(Vec<f32>, Vec<f32>)| k[kv * dk..(kv + 1) * dk].to_vec();
            let value = |(k, v): &(Vec<f32>, Vec<f32>)| {
                if shape.v_in_k { k[kv * dk..][..dv].to_vec() } else { v[kv * dv..][..dv].to_vec() }
            };
            let query = &row.inputs[0].row(t)[h * dk..(h + 1) * dk];
            let mut e = 0f64;
            let mut scores: Vec<f64> = Vec::new();
            let slope = f64::from(slope(o.alibi, h, o.n_head));
            for (k, pos) in seen.iter().map(|(s, pos)| (key(s), pos)) {
                let terms = || query.iter().zip(&k).map(|(q, k)| f64::from(*q) * f64::from(*k));
                e = e.max(2.0 * ULP * terms().map(f64::abs).sum::<f64>() * f64::from(o.scale));
                let score = terms().sum::<f64>() * f64::from(o.scale);
                let score = o.softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh());
                let fall = slope * f64::from(batch.positions[t] - pos);
                e = e.max(2.0 * ULP * fall);
                scores.push(score - fall);
            }
            let sink = sinks.as_ref().map_or(f64::NEG_INFINITY, |s| f64::from(s[h]));
            let most = scores.iter().copied().fold(sink, f64::max);
            let mut total = if sinks.is_some() { (sink - most).exp() } else { 0.0 };
            let (mut sums, mut largest) = (vec![0.0; dv], 0f64);
            for (score, v) in scores.iter().zip(seen.iter().map(|(s, _)| value(s))) {
                let weight = (score - most).exp();
                total += weight;
                for (sum, v) in sums.iter_mut().zip(v) {
                    *sum += weight * f64::from(v);
                    largest = largest.max(f64::from(v.abs()));
                }
            }
            let within = largest * (4.0 * e + 8.0 * ULP);
            all.extend(sums.iter().map(|sum| Near { is: sum / total, within }));
        }
    }
    all
}

/// How the cells of sequences lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cells {
    /// One after the other.
    Whole,
    /// Each somewhere else.
    Single,
    /// Pieces of the sequences in disorder.
    Pieces,
    /// The same, of positions that leave some out.
    Gaps,
}

#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub types: [Type; 2],
    pub dk: usize,
    pub dv: usize,
    /// Query heads for each of the KV heads.
    pub group: usize,
    pub n_head_kv: usize,
    pub v_in_k: bool,
    pub window: Option<u32>,
    pub chunked: bool,
    pub sinks: bool,
    pub softcap: Option<f32>,
    pub alibi: Option<f32>,
    pub how: Cells,
}

pub const PLAIN: Case = Case {
    types: [Type::F16; 2],
    dk: 64,
    dv: 64,
    group: 4,
    n_head_kv: 2,
    v_in_k: false,
    window: None,
    chunked: false,
    sinks: false,
    softcap: None,
    alibi: None,
    how: Cells::Whole,
};

/// Positions of a sequence's tokens, and their cells.
type Sequence = Vec<(i32, u32)>;

/// Sequences of so many tokens: positions, and where they lie; how many cells that takes.
fn placed(noise: &mut Noise, how: Cells, lengths: &[usize]) -> (Vec<Sequence>, usize) {
    let mut sequences: Vec<Sequence> = Vec::new();
    let mut pieces = Vec::new();
    for (s, n) in lengths.iter().enumerate() {
        let mut pos = if how == Cells::Gaps { noise.below(1000) as i32 } else { 0 };
        let mut sequence = Sequence::new();
        for _ in 0..*n {
            sequence.push((pos, 0));
            let most = if how == Cells::Gaps {
                [[70, 5000][usize::from(noise.below(4) == 0)], 0][noise.below(40).min(1)]
            } else {
                0
            };
            pos += 1 + noise.between(0, most) as i32;
        }
        sequences.push(sequence);
        let mut first = 0;
        while first < *n {
            let piece = match how {
                Cells::Whole => *n,
                Cells::Single => 1,
                Cells::Pieces | Cells::Gaps => noise.between(1, 70),
            };
            pieces.push((s, first..n.min(&(first + piece)).to_owned()));
            first += piece;
        }
    }
    if how != Cells::Whole {
        noise.shuffle(&mut pieces);
    }
    let mut cell = 1;
    for (s, i) in pieces.into_iter().flat_map(|(s, range)| range.map(move |i| (s, i))) {
        sequences[s][i].1 = cell;
        cell += 1;
    }
    (sequences, cell as usize + 1)
}

/// Runs of tokens at the end of sequences: (sequence, tokens) each, and the sequences' lengths.
fn row(noise: &mut Noise, case: Case, runs: &[(usize, usize)], lengths: &[usize]) -> Row {
    let Case { types, dk, dv, group, n_head_kv, v_in_k, .. } = case;
    let (sequences, n_cells) = placed(noise, case.how, lengths);
    let mut batch = Batch::default();
    let mut listed = Vec::new();
    for sequence in &sequences {
        let first = batch.spans.len();
        for (i, (pos, cell)) in sequence.iter().enumerate() {
            match batch.spans.last_mut().filter(|_| i > 0) {
                Some(s) if s.cell + s.len == *cell && s.pos + s.len as i32 == *pos => s.len += 1,
                _ => batch.spans.push(Span { cell: *cell, pos: *pos, len: 1 }),
            }
        }
        listed.push((first, batch.spans.len() - first));
    }
    // Tokens of a sequence that has several runs go on from run to run.
    let mut left = lengths.to_vec();
    runs.iter().for_each(|(s, n)| left[*s] -= n);
    for (s, n) in runs {
        let (first_span, n_spans) = listed[*s];
        let first = batch.tokens.len() as u32;
        batch.runs.push(Run { first, n: *n as u32, first_span: first_span as u32, n_spans: n_spans as u32 });
        for (pos, cell) in &sequences[*s][left[*s]..left[*s] + n] {
            batch.positions.push(*pos);
            batch.cells.push(*cell);
            batch.tokens.push(0);
        }
        left[*s] += n;
    }
    let mut side = |n: usize| (0..n).map(|_| noise.normal()).collect::<Vec<f32>>();
    let mut filled = Vec::new();
    for (_, cell) in sequences.iter().flatten() {
        filled.push((*cell, side(n_head_kv * dk), side(if v_in_k { 0 } else { n_head_kv * dv })));
    }
    let (n_head, n_tokens) = (group * n_head_kv, batch.tokens.len());
    let q = Matrix { cols: n_head * dk, x: side(n_tokens * n_head * dk).iter().map(|x| 1.5 * x).collect() };
    let sinks = side(n_head).iter().map(|x| 2.0 * x).collect();
    let rope = Some(KeyRope { rope: 0, first: 0, kind: RopeKind::Neox });
    let shape =
        KvShape { n_head_kv, head_dim_k: dk, head_dim_v: dv, v_in_k, window: case.window, chunked: case.chunked, rope };
    let [type_k, type_v] = if v_in_k { [types[0]; 2] } else { types };
    let cache = n_tokens % 2;
    let cached = Cached { shape, type_k, type_v, n_cells, cache, filled, moves: Vec::new(), recurrent: false };
    let attend = Attend {
        state: StateId(1),
        n_head,
        scale: 1.0 / (dk as f32).sqrt(),
        softcap: case.softcap,
        sinks: case.sinks.then_some(WeightId(0)),
        alibi: case.alibi,
    };
    let name = format!("attention {case:?}, runs {runs:?} of {lengths:?}");
    let row = Row::new(name, Op::Attention(attend), vec![q], n_head * dv);
    Row { batch, cached: Some(cached), ..row }.with(vec![Weight::floats(sinks)])
}

/// So many runs of sequences of their own, of up to `context` tokens; the third goes on where the first ended.
pub fn with_runs(noise: &mut Noise, case: Case, n_runs: usize, n_tokens: usize, context: usize) -> Row {
    let (mut runs, mut lengths) = (Vec::new(), Vec::new());
    let each = n_tokens / n_runs;
    for i in 0..n_runs {
        let n = if i + 1 < n_runs { each } else { n_tokens - each * (n_runs - 1) };
        if i == 2 {
            runs.push((0, n));
            lengths[0] += n;
        } else {
            runs.push((lengths.len(), n));
            lengths.push(n.max(if i == 0 { context } else { noise.between(1, context) }));
        }
    }
    row(noise, case, &runs, &lengths)
}

/// Any of the shapes that models have, and some that they have not.
fn drawn(noise: &mut Noise, i: usize) -> Row {
    let types = [Type::F32, Type::F16, Type::Q8_0, Type::Q4_0];
    let mut any = |of: &[usize]| of[noise.below(of.len())];
    let mut c = Case { types: [types[any(&[0, 1, 2, 3])], types[any(&[0, 1, 2, 3])]], ..PLAIN };
    let of_blocks = c.types.iter().any(|ty| ty.block_len() > 1);
    let mut dim =
        || any(if of_blocks { &[32, 64, 96, 128, 160] } else { &[8, 64, 80, 96, 128, 16, 40, 192, 256, 20, 5] });
    let dims = [dim(), dim()];
    (c.dk, c.dv) = (dims[0], dims[usize::from(noise.below(3) == 0)]);
    c.group = [1, 2, 3, 4, 5, 7, 8, 12, 16, 32][i % 10];
    c.n_head_kv = if c.group > 8 || noise.below(2) == 0 { 1 } else { 3 };
    if c.types[0].block_len() == 1 && noise.below(5) == 0 {
        (c.v_in_k, c.dk, c.dv, c.types[1]) = (true, c.dk.max(c.dv), c.dk.min(c.dv), c.types[0]);
    }
    c.window = (noise.below(3) == 0).then(|| noise.between(1, 90) as u32);
    c.chunked = c.window.is_some() && i.is_multiple_of(2);
    c.sinks = noise.below(3) == 0;
    c.softcap = (noise.below(3) == 0).then_some(5.0);
    // Heads of up to 256 elements may have slopes.
    c.alibi = (noise.below(4) == 0 && c.dv <= 256).then_some(8.0);
    c.how = cells(noise);
    let many = noise.below(3) == 0;
    let n_tokens = if many { noise.between(9, 40) } else { noise.between(1, 8) };
    let n_runs = noise.between(1, if many { 3 } else { n_tokens });
    let context = noise.between(1, if i.is_multiple_of(10) { 600 } else { 150 });
    with_runs(noise, c, n_runs, n_tokens, context)
}

fn cells(noise: &mut Noise) -> Cells {
    [Cells::Whole, Cells::Single, Cells::Pieces, Cells::Gaps][noise.below(4)]
}

pub fn rows() -> Vec<Row> {
    let noise = &mut Noise::new(9);
    let mut rows = Vec::new();
    // Each pair of types and size of heads, of few tokens and of more.
    let types = [Type::F32, Type::F16, Type::Q8_0, Type::Q4_0];
    for types in types.into_iter().flat_map(|k| types.map(|v| [k, v])) {
        for (dim, group) in [(32, 2), (64, 8), (128, 3), (256, 3)] {
            let c = Case { types, dk: dim, dv: dim, group, how: cells(noise), ..PLAIN };
            let (few, context) = (noise.between(1, 2), noise.between(40, 200));
            rows.push(with_runs(noise, c, 1, few, context));
            let (more, context) = (noise.between(9, 24), noise.between(20, 70));
            let c = Case { how: cells(noise), ..c };
            rows.push(with_runs(noise, c, 2, more, context));
        }
    }
    rows.extend((0..100).map(|i| drawn(noise, i)));
    // Latent attention.
    for (ty, group) in [(Type::F32, 16), (Type::F16, 16), (Type::F16, 128), (Type::Q8_0, 16), (Type::Q4_0, 16)] {
        let c =
            Case { types: [ty; 2], dk: 576, dv: 512, v_in_k: true, n_head_kv: 1, group, how: cells(noise), ..PLAIN };
        rows.push(with_runs(noise, c, 1, 1, 100));
        if group == 16 {
            rows.push(with_runs(noise, c, 2, 9, 30));
        }
    }
    // Long contexts, also of single cells, past the CPU's parts of 2048 positions; prompts of 70 tokens.
    for (i, k) in types.into_iter().chain(types).enumerate() {
        let how = if i % 2 == 1 { Cells::Single } else { Cells::Whole };
        let c = Case { types: [k, types[(i + i / 4) % 4]], dk: 128, dv: 128, how, ..PLAIN };
        let c = Case { window: (i == 4).then_some(100), ..c };
        rows.push(with_runs(noise, c, 1, 1, 600));
        rows.push(with_runs(noise, Case { n_head_kv: 1, ..c }, 1, 70, 70 + 40 * i));
    }
    for n_tokens in [1, 3] {
        rows.push(with_runs(noise, Case { dk: 32, dv: 32, n_head_kv: 1, ..PLAIN }, 1, n_tokens, 4200));
    }
    rows
}

/// Rows whose results must show a key too few or too many.
pub fn telling() -> Vec<Row> {
    let noise = &mut Noise::new(10);
    let mut rows = Vec::new();
    for (window, ty) in [None, Some(20)].into_iter().flat_map(|w| [(w, Type::F16), (w, Type::Q8_0), (w, Type::Q4_0)]) {
        let c = Case { types: [ty; 2], window, dk: 128, dv: 128, ..PLAIN };
        rows.push(with_runs(noise, c, 1, 4, 300));
        rows.push(with_runs(noise, c, 1, 20, 60));
        rows.push(with_runs(noise, Case { chunked: window.is_some(), ..c }, 1, 20, 70));
    }
    rows
}
