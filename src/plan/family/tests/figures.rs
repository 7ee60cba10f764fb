//! Splits and sizes of the published change, and the synthetic llama of the fork's placement.

use super::*;

const Q4_K: [u64; 2] = [256, 144];
const Q6_K: [u64; 2] = [256, 210];

fn matrix([len, bytes]: [u64; 2], columns: u64, rows: u64) -> u64 {
    assert_eq!(columns % len, 0);
    columns / len * bytes * rows
}

/// A model quantised as Q4_K_M by the rule: attn_v and ffn_down of some layers and the output in Q6_K, vectors in F32.
fn q4_k_m(architecture: &str, n_layer: u64, d: u64, h: u64, n_ff: u64, n_vocab: u64) -> Shape {
    let (hk, hd) = (8, 128);
    let layer = |i: u64| {
        let more = i < n_layer / 8 || i >= 7 * n_layer / 8 || (i - n_layer / 8) % 3 == 2;
        let ty = if more { Q6_K } else { Q4_K };
        let attention = 2 * matrix(Q4_K, d, h * hd) + matrix(Q4_K, d, hk * hd) + matrix(ty, d, hk * hd);
        let biases = if architecture == "qwen2" { 4 * (h + 2 * hk) * hd } else { 0 };
        attention + biases + 2 * matrix(Q4_K, d, n_ff) + matrix(ty, n_ff, d) + 2 * 4 * d
    };
    Shape {
        architecture: architecture.to_owned(),
        n_embd: d,
        n_head: h,
        n_head_kv: hk,
        n_head_kv_min: hk,
        head_dim_k: hd,
        head_dim_v: hd,
        n_ff,
        n_vocab,
        layer_weights: (0..n_layer).map(layer).collect(),
        output_weights: matrix(Q6_K, d, n_vocab) + 4 * d,
        ..Shape::default()
    }
}

fn deepseek_14b() -> Shape {
    q4_k_m("qwen2", 48, 5120, 40, 13824, 152064)
}

/// The K80 dies of the figures.
fn dies(n: usize) -> Vec<Gpu> {
    free(&vec![(11.2 * GIB) as u64; n])
}

fn counts(e: &Estimate) -> Vec<u32> {
    e.gpus.iter().map(|g| g.layers.len() as u32).collect()
}

#[track_caller]
fn near(bytes: u64, gib: f64) {
    let have = bytes as f64 / GIB;
    assert!((have - gib).abs() <= 0.005, "{have} GiB, expected {gib}");
}

/// Everything fits on as many GPUs as `split` names, with these GiB each and this compute buffer.
#[track_caller]
fn check(shape: &Shape, n_ctx: u32, split: &[u32], gib: &[f64], total: f64, graph: f64) {
    let gpus = dies(4);
    let e = estimate(shape, &query(n_ctx, &gpus));
    assert!(e.fits);
    assert_eq!((counts(&e).as_slice(), e.cpu_layers), (split, 0));
    for (share, gib) in e.gpus.iter().zip(gib) {
        near(share.bytes(), *gib);
        near(share.graph, graph);
    }
    near(e.total(), total);
}

#[test]
fn deepseek_r1_14b() {
    let shape = deepseek_14b();
    check(&shape, 4096, &[25, 24], &[8.41, 7.81], 16.22, 3.13);
    check(&shape, 2048, &[25, 24], &[8.21, 7.62], 15.83, 3.13);
    check(&shape, 8192, &[25, 24], &[8.80, 8.20], 17.00, 3.13);
}

#[test]
fn deepseek_r1_14b_has_no_room_on_one_die() {
    let shape = deepseek_14b();
    let gpus = dies(1);
    let e = estimate(&shape, &query(4096, &gpus));
    assert!(!e.fits);
    assert_eq!((counts(&e), e.cpu_layers), (vec![44], 5));
    // The last layers, without the output.
    assert_eq!(e.gpus[0].layers, 4..48);
    assert_eq!(e.gpus[0].graph, e.partial);
    let weights = e.gpus[0].weights + e.cpu_weights;
    assert_eq!(weights, shape.layer_weights.iter().sum::<u64>() + shape.output_weights);
    assert_eq!(e.gpus[0].kv + e.cpu_kv, e.layer_kv.iter().sum::<u64>());
}

