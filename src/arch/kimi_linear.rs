//! kimi-linear: layers of Kimi Delta Attention, and latent attention without rotation where the file names KV heads.

use super::decoder::{Decoder, Mixer};
use super::hparams::{Hparams, MAX_WIDTH};
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Convolve, Dense, Gating, Graph, Kimi, Latent, Recurrent, RopeKind, Shared};

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
    let gating = match k.u32("expert_gating_func")?.unwrap_or(2) {
        1 => Gating::Softmax,
        2 => Gating::Sigmoid,
        n => return Err(k.bad("expert_gating_func", n, "1 (softmax) or 2 (sigmoid)")),
    };
    let scale = k.positive("expert_weights_scale")?.unwrap_or(1.0);
    let n_shared = k.u32("expert_shared_count")?.unwrap_or(1).max(1) as usize;
    let mut d = Decoder::new(h, RopeKind::Norm).mixtures(|m| {
        (m.route.gating, m.route.scale) = (gating, scale);
        let n_ff = m.n_ff.saturating_mul(n_shared).min(MAX_WIDTH as usize);
        m.shared = Some(Shared { dense: Dense { n_ff, act: m.act }, gated: false });
    });
    for (layer, sizes) in d.layers.iter_mut().zip(&h.layers) {
        layer.mixer = match sizes.n_head_kv {
            0 => Mixer::Recurrent(Recurrent::Kimi(Kimi { n_head, head, n_taps })),
            _ => Mixer::Latent(latent),
        };
    }
    let n_dense = k.u32("leading_dense_block_count")?.unwrap_or(0) as usize;
    d.dense(h, |i| i < n_dense).build(k, h)
}
