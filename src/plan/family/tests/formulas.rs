//! Every row of the formulas at two vocabularies, so that each side of a maximum wins once. The figures were computed
//! apart.

use super::*;

/// A shape in which no two numbers agree.
fn shape(architecture: &str, n_vocab: u64) -> Shape {
    Shape {
        architecture: architecture.to_owned(),
        n_embd: 1000,
        n_head: 12,
        n_head_kv: 3,
        n_head_kv_min: 2,
        head_dim_k: 96,
        head_dim_v: 80,
        n_ff: 2800,
        n_vocab,
        n_qkv_bias: Some(1234),
        n_rope_freqs: 48,
        layer_weights: vec![1; 7],
        ..Shape::default()
    }
}

/// F and P at a batch of 512 and a context of 3000, before the margin.
fn graph(shape: &Shape) -> (u64, u64) {
    let e = estimate(shape, &Query { margin: 1.0, ..query(3000, &[]) });
    (e.full, e.partial)
}

#[test]
fn rows_of_the_table() {
    for (name, large, small) in [
        ("llama", (104450048, 147514493), (88066048, 87988548)),
        ("llama4", (104450048, 147514493), (88066048, 87988548)),
        ("qwen2", (104450048, 145466493), (83970048, 95974048)),
        ("gemma", (104450048, 145466493), (88690688, 98552640)),
        ("gemma2", (104450048, 145466493), (88690688, 98552640)),
        ("gemma3", (104450048, 145466493), (88690688, 98552640)),
        ("gemma3n", (417800192, 581865972), (354762752, 394210560)),
        ("command-r", (104450048, 145466493), (88068096, 96532548)),
        ("phi2", (104450048, 147514493), (88066048, 86020096)),
        ("stablelm", (86020096, 106498048), (86020096, 86020096)),
        ("deepseek2", (108546048, 149562493), (31903744, 33471696)),
        ("chatglm", (104450048, 145466493), (88858624, 88638280)),
        ("mllama", (104450048, 145466493), (88379392, 89785536)),
        ("gptoss", (44352000, 44352000), (44352000, 44352000)),
        ("gpt-oss", (44352000, 44352000), (44352000, 44352000)),
        ("qwen3", (22176000, 22176000), (22176000, 22176000)),
    ] {
        assert_eq!(graph(&shape(name, 50001)), large, "{name}");
        assert_eq!(graph(&shape(name, 501)), small, "{name}");
    }
}

#[test]
fn chatglm_without_a_fused_bias() {
    let plain = |n_vocab| graph(&Shape { n_qkv_bias: None, ..shape("chatglm", n_vocab) });
    assert_eq!(plain(50001), (104450048, 145466493));
    assert_eq!(plain(501), (3074048, 3485024));
}

#[test]
fn llama_with_experts() {
    let one = |w| graph(&Shape { expert_gate_bytes: Some(w), ..shape("llama", 501) });
    assert_eq!(one(7_654_321), (88066048, 79870976));
    assert_eq!(one(70_000_000), (88066048, 230256768));
    let each = |g| graph(&Shape { expert_gate_rows: Some(g), ..shape("llama", 501) });
    assert_eq!(each(1777), (89671680, 95713826));
    assert_eq!(each(1), (86034432, 89032048));
}

#[test]
fn heads_shared_unevenly_round_down() {
    // 12 query heads over 5, and twice that: 2 and 4 times a sixth of the cache.
    let uneven = |name| graph(&Shape { n_head_kv_min: 5, ..shape(name, 501) });
    assert_eq!(uneven("qwen3"), (7392000, 7392000));
    assert_eq!(uneven("gptoss"), (14784000, 14784000));
}

#[test]
fn batches_and_sequences() {
    let s = shape("stablelm", 50001);
    let full = |n_ctx, n_seq, n_batch| estimate(&s, &Query { margin: 1.0, n_seq, n_batch, ..query(n_ctx, &[]) }).full;
    // The context counts for all sequences; a batch is never larger than it.
    assert_eq!(full(1000, 3, 512), 86020096);
    assert_eq!(full(100, 1, 512), full(100, 1, 100));
    // The margin multiplies whole bytes and drops what is left.
    let e = estimate(&s, &Query { margin: 2.5, ..query(3000, &[]) });
    assert_eq!((e.full, e.partial), (215050240, 266245120));
    let odd = estimate(&shape("llama", 50001), &query(3000, &[]));
    assert_eq!(odd.partial, 516300725);
}

#[test]
fn gemma3_keeps_a_window_in_five_of_six_layers() {
    let s = Shape { window: Some(1024), ..shape("gemma3", 501) };
    let kv = estimate(&s, &Query { n_seq: 2, ..query(4096, &[]) }).layer_kv;
    let row = (96 + 80) * 3 * 2;
    let (window, whole) = ((2 * 1024 + 512) * row, 8192 * row);
    assert_eq!(kv, [window, window, window, window, window, whole, window]);
    // Only gemma3: the fork keeps the whole context for others.
    let other = Shape { architecture: "gemma2".to_owned(), ..s };
    assert_eq!(estimate(&other, &query(4096, &[])).layer_kv, [4096 * row; 7]);
}

#[test]
fn the_largest_numbers_saturate() {
    let most = u64::from(u32::MAX);
    for name in
        ["llama", "mllama", "qwen2", "gemma3n", "command-r", "phi2", "stablelm", "deepseek2", "chatglm", "gptoss", "x"]
    {
        for heads in [0, 1 << 24] {
            let s = Shape {
                architecture: name.to_owned(),
                n_embd: 1 << 24,
                n_head: heads,
                n_head_kv: heads,
                n_head_kv_min: heads,
                head_dim_k: 1 << 24,
                head_dim_v: 1 << 24,
                n_ff: 1 << 24,
                n_vocab: 1 << 40,
                window: Some(1 << 24),
                layer_weights: vec![u64::MAX; 4096],
                output_weights: u64::MAX,
                n_qkv_bias: Some(1 << 40),
                n_rope_freqs: u64::MAX,
                expert_gate_bytes: (heads > 0).then_some(u64::MAX),
                expert_gate_rows: Some(1 << 40),
            };
            let gpus = [Gpu { free: u64::MAX, overhead: most }; 2];
            let q = Query { n_seq: u32::MAX, n_batch: u32::MAX, minimum: u64::MAX, ..query(u32::MAX, &gpus) };
            let e = estimate(&s, &q);
            assert!(!e.fits, "{name}");
            assert!(!estimate(&s, &Query { margin: f64::NAN, minimum: 0, ..q }).fits, "{name}");
        }
    }
}
