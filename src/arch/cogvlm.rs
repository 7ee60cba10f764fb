//! cogvlm (text): llama that rotates by halves. Rows of images have matrices of their own, which do not count.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
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
