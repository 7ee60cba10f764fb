//! bailingmoe2 (Ling 2, Ring 2): norms of each head's query and key, leading dense layers, and experts that are chosen
//! by groups and joined by some that every token uses.

use super::decoder::Decoder;
use super::experts::{Routing, share, shared_count, shared_width};
use super::hparams::Hparams;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Gating, Graph, QkNorm, RopeKind};

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let routing = Routing::read(k, Gating::Sigmoid)?;
    let (width, count) = (shared_width(k)?, shared_count(k)?);
    let d = Decoder::new(h, RopeKind::Neox).heads(|a| a.qk_norm = Some(QkNorm::Heads)).mixtures(|m| {
        routing.apply(m);
        share(m, if width > 0 { width } else { m.n_ff }.saturating_mul(count));
    });
    d.leading_dense(k, h)?.build(k, h)
}
