//! minimax-m2: queries and keys are normed over all heads together, and a part of each head turns. All layers have
//! experts.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let gating = gating(k, Gating::Sigmoid)?;
    let d = Decoder::new(h, RopeKind::Neox).heads(|a| a.qk_norm = Some(QkNorm::Row)).mixtures(|m| {
        (m.route.gating, m.n_ff) = (gating, h.first().n_ff);
    });
    d.build(k, h)
}
