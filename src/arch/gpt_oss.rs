//! gpt-oss: a window on every second layer, attention sinks, YaRN, and a clamped gate. Experts have biases, and are
//! weighted by a softmax over the chosen ones.

use super::decoder::Decoder;
use super::hparams::Hparams;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Gate, Gating, Graph, Rope, RopeKind};

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let n = k.size("attention.sliding_window", i32::MAX as u32)?;
    let rope = k.positive("rope.freq_base_swa")?.map(|freq_base| Rope { freq_base, ..h.rope.clone() });
    let weight_scale = k.positive("expert_weights_scale")?.unwrap_or(1.0);
    let d = Decoder::new(h, RopeKind::Neox).windows(n, &k.local_layers(h.n_layer, 2)?, rope);
    let d = d.heads(|a| {
        a.scale = 1.0 / (a.head_dim as f32).sqrt();
        a.sinks = true;
    });
    let d = d.mixtures(|m| (m.gating, m.normalise, m.scale) = (Gating::SoftmaxOfChosen, false, weight_scale));
    Decoder { ffn_norm: "post_attention_norm", gate: Gate::SiluClamped { alpha: 1.702, limit: 7.0 }, ..d }.build(k, h)
}
