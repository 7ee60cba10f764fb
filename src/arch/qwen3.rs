//! qwen3 and qwen3moe: norms of each head's query and key, and no biases. The mixtures weight their experts by a
//! softmax over all, and divide the weights of the chosen ones by their sum. deepseek-r1:8b (2025-05), qwen3:30b-a3b.
//! qwen3vl and qwen3vlmoe are their text parts, whose rotation has sections that take turns. Rerankers of the dense
//! ones score a text by a softmax.

use super::words::*;

pub(super) fn dense(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let mut d = Decoder { extras: ALL_SCALES, ..decoder(k, h)? };
    d.head.softmax = true;
    d.build(k, h)
}

pub(super) fn moe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    Decoder { extras: ALL_SCALES, ..decoder(k, h)? }.build(k, h)
}

pub(super) fn vl(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    vl_moe(k, h)
}

pub(super) fn vl_moe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let mut d = decoder(k, h)?;
    d.head.softmax = h.experts.is_none();
    d.ropes[0].sections = k.sections(true)?;
    d.build(k, h)
}

fn decoder(k: &Keys<'_>, h: &Hparams) -> Result<Decoder> {
    h.equal_heads(k)?;
    let d = Decoder::new(h, RopeKind::Neox).head_norms().by_length();
    d.width_in_use(k, h)
}
