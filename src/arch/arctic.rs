//! arctic, dbrx and grok: large mixtures. In arctic a dense block is followed by experts that read the layer's input.
//! dbrx has LayerNorms without biases, and bounds of queries, keys and values. grok limits scores, has norms behind
//! both blocks, and may have a dense block beside the experts.

use super::words::*;

pub(super) fn arctic(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let mut d = Decoder::new(h, RopeKind::Norm).mixtures(|m| m.n_ff = h.first().n_ff);
    for layer in &mut d.layers {
        if let FeedForward::Mixture(m) = layer.ffn {
            layer.ffn = FeedForward::DenseAndEarly(Dense { n_ff: h.n_embd, act: m.act }, m);
        }
    }
    d.build(k, h)
}

pub(super) fn dbrx(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let clamp = k.clamp()?;
    let d = Decoder::new(h, RopeKind::Neox).layer_norms(h).heads(|a| a.clamp = clamp);
    let d = d.mixtures(|m| m.n_ff = h.first().n_ff);
    Decoder { norms: Norms { biases: false, ..d.norms }, ffn_norm: Some("attn_output_norm"), ..d }.build(k, h)
}

pub(super) fn grok(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let number = |key: &str, default: f32| k.positive(key).map(|x| x.unwrap_or(default));
    let cap = number("attn_logit_softcapping", 30.0)?;
    let scale = number("attention.output_scale", 0.088_388_35)?;
    let has = |role: &str| k.file.tensor(&format!("blk.0.{role}.weight")).is_some();
    let dense = has("ffn_up").then(|| Shared {
        dense: Dense { n_ff: h.first().n_ff, act: Act::Gated(Activation::Gelu.into()) },
        gated: false,
        names: ["ffn_gate", "ffn_up", "ffn_down"],
    });
    let d = Decoder::new(h, RopeKind::Neox).act(Act::Gated(Activation::Gelu.into()));
    let d = d.heads(|a| (a.scale, a.softcap) = (scale, Some(cap))).mixtures(|m| {
        (m.shared, m.sum_scale) = (dense, std::f32::consts::FRAC_1_SQRT_2);
    });
    let behind = if has("layer_output_norm") { "layer_output_norm" } else { "post_ffw_norm" };
    Decoder {
        embed_scale: number("embedding_scale", 78.383_67)?,
        logit_scale: number("logit_scale", 0.577_350_26)?,
        logit_softcap: k.positive("final_logit_softcapping")?,
        post_norms: Some(d.norms),
        post_names: ["attn_output_norm", behind],
        ..d
    }
    .build(k, h)
}
