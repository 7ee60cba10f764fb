//! The CPU's arenas and the graph that runs in them.

use std::borrow::Cow;
use std::sync::Arc;

use super::matmul::Kernels;
use super::pool::Pool;
use crate::device::Arena;
use crate::error::Result;
use crate::graph::{Graph, Layout, Rotation, StatePlace, ValueId, WeightId, WeightSlice};
use crate::quant::Type;

/// The slice of a weight that this device reads, and its address in the weights arena or in the file's map.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    pub part: WeightSlice,
    pub at: *const u8,
}

// SAFETY: the pointer leads to weights that nobody writes.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

/// Everything an executor is made of.
pub struct Parts {
    pub graph: Arc<Graph>,
    pub layout: Layout,
    pub kernels: Kernels,
    pub pool: Arc<Pool>,
    /// By weight of the graph. Those that no node here reads may be anything.
    pub weights: Vec<Held>,
    pub states: Vec<StatePlace>,
    /// By state: true if it is on this device.
    pub here: Vec<bool>,
    pub kv: Arena,
    /// The layout's bytes, and behind them memory for copies between devices.
    pub compute: Arena,
    pub type_k: Type,
    pub type_v: Type,
    /// By rope of the graph.
    pub rotations: Arc<[Rotation]>,
    pub n_outputs_max: usize,
}

impl Parts {
    /// Row `row` of a value that this device holds.
    pub(super) fn at(&self, v: ValueId, row: usize) -> *mut f32 {
        let offset = self.layout.offset(v).unwrap_or(0) + row * self.graph.value(v).cols * size_of::<f32>();
        self.compute.base().wrapping_add(offset).cast()
    }

    /// A tensor that the builder took as floats. It is copied if the file puts it at an address that is no multiple of
    /// 4.
    pub(super) fn weight_floats(&self, id: WeightId) -> Cow<'_, [f32]> {
        let n = self.graph.weight(id).ne.iter().product::<u64>() as usize;
        let at = self.weight(id).cast::<f32>();
        if at.is_aligned() {
            // SAFETY: a whole tensor of F32, which stays as long as the executor.
            return Cow::Borrowed(unsafe { std::slice::from_raw_parts(at, n) });
        }
        // SAFETY: as above.
        Cow::Owned((0..n).map(|i| unsafe { at.add(i).read_unaligned() }).collect())
    }

    pub(super) fn weight(&self, id: WeightId) -> *const u8 {
        self.weights[id.0 as usize].at
    }
}

/// The CPU as a device: its arenas and the graph that runs in them.
pub struct Executor(pub(super) Parts);

impl Executor {
    /// Makes an executor.
    ///
    /// # Safety
    /// Each of `parts.weights` that a node of this device reads must hold its slice of the graph's weight of that
    /// index, with all that nodes here read of it, for as long as the executor lives.
    pub unsafe fn new(parts: Parts) -> Executor {
        Executor(parts)
    }

    /// Row `row` of a value that this device holds.
    pub fn at(&self, v: ValueId, row: usize) -> *mut f32 {
        self.0.at(v, row)
    }

    /// The rotations of the graph's ropes. All devices turn keys by these.
    pub fn rotations(&self) -> Arc<[Rotation]> {
        Arc::clone(&self.0.rotations)
    }

    /// Bytes of the KV arena and of the compute arena.
    pub fn arena_bytes(&self) -> (usize, usize) {
        (self.0.kv.bytes(), self.0.compute.bytes())
    }

    /// Keeps both arenas from being swapped out.
    ///
    /// # Errors
    /// `OutOfMemory` if the system refuses.
    pub fn lock(&self) -> Result<()> {
        self.0.compute.lock("the compute arena")?;
        self.0.kv.lock("the KV cache")
    }

    /// Row `row` of a result `[n_outputs_max, cols]`. It is the last batch's, if that had so many rows.
    pub fn result_row(&self, v: ValueId, row: usize) -> &[f32] {
        assert!(self.0.graph.is_result(v) && row < self.0.n_outputs_max, "the session checks rows");
        // SAFETY: the layout has room for n_outputs_max rows, and the arena was filled with zeros; `run` needs `&mut
        // self`.
        unsafe { std::slice::from_raw_parts(self.0.at(v, row), self.0.graph.value(v).cols) }
    }

    /// The compute arena, and the bytes of it that the layout takes.
    pub fn compute(&self) -> (&Arena, usize) {
        (&self.0.compute, self.0.layout.bytes)
    }
}
