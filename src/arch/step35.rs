//! step35: the output of each attention head is gated by a sigmoid. Layers with a window have other heads than those
//! without, and turn twice as much of them. Experts and dense blocks limit both halves in some layers.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.all_attend(k)?;
    let has = |i: usize, role: &str| k.file.tensor(&format!("blk.{i}.{role}.weight")).is_some();
    let d = Decoder::new(h, RopeKind::Neox).routed(k, Gating::Sigmoid)?.shared_by_width(k)?;
    let mut d = d.dense(h, |i| !has(i, "ffn_gate_inp"));
    let rope = k.unscaled_rope(h, k.local_rotation(h, h.first().key)?)?;
    if !h.rope.n_rot.is_multiple_of(4) {
        return Err(k.bad("rope.dimension_count", h.rope.n_rot, "a multiple of 4: half of it turns without a window"));
    }
    d.ropes[0].n_rot = h.rope.n_rot / 2;
    d = d.windows(k.window()?, &k.local_layers(h.n_layer, None)?, Some(rope));
    for (i, a) in d.attentions() {
        a.qk_norm = has(i, "attn_q_norm").then_some(QkNorm::Heads);
        a.gate = has(i, "attn_gate").then_some(OutputGate::Heads);
        a.scale = 1.0 / (a.key as f32).sqrt();
    }
    // A limit of 0 is none.
    let limits = |key| Ok(k.numbers(key, h.layers.len())?.unwrap_or_else(|| vec![0.0; h.layers.len()]));
    let (experts, others) = (limits("swiglu_clamp_exp")?, limits("swiglu_clamp_shexp")?);
    let limited = |act: &mut Act, limit: f32| {
        if limit > 1e-6 {
            *act = Act::Gated(Gate::SiluLimited { limit });
        }
    };
    for (i, layer) in d.layers.iter_mut().enumerate() {
        match &mut layer.ffn {
            FeedForward::Dense(dense) => limited(&mut dense.act, others[i]),
            FeedForward::Mixture(m) => {
                limited(&mut m.act, experts[i]);
                m.shared.iter_mut().for_each(|s| limited(&mut s.dense.act, others[i]));
            }
            _ => {}
        }
    }
    // A layer with experts does not read its dense block.
    d.ignored = &["ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"];
    d.build(k, h)
}
