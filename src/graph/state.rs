//! States: what layers keep from one micro-batch to the next, and where its rows lie in a device's KV arena.
//!
//! A state is described once, beside the graph. The planner gives it a place, the loader allocates that, executors
//! write and read it, and a session moves its rows, whatever kind of state it is. A layer may have none, and may read
//! an earlier one's.

use super::rope::RopeKind;
use super::value::Part;
use crate::error::{Error, Result};

/// A state: something that one layer keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The layer that writes it; it lies on that layer's device.
    pub layer: u32,
    /// The part of the layer that it belongs to: `Shard`, if a group of dies shares the layer.
    pub part: Part,
    /// True for one that a die keeps just as the first die of its group does.
    pub copy: bool,
    pub shape: StateShape,
}

/// The kinds of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateShape {
    /// A row of keys and one of values for each cached token.
    Kv(KvShape),
    /// A row for each sequence, of so many elements of f32: all that a recurrent layer remembers of its tokens.
    Recurrent(usize),
}

/// The row that a KV cache keeps per token: a key and a value of each of its heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KvShape {
    /// KV heads. Several heads of queries may share one of them (grouped-query attention).
    pub n_head_kv: usize,
    /// Elements of a key and of a value, per head.
    pub head_dim_k: usize,
    pub head_dim_v: usize,
    /// True if values are the first `head_dim_v` elements of the keys. Nothing is kept for them then.
    pub v_in_k: bool,
    /// Tokens that a token sees, itself among them; `None`: all before it.
    pub window: Option<u32>,
    /// True if a token sees back to the last multiple of the window only.
    pub chunked: bool,
    /// The rotation that the cached keys have; `None`: none.
    pub rope: Option<KeyRope>,
}

impl KvShape {
    /// The last position that a token at `pos` does not see any more, since its window has passed it.
    pub fn behind(&self, pos: i32) -> i64 {
        let pos = i64::from(pos);
        match self.window.map(i64::from) {
            None => -1,
            Some(w) if self.chunked => pos - pos % w - 1,
            Some(w) => pos - w,
        }
    }
}

/// The rotation that cached keys have. It is kept so that they can be turned further, to other positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyRope {
    /// Index into `Graph::ropes`.
    pub rope: usize,
    /// The first rotated element of a head.
    pub first: usize,
    pub kind: RopeKind,
}

/// A set of cells, with a bookkeeping that several states share. Every state of the cache has a row for each cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    pub kind: CacheKind,
    pub n_cells: usize,
}

/// The kinds of cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheKind {
    /// A cell is a place for one token. All tokens are kept.
    Context,
    /// A cell is a place for one token. A token sees so many, itself among them; those further back are forgotten as a
    /// sequence grows.
    Window(u32),
    /// A cell is a place for what recurrent layers remember of one sequence at one position.
    Recurrent,
}

/// The place of a state in its device's KV arena: two sides (keys, values), each with a row for each cell of its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatePlace {
    /// Index into the plan's caches.
    pub cache: usize,
    /// Rows of each side.
    pub n_cells: usize,
    /// Rows of keys, and rows of values. The latter have no bytes if values are part of the keys.
    pub keys: Side,
    pub values: Side,
}

/// One side of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Side {
    /// Bytes from the arena's start.
    pub offset: usize,
    /// Bytes of a row.
    pub row: usize,
}

impl Side {
    /// The first byte of a cell's row, from the arena's start.
    pub fn at(&self, cell: u32) -> usize {
        self.offset + cell as usize * self.row
    }
}

impl StatePlace {
    pub fn sides(&self) -> [Side; 2] {
        [self.keys, self.values]
    }
    /// Bytes that the state keeps of one cell.
    pub fn cell_bytes(&self) -> usize {
        self.keys.row + self.values.row
    }
}

/// The states of a cache that are on a device; `here` says which are.
pub fn states_of<'a>(places: &'a [StatePlace], here: &'a [bool], cache: usize) -> impl Iterator<Item = &'a StatePlace> {
    places.iter().zip(here).filter(move |(p, here)| **here && p.cache == cache).map(|(p, _)| p)
}

/// Rows that those states keep of some cells, cell by cell and state by state: (offset in the KV arena, bytes).
///
/// # Errors
/// `InvalidArgument` if they do not have `n_bytes` bytes together, or for a cell that a state does not have.
pub fn rows_of_cells(
    places: &[StatePlace],
    here: &[bool],
    cache: usize,
    cells: &[u32],
    n_bytes: usize,
) -> Result<Vec<(usize, usize)>> {
    if let Some(p) = states_of(places, here, cache).find(|p| cells.iter().any(|c| *c as usize >= p.n_cells)) {
        return Err(Error::invalid(format!("a cell is out of range, expected 0 to {}", p.n_cells.saturating_sub(1))));
    }
    let of =
        |cell: &u32| states_of(places, here, cache).flat_map(|p| p.sides()).map(|s| (s.at(*cell), s.row)).collect();
    let rows: Vec<(usize, usize)> = cells.iter().flat_map(|c| -> Vec<_> { of(c) }).filter(|(_, n)| *n > 0).collect();
    match rows.iter().map(|(_, n)| n).sum::<usize>() == n_bytes {
        true => Ok(rows),
        false => Err(Error::invalid(format!("{} cells do not take {n_bytes} bytes of this cache", cells.len()))),
    }
}
