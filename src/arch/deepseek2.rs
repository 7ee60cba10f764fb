//! deepseek2 and mistral4: latent attention, whose keys have a rotated part beside the compressed one. The first layers
//! are dense. In the others experts are chosen by groups, weighted by sigmoid or softmax, and joined by experts that
//! every token uses. DeepSeek-V2, -V2-Lite, -V3, -R1, GLM-4.7-Flash, Mistral Small 4.

use super::words::*;

/// deepseek32 and glm-dsa: an indexer chooses what a token sees. In contexts no longer than what it chooses, all is
/// seen.
pub(super) fn indexed(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let default = if k.arch == "glm-dsa" { Gating::Sigmoid } else { Gating::Softmax };
    let mut d = decoder(k, h, default)?;
    d.extras = Extras { output_scale: false, ..ALL_SCALES };
    d.n_ctx_most = Some(k.size("attention.indexer.top_k", i32::MAX as u32)?);
    d.ignored = &[
        "indexer.k_norm.weight",
        "indexer.k_norm.bias",
        "indexer.proj.weight",
        "indexer.attn_k.weight",
        "indexer.attn_q_b.weight",
    ];
    d.build(k, h)
}

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    decoder(k, h, Gating::Softmax)?.build(k, h)
}

fn decoder(k: &Keys<'_>, h: &Hparams, default: Gating) -> Result<Decoder> {
    let n_head = h.first().n_head;
    let kv_lora_rank = k.size("attention.kv_lora_rank", MAX_WIDTH)? as usize;
    // Lite models have the key q_lora_rank, but no such matrices.
    let compresses = k.file.tensor("blk.0.attn_q_a.weight").is_some();
    let q_lora_rank = if compresses { Some(k.size("attention.q_lora_rank", MAX_WIDTH)? as usize) } else { None };
    // In newer files `attention.key_length` and `value_length` are those of the cache, and these keys those of a head.
    let key = match k.u32("attention.key_length_mla")? {
        Some(n) => k.in_range("attention.key_length_mla", n, MAX_WIDTH)? as usize,
        None => h.first().key,
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
    let mut d = Decoder::new(h, RopeKind::Norm).routed(k, default)?.shared_by_count(k)?;
    // YaRN makes cosine and sine larger by 1 + 0.1 log(factor). If the file has a multiplier, that is taken back and
    // the scores grow instead; the multiplier holds the 0.1 already.
    let (multiplier, log) = (k.f32("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0), d.log_factor());
    if d.yarn() && multiplier != 0.0 {
        d.ropes[0].attn_factor /= 1.0 + 0.1 * log;
    }
    let m = d.ropes[0].attn_factor * (1.0 + 0.1 * log) * (1.0 + multiplier * log);
    let scale = m * m / (key as f32).sqrt();
    let temperature = temperature(k, h, k.u32("attention.temperature_length")?)?;
    d.extras.output_scale = false;
    let (rope, n_rot) = (Some(0), h.rope.n_rot);
    let latent = Latent { n_head, kv_lora_rank, q_lora_rank, key, value, scale, rope, n_rot, temperature };
    d.layers.iter_mut().for_each(|layer| layer.mixer = Mixer::Latent(latent));
    d.leading_dense(k, h)
}
