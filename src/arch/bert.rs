//! bert, nomic-bert, nomic-bert-moe, jina-bert-v2 and jina-bert-v3: encoders whose sums are normed, by LayerNorms. bert
//! adds a row of a table of positions; the nomic ones and v3 rotate; v2 lets scores fall with distance. In
//! nomic-bert-moe every n-th feed-forward block is a mixture.

use super::words::*;

pub(super) fn bert(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    Decoder { embed_positions: true, ..encoder(k, h)?.without_rope(|_| true) }.build(k, h)
}

pub(super) fn nomic(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let d = encoder(k, h)?.act(Act::Gated(Activation::Silu.into()));
    Decoder { ignored: &["ffn_up.bias", "ffn_down.bias"], ..d }.build(k, h)
}

pub(super) fn nomic_moe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let every = k.u32("moe_every_n_layers")?.unwrap_or(0) as usize;
    let d = plain(k, h)?.dense(h, |i| every == 0 || i % every != 1);
    let scale = k.positive("expert_weights_scale")?.unwrap_or(1.0);
    d.mixtures(|m| (m.route.normalise, m.route.scale) = (false, scale)).build(k, h)
}

pub(super) fn jina_v2(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    // Later ones norm queries and keys, all heads together.
    let normed = k.file.tensor("blk.0.attn_q_norm.weight").is_some();
    let gate = k.file.tensor("blk.0.ffn_gate.weight").is_some();
    let up = k.file.tensor("blk.0.ffn_up.weight").map_or(0, |t| t.ne[1] as usize);
    let d = encoder(k, h)?.without_rope(|_| true).heads(|a| {
        a.alibi = Some(ALIBI);
        a.qk_norm = normed.then_some(QkNorm::Row);
    });
    let gated = gate || up != h.first().n_ff;
    (if gated { d.act(Act::Gated(Activation::Gelu.into())) } else { d }).build(k, h)
}

pub(super) fn jina_v3(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    encoder(k, h)?.build(k, h)
}

/// The spread of the slopes in jina-bert-v2. Files do not say it.
const ALIBI: f32 = 8.0;

/// An encoder without mixtures.
fn encoder(k: &Keys<'_>, h: &Hparams) -> Result<Decoder> {
    h.dense(k)?;
    plain(k, h)
}

fn plain(k: &Keys<'_>, h: &Hparams) -> Result<Decoder> {
    h.equal_heads(k)?;
    let d = Decoder::new(h, RopeKind::Neox).layer_norms(h).act(Act::Plain(Activation::Gelu)).encoder();
    Ok(Decoder {
        embed_bert: true,
        attn_norm: None,
        ffn_norm: None,
        output_norm: None,
        sum_norms: Some(["attn_output_norm", "layer_output_norm"]),
        ..d
    })
}
