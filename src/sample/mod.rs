//! Samplers choose a token from logits, reproducibly by seed.
//!
//! A model gives each token of its vocabulary a logit; the softmax of the logits is a distribution. A sampler changes
//! that distribution step by step and draws from what is left. All tokens with a finite logit are *candidates* at
//! first. A step either changes their logits or *cuts* some of them off.
//!
//! ```text
//! logits -> mask -> bias -> penalties -> DRY -> top-n-sigma -> top-k -> typical -> top-p -> min-p -> XTC
//!        -> temperature -> draw
//! ```
//!
//! Mask and bias come first and the draw comes last. The order of the steps between them is a list that a host may set.
//! The default is the usual order: the cuts look at the model's own probabilities, so what is cut off does not depend
//! on the temperature. With mirostat, which is a cut of its own, penalties, DRY and temperature alone go before it.
//!
//! | file | steps |
//! |---|---|
//! | `penalties.rs`, `dry.rs` | lower the logits of tokens that would repeat something |
//! | `cuts.rs` | top-n-sigma, top-k, top-p, min-p: cut off the unlikely |
//! | `typical.rs` | cuts off what surprises too much or too little |
//! | `xtc.rs` | cuts off the most likely, sometimes |
//! | `temperature.rs` | flattens or sharpens, by a constant or by the entropy |
//! | `infill.rs` | for text that goes between two others |
//! | `host.rs` | a step of the host's own |
//! | `mirostat.rs`, `adaptive.rs` | steer the draw by what was drawn before |
//!
//! `candidates.rs` holds the candidates, sorted only as far as someone looks. `draw.rs` draws, `logprobs.rs` reports
//! how likely that was, `sampler.rs` puts it all together.

mod adaptive;
mod candidates;
mod cuts;
mod draw;
mod dry;
mod history;
mod host;
mod infill;
mod logprobs;
mod mirostat;
mod params;
mod penalties;
mod rng;
mod sampler;
mod temperature;
mod typical;
mod xtc;

pub use host::{HostStep, Weighed};
pub use logprobs::{Logprob, Logprobs};
pub use params::{DEFAULT_BREAKERS, DEFAULT_STEPS, MAX_BREAKER, MAX_STEPS, SamplerParams, Step};
pub use sampler::{Row, Sampler};

#[cfg(test)]
mod tests;
