//! muse-glimmer: embeddings are normed without a weight, each element of attention's output is gated by a sigmoid, and
//! both blocks have norms before and behind them. Three layers of four have a window and rotate; the fourth sees all.

use super::words::*;

/// The epsilon of the norms behind the blocks. Files do not say it.
const POST_EPS: f32 = 1e-8;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let local = k.local_layers(h.n_layer, Some(4))?;
    let base = k.positive("rope.freq_base_swa")?.unwrap_or(h.rope.freq_base);
    let rope = Rope { freq_base: base, freq_scale: 1.0, ..h.rope.clone() };
    let d = Decoder::new(h, RopeKind::Norm).head_norms().gated().by_length();
    let d = d.windows(k.window()?, &local, Some(rope)).without_rope(|i| !local[i]);
    Decoder {
        embed_norm: true,
        post_norms: Some(Norms { eps: POST_EPS, ..d.norms }),
        logit_scale: k.positive("logit_scale")?.ok_or_else(|| k.missing("logit_scale"))?,
        logit_softcap: k.logit_softcap()?,
        ..d
    }
    .build(k, h)
}
