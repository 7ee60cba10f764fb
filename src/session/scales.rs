//! The scales of adapters that each sequence's tokens are computed with.
//!
//! Cached keys and values depend on them, so they belong to a sequence as its tokens do: they can be set while it is
//! empty, go along when it is copied or saved, and a generation goes on only from tokens that had the same.

use std::ops::Range;

use crate::error::{Error, Result, try_vec};

/// The scales of all sequences.
pub(super) struct Scales {
    n_adapters: usize,
    /// `[n_seq_max, n_adapters]`
    of: Vec<f32>,
}

impl Scales {
    pub fn new(n_seq_max: u32, n_adapters: usize) -> Result<Scales> {
        Ok(Scales { n_adapters, of: try_vec("scales of adapters", n_seq_max as usize * n_adapters, 0.0)? })
    }

    fn place(&self, seq: u32) -> Range<usize> {
        seq as usize * self.n_adapters..(seq as usize + 1) * self.n_adapters
    }

    /// A sequence's scales, one for each adapter.
    pub fn of(&self, seq: u32) -> &[f32] {
        &self.of[self.place(seq)]
    }

    /// True if a sequence uses no adapter.
    pub fn are_zero(&self, seq: u32) -> bool {
        self.of(seq).iter().all(|s| *s == 0.0)
    }

    /// Sets a sequence's scales, as many as there are adapters.
    pub fn set(&mut self, seq: u32, scales: &[f32]) {
        let place = self.place(seq);
        self.of[place].copy_from_slice(scales);
    }

    pub fn reset(&mut self, seq: u32) {
        let place = self.place(seq);
        self.of[place].fill(0.0);
    }

    pub fn copy(&mut self, src: u32, dst: u32) {
        let place = self.place(src);
        self.of.copy_within(place, dst as usize * self.n_adapters);
    }

    /// The scales of a micro-batch's tokens, `[n_tokens, n_adapters]`.
    pub fn rows(&self, seqs: &[u32]) -> Vec<f32> {
        seqs.iter().flat_map(|seq| self.of(*seq)).copied().collect()
    }

    /// The caller's scales, one for each adapter: those that are not given are 0. `name` is what the caller calls them.
    ///
    /// # Errors
    /// `InvalidArgument` for too many, and for one that is no finite number.
    pub fn checked(given: &[f32], n_adapters: usize, name: &str) -> Result<Vec<f32>> {
        let bad = |text: String| Err(Error::invalid(text).subject(name));
        if given.len() > n_adapters {
            return bad(format!("{} numbers in {name}, the model has {n_adapters} adapters", given.len()));
        }
        if let Some(i) = given.iter().position(|s| !s.is_finite()) {
            return bad(format!("{name}[{i}] is {}, expected a finite number", given[i]));
        }
        let mut all = given.to_vec();
        all.resize(n_adapters, 0.0);
        Ok(all)
    }
}
