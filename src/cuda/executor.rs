//! The executor: a die with its arenas and its part of the graph. Here are its making, the addresses of values, and
//! copies from and to the host; run.rs walks through the graph.

use std::sync::Arc;

use super::die::{Die, Event};
use super::driver::Ptr;
use super::fill::RING_BYTES;
use super::replay::Replays;
use super::tables::Tables;
use crate::error::Result;
use crate::graph::{Graph, Layout, Rotation, StatePlace, ValueId, WeightSlice};
use crate::quant::Type;

/// A step of up to so many tokens is short: it is recorded and replayed, and its attention is split over the context.
pub(super) const FEW_TOKENS: usize = 8;

/// Bytes behind the layout of the host's compute arena (all of it is page-locked then) for `n_dies` dies: one copy of
/// the tables, and a ring for each die.
pub fn staging_bytes(n_dies: usize, tables: usize) -> usize {
    if n_dies == 0 { 0 } else { tables + n_dies * RING_BYTES }
}

/// A weight, or the part of one, that a die reads, and its offset in the weights arena.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    pub part: WeightSlice,
    pub offset: usize,
}

/// Everything that an executor is made of. The die has its kernels and arenas, and the weights are in theirs.
pub struct Parts {
    pub die: Die,
    pub graph: Arc<Graph>,
    pub layout: Layout,
    /// Of each weight of the graph; `None` for those that this die does not read.
    pub weights: Vec<Option<Held>>,
    pub arenas: Arenas,
    pub states: Vec<StatePlace>,
    /// True for each state that is on this die.
    pub here: Vec<bool>,
    pub type_k: Type,
    pub type_v: Type,
    /// Of each rope of the graph.
    pub rotations: Arc<[Rotation]>,
    /// True if short steps are recorded and replayed.
    pub replay: bool,
    pub pieces: [Event; 2],
    /// Page-locked memory of the host, as large as the largest tables, that dies use in turn while all of them are at
    /// rest.
    pub staging: Staging,
}

/// Page-locked memory of the host.
#[derive(Debug, Clone, Copy)]
pub struct Staging {
    pub at: *mut u8,
    pub bytes: usize,
}

/// The places of a die's three arenas.
#[derive(Debug, Clone, Copy)]
pub struct Arenas {
    pub weights: Ptr,
    pub kv: Ptr,
    pub compute: Ptr,
}

/// A die's arenas and its part of the graph.
pub struct Executor {
    pub(super) die: Die,
    pub(super) graph: Arc<Graph>,
    pub(super) layout: Layout,
    pub(super) weights: Vec<Option<Held>>,
    pub(super) arenas: Arenas,
    pub(super) states: Vec<StatePlace>,
    pub(super) here: Vec<bool>,
    pub(super) type_k: Type,
    pub(super) type_v: Type,
    pub(super) rotations: Arc<[Rotation]>,
    pub(super) replays: Option<Replays>,
    /// Reached when the piece before the last is done.
    pub(super) pieces: [Event; 2],
    pub(super) tables: Tables,
    /// Of each value: the inputs of nodes that it is, and one more if it is a result.
    pub(super) readers: Vec<usize>,
    pub(super) staging: Staging,
}

// SAFETY: `staging` is an address of memory that only calls with `&mut self` use; all else can be sent.
unsafe impl Send for Executor {}
// SAFETY: as above.
unsafe impl Sync for Executor {}

impl Executor {
    /// # Safety
    /// `parts.staging` is page-locked and stays as long as the executor; nobody else uses it while a call of
    /// this one runs.
    pub unsafe fn new(parts: Parts) -> Executor {
        let Parts { die, graph, layout, weights, arenas, states, here, type_k, type_v, .. } = parts;
        let Parts { rotations, replay, pieces, staging, .. } = parts;
        let (replays, tables) = (replay.then(Replays::default), Tables::default());
        let mut readers = vec![0; graph.values.len()];
        let read = graph.nodes.iter().flat_map(|n| &n.inputs).chain(graph.results.iter().map(|(_, v)| v));
        read.for_each(|v| readers[v.0 as usize] += 1);
        Executor {
            die,
            graph,
            layout,
            weights,
            arenas,
            states,
            here,
            type_k,
            type_v,
            rotations,
            replays,
            pieces,
            tables,
            readers,
            staging,
        }
    }

    pub fn die(&self) -> &Die {
        &self.die
    }

    /// True if products of one row have the form that loads ahead.
    pub(super) fn loads_ahead(&self) -> bool {
        self.die.loads_ahead
    }

    /// Its die, for another executor.
    pub fn into_die(self) -> Die {
        self.die
    }

    /// The address of row `row` of a value that this die holds.
    pub fn at(&self, v: ValueId, row: usize) -> Ptr {
        let offset = self.layout.offset(v).unwrap_or(0) + row * self.graph.value(v).cols * size_of::<f32>();
        self.arenas.compute.add(offset)
    }

    /// Gives the die a micro-batch's tables, which stand at `from`.
    ///
    /// # Safety
    /// `from` is page-locked, holds the tables, and keeps them until the die has passed.
    pub unsafe fn take_tables(&mut self, tables: &Tables, from: *const u8) -> Result<()> {
        self.tables.clone_from(tables);
        // SAFETY: the plan put room for the largest tables before the caches.
        unsafe { self.die.copy_in(self.arenas.kv, from, tables.bytes) }
    }

    /// Copies from the die to any memory of the host, when all given before is done.
    pub(super) fn take_out(&mut self, at: Ptr, to: &mut [u8]) -> Result<()> {
        let most = self.staging.bytes;
        for (i, piece) in to.chunks_mut(most).enumerate() {
            // SAFETY: the staging is page-locked and this call's; what the caller asks for is within an arena.
            unsafe { self.die.copy_out(self.staging.at, at.add(i * most), piece.len()) }?;
            self.die.finish()?;
            // SAFETY: as above, and the die has done with it.
            piece.copy_from_slice(unsafe { std::slice::from_raw_parts(self.staging.at, piece.len()) });
        }
        Ok(())
    }

    /// Copies from any memory of the host to the die.
    pub(super) fn put_in(&mut self, at: Ptr, from: &[u8]) -> Result<()> {
        let most = self.staging.bytes;
        for (i, piece) in from.chunks(most).enumerate() {
            // SAFETY: the staging is page-locked, this call's, and at least as long as the piece.
            unsafe { std::slice::from_raw_parts_mut(self.staging.at, piece.len()) }.copy_from_slice(piece);
            // SAFETY: as above; what the caller asks for is within an arena.
            unsafe { self.die.copy_in(at.add(i * most), self.staging.at, piece.len()) }?;
            self.die.finish()?;
        }
        Ok(())
    }
}
