//! granite, granitemoe, granite_swa, granitehybrid and minicpm: llama with constants on embeddings, residuals and
//! logits. The mixtures weight their experts by a softmax over the chosen ones. granite_swa has attention sinks,
//! windows and layers without rotation. granitehybrid has Mamba-2 in most layers.

use super::words::*;

pub(super) fn plain(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    has_logit_scale(k)?;
    h.equal_heads(k)?;
    let rotated = k.bool("rope.scaling.finetuned")?.unwrap_or(true);
    decoder(k, h)?.without_rope(|_| !rotated).build(k, h)
}

/// minicpm's files may lack the constants.
pub(super) fn minicpm(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let number = |key: &str, default: f32| k.positive(key).map(|x| x.unwrap_or(default));
    Decoder {
        embed_scale: number("embedding_scale", 12.0)?,
        residual_scale: number("residual_scale", 1.4 / (h.n_layer as f32).sqrt())?,
        logit_scale: 1.0 / number("logit_scale", 256.0 / h.n_embd as f32)?,
        ..decoder(k, h)?
    }
    .build(k, h)
}

pub(super) fn hybrid(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let rotated = k.bool("rope.scaling.finetuned")?.unwrap_or(true);
    let kind = Recurrent::Mamba2(Ssm::read(k)?.mamba2(k)?);
    decoder(k, h)?.without_rope(|_| !rotated).recurrent(kind).build(k, h)
}

pub(super) fn windowed(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    has_logit_scale(k)?;
    h.equal_heads(k)?;
    let local = k.local_layers(h.n_layer, None)?;
    let rotated = k.flags("attention.rope_pattern", h.layers.len())?.unwrap_or_else(|| vec![true; h.layers.len()]);
    let d = decoder(k, h)?.windows(k.window()?, &local, None).without_rope(|i| !rotated[i]);
    d.heads(|a| a.sinks = true).build(k, h)
}

/// Without Mamba layers a file names the scale of its logits.
fn has_logit_scale(k: &Keys<'_>) -> Result<()> {
    k.positive("logit_scale")?.map(|_| ()).ok_or_else(|| k.missing("logit_scale"))
}

/// The constants and experts.
pub(super) fn decoder(k: &Keys<'_>, h: &Hparams) -> Result<Decoder> {
    let d = Decoder::new(h, RopeKind::Norm).mixtures(|m| m.n_ff = h.first().n_ff).shared_by_width(k)?;
    let constant = |key| k.positive(key).map(|x| x.unwrap_or(1.0));
    Ok(Decoder {
        embed_scale: constant("embedding_scale")?,
        residual_scale: constant("residual_scale")?,
        logit_scale: 1.0 / constant("logit_scale")?,
        ..d
    })
}
