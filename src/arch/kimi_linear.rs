//! kimi-linear: layers of Kimi Delta Attention, and latent attention without rotation where the file names KV heads.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let size = |key: &str| k.size(key, MAX_WIDTH).map(|n| n as usize);
    let n_head = h.first().n_head;
    let head = size("kda.head_dim")?;
    let n_taps = k.size("ssm.conv_kernel", Convolve::MOST_TAPS as u32)? as usize;
    let (key, value) = (size("attention.key_length_mla")?, size("attention.value_length_mla")?);
    let latent = Latent {
        n_head,
        kv_lora_rank: size("attention.kv_lora_rank")?,
        q_lora_rank: None,
        key,
        value,
        scale: 1.0 / (key as f32).sqrt(),
        rope: None,
        n_rot: h.rope.n_rot,
        temperature: None,
    };
    if latent.n_rot >= key {
        return Err(k.bad(
            "attention.key_length_mla",
            key,
            &format!("more than the {} rotated elements", latent.n_rot),
        ));
    }
    let gating = gating(k, Gating::Sigmoid)?;
    let scale = k.positive("expert_weights_scale")?.unwrap_or(1.0);
    let n_shared = shared_count(k)?.max(1);
    let mut d = Decoder::new(h, RopeKind::Norm).mixtures(|m| {
        (m.route.gating, m.route.scale) = (gating, scale);
        share(m, m.n_ff.saturating_mul(n_shared));
    });
    // Files may have them all the same.
    d.ignored = &["attn_q.bias", "attn_k.bias", "attn_v.bias"];
    for (layer, sizes) in d.layers.iter_mut().zip(&h.layers) {
        layer.mixer = match sizes.n_head_kv {
            0 => Mixer::Recurrent(Recurrent::Kimi(Kimi { n_head, head, n_taps })),
            _ => Mixer::Latent(latent),
        };
    }
    d.leading_dense(k, h)?.build(k, h)
}
