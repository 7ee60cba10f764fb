//! gpt2, starcoder, gptneox, codeshell, starcoder2, falcon and orion: LayerNorms and GELU without a gate. gpt2 and
//! starcoder add a row of a table of positions to embeddings instead of rotating; orion has a gate by SiLU after all.
//! In falcon, and in gptneox if the file says so, the feed-forward block stands beside attention and reads the layer's
//! input.

use super::words::*;

pub(super) fn gpt2(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    Decoder { embed_positions: true, ..decoder(k, h)?.without_rope(|_| true) }.build(k, h)
}

pub(super) fn orion(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    decoder(k, h)?.act(Act::Gated(Activation::Silu.into())).build(k, h)
}

pub(super) fn gptneox(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let key = "use_parallel_residual";
    let parallel = k.bool(key)?.ok_or_else(|| k.missing(key))?;
    Decoder { parallel, ..decoder(k, h)? }.build(k, h)
}

pub(super) fn starcoder2(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    decoder(k, h)?.build(k, h)
}

/// pockettts: the text part of a voice, with pairs of neighbours that turn.
pub(super) fn pockettts(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    Decoder { rope_kind: RopeKind::Norm, ..decoder(k, h)? }.build(k, h)
}

pub(super) fn falcon(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    // The large models have a norm for each block.
    let two = k.file.tensor("blk.0.attn_norm_2.weight").is_some();
    let (attn_norm, ffn_norm) = if two { ("attn_norm_2", Some("attn_norm")) } else { ("attn_norm", None) };
    Decoder { parallel: true, attn_norm: Some(attn_norm), ffn_norm, ..decoder(k, h)? }.build(k, h)
}

fn decoder(k: &Keys<'_>, h: &Hparams) -> Result<Decoder> {
    h.dense(k)?;
    Ok(Decoder::new(h, RopeKind::Neox).layer_norms(h).act(Act::Plain(Activation::Gelu)))
}
