//! plamo, plamo2 and plamo3. plamo2 has recurrent layers between those with attention. In plamo the feed-forward block
//! stands beside attention and reads its normed input. plamo3 has norms before and behind both blocks and of each
//! head's query and key, and windows but for every eighth layer.

use super::words::*;

pub(super) fn plamo(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder { parallel: true, ffn_norm: None, ..Decoder::new(h, RopeKind::Neox) }.build(k, h)
}

pub(super) fn plamo2(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let ssm = Ssm::read(k)?;
    ssm.heads(k)?;
    let Ssm { n_inner, n_state, dt_rank: n_head, n_taps } = ssm;
    let kind = Recurrent::Plamo(Plamo { n_inner, n_state, n_head, dt_rank: (h.n_embd / 16).max(64), n_taps });
    let d = Decoder::new(h, RopeKind::Neox).heads(|a| {
        a.qk_norm = Some(QkNorm::EachHead);
        a.scale = 1.0 / (a.value as f32).sqrt();
    });
    Decoder { post_norms: Some(d.norms), ignored: &["attn_qkv.scale"], ..d }.recurrent(kind).build(k, h)
}

pub(super) fn plamo3(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.all_attend(k)?;
    let mut d = Decoder::new(h, RopeKind::Neox).head_norms().by_length();
    if let Some(n) = k.u32("attention.sliding_window")?.filter(|n| *n > 0) {
        let base = k.positive("rope.freq_base_swa")?.unwrap_or(10000.0);
        let rope = crate::graph::Rope { freq_base: base, freq_scale: 1.0, ..h.rope.clone() };
        d = d.windows(n, &k.local_layers(h.n_layer, Some(8))?, Some(rope));
    }
    Decoder { post_norms: Some(d.norms), ignored: &["attn_qkv.scale"], ..d }.build(k, h)
}
