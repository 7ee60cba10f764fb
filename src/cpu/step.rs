//! One thread's walk through one micro-batch: all that an operation has at hand.

use std::borrow::Cow;
use std::cell::Cell;

use super::executor::Parts;
use super::matmul::ActFormat;
use super::pool::Worker;
use crate::graph::{Graph, Matrices, Micro, Node, ValueId, WeightId, WeightSlice};

pub(super) struct Step<'a> {
    pub x: &'a Parts,
    pub worker: &'a Worker<'a>,
    pub micro: &'a Micro<'a>,
    /// The value that the workspace holds in the form that products want, if any.
    pub prepared: Cell<Option<(ValueId, ActFormat)>>,
}

impl Step<'_> {
    pub fn graph(&self) -> &Graph {
        &self.x.graph
    }

    pub fn n_rows(&self, v: ValueId) -> usize {
        self.micro.n_rows(self.x.graph.value(v).rows)
    }

    /// Number of rows that a node computes in this micro-batch.
    pub fn rows_of(&self, node: &Node) -> usize {
        node.output.map_or(self.micro.tokens.len(), |v| self.n_rows(v))
    }

    /// The address of a value's first row of this micro-batch.
    pub fn at(&self, v: ValueId) -> *mut f32 {
        self.x.at(v, self.x.graph.first_row(v, self.micro))
    }

    /// The working memory, at the start of the compute arena.
    pub fn workspace(&self) -> *mut u8 {
        self.x.compute.base()
    }

    /// The matrices of a slice: the way they lie, and the address of the first row.
    pub fn matrices(&self, part: WeightSlice) -> (Matrices, *const u8) {
        let m = part.within(&self.x.weights[part.weight.0 as usize].part, self.x.graph.weight(part.weight));
        (m, self.x.weight(part.weight).wrapping_add(m.offset))
    }

    /// A tensor that the builder took as floats; a file may put it at any address.
    pub fn weight_floats(&self, id: WeightId) -> Cow<'_, [f32]> {
        self.x.weight_floats(id)
    }

    /// `n` floats of a value, from element `first` of this micro-batch's rows on.
    ///
    /// # Safety
    /// They lie within the value's rows of this micro-batch, and no thread writes them meanwhile.
    pub unsafe fn floats(&self, v: ValueId, first: usize, n: usize) -> &[f32] {
        // SAFETY: the layout gave the value room for its largest number of rows.
        unsafe { std::slice::from_raw_parts(self.at(v).add(first), n) }
    }

    /// The same, to write.
    ///
    /// # Safety
    /// As above, and this thread alone uses them.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn floats_mut(&self, v: ValueId, first: usize, n: usize) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.at(v).add(first), n) }
    }
}
