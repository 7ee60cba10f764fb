//! phi3: fused Q, K, V and fused gate and up; for long contexts, divisors of the rotation's frequencies that depend on how long the
//! KV cache is.

use super::decoder::Decoder;
use super::{Hparams, Keys};
use crate::error::Result;
use crate::graph::{Graph, RopeKind};

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    Decoder { scale: 1.0 / (h.head_dim as f32).sqrt(), ..Decoder::new(h, RopeKind::Neox) }.build(k, h)
}
