//! ernie4_5 and ernie4_5-moe: llama without the bias that files may have behind attention. In the mixtures every n-th
//! layer behind the leading dense ones has experts, which are joined by some that every token uses.

use super::words::*;

const IGNORED: &[&str] = &["attn_output.bias"];

pub(super) fn dense(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    // Files may count experts all the same.
    Decoder { ignored: IGNORED, ..Decoder::new(h, RopeKind::Norm) }.dense(h, |_| true).build(k, h)
}

pub(super) fn moe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let step = k.size("interleave_moe_layer_step", MAX_WIDTH)? as usize;
    let d = Decoder { ignored: IGNORED, ..Decoder::new(h, RopeKind::Norm) }.shared_by_width(k)?;
    d.dense(h, |i| (i + 1) % step != 0).leading_dense(k, h)?.build(k, h)
}
