//! The face of a device: all that it does with its part of a graph. `cpu` and `cuda` implement it, so a session treats
//! devices alike.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use super::op::Op;
use super::step::{Micro, Move};
use super::value::ValueId;
use crate::error::Result;
use crate::quant::Type;

/// A device's arenas and the part of the graph that runs in them.
pub trait Executor {
    /// True if the device has kernels for an op that reads weights of a type.
    fn supports(op: &Op, ty: Type) -> bool
    where
        Self: Sized;

    /// Computes a stretch of the graph's nodes for a micro-batch. It may return before they are done.
    ///
    /// # Errors
    /// `Cancelled` soon after `cancel` is set; `Device`, naming device and call; `Internal` if a kernel panicked. The
    /// contents of rows and cells that the nodes write are then undefined.
    fn run(&mut self, nodes: Range<usize>, micro: &Micro<'_>, cancel: &AtomicBool) -> Result<()>;

    /// Waits until all work that was given to the device is done.
    ///
    /// # Errors
    /// `Device`, naming device and call. The functions below may return it too.
    fn finish(&mut self) -> Result<()>;

    /// Waits for earlier work, then reads rows of a value that this device holds: from row `first` on, as many as `to`
    /// has.
    fn read(&mut self, v: ValueId, first: usize, to: &mut [f32]) -> Result<()>;

    /// Writes rows of a value: from row `first` on, as many as `from` has.
    fn write(&mut self, v: ValueId, first: usize, from: &[f32]) -> Result<()>;

    /// Moves cells: copies their rows in the states of this device to the new cells, and turns the keys by the delta.
    /// `moves` has a list for each cache.
    ///
    /// # Errors
    /// `OutOfMemory` if small buffers cannot be had; nothing is changed then.
    fn move_cells(&mut self, moves: &[Vec<Move>]) -> Result<()>;

    /// Bytes of one cell of a cache in a state (an index into `Graph::states`); 0 if that is not on this device or not
    /// of this cache.
    fn state_bytes(&self, cache: usize, state: usize) -> usize;

    /// Reads some cells' rows of the states of a cache, cell by cell and state by state: of each the key and the value
    /// in the blocks of their types, whatever form the device keeps them in. `to` is as long as these are together.
    fn read_cells(&mut self, cache: usize, cells: &[u32], to: &mut [u8]) -> Result<()>;

    /// Writes bytes that `read_cells` gave, to the same cells or others.
    fn write_cells(&mut self, cache: usize, cells: &[u32], from: &[u8]) -> Result<()>;
}
