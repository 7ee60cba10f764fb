//! qwen2: llama with biases on Q, K and V, and rotation by halves. deepseek-r1:1.5b, :7b, :14b, :32b. qwen2vl is its
//! text part, whose rotation has sections; the reference leaves a bias of the output out.

use super::words::*;

pub(super) fn plain(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder::new(h, RopeKind::Neox).build(k, h)
}

pub(super) fn vl(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let mut d = Decoder::new(h, RopeKind::Neox);
    d.ropes[0].sections = k.sections(false)?;
    d.ignored = &["output.bias"];
    d.build(k, h)
}
