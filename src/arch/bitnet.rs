//! bitnet: norms of attention's result and of the feed-forward block's middle; scales stand beside ternary matrices,
//! and logits are products with the token embedding.

use super::decoder::{ALL_SCALES, Decoder};
use super::hparams::Hparams;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Graph, RopeKind};

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder { scales: ALL_SCALES, ..Decoder::new(h, RopeKind::Neox) }.build(k, h)
}
