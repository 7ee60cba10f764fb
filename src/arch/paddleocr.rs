//! paddleocr (text): llama that rotates by halves, in sections.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let mut d = Decoder::new(h, RopeKind::Neox).dense(h, |_| true);
    d.ropes[0].sections = k.sections(false)?;
    d.build(k, h)
}
