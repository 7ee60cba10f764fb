//! Generations: texts that a model writes, many at once, step by step.
//!
//! # Problem
//!
//! Several conversations with one model are to go on together. Each token needs all weights, and these are read once
//! for a batch, so the tokens of all should be computed in one. A long prompt must not keep the others waiting, and a
//! conversation must not read again what it, or another, has read before.
//!
//! # Idea
//!
//! A generation is an object with a prompt, a sampler and the events that nobody has taken yet. It computes nothing by
//! itself. A step (`step`) takes those that the host names, and computes one micro-batch for them: a token of each that
//! *talks*, and with the room that is left pieces of the prompts of those that *read*. Before that each gets a sequence
//! (`place`), with the longest beginning of its prompt that any sequence has already; until one is free, it *waits*.
//! There is no thread, no queue and no callback: the host steps when it likes, with whom it likes.
//!
//! Where a grammar leaves one way to go on, nothing needs to be sampled. Such tokens follow the one that was sampled,
//! and are computed with it like a piece of a prompt (`Inner::take_forced`).
//!
//! A token's logits are the same bits however tokens are batched. So a generation's text does not depend on the others.
//!
//! ```text
//! step       1               2               3               4
//! A talks    a1              a2              a3              end
//! B talks    b1              b2              b3              b4
//! C          reads 1..511    reads 511..1021 reads the rest  talks: c1
//! ```

mod generation;
mod place;
mod step;
mod stop;

pub use generation::{Event, Generation, GenerationInfo, GenerationParams, Phase};
pub use step::StepResult;
