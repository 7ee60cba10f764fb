//! phi2: LayerNorms, a feed-forward block beside attention, GELU without a gate.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let d = Decoder::new(h, RopeKind::Neox).layer_norms(h).act(Act::Plain(Activation::Gelu));
    Decoder { ffn_norm: None, parallel: true, ..d }.build(k, h)
}
