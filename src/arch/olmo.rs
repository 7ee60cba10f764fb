//! olmo and olmoe. olmo's LayerNorms have no weights, and its queries, keys and values may have bounds. olmoe has
//! experts, whose weights are not divided by their sum, and norms queries and keys over all heads together.

use super::words::*;

pub(super) fn olmo(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let clamp = k.clamp()?;
    let d = Decoder::new(h, RopeKind::Norm).layer_norms(h).heads(|a| a.clamp = clamp);
    Decoder { norms: Norms { bare: true, ..d.norms }, ..d }.build(k, h)
}

pub(super) fn olmoe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let d = Decoder::new(h, RopeKind::Neox).heads(|a| a.qk_norm = Some(QkNorm::Row)).mixtures(|m| {
        (m.route.normalise, m.n_ff) = (false, h.first().n_ff);
    });
    d.build(k, h)
}
