//! phi3: fused Q, K, V and fused gate and up; for long contexts, divisors of the rotation's frequencies that depend on
//! how long the KV cache is.

use super::decoder::Decoder;
use super::hparams::Hparams;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Graph, RopeKind};

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let d = Decoder::new(h, RopeKind::Neox).heads(|a| a.scale = 1.0 / (a.head_dim as f32).sqrt());
    d.build(k, h)
}
