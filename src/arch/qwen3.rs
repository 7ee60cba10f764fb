//! qwen3 and qwen3moe: norms of each head's query and key, and no biases. The mixtures weight their experts by a
//! softmax over all, and divide the weights of the chosen ones by their sum. deepseek-r1:8b (2025-05), qwen3:30b-a3b.

use super::decoder::{ALL_SCALES, Decoder};
use super::hparams::Hparams;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Graph, RopeKind};

pub(super) fn dense(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    moe(k, h)
}

pub(super) fn moe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let mut d = Decoder::new(h, RopeKind::Neox).heads(|a| {
        a.qk_norm = true;
        a.scale = 1.0 / (a.head_dim as f32).sqrt();
    });
    d.scales = ALL_SCALES;
    let all_experts = h.first().n_ff;
    if all_experts > 0 && k.u32("expert_feed_forward_length")?.is_none() {
        // Older files give the width of all experts in use together.
        d = d.mixtures(|m| m.n_ff = all_experts / m.n_expert_used);
    }
    d.build(k, h)
}
