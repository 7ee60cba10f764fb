//! deepseek, bailingmoe and dots1: experts are joined by some that every token uses. But in bailingmoe the first layers
//! are dense. dots1 norms each head's query and key.

use super::decoder::Decoder;
use super::experts::{Routing, share, shared_count};
use super::hparams::Hparams;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Gating, Graph, QkNorm, RopeKind};

pub(super) fn deepseek(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let d = decoder(k, h, RopeKind::Norm)?.mixtures(|m| {
        (m.route.gating, m.route.normalise) = (Gating::Softmax, false);
    });
    d.leading_dense(k, h)?.build(k, h)
}

pub(super) fn bailingmoe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let d = decoder(k, h, RopeKind::Norm)?.heads(|a| a.scale = 1.0 / (a.key as f32).sqrt());
    d.mixtures(|m| m.route.gating = Gating::Softmax).build(k, h)
}

pub(super) fn dots1(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    decoder(k, h, RopeKind::Neox)?.heads(|a| a.qk_norm = Some(QkNorm::Heads)).leading_dense(k, h)?.build(k, h)
}

fn decoder(k: &Keys<'_>, h: &Hparams, kind: RopeKind) -> Result<Decoder> {
    h.equal_heads(k)?;
    let (routing, n_shared) = (Routing::read(k, Gating::Softmax)?, shared_count(k)?);
    let d = Decoder::new(h, kind).mixtures(|m| {
        routing.apply(m);
        share(m, m.n_ff.saturating_mul(n_shared));
    });
    Ok(d)
}
