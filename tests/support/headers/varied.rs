//! Keys and tensors of models whose layers are of several kinds.

use rekindle::quant::Type;

use super::rows::{Experts, ModelRow};
use super::types::q4_k_m;
use super::writer::{Header, Tensor};

/// Tokens that the convolution before a recurrent state sees.
const TAPS: u64 = 4;
/// The same of lfm2's.
const SHORT_TAPS: u64 = 3;

pub(super) fn keys(h: &mut Header, r: &ModelRow) {
    let key = |name: &str| format!("{}.{name}", r.arch);
    let per_layer = |n: fn(&ModelRow, u32) -> u32| (0..r.layers).map(|i| n(r, i) as i32).collect::<Vec<i32>>();
    h.key(key("block_count"), r.layers);
    h.key(key("context_length"), r.context);
    h.key(key("embedding_length"), r.d);
    match r.arch {
        "qwen35moe" => {}
        "nemotron_h_moe" => {
            let widths = |r: &ModelRow, i| if r.kind(i) == b'F' { r.experts.map_or(r.ff, |e| e.ff) } else { 0 };
            h.key(key("feed_forward_length"), per_layer(widths));
        }
        _ => h.key(key("feed_forward_length"), r.ff),
    }
    h.key(key("attention.head_count"), r.heads);
    match r.arch {
        "qwen35" | "qwen35moe" => h.key(key("attention.head_count_kv"), r.heads_kv),
        _ if r.gemma4.is_some_and(|g| g.heads_kv == r.heads_kv) => h.key(key("attention.head_count_kv"), r.heads_kv),
        _ => h.key(key("attention.head_count_kv"), per_layer(|r, i| heads(r, i).1)),
    }
    h.key(key("attention.layer_norm_rms_epsilon"), r.rms_eps);
    h.key(key("rope.freq_base"), r.rope_base);
    if let Some(e) = r.experts {
        h.key(key("expert_count"), e.count);
        h.key(key("expert_used_count"), e.used);
        if r.arch != "granitehybrid" {
            h.key(key("expert_feed_forward_length"), e.ff);
        }
        if e.shared > 0 {
            h.key(key("expert_shared_feed_forward_length"), e.shared * e.ff);
        }
    }
    if let Some(s) = r.ssm {
        h.key(key("ssm.conv_kernel"), TAPS as u32);
        h.key(key("ssm.state_size"), s.state);
        h.key(key("ssm.group_count"), s.groups);
        h.key(key("ssm.time_step_rank"), s.heads);
        h.key(key("ssm.inner_size"), s.inner);
    }
    own_keys(h, r, &key);
}

/// Keys that one architecture alone has.
fn own_keys(h: &mut Header, r: &ModelRow, key: &dyn Fn(&str) -> String) {
    match r.arch {
        "qwen35" | "qwen35moe" => {
            h.key(key("attention.key_length"), r.head_dim);
            h.key(key("attention.value_length"), r.head_dim);
            h.key(key("full_attention_interval"), r.pattern.len() as u32);
            h.key(key("rope.dimension_count"), r.head_dim / 4);
            h.key(key("rope.dimension_sections"), vec![11i32, 11, 10, 0]);
        }
        "gemma4" => {
            let g = r.gemma4.unwrap();
            h.key(key("attention.key_length"), g.head_dim);
            h.key(key("attention.value_length"), g.head_dim);
            h.key(key("attention.key_length_swa"), r.head_dim);
            h.key(key("attention.value_length_swa"), r.head_dim);
            h.key(key("attention.shared_kv_layers"), g.shared_caches);
            h.key(key("attention.sliding_window"), r.window.unwrap());
            let local: Vec<bool> = (0..r.layers).map(|i| r.kind(i) == b'W').collect();
            h.key(key("attention.sliding_window_pattern"), local);
            h.key(key("embedding_length_per_layer_input"), g.per_layer);
            h.key(key("final_logit_softcapping"), 30f32);
            h.key(key("rope.dimension_count"), g.head_dim);
            h.key(key("rope.dimension_count_swa"), r.head_dim);
            h.key(key("rope.freq_base_swa"), 1e4f32);
        }
        "nemotron_h_moe" => {
            h.key(key("vocab_size"), r.vocab);
            h.key(key("attention.key_length"), r.head_dim);
            h.key(key("attention.value_length"), r.head_dim);
            h.key(key("attention.layer_norm_epsilon"), r.rms_eps);
            h.key(key("rope.dimension_count"), r.d / r.heads);
            h.key(key("rope.scaling.finetuned"), false);
            h.key(key("expert_shared_count"), 1u32);
            h.key(key("expert_group_count"), 1u32);
            h.key(key("expert_group_used_count"), 1u32);
            h.key(key("expert_weights_norm"), true);
            h.key(key("expert_weights_scale"), 2.5f32);
        }
        "lfm2moe" => {
            h.key(key("vocab_size"), r.vocab);
            h.key(key("shortconv.l_cache"), SHORT_TAPS as u32);
            h.key(key("leading_dense_block_count"), r.experts.unwrap().leading_dense);
            // A sigmoid.
            h.key(key("expert_gating_func"), 2u32);
        }
        // The scales are those of the family's other models of this width; they change no size.
        "granitehybrid" => {
            h.key(key("attention.scale"), 1.0 / r.head_dim as f32);
            h.key(key("embedding_scale"), 12f32);
            h.key(key("residual_scale"), 0.22f32);
            h.key(key("logit_scale"), 16f32);
            h.key(key("vocab_size"), r.vocab);
            h.key(key("rope.dimension_count"), r.head_dim);
            h.key(key("rope.scaling.finetuned"), false);
        }
        other => panic!("no keys for {other}"),
    }
}

