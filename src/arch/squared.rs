//! arcee, nemotron and jais2: llama whose feed-forward block has a squared ReLU and no gate. nemotron and jais2 have
//! LayerNorms and rotate by halves.

use super::words::*;

const ACT: Act = Act::Plain(Activation::ReluSquared);

pub(super) fn arcee(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder::new(h, RopeKind::Norm).act(ACT).build(k, h)
}

pub(super) fn nemotron(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder::new(h, RopeKind::Neox).layer_norms(h).act(ACT).build(k, h)
}
