//! mellum and maple: qwen3moe with windows. In mellum layers with a window rotate unscaled. In maple only they rotate,
//! and experts limit both halves.

use super::words::*;

pub(super) fn mellum(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let mut d = decoder(k, h)?;
    if let Some(n) = k.u32("attention.sliding_window")?.filter(|n| *n > 0) {
        let plain = Rope { freq_scale: 1.0, attn_factor: 1.0, yarn: None, ..h.rope.clone() };
        d = d.windows(n, &k.local_layers(h.n_layer, Some(4))?, Some(plain));
    }
    d.extras.expert_scales = true;
    d.build(k, h)
}

pub(super) fn maple(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let local = k.local_layers(h.n_layer, None)?;
    let limits = k.numbers("swiglu_clamp_exp", h.layers.len())?.unwrap_or_default();
    let d = decoder(k, h)?.windows(k.window()?, &local, k.local_rope(h)?).without_rope(|i| !local[i]);
    // Limits of all layers are one; 0 is none.
    let limit = limits.first().copied().unwrap_or(0.0);
    if limits.iter().any(|l| *l != limit) {
        return Err(k.bad("swiglu_clamp_exp", "an array of several limits", "one for all layers"));
    }
    if limit > 1e-6 { d.act(Act::Gated(Gate::SiluOfLimited { limit })) } else { d }.build(k, h)
}

fn decoder(k: &Keys<'_>, h: &Hparams) -> Result<Decoder> {
    h.equal_heads(k)?;
    let d = Decoder::new(h, RopeKind::Neox).head_norms();
    d.width_in_use(k, h)
}
