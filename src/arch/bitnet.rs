//! bitnet: norms of attention's result and of the feed-forward block's middle; scales stand beside ternary matrices,
//! and logits are products with the token embedding.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let extras = Extras { sub_norms: true, ..ALL_SCALES };
    Decoder { extras, ..Decoder::new(h, RopeKind::Neox) }.build(k, h)
}
