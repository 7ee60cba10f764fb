//! Performance counters of a model.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Counters since the load or the last reset. Times are wall-clock microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Perf {
    /// Tokens of batches of more than one token.
    pub n_prompt_tokens: u64,
    /// Tokens that were decoded one by one, and those that grammars forced behind them.
    pub n_decode_tokens: u64,
    pub load_us: u64,
    pub prompt_us: u64,
    pub decode_us: u64,
    pub sample_us: u64,
    /// Tokens that a prediction layer has guessed, and those of them that were right.
    pub n_drafted: u64,
    pub n_draft_agreed: u64,
    /// Tokens that were decoded without a draft, because drafts had lost time.
    pub n_draft_off: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub n_prompt_tokens: AtomicU64,
    pub n_decode_tokens: AtomicU64,
    pub load_us: AtomicU64,
    pub prompt_us: AtomicU64,
    pub decode_us: AtomicU64,
    pub sample_us: AtomicU64,
    pub n_drafted: AtomicU64,
    pub n_draft_agreed: AtomicU64,
    pub n_draft_off: AtomicU64,
}

/// Microseconds since `start`.
pub(super) fn since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

impl Counters {
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> Perf {
        let read = |c: &AtomicU64| c.load(Ordering::Relaxed);
        Perf {
            n_prompt_tokens: read(&self.n_prompt_tokens),
            n_decode_tokens: read(&self.n_decode_tokens),
            load_us: read(&self.load_us),
            prompt_us: read(&self.prompt_us),
            decode_us: read(&self.decode_us),
            sample_us: read(&self.sample_us),
            n_drafted: read(&self.n_drafted),
            n_draft_agreed: read(&self.n_draft_agreed),
            n_draft_off: read(&self.n_draft_off),
        }
    }

    /// Sets all but the time of the load to 0.
    pub fn reset(&self) {
        let tokens =
            [&self.n_prompt_tokens, &self.n_decode_tokens, &self.n_drafted, &self.n_draft_agreed, &self.n_draft_off];
        for c in tokens.into_iter().chain([&self.prompt_us, &self.decode_us, &self.sample_us]) {
            c.store(0, Ordering::Relaxed);
        }
    }
}
