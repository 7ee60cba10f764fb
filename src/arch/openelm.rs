//! openelm, deci and qwen: llama with Q, K and V in one matrix, or with layers that differ. openelm norms each head's
//! query and key, and its layers have heads and widths of their own; so do deci's, of which some have no attention.
//! qwen (1) counts gate and up of a feed-forward block together.

use super::words::*;

pub(super) fn openelm(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let d = Decoder::new(h, RopeKind::Neox).head_norms();
    Decoder { ignored: &["attn_qkv.scale"], ..d }.build(k, h)
}

pub(super) fn deci(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let mut d = Decoder::new(h, RopeKind::Norm);
    for (layer, sizes) in d.layers.iter_mut().zip(&h.layers) {
        match (sizes.n_ff, sizes.n_head, sizes.n_head_kv) {
            (0, 1.., _) => {
                let expected = "a width, or no heads either: a block is not left out alone";
                return Err(k.bad("feed_forward_length", 0, expected));
            }
            (0, 0, _) => (layer.mixer, layer.ffn) = (Mixer::None, FeedForward::None),
            (_, 1.., 0) => layer.mixer = Mixer::Linear,
            _ => {}
        }
    }
    d.build(k, h)
}

pub(super) fn qwen(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let mut d = Decoder::new(h, RopeKind::Neox);
    for layer in &mut d.layers {
        if let FeedForward::Dense(dense) = &mut layer.ffn {
            dense.n_ff /= 2;
        }
    }
    d.build(k, h)
}
