//! olmo2: no norms before the blocks, but behind them; queries and keys are normed over all heads together. Olmo 3 has
//! windows but for every fourth layer; layers with a window rotate without YaRN.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let d = Decoder::new(h, RopeKind::Neox).heads(|a| {
        a.qk_norm = Some(QkNorm::Row);
        a.scale = 1.0 / (a.key as f32).sqrt();
    });
    let mut d = Decoder { attn_norm: None, ffn_norm: None, post_norms: Some(d.norms), ..d };
    if let Some(n) = k.u32("attention.sliding_window")?.filter(|n| *n > 0) {
        let plain = Rope { freq_scale: 1.0, attn_factor: 1.0, yarn: None, ..h.rope.clone() };
        d = d.windows(n, &k.local_layers(h.n_layer, Some(4))?, Some(plain));
    }
    d.build(k, h)
}
