//! afmoe and laguna: leading dense layers, experts that are joined by some that every token uses, and a gate of
//! attention's output. afmoe has norms before and behind both blocks, windows but for every fourth layer, which does
//! not rotate, and a sigmoid gate of each element. laguna's gate is a softplus of each head or element; its layers have
//! heads of their own, and those with a window rotate otherwise.

use super::words::*;

pub(super) fn afmoe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let mut d = decoder(k, h)?.shared_by_count(k)?.gated();
    if let Some(n) = k.u32("attention.sliding_window")?.filter(|n| *n > 0) {
        d = d.windows(n, &k.local_layers(h.n_layer, Some(4))?, k.local_rope(h)?);
    }
    let d = d.without_rope(|i| i % 4 == 3);
    let embed_scale = (h.n_embd as f32).sqrt();
    Decoder { embed_scale, post_norms: Some(d.norms), ..d }.leading_dense(k, h)?.build(k, h)
}

pub(super) fn laguna(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let (n_shared, count) = (shared_width(k)?, k.u32("expert_shared_count")?.unwrap_or(1) as usize);
    let mut d =
        decoder(k, h)?.mixtures(|m| share(m, if n_shared > 0 { n_shared } else { m.n_ff.saturating_mul(count) }));
    if let Some(n) = k.u32("attention.sliding_window")?.filter(|n| *n > 0) {
        let freq_base = k.positive("rope.freq_base_swa")?.unwrap_or(h.rope.freq_base);
        let n_rot = k.local_rotation(h, h.first().key)?;
        let rope = Rope { n_rot, freq_base, freq_scale: 1.0, attn_factor: 1.0, yarn: None, ..h.rope.clone() };
        d = d.windows(n, &k.local_layers_after(h.n_layer, 4)?, Some(rope));
    }
    for (i, a) in d.attentions() {
        let gate = k.file.tensor(&format!("blk.{i}.attn_gate.weight"));
        let by_head = gate.is_some_and(|t| t.ne[1] == a.n_head as u64);
        a.gate = Some(if by_head { OutputGate::Heads } else { OutputGate::Elements });
        a.gate_act = Activation::Softplus;
    }
    d.extras.output_scale = false;
    d.leading_dense(k, h)?.build(k, h)
}

fn decoder(k: &Keys<'_>, h: &Hparams) -> Result<Decoder> {
    h.equal_heads(k)?;
    Decoder::new(h, RopeKind::Neox).head_norms().by_length().routed(k, Gating::Sigmoid)
}
