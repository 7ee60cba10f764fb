//! hy_v3: norms of each head's query and key; experts are weighted by sigmoid, and joined by some that every token
//! uses.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let d = Decoder::new(h, RopeKind::Neox).head_norms().by_length();
    let d = d.routed(k, Gating::Sigmoid)?.shared_or_one(k)?;
    let has_router = |i: usize| k.file.tensor(&format!("blk.{i}.ffn_gate_inp.weight")).is_some();
    // A layer with experts does not read its dense block.
    let ignored = &["ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"];
    Decoder { extras: ALL_SCALES, ignored, ..d }.dense(h, |i| !has_router(i)).build(k, h)
}
