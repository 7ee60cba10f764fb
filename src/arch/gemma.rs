//! gemma2 and gemma3: scaled embeddings, norms before and behind each block, GELU; a window on most layers. gemma2 caps scores and
//! logits and lets every second layer see all; gemma3 norms queries and keys, lets every sixth layer see all, and rotates the others
//! by a base of their own, unscaled.

use super::decoder::{Decoder, Window};
use super::{Hparams, Keys};
use crate::error::Result;
use crate::graph::{Gate, Graph, Rope, RopeKind};

/// What gemma2's files that do not say have.
const GEMMA2_WINDOW: u32 = 4096;
/// The 27b models scale scores by the embedding's share of a head instead of the head's length; files do not say it.
const GEMMA2_27B_LAYERS: u32 = 46;
const GEMMA3_27B_LAYERS: u32 = 62;

fn scale(h: &Hparams, layers_of_27b: u32) -> f32 {
    let n = if h.n_layer == layers_of_27b { h.n_embd / h.n_head } else { h.head_dim };
    1.0 / (n as f32).sqrt()
}

fn common(h: &Hparams) -> Decoder {
    Decoder {
        embed_scale: (h.n_embd as f32).sqrt(),
        post_norms: true,
        gate: Gate::Gelu,
        ..Decoder::new(h, RopeKind::Neox)
    }
}

pub(super) fn gemma2(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let n = k.u32("attention.sliding_window")?.filter(|n| *n > 0).unwrap_or(GEMMA2_WINDOW);
    let rope = k.positive("rope.freq_base_swa")?.map(|freq_base| Rope { freq_base, ..h.rope.clone() });
    Decoder {
        scale: scale(h, GEMMA2_27B_LAYERS),
        window: Some(Window { n, local: k.local_layers(h.n_layer, 2)?, rope }),
        attention_softcap: Some(k.positive("attn_logit_softcapping")?.unwrap_or(50.0)),
        logit_softcap: Some(k.positive("final_logit_softcapping")?.unwrap_or(30.0)),
        ..common(h)
    }
    .build(k, h)
}

pub(super) fn gemma3(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let mut d = Decoder {
        qk_norm: true,
        scale: scale(h, GEMMA3_27B_LAYERS),
        logit_softcap: k.positive("final_logit_softcapping")?,
        ..common(h)
    };
    // Ollama's files name both bases.
    if let Some(base) = k.positive("rope.global.freq_base")? {
        d.rope.freq_base = base;
    } else if k.f32("rope.freq_base")?.is_none() {
        d.rope.freq_base = 1e6;
    }
    if let Some(n) = k.u32("attention.sliding_window")?.filter(|n| *n > 0) {
        let base = k.positive("rope.local.freq_base")?.or(k.positive("rope.freq_base_swa")?).unwrap_or(10000.0);
        let rope = Rope { freq_base: base, freq_scale: 1.0, ..d.rope.clone() };
        d.window = Some(Window { n, local: k.local_layers(h.n_layer, 6)?, rope: Some(rope) });
    }
    d.build(k, h)
}
