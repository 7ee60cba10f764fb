//! A micro-batch on its way through a die's part of the graph: every operation's file finds its addresses here.

use super::args::Args;
use super::driver::Ptr;
use super::executor::Executor;
use super::kernels::Kernel;
use crate::error::{Error, Result, Status};
use crate::graph::{Graph, Matrices, Micro, Node, StateId, StatePlace, ValueId, WeightId, WeightSlice};
use crate::quant::Type;

pub(super) struct Step<'a> {
    pub x: &'a Executor,
    pub micro: &'a Micro<'a>,
}

/// A size as kernels take it: as an `int`.
pub(super) fn int(n: usize) -> Result<i32> {
    i32::try_from(n)
        .map_err(|_| Error::new(Status::Unsupported, format!("a size of {n} is too large for a CUDA device")))
}

/// Blocks that take `each` of `n`.
pub(super) fn blocks(n: usize, each: usize) -> Result<u32> {
    Ok(int(n.div_ceil(each))?.cast_unsigned())
}

impl Step<'_> {
    pub fn graph(&self) -> &Graph {
        &self.x.graph
    }
    pub fn micro(&self) -> &Micro<'_> {
        self.micro
    }
    pub fn place(&self, state: StateId) -> StatePlace {
        self.x.states[state.0 as usize]
    }
    pub fn type_k(&self) -> Type {
        self.x.type_k
    }
    pub fn type_v(&self) -> Type {
        self.x.type_v
    }
    pub fn kv_base(&self) -> Ptr {
        self.x.arenas.kv
    }
    pub fn workspace(&self) -> Ptr {
        self.x.arenas.compute
    }

    pub fn n_rows(&self, v: ValueId) -> usize {
        self.micro.n_rows(self.x.graph.value(v).rows)
    }
    /// Rows of this micro-batch that a node computes.
    pub fn rows_of(&self, node: &Node) -> usize {
        node.output.map_or(self.micro.tokens.len(), |v| self.n_rows(v))
    }
    /// Row 0 of this micro-batch.
    pub fn at(&self, v: ValueId) -> Ptr {
        self.x.at(v, self.x.graph.first_row(v, self.micro))
    }
    /// A tensor that a node of this die reads as a whole.
    pub fn weight(&self, id: WeightId) -> Ptr {
        // The plan put every weight that a node of this die reads on this die.
        self.x.arenas.weights.add(self.x.weights[id.0 as usize].map_or(0, |held| held.offset))
    }
    /// The matrices that a node multiplies by: their sizes, and the place of the first row.
    pub fn matrices(&self, part: WeightSlice) -> (Matrices, Ptr) {
        let held = self.x.weights[part.weight.0 as usize].map_or(part, |held| held.part);
        let m = part.within(&held, self.x.graph.weight(part.weight));
        (m, self.weight(part.weight).add(m.offset))
    }
    /// A bias, from the element of a matrix's first row on.
    pub fn bias(&self, bias: Option<WeightId>, part: WeightSlice) -> Ptr {
        bias.map_or(Ptr::NULL, |b| self.weight(b).add(part.first_row * size_of::<f32>()))
    }

    fn table(&self, offset: usize) -> Ptr {
        self.x.arenas.kv.add(offset)
    }
    pub fn positions(&self) -> Ptr {
        self.table(0)
    }
    pub fn outputs(&self) -> Ptr {
        self.table(self.x.tables.outputs)
    }
    pub fn cells(&self, cache: usize) -> Ptr {
        self.table(self.x.tables.caches[cache].0)
    }
    pub fn runs(&self, cache: usize) -> Ptr {
        self.table(self.x.tables.caches[cache].1)
    }
    /// The spans of all caches.
    pub fn spans(&self) -> Ptr {
        self.table(self.x.tables.spans)
    }

    /// Gives a kernel to the stream.
    pub fn launch<A: Args>(&self, kernel: Kernel<A>, grid: [u32; 3], args: &A) -> Result<()> {
        // SAFETY: each operation's file takes its addresses from the layout and the plan.
        unsafe { self.x.die.launch(kernel, grid, args) }
    }
}