/// Length of a head and heads of keys in a layer; no heads where none attend.
fn heads(r: &ModelRow, i: u32) -> (u32, u32) {
    match (r.kind(i), r.gemma4) {
        (b'A', Some(g)) => (g.head_dim, g.heads_kv),
        (b'A' | b'W', _) => (r.head_dim, r.heads_kv),
        _ => (r.head_dim, 0),
    }
}

/// All are F32 until the quantiser's rule has seen their names.
fn weight(name: &str, shape: &[u64]) -> Tensor {
    Tensor::new(format!("{name}.weight"), Type::F32, shape)
}

fn plain(name: &str, shape: &[u64]) -> Tensor {
    Tensor::new(name, Type::F32, shape)
}

pub(super) fn tensors(r: &ModelRow) -> Vec<Tensor> {
    let (d, vocab) = (u64::from(r.d), u64::from(r.vocab));
    let mut all = Vec::new();
    if !r.tied {
        all.push(weight("output", &[d, vocab]));
    }
    // lfm2's norm of the output has another name.
    all.push(weight(if r.arch == "lfm2moe" { "token_embd_norm" } else { "output_norm" }, &[d]));
    if let Some(g) = r.gemma4 {
        all.push(weight("rope_freqs", &[u64::from(g.head_dim) / 2]));
        if g.per_layer > 0 {
            let of_all = u64::from(g.per_layer * r.layers);
            all.push(Tensor::new("per_layer_model_proj.weight", Type::BF16, &[d, of_all]));
            all.push(weight("per_layer_proj_norm", &[g.per_layer.into()]));
            all.push(weight("per_layer_token_embd", &[of_all, vocab]));
        }
    }
    all.push(weight("token_embd", &[d, vocab]));
    for i in 0..r.layers {
        let mut layer = match r.kind(i) {
            b'R' => recurrent(r),
            b'F' => Vec::new(),
            _ => attention(r, i),
        };
        layer.push(weight("attn_norm", &[d]));
        if r.arch != "nemotron_h_moe" || r.kind(i) == b'F' {
            layer.extend(feed_forward(r, i));
        }
        layer.sort_by(|a, b| a.name.cmp(&b.name));
        all.extend(layer.into_iter().map(|t| Tensor { name: format!("blk.{i}.{}", t.name), ..t }));
    }
    q4_k_m(&mut all, r.layers);
    all
}

fn attention(r: &ModelRow, i: u32) -> Vec<Tensor> {
    let (head, heads_kv) = heads(r, i);
    let [d, head, q, kv] = [r.d, head, r.heads * head, heads_kv * head].map(u64::from);
    let qwen = r.arch.starts_with("qwen35");
    let mut t = vec![
        // Queries of qwen3.5 bring a gate of the same length.
        weight("attn_q", &[d, if qwen { 2 * q } else { q }]),
        weight("attn_k", &[d, kv]),
        weight("attn_output", &[q, d]),
    ];
    if r.kind(i) == b'W' || r.gemma4.is_none_or(|g| g.values) {
        t.push(weight("attn_v", &[d, kv]));
    }
    if !matches!(r.arch, "nemotron_h_moe" | "granitehybrid") {
        t.extend(["attn_q_norm", "attn_k_norm"].map(|n| weight(n, &[head])));
    }
    t
}

