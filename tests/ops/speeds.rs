//! Rows of the sizes that models have, for the benchmark, and what bounds them.

use rekindle::graph::{Activation, Gating, Op, RopeKind, Rotate, Route, SoftCap};
use rekindle::quant::Type;

use super::attention::{PLAIN, with_runs};
use super::noise::Noise;
use super::product::{Experts, experts, heads, plain};
use super::row::Row;
use super::{columns, elementwise, embed, kv, norm, rope, route};

/// What the benchmark can be asked for.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Columns and rows of a matrix.
    pub n_in: usize,
    pub n_out: usize,
    /// Tokens in a context, and of a prompt.
    pub n_ctx: usize,
    pub many: usize,
}

/// Makes a row when it is its turn, as some take much memory: the op's name, a type or nothing, tokens.
pub struct Speed {
    pub op: &'static str,
    pub ty: Option<Type>,
    pub n_tokens: usize,
    pub row: Box<dyn Fn(&mut Noise) -> Row>,
}

/// Bytes that the op of a row has to read and write, and its multiplications and additions.
pub fn bounds(row: &Row) -> (usize, f64) {
    let floats = row.inputs.iter().map(|m| m.x.len()).sum::<usize>() + row.n_rows() * row.cols;
    let facts = row.op.facts();
    let (mut bytes, mut flops) = (floats * size_of::<f32>(), 0.0);
    if let Some(p) = facts.product {
        let info = &row.weights[p.part.weight.0 as usize].info;
        let n_matrices = info.ne[2] as usize;
        // Experts that nobody takes are not read.
        let n_used = p.n_used.map_or(n_matrices, |n| n_matrices.min(n * row.n_rows()));
        bytes += p.part.n_bytes(info) as usize / n_matrices * n_used;
        let each = p.n_used.unwrap_or(n_matrices) * p.part.n_rows * p.part.n_cols;
        flops = 2.0 * (row.n_rows() * each) as f64;
    }
    if let Op::Embed(_) = row.op {
        bytes += row.n_rows() * row.ty().row_bytes(row.cols).expect("whole blocks");
    }
    let Some(c) = &row.cached else { return (bytes, flops) };
    let (k, v) = (c.shape.n_head_kv * c.shape.head_dim_k, c.shape.n_head_kv * c.shape.head_dim_v);
    let cell = c.type_k.row_bytes(k).expect("blocks") + c.type_v.row_bytes(v).expect("blocks");
    match &row.op {
        Op::Attention(o) => {
            let n: usize = row.batch.spans.iter().map(|s| s.len as usize).sum();
            let pairs: f64 = row.batch.positions.iter().map(|p| f64::from(*p) + 1.0).sum();
            let each = 2 * o.n_head * (c.shape.head_dim_k + c.shape.head_dim_v);
            (bytes + n * cell, pairs * each as f64)
        }
        _ => (bytes + row.n_rows() * cell, flops),
    }
}

/// The rows, those of products in every type.
pub fn rows(s: Sizes) -> Vec<Speed> {
    let mut all: Vec<Speed> = Vec::new();
    let mut add = |op, ty, n_tokens, row: Box<dyn Fn(&mut Noise) -> Row>| all.push(Speed { op, ty, n_tokens, row });
    let Sizes { n_in, n_out, n_ctx, many } = s;
    for ty in Type::ALL.iter().copied().filter(|ty| ty.on_cpu() || ty.on_cuda()) {
        for n in [1, 4, many] {
            add("matmul", Some(ty), n, Box::new(move |noise| plain(noise, ty, n_in, n_out, n, false)));
        }
    }
    for ty in [Type::Q4_K, Type::Q8_0] {
        for n in [1, many] {
            let e = Experts {
                ty,
                n_in: n_in / 2,
                n_all: n_out / 8,
                first: 0,
                n_out: n_out / 8,
                n_expert: 64,
                n_used: 8,
                n_rows: n,
                each: false,
                with_bias: false,
            };
            add("matmul_experts", Some(ty), n, Box::new(move |noise| experts(noise, e)));
            add("matmul_heads", Some(ty), n, Box::new(move |noise| heads(noise, ty, 512, 128, n, 16)));
        }
    }
    for ty in [Type::F32, Type::F16, Type::Q8_0, Type::Q4_0] {
        for n in [1, many] {
            let case = super::attention::Case { types: [ty; 2], dk: 128, dv: 128, n_head_kv: 8, ..PLAIN };
            add("attention", Some(ty), n, Box::new(move |noise| with_runs(noise, case, 1, n, n_ctx.max(n))));
            add("store_kv", Some(ty), n, Box::new(move |noise| kv::in_order(noise, ty, n, 8, 128)));
        }
        let tokens: Vec<i32> = (0..many as i32).map(|i| i % 40).collect();
        add("embed", Some(ty), many, Box::new(move |noise| embed::of_tokens(noise, ty, n_in, tokens.clone(), 1.0)));
    }
    for n in [1, many] {
        for o in [
            Op::Add,
            Op::Gate(Activation::Silu.into()),
            Op::Gate(Activation::Gelu.into()),
            Op::SoftCap(SoftCap { cap: 30.0 }),
        ] {
            add(o.name(), None, n, Box::new(move |noise| elementwise::of_shape(noise, o.clone(), n, n_out, false)));
        }
        add(
            "scale",
            None,
            n,
            Box::new(move |noise| elementwise::scaled(noise, n, n_in, elementwise::Of::One, false, false)),
        );
        add("norm", None, n, Box::new(move |noise| norm::rms(noise, n, n_in, 1, true)));
        let o = Rotate { n_head: 32, head_dim: 128, first: 0, kind: RopeKind::Neox, temperature: None };
        add("rope", None, n, Box::new(move |noise| rope::turned(noise, n, o, 128, false)));
        add("rope_table", None, n, Box::new(move |_| rope::table(128, &vec![7; n], 1.0, 1.0)));
        add("columns", None, n, Box::new(move |noise| columns::apart(noise, n, 16, 192, 128, 64)));
        add("concat", None, n, Box::new(move |noise| columns::together(noise, n, 16, [512, 64], 1)));
        let r = Route {
            n_expert: 128,
            n_expert_used: 8,
            gating: Gating::Softmax,
            normalise: true,
            scale: 1.0,
            n_group: 1,
            n_group_used: 1,
            bias: None,
        };
        add("route", None, n, Box::new(move |noise| route::routed(noise, r, n)));
        add("sum_experts", None, n, Box::new(move |noise| route::summed(noise, n, 8, n_in)));
        add(
            "select_outputs",
            None,
            n,
            Box::new(move |noise| embed::select(noise, n, n_in, &(0..n as u32).collect::<Vec<_>>(), 0)),
        );
    }
    all
}
