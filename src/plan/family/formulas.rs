//! Compute buffers by architecture: F if everything is on one GPU, P if some layers are elsewhere.
//!
//! The formulas are those of ollama37, change of 2025-11-06. All buffers are counted in float32, hence the factor 4.
//! 105/128 and 9/16 are the bytes per element of Q6_K and Q4_K: the formulas take it that weights of these types are
//! copied if only some layers are on GPUs.

use super::Shape;

/// F and P in bytes before the margin, for a batch of `batch` tokens, a context of `tokens` and a KV cache of `kv`
/// bytes.
pub(super) fn graph(s: &Shape, batch: u64, tokens: u64, kv: u64) -> (u64, u64) {
    // `Shape::read` bounds its numbers so that no product leaves 128 bits.
    let [b, c, kv] = [batch, tokens, kv].map(u128::from);
    let [d, h, hk, hd, v] = [s.n_embd, s.n_head, s.n_head_kv, s.head_dim_k, s.n_vocab].map(u128::from);
    // If the formulas just say head length, hd is the length of a key here. No published figure tells the two apart.
    let logits = 4 * b * (d + v);
    let output = 105 * d * v / 128;
    let scores = c * (1 + h);
    let (full, partial) = match s.architecture.as_str() {
        "llama" | "llama4" => {
            let full = (4 * b * (1 + 4 * d + scores)).max(logits);
            let partial = 4 * b * d
                + (4 * b * (1 + d + c.max(d)) + 9 * d * d / 16 + 4 * c * (b * h + hd * hk)).max(logits + output);
            match (s.expert_gate_bytes.map(u128::from), s.expert_gate_rows.map(u128::from)) {
                // All experts are in one tensor: Mixtral 8x22b.
                (Some(w), _) => {
                    let f = u128::from(s.n_ff);
                    let ffn = 3 * w + 4 * b * (2 * f + hk + d + c + hd * hk);
                    let attention = 4 * (c * b * h + c * hd * hk + 1024 * b + hd * hk * b);
                    (full, ffn.max(attention))
                }
                // Each expert has a tensor: Mixtral 8x7b.
                (None, Some(g)) => {
                    let ffn = 4 * b * (3 + hd * hk + d + scores + g) + 9 * (d * d + 3 * d * hk * g) / 16;
                    let attention = 4 * b * (1 + 2 * d + scores) + d * (6 * c * hk / h.max(1) + 9 * d / 16);
                    (4 * b * (2 + 3 * d + scores + 2 * hk + g), ffn.max(attention))
                }
                (None, None) => (full, partial),
            }
        }
        "mllama" => {
            let r = u128::from(s.n_rope_freqs);
            let full = (4 * b * (2 + 3 * d + hd * h + scores)).max(logits);
            (full, (4 * (b * (2 * d + 1 + scores + hd * h) + r + hd * c * hk)).max(logits + output))
        }
        "qwen2" => {
            let full = logits.max(4 * b * (1 + 2 * d + scores));
            (full, (logits + output).max(4 * (b * (1 + 2 * d + scores) + d * (1 + c))))
        }
        "gemma" | "gemma2" | "gemma3" | "gemma3n" => {
            let full = logits.max(4 * b * (2 + scores + 2 * d + 2 * hd * h));
            let attention = 4 * b * (2 * d + 1 + 2 * hd * h + scores) + 32 * hd * c + 9 * d * hd * h / 16;
            let partial = (4 * d * b + output + 4 * v * b).max(attention);
            let times = if s.architecture == "gemma3n" { 4 } else { 1 };
            (times * full, times * partial)
        }
        "command-r" => {
            let full = logits.max(4 * b * (2 + 4 * d + scores));
            (full, (logits + output).max(4 * b * (1 + 2 * d + scores) + 4 * d * c + 9 * d * d / 16))
        }
        "phi2" => {
            let full = logits.max(4 * b * (1 + 4 * d + scores));
            (full, (4 * b * (2 * d + v) + output).max(4 * b * (2 + 3 * d + scores)))
        }
        "stablelm" => {
            let full = 4 * b * (scores + 3 * d + 2);
            (full, full.max(4 * b * (v + 2 * d)))
        }
        "deepseek2" => {
            let (logits, scores) = (4 * b * (3 * d + v), c * (1 + hk));
            let full = logits.max(4 * b * (3 * d + 2 + scores + 2 * hd * hk));
            let attention = 4 * b * (2 * d + 1 + 2 * hd * hk + scores) + 4 * hd * c * hk + 9 * d * hd * hk / 16;
            (full, (logits + output).max(attention))
        }
        // If there is no fused QKV bias, only the logits count.
        "chatglm" => match s.n_qkv_bias.map(u128::from) {
            None => (logits, logits + output),
            Some(n) => {
                let full = logits.max(4 * b * (2 + 2 * d + scores + hd * h + n));
                let attention = 4 * b * (1 + 2 * d + hd * h + scores) + 8 * hd * c + 4 * n;
                (full, (logits + output).max(attention))
            }
        },
        "gptoss" | "gpt-oss" => {
            let partial = 2 * h / u128::from(s.n_head_kv_min.max(1)) * kv / 6;
            (partial, partial)
        }
        _ => {
            let partial = h / u128::from(s.n_head_kv_min.max(1)) * kv / 6;
            (partial, partial)
        }
    };
    (saturate(full), saturate(partial))
}

fn saturate(bytes: u128) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
