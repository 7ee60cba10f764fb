//! qwen2: llama's graph with biases on Q, K and V, and rotation by halves. deepseek-r1:1.5b, :7b, :14b, :32b.

use super::{Hparams, llama};
use crate::error::Result;
use crate::gguf::Gguf;
use crate::graph::{Graph, RopeKind};

pub(super) fn build(file: &Gguf, h: &Hparams) -> Result<Graph> {
    llama::decoder(file, h, RopeKind::Neox)
}
