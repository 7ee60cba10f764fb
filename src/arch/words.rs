//! The words in which a family's file says how it differs from the plain decoder: what all of them use, in one place.

pub(super) use super::decoder::{ALL_SCALES, Decoder, FeedForward, Mixer, Stacks};
pub(super) use super::experts::{Routing, SHARED, gating, share, shared_count, shared_width};
pub(super) use super::hparams::{Hparams, MAX_WIDTH, temperature};
pub(super) use super::keys::Keys;
pub(super) use super::recurrent::{Ssm, recurrent_layers};
pub(super) use crate::error::{Error, Result};
pub(super) use crate::gguf::Value;
pub(super) use crate::graph::{
    Act, Activation, Chunks, Convolve, Delta, Dense, Extras, Gate, Gating, Graph, Kimi, Latent, Norms, OutputGate,
    Pick, Plamo, QkNorm, Recurrent, Rope, RopeKind, Shared, Sharing, Temperature,
};

impl Decoder {
    /// Norms each head's query and key.
    pub fn head_norms(self) -> Decoder {
        self.heads(|a| a.qk_norm = Some(QkNorm::Heads))
    }

    /// Divides scores by the root of a head's length, whatever the file says.
    pub fn by_length(self) -> Decoder {
        self.heads(|a| a.scale = 1.0 / (a.key as f32).sqrt())
    }

    /// Multiplies each element of attention's result by the sigmoid of a gate.
    pub fn gated(self) -> Decoder {
        self.heads(|a| a.gate = Some(OutputGate::Elements))
    }
}
