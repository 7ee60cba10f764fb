//! deepseek2: latent attention with a rotated part apart from the compressed key, leading dense layers, shared experts, experts by
//! groups, sigmoid or softmax gates. DeepSeek-V2, -V2-Lite, -V3, -R1.

use super::decoder::{Decoder, LatentSizes, Mixture};
use super::hparams::MAX_WIDTH;
use super::{Hparams, Keys, temperature};
use crate::error::Result;
use crate::graph::{Gating, Graph, RopeKind};

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let kv_lora_rank = k.size("attention.kv_lora_rank", MAX_WIDTH)? as usize;
    // Lite models have the key and no such matrices.
    let compresses = k.file.tensor("blk.0.attn_q_a.weight").is_some();
    let q_lora_rank = if compresses { Some(k.size("attention.q_lora_rank", MAX_WIDTH)? as usize) } else { None };
    // Newer files give the cache's lengths, and a head's own beside them.
    let key = match k.u32("attention.key_length_mla")? {
        Some(n) => k.in_range("attention.key_length_mla", n, MAX_WIDTH)? as usize,
        None => h.head_dim,
    };
    let value = match k.u32("attention.value_length_mla")? {
        Some(n) => k.in_range("attention.value_length_mla", n, MAX_WIDTH)?,
        None => k.size("attention.value_length", MAX_WIDTH)?,
    } as usize;
    if key <= h.rope.n_rot {
        return Err(k.bad("rope.dimension_count", h.rope.n_rot, &format!("less than the key length {key}")));
    }
    if h.n_head.checked_mul(key + value + kv_lora_rank).is_none_or(|n| n > MAX_WIDTH as usize) {
        return Err(k.bad("attention.head_count", h.n_head, "heads that are not so many and so long"));
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
    let n_shared = k.u32("expert_shared_count")?.unwrap_or(0);
    let n_ff = h.experts.map_or(0, |e| e.n_ff);
    let mixture = Mixture {
        gating,
        normalise: k.bool("expert_weights_norm")?.unwrap_or(false),
        scale: k.positive("expert_weights_scale")?.unwrap_or(1.0),
        n_group,
        n_group_used,
        n_dense: k.u32("leading_dense_block_count")?.unwrap_or(0),
        n_ff_shared: n_ff.saturating_mul(n_shared as usize).min(MAX_WIDTH as usize),
    };
    let mut d = Decoder::new(h, RopeKind::Norm);
    // The file's multiplier holds the factor 0.1 already. With one, cosine and sine keep their size and the scores grow instead.
    let (multiplier, log) = (k.f32("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0), d.log_factor());
    if d.yarn() && multiplier != 0.0 {
        d.rope.attn_factor /= 1.0 + 0.1 * log;
    }
    let m = d.rope.attn_factor * (1.0 + 0.1 * log) * (1.0 + multiplier * log);
    d.scale = m * m / (key as f32).sqrt();
    d.temperature = temperature(k, h, k.u32("attention.temperature_length")?)?;
    d.scales.output = false;
    Decoder { latent: Some(LatentSizes { kv_lora_rank, q_lora_rank, key, value }), mixture, ..d }.build(k, h)
}
