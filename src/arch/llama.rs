//! llama, and models that share its graph: Llama 1 to 3, Mistral 7B, SmolLM, TinyLlama, Mixtral, deepseek-r1:8b and
//! :70b, … xverse and internlm2 have other names only; exaone and pangu-embedded rotate by halves. So does seed_oss,
//! which has another name for a norm; smollm3 leaves every fourth layer without rotation.

use super::words::*;

pub(super) fn llama(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    Decoder { extras: ALL_SCALES, ..Decoder::new(h, RopeKind::Norm) }.build(k, h)
}

pub(super) fn dense(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder::new(h, RopeKind::Norm).build(k, h)
}

pub(super) fn halves(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder::new(h, RopeKind::Neox).build(k, h)
}

pub(super) fn seed_oss(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder { ffn_norm: Some("post_attention_norm"), ..Decoder::new(h, RopeKind::Neox) }.build(k, h)
}

pub(super) fn smollm3(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder::new(h, RopeKind::Norm).without_rope(|i| i % 4 == 3).build(k, h)
}
