//! maincoder: llama with norms of each head's query and key behind the rotation.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder::new(h, RopeKind::Norm).head_norms().heads(|a| a.norm_rotated = true).build(k, h)
}
