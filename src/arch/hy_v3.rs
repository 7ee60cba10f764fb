//! hy_v3: norms of each head's query and key; experts are weighted by sigmoid, and joined by some that every token
//! uses.

use super::decoder::{ALL_SCALES, Decoder};
use super::experts::{Routing, share, shared_width};
use super::hparams::Hparams;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Gating, Graph, QkNorm, RopeKind};

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let (routing, n_shared) = (Routing::read(k, Gating::Sigmoid)?, shared_width(k)?);
    let d = Decoder::new(h, RopeKind::Neox).heads(|a| {
        a.qk_norm = Some(QkNorm::Heads);
        a.scale = 1.0 / (a.key as f32).sqrt();
    });
    let d = d.mixtures(|m| {
        routing.apply(m);
        share(m, if n_shared > 0 { n_shared } else { m.n_ff });
    });
    let has_router = |i: usize| k.file.tensor(&format!("blk.{i}.ffn_gate_inp.weight")).is_some();
    // A layer with experts does not read its dense block.
    let ignored = &["ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"];
    Decoder { extras: ALL_SCALES, ignored, ..d }.dense(h, |i| !has_router(i)).build(k, h)
}
