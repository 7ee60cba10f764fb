//! phi2, phi3 and phimoe. In phi3 Q, K and V are one matrix, and so are gate and up; frequencies of the rotation have
//! divisors, one set for short KV caches and one for long ones. phimoe has experts instead, and biases everywhere. phi2
//! is older: LayerNorms, a feed-forward block beside attention, GELU without a gate.

use super::decoder::Decoder;
use super::hparams::Hparams;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Act, Activation, Graph, RopeKind};

pub(super) fn phi2(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let d = Decoder::new(h, RopeKind::Neox).layer_norms(h).act(Act::Plain(Activation::Gelu));
    Decoder { ffn_norm: None, parallel: true, ..d }.build(k, h)
}

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
    Ok(Decoder::new(h, RopeKind::Neox).heads(|a| a.scale = 1.0 / (a.key as f32).sqrt()))
}
