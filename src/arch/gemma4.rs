//! gemma4: gemma3 with layers that differ in more. Layers with a window and layers without have heads of their own
//! number and length, and the latter may use keys as values. Values are normed without a weight, and scores are not
//! scaled. Large models have dense block and experts side by side. E2B and E4B have a second embedding, of which each
//! layer has a part, and their last layers read the caches of earlier ones.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.all_attend(k)?;
    let has = |i: usize, role: &str| k.file.tensor(&format!("blk.{i}.{role}.weight")).is_some();
    let local = k.local_layers(h.n_layer, None)?;
    let key = k.size("attention.key_length_swa", MAX_WIDTH)? as usize;
    let rope = k.unscaled_rope(h, k.local_rotation(h, key)?)?;
    let mut d = Decoder::new(h, RopeKind::Neox).windows(k.window()?, &local, Some(rope));
    let own = k.shared_caches(h, &local)?;
    for (i, a) in d.attentions() {
        if local[i] {
            (a.key, a.value) = (key, key);
        }
        (a.scale, a.qk_norm, a.v_norm, a.reads) = (1.0, Some(QkNorm::Heads), true, own[i]);
    }
    for (i, layer) in d.layers.iter_mut().enumerate() {
        if let FeedForward::Mixture(m) = layer.ffn {
            let dense = Dense { n_ff: h.layers[i].n_ff, act: m.act };
            layer.ffn = match has(i, "ffn_gate_inp") {
                true => FeedForward::DenseAndExperts(dense, m),
                false => FeedForward::Dense(dense),
            };
        }
    }
    let d = d.act(Act::Gated(Activation::Gelu.into()));
    Decoder {
        embed_scale: (h.n_embd as f32).sqrt(),
        n_embd_per_layer: k.u32("embedding_length_per_layer_input")?.unwrap_or(0) as usize,
        post_norms: Some(d.norms),
        layer_scale: has(0, "layer_output_scale"),
        logit_softcap: k.logit_softcap()?,
        extras: ALL_SCALES,
        ..d
    }
    .build(k, h)
}
