//! command-r, cohere2 and stablelm: LayerNorms, and a feed-forward block that stands beside attention and reads its
//! normed input. command-r and cohere2 scale logits. cohere2 has windows, but for every fourth layer, which does not
//! rotate. command-r's largest model norms each head's query and key, by weights of its own, and so do some stablelm; a
//! stablelm with a norm before the feed-forward block has the blocks one after the other.

use super::decoder::{ALL_SCALES, Decoder};
use super::hparams::Hparams;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Graph, QkNorm, RopeKind};

pub(super) fn command_r(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    decoder(k, h, RopeKind::Norm)?.build(k, h)
}

pub(super) fn cohere2(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let local = k.local_layers(h.n_layer, Some(4))?;
    let d = decoder(k, h, RopeKind::Norm)?.windows(k.window()?, &local, k.local_rope(h)?);
    Decoder { factors_for_all: true, scales: ALL_SCALES, ..d.without_rope(|i| !local[i]) }.build(k, h)
}

pub(super) fn stablelm(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let ffn_norm = k.file.tensor("blk.0.ffn_norm.weight").map(|_| "ffn_norm");
    Decoder { parallel: ffn_norm.is_none(), ffn_norm, ..decoder(k, h, RopeKind::Neox)? }.build(k, h)
}

fn decoder(k: &Keys<'_>, h: &Hparams, kind: RopeKind) -> Result<Decoder> {
    h.dense(k)?;
    let norms = k.file.tensor("blk.0.attn_q_norm.weight").map(|_| QkNorm::EachHead);
    let d = Decoder::new(h, kind).layer_norms(h).heads(|a| a.qk_norm = norms);
    let logit_scale = k.positive("logit_scale")?.unwrap_or(1.0);
    Ok(Decoder { parallel: true, ffn_norm: None, logit_scale, ..d })
}
