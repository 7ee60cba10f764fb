//! llama4: three layers of four see a chunk of the context, and rotate. The fourth sees all without a rotation, and its
//! queries grow with their position. Rotated queries and keys are normed without weights, but in the model with 128
//! experts. Every n-th layer has experts, whose inputs are weighted by a sigmoid, and one that every token uses.

use super::words::*;

/// Files do not say these.
const CHUNK: u32 = 8192;
const TEMPERATURE: Temperature = Temperature { scale: 0.1, length: 8192, offset: 1 };
const EXPERTS_WITHOUT_NORM: usize = 128;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let step = k.size("interleave_moe_layer_step", MAX_WIDTH)? as usize;
    let norms = h.experts.is_some_and(|e| e.n_expert != EXPERTS_WITHOUT_NORM).then_some(QkNorm::Bare);
    let mut d = Decoder::new(h, RopeKind::Norm).mixtures(|m| {
        (m.route.gating, m.route.normalise) = (Gating::Sigmoid, false);
        m.weighted_inputs = true;
        share(m, m.n_ff);
    });
    d = d.dense(h, |i| (i + 1) % step != 0);
    // A window of 0: a model without chunks, which rotates in all layers but the last.
    let chunked = k.u32("attention.sliding_window")? != Some(0);
    let every = if chunked { 4 } else { h.layers.len() };
    if chunked {
        d = d
            .windows(CHUNK, &k.local_layers(h.n_layer, Some(4))?, k.local_rope(h)?)
            .heads(|a| a.chunked = a.window.is_some());
    }
    d.factors_for_all = true;
    for (i, a) in d.attentions() {
        match (i + 1) % every {
            0 => (a.rope, a.temperature) = (None, chunked.then_some(TEMPERATURE)),
            _ => (a.qk_norm, a.norm_rotated) = (norms, true),
        }
    }
    d.build(k, h)
}
