//! Rows of cells, whatever devices they are on: cell by cell, and of each cell state by state in the graph's order, of
//! each the key, then the value. A state that a group of dies shares stands there as that of one device would: the
//! heads of all dies one behind the other, and what each die has as a whole, once.

use super::machine::Machine;
use crate::error::{Result, try_vec};
use crate::graph::{Part, StatePlace};

/// A part of a cell's row: its device (0: the CPU, then the dies), and its place among the bytes of that device and
/// among all.
#[derive(Clone, Copy)]
struct Share {
    device: usize,
    own: usize,
    all: usize,
    bytes: usize,
}

/// The parts of a cell's row.
type Shares = Vec<Share>;

/// The bytes of a cell's row on a device.
fn own_bytes(shares: &Shares, device: usize) -> usize {
    shares.iter().filter(|s| s.device == device).map(|s| s.bytes).sum()
}

/// The bytes of a cell's row.
fn all_bytes(shares: &Shares) -> usize {
    shares.iter().map(|s| s.all + s.bytes).max().unwrap_or(0)
}

/// Calls `f` with the places of each part of `n_cells` rows that is on a device: among its own rows, among all, bytes.
fn each_part(shares: &Shares, device: usize, n_cells: usize, mut f: impl FnMut(usize, usize, usize)) {
    let (own, all) = (own_bytes(shares, device), all_bytes(shares));
    for cell in 0..n_cells {
        for s in shares.iter().filter(|s| s.device == device) {
            f(cell * own + s.own, cell * all + s.all, s.bytes);
        }
    }
}

impl Machine {
    fn shares(&self, cache: usize) -> Shares {
        let states = &self.graph().states;
        // Of each state: its device, and its place among that device's bytes of a cell.
        let mut ends = vec![0; self.executors().count()];
        let mut on = vec![None; states.len()];
        for (state, on) in on.iter_mut().enumerate() {
            let mut all = self.executors().map(|x| x.state_bytes(cache, state)).enumerate();
            if let Some((device, bytes)) = all.find(|(_, bytes)| *bytes > 0) {
                *on = Some((device, ends[device]));
                ends[device] += bytes;
            }
        }
        let mut out = Shares::new();
        let mut all = 0;
        for (first, state) in states.iter().enumerate().filter(|(i, s)| s.part.die() == 0 && on[*i].is_some()) {
            // The same state on the other dies: it is as far behind in its layer there.
            let nth = states[..first].iter().filter(|s| (s.layer, s.part) == (state.layer, state.part)).count();
            let of_die = |die: usize| {
                let same =
                    |s: &(usize, &crate::graph::State)| s.1.layer == state.layer && s.1.part == Part::Shard(die as u8);
                states.iter().enumerate().filter(same).nth(nth).map(|(i, _)| i)
            };
            let others = if matches!(state.part, Part::Shard(_)) { crate::graph::MOST_SHARDS } else { 0 };
            let shards: Vec<usize> = [first].into_iter().chain((1..others).filter_map(of_die)).collect();
            for value in [false, true] {
                let begin = all;
                for i in &shards {
                    let (Some((device, own)), StatePlace { keys, values, .. }) = (on[*i], self.states[*i]) else {
                        continue;
                    };
                    let (own, bytes) = if value { (own + keys.row, values.row) } else { (own, keys.row) };
                    let at = if states[*i].copy { begin } else { all };
                    out.push(Share { device, own, all: at, bytes });
                    all = all.max(at + bytes);
                }
            }
        }
        out
    }

    /// Bytes of a cell of a cache, in all states.
    pub fn row_bytes(&self, cache: usize) -> usize {
        all_bytes(&self.shares(cache))
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
