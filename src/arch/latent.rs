//! plm and minicpm3: latent attention whose cache holds the keys and values that it makes. plm has a squared ReLU and
//! no gate. minicpm3 has constants on embeddings, residuals and logits.

use super::decoder::{Decoder, Mixer};
use super::hparams::{Hparams, MAX_WIDTH};
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Act, Activation, Graph, Latent, RopeKind};

pub(super) fn plm(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    decoder(k, h, RopeKind::Norm, false)?.act(Act::Plain(Activation::ReluSquared)).build(k, h)
}

pub(super) fn minicpm3(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let d = decoder(k, h, RopeKind::Neox, true)?;
    let residual_scale = 1.4 / (h.n_layer as f32).sqrt();
    Decoder { embed_scale: 12.0, residual_scale, logit_scale: 256.0 / h.n_embd as f32, ..d }.build(k, h)
}

fn decoder(k: &Keys<'_>, h: &Hparams, kind: RopeKind, compresses: bool) -> Result<Decoder> {
    let size = |key: &str| k.size(key, MAX_WIDTH).map(|n| n as usize);
    let (n_head, key, value, n_rot) = (h.first().n_head, h.first().key, h.first().value, h.rope.n_rot);
    if key < n_rot {
        return Err(k.bad("rope.dimension_count", n_rot, &format!("at most the key length {key}")));
    }
    let kv_lora_rank = size("attention.kv_lora_rank")?;
    let q_lora_rank = if compresses { Some(size("attention.q_lora_rank")?) } else { None };
    if n_head.checked_mul(key + value + kv_lora_rank).is_none_or(|n| n > MAX_WIDTH as usize) {
        return Err(k.bad("attention.head_count", n_head, "heads that are not so many and so long"));
    }
    let (scale, rope, temperature) = (1.0 / (key as f32).sqrt(), Some(0), None);
    let latent = Latent { n_head, kv_lora_rank, q_lora_rank, key, value, scale, rope, n_rot, temperature };
    let mut d = Decoder::new(h, kind);
    d.layers.iter_mut().for_each(|layer| layer.mixer = Mixer::Latent(latent));
    Ok(d)
}
