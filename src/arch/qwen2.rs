//! qwen2: llama with biases on Q, K and V, and rotation by halves. deepseek-r1:1.5b, :7b, :14b, :32b.

use super::decoder::Decoder;
use super::hparams::Hparams;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Graph, RopeKind};

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder::new(h, RopeKind::Neox).build(k, h)
}
