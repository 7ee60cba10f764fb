//! bailingmoe2 (Ling 2, Ring 2): norms of each head's query and key, leading dense layers, and experts that are chosen
//! by groups and joined by some that every token uses.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let (width, count) = (shared_width(k)?, shared_count(k)?);
    let d = Decoder::new(h, RopeKind::Neox).head_norms().routed(k, Gating::Sigmoid)?;
    let d = d.mixtures(|m| share(m, if width > 0 { width } else { m.n_ff }.saturating_mul(count)));
    d.leading_dense(k, h)?.build(k, h)
}
