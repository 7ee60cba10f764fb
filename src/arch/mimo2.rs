//! mimo2: layers with a window and layers without differ in KV heads and rotation, values are shorter than keys, and a
//! layer may have attention sinks. Some layers have experts, others are dense.

use super::words::*;

/// Biases and scales of queries, keys and values do not count, nor does a dense block where experts are.
const IGNORED: &[&str] = &[
    "attn_qkv.bias",
    "attn_q.bias",
    "attn_k.bias",
    "attn_v.bias",
    "attn_qkv.scale",
    "attn_q.scale",
    "attn_k.scale",
    "attn_v.scale",
    "ffn_gate.weight",
    "ffn_up.weight",
    "ffn_down.weight",
];

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.all_attend(k)?;
    let has = |i: usize, role: &str| k.file.tensor(&format!("blk.{i}.{role}.weight")).is_some();
    let d = Decoder::new(h, RopeKind::Neox).mixtures(|m| m.route.gating = Gating::Sigmoid);
    let mut d = d.dense(h, |i| !has(i, "ffn_gate_inp"));
    let rope = k.unscaled_rope(h, h.rope.n_rot)?;
    d = d.windows(k.window()?, &k.local_layers(h.n_layer, None)?, Some(rope));
    let out_scale = k.positive("attention.value_scale")?.unwrap_or(1.0);
    for (i, a) in d.attentions() {
        (a.sinks, a.out_scale) = (has(i, "attn_sinks"), out_scale);
    }
    d.ignored = IGNORED;
    d.build(k, h)
}
