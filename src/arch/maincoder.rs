//! maincoder: llama with norms of each head's query and key behind the rotation.

use super::decoder::Decoder;
use super::hparams::Hparams;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Graph, QkNorm, RopeKind};

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder::new(h, RopeKind::Norm).heads(|a| (a.qk_norm, a.norm_rotated) = (Some(QkNorm::Heads), true)).build(k, h)
}
