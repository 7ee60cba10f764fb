//! Models whose layers are of several kinds: recurrent ones among attention, windows with heads of their own.

use super::rows::{Experts, Gemma4, LLAMA, ModelRow, Ssm};

const QWEN35: ModelRow = ModelRow {
    arch: "qwen35",
    heads_kv: 4,
    head_dim: 256,
    vocab: 248320,
    rope_base: 1e7,
    rms_eps: 1e-6,
    context: 262144,
    tokenizer: ("gpt2", "qwen35"),
    rope_freqs: false,
    pattern: "RRRA",
    ..LLAMA
};

const GEMMA4: ModelRow = ModelRow {
    arch: "gemma4",
    head_dim: 256,
    vocab: 262144,
    rope_base: 1e6,
    rms_eps: 1e-6,
    context: 262144,
    tokenizer: ("gemma4", ""),
    tied: true,
    window: Some(1024),
    pattern: "WWWWWA",
    ..LLAMA
};

pub const VARIED: &[ModelRow] = &[
    ModelRow {
        tag: "qwen3.5:9b",
        heads: 16,
        ff: 12288,
        ssm: Some(Ssm { inner: 4096, heads: 32, state: 128, groups: 16 }),
        ..QWEN35
    },
    ModelRow {
        tag: "qwen3.6:27b",
        layers: 64,
        d: 5120,
        heads: 24,
        ff: 17408,
        ssm: Some(Ssm { inner: 6144, heads: 48, state: 128, groups: 16 }),
        ..QWEN35
    },
    ModelRow {
        tag: "qwen3.6:35b-a3b",
        arch: "qwen35moe",
        layers: 40,
        d: 2048,
        heads: 16,
        heads_kv: 2,
        experts: Some(Experts { count: 256, used: 8, shared: 1, ff: 512, leading_dense: 0 }),
        ssm: Some(Ssm { inner: 4096, heads: 32, state: 128, groups: 16 }),
        ..QWEN35
    },
    ModelRow {
        tag: "gemma4:26b-a4b",
        layers: 30,
        d: 2816,
        heads: 16,
        ff: 2112,
        experts: Some(Experts { count: 128, used: 8, shared: 0, ff: 704, leading_dense: 0 }),
        gemma4: Some(Gemma4 { head_dim: 512, heads_kv: 2, values: false, shared_caches: 0, per_layer: 0 }),
        ..GEMMA4
    },
    ModelRow {
        tag: "gemma4:31b",
        layers: 60,
        d: 5376,
        heads_kv: 16,
        ff: 21504,
        gemma4: Some(Gemma4 { head_dim: 512, heads_kv: 4, values: false, shared_caches: 0, per_layer: 0 }),
        ..GEMMA4
    },
    ModelRow {
        tag: "gemma4:e4b",
        layers: 42,
        d: 2560,
        heads: 8,
        heads_kv: 2,
        ff: 10240,
        context: 131072,
        window: Some(512),
        gemma4: Some(Gemma4 { head_dim: 512, heads_kv: 2, values: true, shared_caches: 18, per_layer: 256 }),
        ..GEMMA4
    },
    // The shared expert is twice as wide as a routed one. Files name a context that nobody trained.
    ModelRow {
        tag: "nemotron-3-nano:30b-a3b",
        arch: "nemotron_h_moe",
        layers: 52,
        d: 2688,
        heads_kv: 2,
        vocab: 131072,
        rope_base: 1e4,
        context: 1 << 20,
        tokenizer: ("gpt2", "pixtral"),
        rope_freqs: false,
        pattern: "RFRFRAFRFRFRAFRFRFRAFRFRFRAFRFRFRAFRFRFRFRAFRFRFRFRF",
        experts: Some(Experts { count: 128, used: 6, shared: 2, ff: 1856, leading_dense: 0 }),
        ssm: Some(Ssm { inner: 4096, heads: 64, state: 128, groups: 8 }),
        ..LLAMA
    },
    ModelRow {
        tag: "lfm2.5:8b-a1b",
        arch: "lfm2moe",
        layers: 24,
        d: 2048,
        head_dim: 64,
        ff: 7168,
        vocab: 128000,
        rope_base: 5e6,
        context: 128000,
        tokenizer: ("gpt2", "lfm2"),
        tied: true,
        rope_freqs: false,
        pattern: "RRARRRARRRARRRARRRARRARR",
        experts: Some(Experts { count: 32, used: 4, shared: 0, ff: 1792, leading_dense: 2 }),
        ..LLAMA
    },
    ModelRow {
        tag: "granite4:h-small",
        arch: "granitehybrid",
        layers: 40,
        ff: 768,
        vocab: 100352,
        rope_base: 1e4,
        context: 1 << 20,
        tokenizer: ("gpt2", "dbrx"),
        tied: true,
        rope_freqs: false,
        pattern: "RRRRRARRRR",
        experts: Some(Experts { count: 72, used: 10, shared: 2, ff: 768, leading_dense: 0 }),
        ssm: Some(Ssm { inner: 8192, heads: 128, state: 128, groups: 1 }),
        ..LLAMA
    },
];
