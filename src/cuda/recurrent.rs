//! The states of recurrent layers as their kernels get them. Which cells a run of tokens goes on from and ends in, and
//! which runs follow each other, the kernels find in the micro-batch's tables (kernels/recurrent.h); a launch depends
//! on the number of runs alone.

use super::args::States;
use super::step::{Step, int};
use crate::error::Result;
use crate::graph::StateId;

impl Step<'_> {
    /// A layer's states, and the tables of this micro-batch's runs.
    ///
    /// # Errors
    /// As `int`.
    pub fn recurrent(&self, state: StateId) -> Result<States> {
        let place = self.place(state);
        Ok(States {
            at: self.kv_base().add(place.keys.offset),
            cells: self.cells(place.cache),
            runs: self.runs(place.cache),
            spans: self.spans(),
            row: (place.keys.row / size_of::<f32>()) as i64,
            n_runs: int(self.micro().caches[place.cache].runs.len())?,
            unused: 0,
        })
    }
}
