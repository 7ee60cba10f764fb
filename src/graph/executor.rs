//! What a device can do with its part of a graph. `cpu` and `cuda` implement it, so a session treats devices alike.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use super::op::Op;
use super::step::{Micro, Move};
use super::value::ValueId;
use crate::error::Result;
use crate::quant::Type;

/// A device's arenas and the part of the graph that runs in them.
pub trait Executor {
    /// Whether it has kernels for an op that reads weights of a type.
    fn supports(op: &Op, ty: Type) -> bool
    where
        Self: Sized;

    /// Computes a stretch of the graph's nodes for a micro-batch; may return before they are done.
    ///
    /// # Errors
    /// `Cancelled` soon after `cancel` is set; `Device`, naming device and call; `Internal` if a kernel panicked. The
    /// rows and cells that the nodes write then hold anything.
    fn run(&mut self, nodes: Range<usize>, micro: &Micro<'_>, cancel: &AtomicBool) -> Result<()>;

    /// Waits until all that was given to it is done.
    ///
    /// # Errors
    /// `Device`, here and below.
    fn finish(&mut self) -> Result<()>;

    /// Reads rows `first..` of a value that this device holds, as many as `to` has, when all given before is done.
    fn read(&mut self, v: ValueId, first: usize, to: &mut [f32]) -> Result<()>;

    /// Writes rows `first..` of a value, as many as `from` has.
    fn write(&mut self, v: ValueId, first: usize, from: &[f32]) -> Result<()>;

    /// In the states of each cache that are here: copies the rows of each of its moves to the new cell and turns the
    /// keys by the delta. `moves` are of each cache.
    ///
    /// # Errors
    /// `OutOfMemory` for small buffers, before anything is changed.
    fn move_cells(&mut self, moves: &[Vec<Move>]) -> Result<()>;

    /// Bytes that the states of a cache that are here keep of one cell.
    fn cell_bytes(&self, cache: usize) -> usize;

    /// Reads what those states keep of some cells, cell by cell and state by state: `cells.len() * cell_bytes(cache)`
    /// bytes.
    fn read_cells(&mut self, cache: usize, cells: &[u32], to: &mut [u8]) -> Result<()>;

    /// Writes what `read_cells` gave, to cells that may be others.
    fn write_cells(&mut self, cache: usize, cells: &[u32], from: &[u8]) -> Result<()>;
}