#[test]
fn deepseek_r1_14b_before_the_margin() {
    let shape = deepseek_14b();
    let gpus = dies(2);
    let e = estimate(&shape, &Query { margin: 1.0, ..query(4096, &gpus) });
    assert_eq!(e.partial >> 20, 916);
    near(shape.layer_weights.iter().sum::<u64>() + shape.output_weights, 7.96);
    near(shape.output_weights, 0.59);
}

#[test]
fn deepseek_r1_32b() {
    check(&q4_k_m("qwen2", 64, 5120, 40, 27648, 152064), 4096, &[22, 22, 21], &[10.06, 10.91, 9.75], 30.73, 3.13);
}

#[test]
fn llama3_1_8b() {
    // On one GPU the full buffer counts; rope_freqs belongs to no layer.
    check(&q4_k_m("llama", 32, 4096, 32, 14336, 128256), 4096, &[33], &[6.40], 6.40, 1.01);
}

#[test]
fn synthetic_llama() {
    let shape = Shape {
        architecture: "llama".to_owned(),
        n_embd: 4096,
        n_head: 32,
        n_head_kv: 32,
        n_head_kv_min: 32,
        head_dim_k: 128,
        head_dim_v: 128,
        n_vocab: 1,
        layer_weights: vec![4; 5],
        output_weights: 4,
        ..Shape::default()
    };
    fn plain(gpus: &[Gpu]) -> Query<'_> {
        Query { margin: 1.0, ..query(2048, gpus) }
    }
    let none = estimate(&shape, &plain(&[]));
    assert_eq!((none.partial, none.full), (202_377_216, 171_968_512));
    let layer = shape.layer_weights[0] + none.layer_kv[0];
    assert_eq!(layer, 33_554_436);
    assert_eq!((none.cpu_layers, none.cpu_weights), (6, 24));

    let base = DEFAULT_MINIMUM + none.partial.max(none.full) + 1 + layer;
    for (n, split) in [
        ([1, 1], [1, 1]),
        ([2, 1], [2, 1]),
        ([2, 2], [2, 2]),
        ([1, 2], [1, 2]),
        ([3, 3], [3, 3]),
        ([4, 4], [3, 3]),
        ([6, 6], [3, 3]),
        ([0, 3], [0, 3]),
    ] {
        let mut bytes = n.map(|n| base + n * layer);
        bytes[usize::from(n[0] == 0)] += 4;
        let gpus = free(&bytes);
        // The table is of two GPUs given; tried first, one of those with room for six would do.
        let e = estimate_on(&shape, &plain(&gpus), &[0, 1]);
        assert_eq!(counts(&e), split, "room for {n:?}");
        assert_eq!(e.fits, split == [3, 3]);
        assert_eq!(e.cpu_layers, 6 - split.iter().sum::<u32>());
    }
}

#[test]
fn the_freest_gpus_come_first_and_overhead_counts() {
    let shape = deepseek_14b();
    let mut gpus = free(&[9 << 30, 40 << 30, 9 << 30]);
    let e = estimate(&shape, &query(4096, &gpus));
    assert_eq!((e.gpus.len(), e.gpus[0].gpu, e.gpus[0].graph), (1, 1, e.full));
    gpus[1].overhead = 40 << 30;
    let e = estimate(&shape, &query(4096, &gpus));
    // With none of its own to give, the freest takes no part.
    assert_eq!(e.gpus.iter().map(|g| g.gpu).collect::<Vec<_>>(), [1, 0, 2]);
    assert_eq!((e.gpus[0].bytes(), e.gpus[0].layers.len()), (0, 0));
}

#[test]
fn kv_types_without_their_block_scales() {
    let shape = deepseek_14b();
    let kv = |type_k, type_v, n_seq| estimate(&shape, &Query { type_k, type_v, n_seq, ..query(4096, &[]) }).layer_kv[0];
    let elements = 4096 * 128 * 8;
    assert_eq!(kv(Type::F32, Type::F32, 1), elements * 8);
    assert_eq!(kv(Type::F16, Type::F16, 1), elements * 4);
    assert_eq!(kv(Type::Q8_0, Type::Q8_0, 1), elements * 2);
    assert_eq!(kv(Type::Q4_0, Type::Q4_0, 1), elements);
    assert_eq!(kv(Type::F16, Type::Q8_0, 1), elements * 3);
    assert_eq!(kv(Type::F16, Type::F16, 3), elements * 12);
}
