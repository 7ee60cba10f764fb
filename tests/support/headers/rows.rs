//! Models known by their shapes: public configurations, one row each.

use super::rows_varied::VARIED;

/// YaRN: stretched by `factor` from the context `original`.
#[derive(Debug, Clone, Copy)]
pub struct Yarn {
    pub factor: f32,
    pub original: u32,
}

#[derive(Debug, Clone, Copy)]
pub struct Experts {
    pub count: u32,
    pub used: u32,
    pub shared: u32,
    /// Feed-forward length of one expert.
    pub ff: u32,
    /// First layers that have none.
    pub leading_dense: u32,
}

/// Attention over one latent vector per token, as deepseek2 has it.
#[derive(Debug, Clone, Copy)]
pub struct Latent {
    pub rank: u32,
    pub rope: u32,
}

/// A recurrent layer: a gated delta net, or Mamba-2.
#[derive(Debug, Clone, Copy)]
pub struct Ssm {
    pub inner: u32,
    pub heads: u32,
    /// Numbers of a state per number of a head.
    pub state: u32,
    /// Groups of heads that share keys and queries.
    pub groups: u32,
}

/// gemma4 beside what a row says of its layers with a window.
#[derive(Debug, Clone, Copy)]
pub struct Gemma4 {
    /// Layers without a window: length of a head, and heads of keys.
    pub head_dim: u32,
    pub heads_kv: u32,
    /// They have matrices for values; else keys serve as values.
    pub values: bool,
    /// Last layers that read an earlier layer's cache.
    pub shared_caches: u32,
    /// Length of a layer's own embedding.
    pub per_layer: u32,
}

#[derive(Debug, Clone, Copy)]
pub struct ModelRow {
    pub tag: &'static str,
    pub arch: &'static str,
    pub layers: u32,
    pub d: u32,
    pub heads: u32,
    pub heads_kv: u32,
    pub head_dim: u32,
    pub ff: u32,
    pub vocab: u32,
    pub rope_base: f32,
    pub rms_eps: f32,
    /// Trained context.
    pub context: u32,
    /// tokenizer.ggml.model and .pre.
    pub tokenizer: (&'static str, &'static str),
    /// Logits come from token_embd.
    pub tied: bool,
    /// A tensor divides the rotation's frequencies.
    pub rope_freqs: bool,
    /// attn_v is kept in F16.
    pub value_f16: bool,
    pub linear: Option<f32>,
    pub yarn: Option<Yarn>,
    pub window: Option<u32>,
    pub experts: Option<Experts>,
    pub latent: Option<Latent>,
    /// A letter per layer, repeated, where layers are of several kinds: recurrent, attention, attention with a window,
    /// feed-forward block alone (R, A, W, F).
    pub pattern: &'static str,
    pub ssm: Option<Ssm>,
    pub gemma4: Option<Gemma4>,
}

impl ModelRow {
    /// The letter of a layer.
    pub fn kind(&self, layer: u32) -> u8 {
        let letters = self.pattern.as_bytes();
        letters[layer as usize % letters.len()]
    }
}

pub(super) const LLAMA: ModelRow = ModelRow {
    tag: "",
    arch: "llama",
    layers: 32,
    d: 4096,
    heads: 32,
    heads_kv: 8,
    head_dim: 128,
    ff: 14336,
    vocab: 128256,
    rope_base: 5e5,
    rms_eps: 1e-5,
    context: 131072,
    tokenizer: ("gpt2", "llama-bpe"),
    tied: false,
    rope_freqs: true,
    value_f16: false,
    linear: None,
    yarn: None,
    window: None,
    experts: None,
    latent: None,
    pattern: "",
    ssm: None,
    gemma4: None,
};

const QWEN2: ModelRow = ModelRow {
    arch: "qwen2",
    vocab: 152064,
    rope_base: 1e6,
    rms_eps: 1e-6,
    tokenizer: ("gpt2", "qwen2"),
    rope_freqs: false,
    ..LLAMA
};

const QWEN3: ModelRow = ModelRow { arch: "qwen3", vocab: 151936, value_f16: true, ..QWEN2 };

const GEMMA3: ModelRow = ModelRow {
    arch: "gemma3",
    head_dim: 256,
    vocab: 262144,
    rope_base: 1e6,
    rms_eps: 1e-6,
    tokenizer: ("llama", "default"),
    tied: true,
    rope_freqs: false,
    window: Some(1024),
    ..LLAMA
};

