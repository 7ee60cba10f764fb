//! deepseek2: latent attention, whose keys have a rotated part beside the compressed one. The first layers are dense.
//! In the others experts are chosen by groups, weighted by sigmoid or softmax, and joined by experts that every token
//! uses. DeepSeek-V2, -V2-Lite, -V3, -R1.

use super::decoder::{Decoder, FeedForward, LatentSizes, Mixer};
use super::hparams::{Hparams, MAX_WIDTH, temperature};
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Gating, Graph, RopeKind};

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let n_head = h.first().n_head;
    let kv_lora_rank = k.size("attention.kv_lora_rank", MAX_WIDTH)? as usize;
    // Lite models have the key q_lora_rank, but no such matrices.
    let compresses = k.file.tensor("blk.0.attn_q_a.weight").is_some();
    let q_lora_rank = if compresses { Some(k.size("attention.q_lora_rank", MAX_WIDTH)? as usize) } else { None };
    // In newer files `attention.key_length` and `value_length` are those of the cache, and these keys those of a head.
    let key = match k.u32("attention.key_length_mla")? {
        Some(n) => k.in_range("attention.key_length_mla", n, MAX_WIDTH)? as usize,
        None => h.first().head_dim,
    };
    let value = match k.u32("attention.value_length_mla")? {
        Some(n) => k.in_range("attention.value_length_mla", n, MAX_WIDTH)?,
        None => k.size("attention.value_length", MAX_WIDTH)?,
    } as usize;
    if key <= h.rope.n_rot {
        return Err(k.bad("rope.dimension_count", h.rope.n_rot, &format!("less than the key length {key}")));
    }
    if n_head.checked_mul(key + value + kv_lora_rank).is_none_or(|n| n > MAX_WIDTH as usize) {
        return Err(k.bad("attention.head_count", n_head, "heads that are not so many and so long"));
    }
    let gating = match k.u32("expert_gating_func")?.unwrap_or(0) {
        0 | 1 => Gating::Softmax,
        2 => Gating::Sigmoid,
        3 => Gating::SoftmaxOfChosen,
        n => return Err(k.bad("expert_gating_func", n, "1 (softmax), 2 (sigmoid) or 3 (softmax of those chosen)")),
    };
    let (n_group, n_group_used) = (
        k.u32("expert_group_count")?.unwrap_or(0).max(1) as usize,
        k.u32("expert_group_used_count")?.unwrap_or(0).max(1) as usize,
    );
    if let Some(e) = h.experts
        && (e.n_expert % n_group != 0
            || n_group_used > n_group
            || e.n_expert_used > e.n_expert / n_group * n_group_used)
    {
        let expected = format!("a divisor of {} experts whose groups hold those used", e.n_expert);
        return Err(k.bad("expert_group_count", n_group, &expected));
    }
    let n_shared = k.u32("expert_shared_count")?.unwrap_or(0) as usize;
    let (normalise, weight_scale) =
        (k.bool("expert_weights_norm")?.unwrap_or(false), k.positive("expert_weights_scale")?.unwrap_or(1.0));
    let n_dense = k.u32("leading_dense_block_count")?.unwrap_or(0) as usize;
    let mut d = Decoder::new(h, RopeKind::Norm).mixtures(|m| {
        (m.gating, m.normalise, m.scale) = (gating, normalise, weight_scale);
        (m.n_group, m.n_group_used) = (n_group, n_group_used);
        m.n_ff_shared = m.n_ff.saturating_mul(n_shared).min(MAX_WIDTH as usize);
    });
    // YaRN makes cosine and sine larger by 1 + 0.1 log(factor). If the file has a multiplier, that is taken back and
    // the scores grow instead; the multiplier holds the 0.1 already.
    let (multiplier, log) = (k.f32("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0), d.log_factor());
    if d.yarn() && multiplier != 0.0 {
        d.ropes[0].attn_factor /= 1.0 + 0.1 * log;
    }
    let m = d.ropes[0].attn_factor * (1.0 + 0.1 * log) * (1.0 + multiplier * log);
    let scale = m * m / (key as f32).sqrt();
    d.temperature = temperature(k, h, k.u32("attention.temperature_length")?)?;
    d.scales.output = false;
    for (i, layer) in d.layers.iter_mut().enumerate() {
        layer.mixer = Mixer::Latent(LatentSizes { n_head, kv_lora_rank, q_lora_rank, key, value, scale });
        if i < n_dense {
            layer.ffn = FeedForward::Dense { n_ff: h.layers[i].n_ff };
        }
    }
    d.build(k, h)
}
