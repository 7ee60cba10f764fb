//! A header from a row of the table: llama.cpp's keys and tensor names, types as Q4_K_M gives them.

use rekindle::quant::Type;

use super::rows::{Experts, ModelRow};
use super::types::{fitting, more_bits};
use super::varied;
use super::vocabulary::vocabulary;
use super::writer::{Header, Tensor};

/// general.file_type of Q4_K_M, and of files whose experts are MXFP4.
const Q4_K_M: u32 = 15;
const MXFP4_MOE: u32 = 38;

pub fn of_row(r: &ModelRow) -> Header {
    let varied = !r.pattern.is_empty();
    let mut h = Header { keys: Vec::new(), tensors: if varied { varied::tensors(r) } else { tensors(r) } };
    h.key("general.architecture", r.arch);
    h.key("general.type", "model");
    h.key("general.name", r.tag);
    h.key("general.parameter_count", h.parameters());
    h.key("general.file_type", if r.arch == "gpt-oss" { MXFP4_MOE } else { Q4_K_M });
    h.key("general.quantization_version", 2u32);
    if varied {
        varied::keys(&mut h, r);
    } else {
        architecture_keys(&mut h, r);
    }
    tokenizer_keys(&mut h, r);
    h
}

fn architecture_keys(h: &mut Header, r: &ModelRow) {
    let key = |name: &str| format!("{}.{name}", r.arch);
    h.key(key("block_count"), r.layers);
    h.key(key("context_length"), r.context);
    h.key(key("embedding_length"), r.d);
    h.key(key("feed_forward_length"), r.ff);
    h.key(key("attention.head_count"), r.heads);
    h.key(key("attention.head_count_kv"), r.heads_kv);
    h.key(key("attention.layer_norm_rms_epsilon"), r.rms_eps);
    h.key(key("rope.freq_base"), r.rope_base);
    if let Some(l) = r.latent {
        h.key(key("attention.kv_lora_rank"), l.rank);
        h.key(key("attention.key_length"), l.rank + l.rope);
        h.key(key("attention.value_length"), l.rank);
        h.key(key("attention.key_length_mla"), r.head_dim + l.rope);
        h.key(key("attention.value_length_mla"), r.head_dim);
        h.key(key("rope.dimension_count"), l.rope);
    } else if !matches!(r.arch, "qwen2" | "phi3") {
        h.key(key("attention.key_length"), r.head_dim);
        h.key(key("attention.value_length"), r.head_dim);
    }
    if matches!(r.arch, "llama" | "phi3") {
        h.key(key("rope.dimension_count"), r.head_dim);
    }
    if matches!(r.arch, "llama" | "deepseek2") {
        h.key(key("vocab_size"), r.vocab);
    }
    if let Some(n) = r.window {
        h.key(key("attention.sliding_window"), n);
    }
    if let Some(factor) = r.linear {
        h.key(key("rope.scaling.type"), "linear");
        h.key(key("rope.scaling.factor"), factor);
    }
    if let Some(y) = r.yarn {
        h.key(key("rope.scaling.type"), "yarn");
        h.key(key("rope.scaling.factor"), y.factor);
        h.key(key("rope.scaling.original_context_length"), y.original);
    }
    if let Some(e) = r.experts {
        h.key(key("expert_count"), e.count);
        h.key(key("expert_used_count"), e.used);
        h.key(key("expert_feed_forward_length"), e.ff);
    }
    if let (Some(e), "deepseek2") = (r.experts, r.arch) {
        h.key(key("expert_shared_count"), e.shared);
        h.key(key("leading_dense_block_count"), e.leading_dense);
        h.key(key("expert_weights_scale"), 1f32);
        // A tenth of the published mscale.
        h.key(key("rope.scaling.yarn_log_multiplier"), 0.0707f32);
    }
}

