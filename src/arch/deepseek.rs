//! deepseek, bailingmoe and dots1: experts are joined by some that every token uses. But in bailingmoe the first layers
//! are dense. dots1 norms each head's query and key.

use super::words::*;

pub(super) fn deepseek(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let d = decoder(k, h, RopeKind::Norm)?.leading_dense(k, h)?;
    d.mixtures(|m| (m.route.gating, m.route.normalise) = (Gating::Softmax, false)).build(k, h)
}

pub(super) fn bailingmoe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let d = decoder(k, h, RopeKind::Norm)?.by_length();
    d.mixtures(|m| m.route.gating = Gating::Softmax).build(k, h)
}

pub(super) fn dots1(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    decoder(k, h, RopeKind::Neox)?.head_norms().leading_dense(k, h)?.build(k, h)
}

fn decoder(k: &Keys<'_>, h: &Hparams, kind: RopeKind) -> Result<Decoder> {
    h.equal_heads(k)?;
    Decoder::new(h, kind).routed(k, Gating::Softmax)?.shared_by_count(k)
}
