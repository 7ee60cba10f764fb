//! gpt-oss: a window on every second layer, attention sinks, YaRN, and a clamped gate. Experts have biases, and are
//! weighted by a softmax over the chosen ones.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let (n, rope) = (k.window()?, k.local_rope(h)?);
    let weight_scale = k.positive("expert_weights_scale")?.unwrap_or(1.0);
    let d = Decoder::new(h, RopeKind::Neox).windows(n, &k.local_layers(h.n_layer, Some(2))?, rope);
    let d = d.heads(|a| {
        a.scale = 1.0 / (a.key as f32).sqrt();
        a.sinks = true;
    });
    let d = d.mixtures(|m| {
        (m.route.gating, m.route.normalise, m.route.scale) = (Gating::SoftmaxOfChosen, false, weight_scale)
    });
    let d = d.act(Act::Gated(Gate::SiluClamped { alpha: 1.702, limit: 7.0 }));
    Decoder { ffn_norm: Some("post_attention_norm"), ..d }.build(k, h)
}
