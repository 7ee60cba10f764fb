//! exaone4 and exaone-moe: each head's query and key is normed. Every fourth layer sees all and does not rotate, the
//! others have a window; but small exaone4 models have no windows, and rotate everywhere. exaone4 has norms behind the
//! blocks only. exaone-moe has experts behind its leading dense layers.

use super::words::*;

/// Files do not tell the 32B model, which has windows, from others; this number of layers does. Its window, if the file
/// does not say it.
const LAYERS_OF_32B: u32 = 64;
const WINDOW_OF_32B: u32 = 4096;

pub(super) fn exaone4(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let mut d = decoder(h);
    if h.n_layer == LAYERS_OF_32B {
        let n = k.u32("attention.sliding_window")?.filter(|n| *n > 0).unwrap_or(WINDOW_OF_32B);
        d = with_windows(k, h, d, n)?;
    }
    Decoder { attn_norm: None, ffn_norm: None, post_norms: Some(d.norms), ..d }.build(k, h)
}

pub(super) fn moe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let d = with_windows(k, h, decoder(h), k.window()?)?.routed(k, Gating::Softmax)?;
    d.shared_or_one(k)?.leading_dense(k, h)?.build(k, h)
}

fn decoder(h: &Hparams) -> Decoder {
    Decoder::new(h, RopeKind::Neox).head_norms().by_length()
}

fn with_windows(k: &Keys<'_>, h: &Hparams, d: Decoder, n: u32) -> Result<Decoder> {
    let local = k.local_layers(h.n_layer, Some(4))?;
    let d = d.windows(n, &local, k.local_rope(h)?).without_rope(|i| !local[i]);
    Ok(Decoder { factors_for_all: true, ..d })
}
