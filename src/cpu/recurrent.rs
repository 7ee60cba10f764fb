//! The walk of recurrent operations over a micro-batch: chains of runs, and the stretches between two states that are
//! kept.
//!
//! A run of tokens goes on from a cell and ends in another. If a sequence has several runs in a micro-batch, each goes
//! on from the cell that the one before has written, so one thread has to compute them in this order: they are a
//! *chain*. Different chains, and different parts of a state (heads, columns), are independent.

use super::step::Step;
use crate::graph::{CacheView, NO_CELL, Run, StateId};

/// Neighbouring tokens of a sequence, and the cells of the state before the first and after the last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub first: usize,
    pub n: usize,
    /// `None`: the state is all zeros.
    pub from: Option<*const f32>,
    /// May be the same address.
    pub to: *mut f32,
    /// True if the run that it belongs to is short enough for the token by token form.
    pub short: bool,
}

/// Runs of up to so many tokens are computed token by token, so that a token's bits do not depend on how few tokens
/// are batched.
const SHORT: u32 = 16;

/// A state as the runs of a micro-batch see it.
pub(super) struct States<'a> {
    view: &'a CacheView<'a>,
    base: *mut f32,
    /// Floats from a cell's row to the next.
    row: usize,
    /// The first runs of the chains.
    pub chains: Vec<usize>,
}

/// The cell that a run goes on from.
fn from(view: &CacheView<'_>, run: &Run) -> Option<u32> {
    (run.n_spans > 0).then(|| view.spans[run.first_span as usize].cell)
}

/// The cell that a run ends in.
fn to(view: &CacheView<'_>, run: &Run) -> u32 {
    view.cells[(run.first + run.n - 1) as usize]
}

impl<'a> States<'a> {
    pub fn new(s: &'a Step, state: StateId) -> States<'a> {
        let place = s.x.states[state.0 as usize];
        let view = &s.micro.caches[place.cache];
        let goes_on = |i: usize| {
            let from = from(view, &view.runs[i]);
            from.is_some() && view.runs[..i].iter().any(|before| Some(to(view, before)) == from)
        };
        let chains = (0..view.runs.len()).filter(|i| !goes_on(*i)).collect();
        let base = s.x.kv.base().wrapping_add(place.keys.offset).cast();
        States { view, base, row: place.keys.row / size_of::<f32>(), chains }
    }

    /// The stretches of a chain, in the order of its tokens; `part` is the first element of the state that is
    /// read.
    pub fn stretches(&self, chain: usize, part: usize, mut f: impl FnMut(Stretch)) {
        let at = |cell: u32| self.base.wrapping_add(cell as usize * self.row + part);
        let mut next = Some(self.chains[chain]);
        while let Some(i) = next {
            let run = &self.view.runs[i];
            let end = (run.first + run.n) as usize;
            let mut cell = from(self.view, run);
            let mut first = run.first as usize;
            while first < end {
                let kept = self.view.cells[first..end].iter().position(|c| *c != NO_CELL);
                // The last token of a run always has a cell.
                let last = kept.map_or(end - 1, |n| first + n);
                f(Stretch {
                    first,
                    n: last + 1 - first,
                    from: cell.map(|c| at(c).cast_const()),
                    to: at(self.view.cells[last]),
                    short: run.n <= SHORT,
                });
                cell = Some(self.view.cells[last]);
                first = last + 1;
            }
            let own = to(self.view, run);
            next = (i + 1..self.view.runs.len()).find(|j| from(self.view, &self.view.runs[*j]) == Some(own));
        }
    }
}
