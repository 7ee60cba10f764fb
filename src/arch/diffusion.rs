//! dream, llada, llada-moe and rnd1: models that write by steps. Every token sees its whole text, and a host decodes
//! the text anew at each step: nothing is cached. Otherwise they are qwen2, llama, olmoe and qwen3moe.

use super::words::*;

pub(super) fn dream(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder { ignored: &["output.bias"], ..Decoder::new(h, RopeKind::Neox).encoder() }.build(k, h)
}

pub(super) fn llada(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let ignored = &["attn_output.bias", "ffn_gate.bias", "ffn_up.bias", "ffn_down.bias"];
    Decoder { ignored, ..Decoder::new(h, RopeKind::Norm).encoder() }.build(k, h)
}

pub(super) fn moe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let normalise = k.arch == "rnd1";
    let d = Decoder::new(h, RopeKind::Neox).head_norms().mixtures(|m| {
        m.route.normalise = normalise;
    });
    d.width_in_use(k, h)?.encoder().build(k, h)
}
