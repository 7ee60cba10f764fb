//! gemma-embedding: gemma3 as an encoder. Layers see half a window to either side, but for every sixth. Two more
//! matrices (dense_2, dense_3) may stand behind the text's row.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let d = Decoder::new(h, RopeKind::Neox).act(Act::Gated(Activation::Gelu.into())).encoder();
    let d = Decoder { embed_scale: (h.n_embd as f32).sqrt(), post_norms: Some(d.norms), ..d };
    let d = d.windows(k.window()?, &k.local_layers(h.n_layer, Some(6))?, k.local_rope(h)?);
    d.head_norms().by_length().build(k, h)
}