fn tokenizer_keys(h: &mut Header, r: &ModelRow) {
    let (model, pre) = r.tokenizer;
    h.key("tokenizer.ggml.model", model);
    if model != "gemma4" {
        h.key("tokenizer.ggml.pre", pre);
    }
    // Byte-level families have their special tokens last, SentencePiece and gemma4 first.
    let (bos, eos, unknown) = match model {
        "llama" => (1, 2, Some(0)),
        "gemma4" => (2, 1, Some(3)),
        _ => (r.vocab - 2, r.vocab - 1, None),
    };
    let special: Vec<u32> = [bos, eos].into_iter().chain(unknown).collect();
    let v = vocabulary(model, r.vocab as usize, &special, unknown);
    h.key("tokenizer.ggml.tokens", v.tokens);
    if model != "gpt2" {
        h.key("tokenizer.ggml.scores", v.scores);
    }
    if model != "llama" {
        h.key("tokenizer.ggml.merges", v.merges);
    }
    h.key("tokenizer.ggml.token_type", v.types);
    h.key("tokenizer.ggml.bos_token_id", bos);
    h.key("tokenizer.ggml.eos_token_id", eos);
    if let Some(id) = unknown {
        h.key("tokenizer.ggml.unknown_token_id", id);
    }
}

/// A matrix of type `want`, or what the quantiser falls back to where rows are no multiple of the block.
fn matrix(name: &str, want: Type, shape: &[u64]) -> Tensor {
    Tensor::new(format!("{name}.weight"), fitting(want, shape[0]), shape)
}

fn vector(name: &str, n: u32) -> Tensor {
    Tensor::new(format!("{name}.weight"), Type::F32, &[n.into()])
}

fn bias(name: &str, shape: &[u64]) -> Tensor {
    Tensor::new(format!("{name}.bias"), Type::F32, shape)
}

fn tensors(r: &ModelRow) -> Vec<Tensor> {
    let (d, vocab) = (u64::from(r.d), u64::from(r.vocab));
    // The published gpt-oss file has Q8_0 where it has not MXFP4.
    let (plain, output) = if r.arch == "gpt-oss" { (Type::Q8_0, Type::Q8_0) } else { (Type::Q4_K, Type::Q6_K) };
    let mut all = Vec::new();
    if !r.tied {
        all.push(matrix("output", output, &[d, vocab]));
    }
    all.push(vector("output_norm", r.d));
    if r.rope_freqs {
        all.push(vector("rope_freqs", r.head_dim / 2));
    }
    all.push(matrix("token_embd", if r.tied { output } else { plain }, &[d, vocab]));
    for i in 0..r.layers {
        let mut layer = attention(r, i, plain);
        layer.extend(feed_forward(r, i));
        // llama.cpp's writer has the tensors of a layer in this order.
        layer.sort_by(|a, b| a.name.cmp(&b.name));
        all.extend(layer.into_iter().map(|t| Tensor { name: format!("blk.{i}.{}", t.name), ..t }));
    }
    all
}

fn attention(r: &ModelRow, i: u32, plain: Type) -> Vec<Tensor> {
    let d = u64::from(r.d);
    let [q, kv] = [r.heads, r.heads_kv].map(|n| u64::from(n) * u64::from(r.head_dim));
    let mut t = vec![vector("attn_norm", r.d)];
    if r.latent.is_some() {
        t.extend(latent_attention(r));
        return t;
    }
    t.push(matrix("attn_output", plain, &[q, d]));
    if r.arch == "phi3" {
        t.push(matrix("attn_qkv", Type::Q5_K, &[d, q + 2 * kv]));
        return t;
    }
    let value = match r.arch {
        "gpt-oss" => plain,
        _ if r.value_f16 => Type::F16,
        _ if more_bits(i, r.layers) => Type::Q6_K,
        "llama" if r.layers == 80 && r.heads != r.heads_kv => Type::Q5_K,
        _ => Type::Q4_K,
    };
    t.push(matrix("attn_q", plain, &[d, q]));
    t.push(matrix("attn_k", plain, &[d, kv]));
    t.push(matrix("attn_v", value, &[d, kv]));
    if matches!(r.arch, "qwen2" | "gpt-oss") {
        t.extend([bias("attn_q", &[q]), bias("attn_k", &[kv]), bias("attn_v", &[kv])]);
    }
    match r.arch {
        "qwen3" | "qwen3moe" => t.extend(["attn_q_norm", "attn_k_norm"].map(|n| vector(n, r.head_dim))),
        "gemma3" => {
            t.extend(["attn_q_norm", "attn_k_norm"].map(|n| vector(n, r.head_dim)));
            t.extend(["post_attention_norm", "post_ffw_norm"].map(|n| vector(n, r.d)));
        }
        // Its norm before the feed-forward has this name.
        "gpt-oss" => {
            t.extend([bias("attn_output", &[d]), vector("attn_sinks", r.heads), vector("post_attention_norm", r.d)])
        }
        _ => {}
    }
    t
}