/// Models whose layers are alike, or differ by the architecture's own rule; two have the tag deepseek-r1:8b.
pub const ROWS: &[ModelRow] = &[
    ModelRow {
        tag: "deepseek-r1:1.5b",
        layers: 28,
        d: 1536,
        heads: 12,
        heads_kv: 2,
        ff: 8960,
        vocab: 151936,
        rope_base: 1e4,
        ..QWEN2
    },
    ModelRow { tag: "deepseek-r1:7b", layers: 28, d: 3584, heads: 28, heads_kv: 4, ff: 18944, rope_base: 1e4, ..QWEN2 },
    ModelRow { tag: "deepseek-r1:8b-2025-01", ..LLAMA },
    ModelRow {
        tag: "deepseek-r1:8b-2025-05",
        layers: 36,
        ff: 12288,
        yarn: Some(Yarn { factor: 4.0, original: 32768 }),
        ..QWEN3
    },
    ModelRow { tag: "deepseek-r1:14b", layers: 48, d: 5120, heads: 40, ff: 13824, rms_eps: 1e-5, ..QWEN2 },
    ModelRow { tag: "deepseek-r1:32b", layers: 64, d: 5120, heads: 40, ff: 27648, rms_eps: 1e-5, ..QWEN2 },
    ModelRow { tag: "deepseek-r1:70b", layers: 80, d: 8192, heads: 64, ff: 28672, ..LLAMA },
    ModelRow { tag: "llama3.2:1b", layers: 16, d: 2048, head_dim: 64, ff: 8192, tied: true, ..LLAMA },
    ModelRow { tag: "llama3.1:8b", ..LLAMA },
    ModelRow { tag: "gemma3:4b", layers: 34, d: 2560, heads: 8, heads_kv: 4, ff: 10240, ..GEMMA3 },
    ModelRow { tag: "gemma3:12b", layers: 48, d: 3840, heads: 16, heads_kv: 8, ff: 15360, ..GEMMA3 },
    // Its embedding has 64 rows more than the others'; only here the global layers are said to be scaled.
    ModelRow {
        tag: "gemma3:27b",
        layers: 62,
        d: 5376,
        heads_kv: 16,
        head_dim: 128,
        ff: 21504,
        vocab: 262208,
        linear: Some(8.0),
        ..GEMMA3
    },
    ModelRow {
        tag: "gpt-oss:20b",
        arch: "gpt-oss",
        layers: 24,
        d: 2880,
        heads: 64,
        head_dim: 64,
        ff: 2880,
        vocab: 201088,
        rope_base: 1.5e5,
        tokenizer: ("gpt2", "gpt-4o"),
        rope_freqs: false,
        yarn: Some(Yarn { factor: 32.0, original: 4096 }),
        window: Some(128),
        experts: Some(Experts { count: 32, used: 4, shared: 0, ff: 2880, leading_dense: 0 }),
        ..LLAMA
    },
    ModelRow {
        tag: "deepseek-v2-lite",
        arch: "deepseek2",
        layers: 27,
        d: 2048,
        heads: 16,
        heads_kv: 1,
        ff: 10944,
        vocab: 102400,
        rope_base: 1e4,
        rms_eps: 1e-6,
        context: 163840,
        tokenizer: ("gpt2", "deepseek-llm"),
        rope_freqs: false,
        yarn: Some(Yarn { factor: 40.0, original: 4096 }),
        experts: Some(Experts { count: 64, used: 6, shared: 2, ff: 1408, leading_dense: 1 }),
        latent: Some(Latent { rank: 512, rope: 64 }),
        ..LLAMA
    },
    ModelRow {
        tag: "qwen3:30b-a3b",
        arch: "qwen3moe",
        layers: 48,
        d: 2048,
        heads_kv: 4,
        // The key of a dense feed-forward that no layer has.
        ff: 6144,
        context: 40960,
        value_f16: false,
        experts: Some(Experts { count: 128, used: 8, shared: 0, ff: 768, leading_dense: 0 }),
        ..QWEN3
    },
    ModelRow {
        tag: "qwen2.5:0.5b",
        layers: 24,
        d: 896,
        heads: 14,
        heads_kv: 2,
        head_dim: 64,
        ff: 4864,
        vocab: 151936,
        context: 32768,
        tied: true,
        ..QWEN2
    },
    ModelRow {
        tag: "mistral:7b",
        vocab: 32768,
        rope_base: 1e6,
        context: 32768,
        tokenizer: ("llama", "default"),
        rope_freqs: false,
        ..LLAMA
    },
    ModelRow {
        tag: "phi3:3.8b",
        arch: "phi3",
        d: 3072,
        heads_kv: 32,
        head_dim: 96,
        ff: 8192,
        vocab: 32064,
        rope_base: 1e4,
        context: 4096,
        tokenizer: ("llama", "default"),
        rope_freqs: false,
        ..LLAMA
    },
];

pub fn all_rows() -> impl Iterator<Item = &'static ModelRow> {
    ROWS.iter().chain(VARIED)
}

/// The row of that tag.
pub fn row(tag: &str) -> &'static ModelRow {
    all_rows().find(|r| r.tag == tag).unwrap_or_else(|| panic!("no row {tag}"))
}
