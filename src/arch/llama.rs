//! llama, and models that share its graph: Llama 1 to 3, Mistral 7B, SmolLM, TinyLlama, Mixtral, deepseek-r1:8b and
//! :70b, …

use super::decoder::{ALL_SCALES, Decoder};
use super::hparams::Hparams;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Graph, RopeKind};

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    Decoder { scales: ALL_SCALES, ..Decoder::new(h, RopeKind::Norm) }.build(k, h)
}
