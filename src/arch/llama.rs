//! llama, and what shares its graph: Llama 1 to 3, Mistral 7B, SmolLM, TinyLlama, deepseek-r1:8b and :70b, …

use super::Hparams;
use crate::error::Result;
use crate::gguf::Gguf;
use crate::graph::{Builder, Graph, Heads, RopeKind};

pub(super) fn build(file: &Gguf, h: &Hparams) -> Result<Graph> {
    decoder(file, h, RopeKind::Norm)
}

/// Pre-norm decoder: x += attention(norm(x)); x += swiglu(norm(x)). Biases are added where the file has them.
pub(super) fn decoder(file: &Gguf, h: &Hparams, kind: RopeKind) -> Result<Graph> {
    let mut g = Builder::new(file, h.n_layer);
    let heads = Heads { n_head: h.n_head, n_head_kv: h.n_head_kv, head_dim: h.head_dim, scale: h.attention_scale };
    let mut rope = h.rope.clone();
    rope.factors = g.vector("rope_freqs.weight", rope.n_rot / 2)?;

    let mut x = g.embed(h.n_embd, h.n_vocab)?;
    let table = g.rope_table(rope, kind);
    for i in 0..h.n_layer {
        g.layer(i);
        let n = g.rms_norm(x, "attn_norm", h.rms_eps)?;
        let a = g.attention(n, table, heads)?;
        x = g.add(x, a, "attn_res");
        if i + 1 == h.n_layer {
            // Past the last attention, only rows whose logits were asked for matter.
            x = g.select_outputs(x);
        }
        let n = g.rms_norm(x, "ffn_norm", h.rms_eps)?;
        let f = g.swiglu(n, h.n_ff)?;
        x = g.add(x, f, "ffn_res");
    }
    g.finish(x, h.rms_eps, h.n_vocab)
}
