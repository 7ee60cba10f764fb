//! talkie: norms without weights, also of embeddings and behind the rotation, where each head of queries has a number
//! of its own; the embedding comes in again in every layer.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let d = Decoder::new(h, RopeKind::Neox).heads(|a| {
        (a.qk_norm, a.norm_rotated) = (Some(QkNorm::ScaledQueries), true);
        a.scale = 1.0 / (a.key as f32).sqrt();
    });
    Decoder {
        norms: Norms { bare: true, ..d.norms },
        embed_norm: true,
        embed_skips: true,
        logit_scale: k.positive("logit_scale")?.ok_or_else(|| k.missing("logit_scale"))?,
        extras: Extras { ffn_scales: true, output_scale: false, ..d.extras },
        ignored: &["ffn_gate.scale", "ffn_up.scale"],
        ..d
    }
    .build(k, h)
}
