//! command-r, cohere2, cohere2moe and stablelm: LayerNorms, and a feed-forward block that stands beside attention and
//! reads its normed input. command-r and cohere2 scale logits. cohere2 has windows, but for every fourth layer, which
//! does not rotate. command-r's largest model norms each head's query and key, by weights of its own, and so do some
//! stablelm; a stablelm with a norm before the feed-forward block has the blocks one after the other.

use super::words::*;

pub(super) fn command_r(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    decoder(k, h, RopeKind::Norm)?.build(k, h)
}

pub(super) fn cohere2(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let local = k.local_layers(h.n_layer, Some(4))?;
    let d = decoder(k, h, RopeKind::Norm)?.windows(k.window()?, &local, k.local_rope(h)?);
    Decoder { factors_for_all: true, extras: ALL_SCALES, ..d.without_rope(|i| !local[i]) }.build(k, h)
}

pub(super) fn cohere2moe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let (local, n_lead) =
        (k.local_layers_after(h.n_layer, 4)?, k.u32("leading_dense_block_count")?.unwrap_or(0) as usize);
    let (routing, width, count) = (Routing::read(k, Gating::Sigmoid)?, shared_width(k)?, shared_count(k)?);
    let d = Decoder::new(h, RopeKind::Norm).mixtures(|m| {
        routing.apply(m);
        share(m, if count > 0 && width > 0 { width } else { m.n_ff.saturating_mul(count) });
        m.sum_scale = 0.5;
    });
    let rms = k.f32("attention.layer_norm_rms_epsilon")?.unwrap_or(0.0) != 0.0;
    let mut d = if rms { d } else { d.layer_norms(h) };
    d.norms.biases = false;
    let d = d.windows(k.window()?, &local, k.local_rope(h)?).without_rope(|i| !local[i] && i >= n_lead);
    let logit_scale = k.positive("logit_scale")?.unwrap_or(1.0);
    let extras = Extras { output_scale: false, ..ALL_SCALES };
    Decoder { parallel: true, ffn_norm: None, factors_for_all: true, logit_scale, extras, ..d }
        .leading_dense(k, h)?
        .build(k, h)
}

pub(super) fn stablelm(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let ffn_norm = k.file.tensor("blk.0.ffn_norm.weight").map(|_| "ffn_norm");
    Decoder { parallel: ffn_norm.is_none(), ffn_norm, ..decoder(k, h, RopeKind::Neox)? }.build(k, h)
}

fn decoder(k: &Keys<'_>, h: &Hparams, kind: RopeKind) -> Result<Decoder> {
    h.dense(k)?;
    let norms = k.file.tensor("blk.0.attn_q_norm.weight").map(|_| QkNorm::EachHead);
    let d = Decoder::new(h, kind).layer_norms(h).heads(|a| a.qk_norm = norms);
    let logit_scale = k.positive("logit_scale")?.unwrap_or(1.0);
    Ok(Decoder { parallel: true, ffn_norm: None, logit_scale, ..d })
}
