//! gpt-oss: a window on every second layer, attention sinks, YaRN; experts with biases, weighted by a softmax over those chosen, and a
//! clamped gate.

use super::decoder::{Decoder, Mixture, Window};
use super::{Hparams, Keys};
use crate::error::Result;
use crate::graph::{Gate, Gating, Graph, Rope, RopeKind};

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let n = k.size("attention.sliding_window", i32::MAX as u32)?;
    let rope = k.positive("rope.freq_base_swa")?.map(|freq_base| Rope { freq_base, ..h.rope.clone() });
    Decoder {
        scale: 1.0 / (h.head_dim as f32).sqrt(),
        window: Some(Window { n, local: k.local_layers(h.n_layer, 2)?, rope }),
        sinks: true,
        ffn_norm: "post_attention_norm",
        gate: Gate::SiluClamped { alpha: 1.702, limit: 7.0 },
        mixture: Mixture {
            gating: Gating::SoftmaxOfChosen,
            normalise: false,
            scale: k.positive("expert_weights_scale")?.unwrap_or(1.0),
            ..Mixture::default()
        },
        ..Decoder::new(h, RopeKind::Neox)
    }
    .build(k, h)
}
