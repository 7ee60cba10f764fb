//! StoreKv, and what sessions do with cells: copies, and keys that turn to other positions. All to the bit.

use std::collections::BTreeMap;

use rekindle::graph::{Factors, KeyRope, KvShape, Move, NO_CELL, Op, Rope, RopeKind, StateId, StoreKv};
use rekindle::quant::{Type, dequantize, quantize};

use super::noise::Noise;
use super::row::{Batch, Cached, Matrix, Near, Row};

/// The cells of a row that hold something in the end, in order.
pub fn cells(row: &Row) -> Vec<u32> {
    let Some(c) = &row.cached else { return Vec::new() };
    let filled = c.filled.iter().map(|(cell, ..)| *cell);
    let written = row.batch.cells.iter().copied().filter(|cell| *cell != NO_CELL);
    let mut all: Vec<u32> = filled.chain(written).chain(c.moves.iter().map(|m| m.to)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// What a cache keeps of numbers.
pub fn kept(ty: Type, x: &[f32]) -> Vec<f32> {
    let mut bytes = vec![0; ty.row_bytes(x.len()).expect("whole blocks")];
    quantize(ty, x, &mut bytes);
    let mut kept = vec![0.0; x.len()];
    dequantize(ty, &bytes, &mut kept);
    kept
}

/// Keys of all heads, turned by some positions: in single precision, product by product.
fn turn(keys: &mut [f32], shape: &KvShape, own: KeyRope, rope: &Rope, delta: i32) {
    let (first, half) = (own.first, rope.n_rot / 2);
    for head in keys.chunks_mut(shape.head_dim_k) {
        for i in 0..half {
            let frequency = f64::from(rope.freq_base).powf(-2.0 * i as f64 / rope.n_rot as f64);
            let (sin, cos) = (f64::from(delta) * frequency).sin_cos();
            let (sin, cos) = (sin as f32, cos as f32);
            let (a, b) = if own.kind == RopeKind::Norm { (2 * i, 2 * i + 1) } else { (i, half + i) };
            let (x, y) = (head[first + a], head[first + b]);
            head[first + a] = x * cos - y * sin;
            head[first + b] = x * sin + y * cos;
        }
    }
}

pub fn store_kv(row: &Row) -> Vec<Near> {
    let (Some(c), Some(rope)) = (&row.cached, &row.rope) else { panic!("{}: no cache", row.name) };
    let value = |i: usize| row.inputs.get(1).map_or(&[][..], |v| v.row(i));
    let both = |k: &[f32], v: &[f32]| (kept(c.type_k, k), kept(c.type_v, v));
    let mut all = BTreeMap::new();
    for (cell, k, v) in &c.filled {
        all.insert(*cell, both(k, v));
    }
    for (i, cell) in row.batch.cells.iter().enumerate() {
        all.insert(*cell, both(row.inputs[0].row(i), value(i)));
    }
    for m in &c.moves {
        let (mut k, v) = all[&m.from].clone();
        if let Some(own) = c.shape.rope.filter(|_| m.delta != 0) {
            turn(&mut k, &c.shape, own, rope, m.delta);
            k = kept(c.type_k, &k);
        }
        all.insert(m.to, (k, v));
    }
    all.values().flat_map(|(k, v)| k.iter().chain(v)).map(|x| Near::exactly(*x)).collect()
}

/// Keys and values of ordinary size, some large, some blocks of nothing.
fn numbers(noise: &mut Noise, n_rows: usize, cols: usize) -> Matrix {
    let mut m = Matrix { cols, x: (0..n_rows * cols).map(|_| noise.normal()).collect() };
    for (i, x) in m.x.iter_mut().enumerate() {
        *x *= if i / 32 % 5 == 4 { 0.0 } else { [1.0, 100.0][usize::from(i % 7 == 0)] };
    }
    m
}

fn stored(noise: &mut Noise, types: [Type; 2], n_head: usize, dims: [usize; 2], v_in_k: bool, kind: RopeKind) -> Row {
    let [n_k, n_v] = dims.map(|dim| n_head * dim);
    let first = if dims[0] > 16 { dims[0] / 4 } else { 0 };
    let rope = Rope {
        n_rot: (dims[0] - first) / 2 * 2,
        freq_base: 10000.0,
        freq_scale: 1.0,
        attn_factor: 1.0,
        yarn: None,
        factors: Factors::None,
        sections: None,
    };
    let shape = KvShape {
        n_head_kv: n_head,
        head_dim_k: dims[0],
        head_dim_v: dims[1],
        v_in_k,
        window: None,
        chunked: false,
        rope: Some(KeyRope { rope: 0, first, kind }),
    };
    let side = |noise: &mut Noise, n: usize| numbers(noise, 1, n).x;
    let mut filled = |cell| {
        let v = if v_in_k { vec![] } else { side(noise, n_v) };
        (cell, side(noise, n_k), v)
    };
    let filled = [1, 6, 7, 9].map(&mut filled).to_vec();
    let by = |from, to, delta| Move { from, to, delta };
    // Copies, turns where they are, both at once; then more by another delta.
    let moves = vec![by(7, 8, 0), by(3, 1, 0), by(2, 2, 5), by(10, 4, 5), by(0, 0, 5), by(8, 8, -3), by(9, 5, -3)];
    let cached = Cached {
        shape,
        type_k: types[0],
        type_v: types[1],
        n_cells: 11,
        cache: n_head % 2,
        filled,
        moves,
        recurrent: false,
    };
    let cells = vec![7, 2, 3, 10, 0];
    let inputs = [numbers(noise, cells.len(), n_k), numbers(noise, cells.len(), n_v)];
    let inputs = inputs[..if v_in_k { 1 } else { 2 }].to_vec();
    let op = Op::StoreKv(StoreKv { state: StateId(1) });
    let [k, v] = types.map(Type::name);
    let name = format!("store_kv {k} and {v}, {n_head} heads of {dims:?}, v_in_k {v_in_k}, {kind:?}");
    let batch = Batch { cells, ..Batch::of(5) };
    Row { batch, cached: Some(cached), rope: Some(rope), ..Row::new(name, op, inputs, 0) }
}

/// So many tokens stored one after the other.
pub fn in_order(noise: &mut Noise, ty: Type, n_tokens: usize, n_head: usize, dim: usize) -> Row {
    let mut row = stored(noise, [ty; 2], n_head, [dim; 2], false, RopeKind::Neox);
    row.inputs = vec![numbers(noise, n_tokens, n_head * dim); 2];
    row.batch = Batch { cells: (0..n_tokens as u32).collect(), ..Batch::of(n_tokens) };
    if let Some(c) = &mut row.cached {
        (c.n_cells, c.filled, c.moves) = (n_tokens, Vec::new(), Vec::new());
    }
    row
}

pub fn rows() -> Vec<Row> {
    let noise = &mut Noise::new(8);
    let mut rows = Vec::new();
    let types = [Type::F32, Type::F16, Type::Q8_0, Type::Q4_0];
    for (i, k) in types.into_iter().enumerate() {
        let kind = |i: usize| if i.is_multiple_of(2) { RopeKind::Norm } else { RopeKind::Neox };
        for (j, v) in types.into_iter().enumerate() {
            rows.push(stored(noise, [k, v], 2, [64, 64], false, kind(i + j)));
            rows.push(stored(noise, [k, v], 3, [96, 32], false, kind(i + j + 1)));
            if k.block_len() == 1 && v.block_len() == 1 {
                rows.push(stored(noise, [k, v], 2, [10, 10], false, kind(i + j)));
                rows.push(stored(noise, [k, v], 3, [5, 7], false, kind(i + j + 1)));
            }
        }
        // Keys that no rotation has turned stay as they are.
        let mut still = stored(noise, [k, k], 2, [64, 64], false, RopeKind::Neox);
        if let Some(c) = &mut still.cached {
            c.shape.rope = None;
        }
        rows.push(Row { name: still.name + ", not turned", ..still });
        rows.push(stored(noise, [k, k], 1, [576, 512], true, RopeKind::Norm));
        rows.push(stored(noise, [k, k], 1, [576, 512], true, RopeKind::Neox));
    }
    rows
}
