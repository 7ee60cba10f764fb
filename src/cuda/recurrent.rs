//! The states of recurrent layers as their kernels get them. Which cells a run of tokens goes on from and ends in, and
//! which runs follow each other, the kernels find in the micro-batch's tables (kernels/recurrent.h); a launch depends on
//! the number of runs alone.

use super::driver::Ptr;
use super::step::Step;
use crate::graph::StateId;

pub(super) struct States {
    /// Cell 0.
    pub at: Ptr,
    /// Floats from a cell's row to the next.
    pub row: i64,
    pub cells: Ptr,
    pub runs: Ptr,
    pub n_runs: usize,
}

impl Step<'_> {
    pub fn recurrent(&self, state: StateId) -> States {
        let place = self.place(state);
        States {
            at: self.kv_base().add(place.keys.offset),
            row: (place.keys.row / size_of::<f32>()) as i64,
            cells: self.cells(place.cache),
            runs: self.runs(place.cache),
            n_runs: self.micro().caches[place.cache].runs.len(),
        }
    }
}
