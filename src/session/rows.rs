//! Rows of cells, whatever devices they are on: cell by cell, and of each cell state by state in the graph's order.

use super::machine::Machine;
use crate::error::{Result, try_vec};

/// The parts of a cell's row: the device of each (0: the CPU, then the dies), and its bytes.
type Shares = Vec<(usize, usize)>;

/// The bytes of a cell's row on a device.
fn own_bytes(shares: &Shares, device: usize) -> usize {
    shares.iter().filter(|(d, _)| *d == device).map(|(_, n)| n).sum()
}

/// Calls `f` with the places of each part of `n_cells` rows that is on a device: among its own rows, among all, bytes.
fn each_part(shares: &Shares, device: usize, n_cells: usize, mut f: impl FnMut(usize, usize, usize)) {
    let (mut own, mut all) = (0, 0);
    for _ in 0..n_cells {
        for (d, n) in shares {
            if *d == device {
                f(own, all, *n);
                own += n;
            }
            all += n;
        }
    }
}

impl Machine {
    fn shares(&self, cache: usize) -> Shares {
        let n_states = self.graph().states.len();
        let of = |state: usize| {
            let mut all = self.executors().map(|x| x.state_bytes(cache, state)).enumerate();
            all.find(|(_, bytes)| *bytes > 0)
        };
        (0..n_states).filter_map(of).collect()
    }

    /// Bytes of a cell of a cache, in all states.
    pub fn row_bytes(&self, cache: usize) -> usize {
        self.shares(cache).iter().map(|(_, n)| n).sum()
    }

    /// Reads the rows of some cells: `cells.len() * row_bytes(cache)` bytes.
    ///
    /// # Errors
    /// `Device`, `OutOfMemory`.
    pub fn read_rows(&mut self, cache: usize, cells: &[u32], to: &mut [u8]) -> Result<()> {
        let shares = self.shares(cache);
        self.at_rest(|executor, device| {
            let mut own = try_vec("rows of cells", own_bytes(&shares, device) * cells.len(), 0u8)?;
            if !own.is_empty() {
                executor.read_cells(cache, cells, &mut own)?;
            }
            each_part(&shares, device, cells.len(), |at, all, n| to[all..all + n].copy_from_slice(&own[at..at + n]));
            Ok(())
        })
    }

    /// Writes rows that `read_rows` gave to some cells.
    ///
    /// # Errors
    /// `Device`, `OutOfMemory`. The cells' rows are then undefined.
    pub fn write_rows(&mut self, cache: usize, cells: &[u32], from: &[u8]) -> Result<()> {
        let shares = self.shares(cache);
        self.at_rest(|executor, device| {
            let mut own = try_vec("rows of cells", own_bytes(&shares, device) * cells.len(), 0u8)?;
            each_part(&shares, device, cells.len(), |at, all, n| own[at..at + n].copy_from_slice(&from[all..all + n]));
            match own.is_empty() {
                true => Ok(()),
                false => executor.write_cells(cache, cells, &own),
            }
        })
    }
}