/// One latent vector and one rotated key per token; each head has its own way from and to them.
fn latent_attention(r: &ModelRow) -> Vec<Tensor> {
    let l = r.latent.unwrap();
    let [d, heads, head, rank, rope] = [r.d, r.heads, r.head_dim, l.rank, l.rope].map(u64::from);
    vec![
        matrix("attn_q", Type::Q4_K, &[d, heads * (head + rope)]),
        matrix("attn_kv_a_mqa", Type::Q4_K, &[d, rank + rope]),
        vector("attn_kv_a_norm", l.rank),
        matrix("attn_k_b", Type::Q4_K, &[head, rank, heads]),
        matrix("attn_v_b", Type::Q4_K, &[rank, head, heads]),
        matrix("attn_output", Type::Q4_K, &[heads * head, d]),
    ]
}

fn feed_forward(r: &ModelRow, i: u32) -> Vec<Tensor> {
    let [d, ff] = [r.d, r.ff].map(u64::from);
    let down = if more_bits(i, r.layers) { Type::Q6_K } else { Type::Q4_K };
    let mut t = Vec::new();
    if r.arch != "gpt-oss" {
        t.push(vector("ffn_norm", r.d));
    }
    match r.experts {
        Some(e) if i >= e.leading_dense => t.extend(expert_layer(r, e, down)),
        _ if r.arch == "phi3" => {
            t.extend([matrix("ffn_up", Type::Q4_K, &[d, 2 * ff]), matrix("ffn_down", down, &[ff, d])]);
        }
        _ => {
            t.extend(["ffn_gate", "ffn_up"].map(|n| matrix(n, Type::Q4_K, &[d, ff])));
            t.push(matrix("ffn_down", down, &[ff, d]));
        }
    }
    t
}

fn expert_layer(r: &ModelRow, e: Experts, down: Type) -> Vec<Tensor> {
    let [d, n, ff] = [r.d, e.count, e.ff].map(u64::from);
    let oss = r.arch == "gpt-oss";
    let (plain, down) = if oss { (Type::MXFP4, Type::MXFP4) } else { (Type::Q4_K, down) };
    // The router is never quantised.
    let mut t = vec![Tensor::new("ffn_gate_inp.weight", Type::F32, &[d, n])];
    t.extend(["ffn_gate_exps", "ffn_up_exps"].map(|name| matrix(name, plain, &[d, ff, n])));
    t.push(matrix("ffn_down_exps", down, &[ff, d, n]));
    if e.shared > 0 {
        let shared = u64::from(e.shared) * ff;
        t.extend(["ffn_gate_shexp", "ffn_up_shexp"].map(|name| matrix(name, plain, &[d, shared])));
        t.push(matrix("ffn_down_shexp", down, &[shared, d]));
    }
    if oss {
        t.extend(["ffn_gate_exps", "ffn_up_exps"].map(|name| bias(name, &[ff, n])));
        t.extend([bias("ffn_down_exps", &[d, n]), bias("ffn_gate_inp", &[n])]);
    }
    t
}
