//! llama, and models that share its graph: Llama 1 to 3, Mistral 7B, SmolLM, TinyLlama, Mixtral, deepseek-r1:8b and
//! :70b, … xverse and internlm2 have other names only; nanbeige's layers may run several times; exaone,
//! pangu-embedded and cogvlm (text) rotate by halves. So does seed_oss, which has another name for a norm; smollm3
//! leaves every fourth layer without rotation.

use super::decoder::{ALL_SCALES, Decoder};
use super::hparams::Hparams;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Extras, Graph, RopeKind};

pub(super) fn llama(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    Decoder { extras: ALL_SCALES, ..Decoder::new(h, RopeKind::Norm) }.build(k, h)
}

pub(super) fn dense(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder::new(h, RopeKind::Norm).build(k, h)
}

pub(super) fn nanbeige(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let key = "num_loops";
    let n_loops = k.in_range(key, k.u32(key)?.filter(|n| *n > 0).unwrap_or(1), 64)?;
    let loop_norm = !k.bool("skip_loop_final_norm")?.unwrap_or(false);
    let d = Decoder::new(h, RopeKind::Norm);
    Decoder { n_loops, loop_norm, extras: Extras { ffn_scales: true, ..d.extras }, ..d }.build(k, h)
}

pub(super) fn halves(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder::new(h, RopeKind::Neox).build(k, h)
}

pub(super) fn cogvlm(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    // Rows of images have matrices of their own.
    let ignored = &[
        "attn_qkv.scale",
        "attn_qkv.bias",
        "rope_freqs.weight",
        "vis_attn_qkv.weight",
        "vis_attn_output.weight",
        "vis_gate.weight",
        "vis_up.weight",
        "vis_down.weight",
    ];
    Decoder { ignored, rope_factors: false, ..Decoder::new(h, RopeKind::Neox) }.build(k, h)
}

pub(super) fn seed_oss(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder { ffn_norm: Some("post_attention_norm"), ..Decoder::new(h, RopeKind::Neox) }.build(k, h)
}

pub(super) fn smollm3(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder::new(h, RopeKind::Norm).without_rope(|i| i % 4 == 3).build(k, h)
}
