//! phi3 and phimoe. In phi3 Q, K and V are one matrix, and so are gate and up; frequencies of the rotation have
//! divisors, one set for short KV caches and one for long ones. phimoe has experts instead, and biases everywhere.

use super::words::*;

pub(super) fn phi3(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    decoder(k, h)?.build(k, h)
}

pub(super) fn phimoe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let mut d = decoder(k, h)?.mixtures(|m| m.n_ff = h.first().n_ff);
    d.norms.biases = true;
    d.build(k, h)
}

fn decoder(k: &Keys<'_>, h: &Hparams) -> Result<Decoder> {
    h.equal_heads(k)?;
    Ok(Decoder::new(h, RopeKind::Neox).by_length())
}
