//! deepseek2 and mistral4: latent attention, whose keys have a rotated part beside the compressed one. The first layers
//! are dense. In the others experts are chosen by groups, weighted by sigmoid or softmax, and joined by experts that
//! every token uses. DeepSeek-V2, -V2-Lite, -V3, -R1, GLM-4.7-Flash, Mistral Small 4.

use super::decoder::{Decoder, Mixer};
use super::experts::{Routing, share, shared_count};
use super::hparams::{Hparams, MAX_WIDTH, temperature};
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Gating, Graph, Latent, RopeKind};

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
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
    let (routing, n_shared) = (Routing::read(k, Gating::Softmax)?, shared_count(k)?);
    let mut d = Decoder::new(h, RopeKind::Norm).mixtures(|m| {
        routing.apply(m);
        share(m, m.n_ff.saturating_mul(n_shared));
    });
    // YaRN makes cosine and sine larger by 1 + 0.1 log(factor). If the file has a multiplier, that is taken back and
    // the scores grow instead; the multiplier holds the 0.1 already.
    let (multiplier, log) = (k.f32("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0), d.log_factor());
    if d.yarn() && multiplier != 0.0 {
        d.ropes[0].attn_factor /= 1.0 + 0.1 * log;
    }
    let m = d.ropes[0].attn_factor * (1.0 + 0.1 * log) * (1.0 + multiplier * log);
    let scale = m * m / (key as f32).sqrt();
    let temperature = temperature(k, h, k.u32("attention.temperature_length")?)?;
    d.scales.output = false;
    let (rope, n_rot) = (Some(0), h.rope.n_rot);
    let latent = Latent { n_head, kv_lora_rank, q_lora_rank, key, value, scale, rope, n_rot, temperature };
    d.layers.iter_mut().for_each(|layer| layer.mixer = Mixer::Latent(latent));
    d.leading_dense(k, h)?.build(k, h)
}
