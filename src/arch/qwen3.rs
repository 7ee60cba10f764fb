//! qwen3 and qwen3moe: norms of each head's query and key; no biases; the mixtures weight their experts by a softmax over all,
//! normalised over those chosen. deepseek-r1:8b (2025-05), qwen3:30b-a3b.

use super::decoder::{ALL_SCALES, Decoder};
use super::{Hparams, Keys};
use crate::error::Result;
use crate::graph::{Graph, RopeKind};

pub(super) fn dense(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    moe(k, h)
}

pub(super) fn moe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let mut h = h.clone();
    if let Some(e) = h.experts.as_mut().filter(|_| h.n_ff > 0)
        && k.u32("expert_feed_forward_length")?.is_none()
    {
        // Older files give what all experts in use have together.
        e.n_ff = h.n_ff / e.n_expert_used;
    }
    Decoder {
        qk_norm: true,
        scales: ALL_SCALES,
        scale: 1.0 / (h.head_dim as f32).sqrt(),
        ..Decoder::new(&h, RopeKind::Neox)
    }
    .build(k, &h)
}
