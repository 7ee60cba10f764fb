//! phi3: Q, K and V are one matrix, and so are gate and up. Frequencies of the rotation have divisors, one set for
//! short KV caches and one for long ones.

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
