//! eurobert and neo-bert: llama with tokens that see the whole text. neo-bert pairs neighbours where it rotates, and
//! has fused matrices and a name of its own for the last norm.

use super::words::*;

pub(super) fn eurobert(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder::new(h, RopeKind::Neox).encoder().build(k, h)
}

pub(super) fn neo_bert(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let d = Decoder::new(h, RopeKind::Norm).encoder();
    Decoder { output_norm: Some("enc.output_norm"), ..d }.build(k, h)
}
