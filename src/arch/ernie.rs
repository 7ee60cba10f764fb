//! ernie4_5, ernie4_5-moe and paddleocr: llama without the bias that files may have behind attention, which only
//! paddleocr adds. paddleocr (text) rotates by halves, in sections. In the mixtures every n-th layer behind the leading
//! dense ones has experts, which are joined by some that every token uses.

use super::decoder::Decoder;
use super::experts::{share, shared_width};
use super::hparams::{Hparams, MAX_WIDTH};
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Graph, RopeKind};

const IGNORED: &[&str] = &["attn_output.bias"];

pub(super) fn dense(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    // Files may count experts all the same.
    Decoder { ignored: IGNORED, ..Decoder::new(h, RopeKind::Norm) }.dense(h, |_| true).build(k, h)
}

pub(super) fn paddleocr(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let mut d = Decoder::new(h, RopeKind::Neox).dense(h, |_| true);
    d.ropes[0].sections = k.sections(false)?;
    d.build(k, h)
}

pub(super) fn moe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let step = k.size("interleave_moe_layer_step", MAX_WIDTH)? as usize;
    let n_shared = shared_width(k)?;
    let d = Decoder { ignored: IGNORED, ..Decoder::new(h, RopeKind::Norm) }.mixtures(|m| share(m, n_shared));
    d.dense(h, |i| (i + 1) % step != 0).leading_dense(k, h)?.build(k, h)
}