fn recurrent(r: &ModelRow) -> Vec<Tensor> {
    let d = u64::from(r.d);
    let Some(s) = r.ssm else {
        return vec![
            weight("shortconv.conv", &[SHORT_TAPS, d]),
            weight("shortconv.in_proj", &[d, 3 * d]),
            weight("shortconv.out_proj", &[d, d]),
        ];
    };
    let [inner, heads, groups, state] = [s.inner, s.heads, s.groups, s.state].map(u64::from);
    // The columns of the convolution: values, and keys and queries of each group.
    let convolved = inner + 2 * groups * state;
    let mut t =
        vec![weight("ssm_conv1d", &[TAPS, convolved]), plain("ssm_dt.bias", &[heads]), weight("ssm_out", &[inner, d])];
    if r.arch.starts_with("qwen35") {
        t.extend(["ssm_alpha", "ssm_beta"].map(|n| weight(n, &[d, heads])));
        t.extend([weight("attn_qkv", &[d, convolved]), weight("attn_gate", &[d, inner])]);
        t.extend([plain("ssm_a", &[heads]), weight("ssm_norm", &[inner / heads])]);
    } else {
        t.extend([plain("ssm_a", &[1, heads]), plain("ssm_d", &[1, heads])]);
        t.extend([weight("ssm_in", &[d, inner + convolved + heads]), plain("ssm_conv1d.bias", &[convolved])]);
        t.push(weight("ssm_norm", &[inner / groups, groups]));
    }
    t
}

fn feed_forward(r: &ModelRow, i: u32) -> Vec<Tensor> {
    let [d, ff] = [r.d, r.ff].map(u64::from);
    let experts = r.experts.filter(|e| i >= e.leading_dense);
    let mut t = Vec::new();
    if experts.is_none() || r.gemma4.is_some() {
        t.extend(["ffn_gate", "ffn_up"].map(|n| weight(n, &[d, ff])));
        t.push(weight("ffn_down", &[ff, d]));
    }
    t.extend(experts.into_iter().flat_map(|e| expert_layer(r, e)));
    match r.arch {
        "qwen35" | "qwen35moe" => t.push(weight("post_attention_norm", &[d])),
        // Its one norm stands before whatever a layer is.
        "nemotron_h_moe" => {}
        _ => t.push(weight("ffn_norm", &[d])),
    }
    if let Some(g) = r.gemma4 {
        t.extend(["post_attention_norm", "post_ffw_norm"].map(|n| weight(n, &[d])));
        t.push(weight("layer_output_scale", &[1]));
        if g.per_layer > 0 {
            let own = u64::from(g.per_layer);
            t.extend([weight("inp_gate", &[d, own]), weight("proj", &[own, d]), weight("post_norm", &[d])]);
        }
    }
    t
}

fn expert_layer(r: &ModelRow, e: Experts) -> Vec<Tensor> {
    let [d, n, ff, shared] = [r.d, e.count, e.ff, e.shared * e.ff].map(u64::from);
    let gated = r.arch != "nemotron_h_moe";
    let mut t = vec![weight("ffn_gate_inp", &[d, n]), weight("ffn_down_exps", &[ff, d, n])];
    if r.gemma4.is_some() {
        t.push(weight("ffn_gate_up_exps", &[d, 2 * ff, n]));
        t.extend([plain("ffn_gate_inp.scale", &[d]), plain("ffn_down_exps.scale", &[n])]);
        t.extend(["pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"].map(|n| weight(n, &[d])));
        return t;
    }
    let projections = |kind: &str, width: &[u64]| {
        let names = if gated { &["ffn_gate", "ffn_up"][..] } else { &["ffn_up"] };
        names.iter().map(|name| weight(&format!("{name}_{kind}"), width)).collect::<Vec<_>>()
    };
    t.extend(projections("exps", &[d, ff, n]));
    if shared > 0 {
        t.extend(projections("shexp", &[d, shared]));
        t.push(weight("ffn_down_shexp", &[shared, d]));
    }
    match r.arch {
        "qwen35moe" => t.push(weight("ffn_gate_inp_shexp", &[d])),
        "nemotron_h_moe" | "lfm2moe" => t.push(plain("exp_probs_b.bias", &[n])),
        _ => {}
    }
    t
}
