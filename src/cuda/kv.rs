//! The KV cache: StoreKv, copies of cells (also of recurrent layers' states), and the rotation of cached keys to other
//! positions (kernels/kv.cu).
//!
//! When sequences are copied apart or shifted, cells move (`graph::Move`). Moves by the same number of positions go
//! together, as many at once as their lists have room for: the host writes the pairs of cells, the cells that turn and
//! the angles to where a micro-batch's tables are otherwise, and each layer's keys and values are copied, then its keys
//! turned.

use super::args::{CopyCells, KV_THREADS, KV_TURN_MOST, RopeStore, Store, Turn};
use super::driver::Ptr;
use super::executor::Executor;
use super::kernels;
use super::step::{Step, blocks, int};
use crate::error::{Error, Result};
use crate::graph::{KeyRope, KvShape, Move, Node, RopeKind, Rotate, StateId, StateShape, StoreKv, ValueId};

pub(super) fn store(s: &Step, node: &Node, o: &StoreKv) -> Result<()> {
    let place = s.place(o.state);
    let keys = (s.type_k(), place.keys);
    // Values that are part of the keys are not kept once more.
    for (v, (ty, side)) in node.inputs.iter().zip([keys, (s.type_v(), place.values)]) {
        let cols = s.graph().value(*v).cols;
        let (at, cells) = (s.kv_base().add(side.offset), s.cells(place.cache));
        let args = Store { x: s.at(*v), side: at, cells, row: int(side.row)?, cols: int(cols)? };
        let grid = [blocks(s.n_rows(*v), 1)?, blocks(cols, KV_THREADS)?, 1];
        s.launch(kernels::store(ty)?, grid, &args)?;
    }
    Ok(())
}

/// The rotations of queries and keys, and the store of the turned keys and of values, in one launch.
pub(super) fn rope_store(s: &Step, [q, k, last]: [&Node; 3], r: &Rotate, o: &StoreKv) -> Result<()> {
    let (Some(turned), [table, v]) = (q.output, [q.inputs[1], last.inputs[1]]) else { return Ok(()) };
    let cols = |v: ValueId| s.graph().value(v).cols;
    let (place, n_rot) = (s.place(o.state), cols(table));
    let (x, y) = (s.at(q.inputs[0]), s.at(turned));
    // The elements that do not turn stay as they are where the output took the input's place.
    let copies = x != y;
    let units = (n_rot / 2 + if copies { r.head_dim - n_rot } else { 0 }) * r.n_head;
    let of = |n: usize| blocks(n, KV_THREADS);
    let (q_blocks, k_blocks, v_blocks) = (of(units)?, of(cols(k.inputs[0]))?, of(cols(v))?);
    let args = RopeStore {
        q: x,
        k: s.at(k.inputs[0]),
        v: s.at(v),
        table: s.at(table),
        q_out: y,
        keys: s.kv_base().add(place.keys.offset),
        values: s.kv_base().add(place.values.offset),
        cells: s.cells(place.cache),
        k_row: int(place.keys.row)?,
        v_row: int(place.values.row)?,
        type_k: s.type_k().gguf().cast_signed(),
        type_v: s.type_v().gguf().cast_signed(),
        q_cols: int(cols(q.inputs[0]))?,
        k_cols: int(cols(k.inputs[0]))?,
        v_cols: int(cols(v))?,
        head_dim: int(r.head_dim)?,
        n_rot: int(n_rot)?,
        first: int(r.first)?,
        halves: i32::from(r.kind == RopeKind::Neox),
        copies: i32::from(copies),
        q_blocks: q_blocks.cast_signed(),
        k_blocks: k_blocks.cast_signed(),
    };
    s.launch(kernels::rope_store, [blocks(s.n_rows(turned), 1)?, q_blocks + k_blocks + v_blocks, 1], &args)
}

/// Moves whose lists are on a die at once, and elements that turn of a head: with both, the lists fill the least room
/// of the tables.
const MOVES: usize = 1024;
const TURNED: usize = 1024;

/// Moves cells as `graph::Executor` says; returns when all is done.
pub(super) fn move_cells(x: &mut Executor, moves: &[Vec<Move>]) -> Result<()> {
    for (cache, moves) in
        moves.iter().enumerate().flat_map(|(cache, all)| portions(all).map(move |moves| (cache, moves)))
    {
        // Keys that no rotation turned, and what recurrent layers remember, are copied alone.
        for rope in (0..x.rotations.len()).map(Some).chain([None]) {
            let of_rope = |s: &StateId| {
                let i = s.0 as usize;
                x.here[i] && x.states[i].cache == cache && turning(x, *s).map(|(_, r)| r.rope) == rope
            };
            let states: Vec<StateId> = (0..x.states.len() as u32).map(StateId).filter(of_rope).collect();
            if states.is_empty() {
                continue;
            }
            let delta = moves[0].delta;
            let rotation = rope.filter(|_| delta != 0).map(|r| &x.rotations[r]);
            let angles: Vec<f32> = rotation.into_iter().flat_map(|r| r.turns(delta)).flatten().collect();
            if angles.len() > TURNED {
                return Err(Error::unsupported(format!(
                    "CUDA devices turn up to {TURNED} elements of a key, not {}",
                    angles.len()
                )));
            }
            // SAFETY: the staging is as large as the tables and nobody else's, and the die is at rest.
            let lists = unsafe { Lists::new(x, moves, &angles, x.staging.at) }?;
            states.into_iter().try_for_each(|s| lists.launch(x, s))?;
            // The next lists take the place of these.
            x.die.finish()?;
        }
    }
    Ok(())
}

/// The shape and the rotation of a state's keys, if it has keys that turn.
fn turning(x: &Executor, state: StateId) -> Option<(&KvShape, KeyRope)> {
    match &x.graph.state(state).shape {
        StateShape::Kv(shape) => Some((shape, shape.rope?)),
        StateShape::Recurrent(_) => None,
    }
}

/// Moves by the same delta, as many as are on a die at once.
fn portions(moves: &[Move]) -> impl Iterator<Item = &[Move]> {
    moves.chunk_by(|a, b| a.delta == b.delta).flat_map(|m| m.chunks(MOVES))
}

/// The lists that the kernels of some moves look up, in the place of a micro-batch's tables.
struct Lists {
    pairs: Ptr,
    n_pairs: usize,
    cells: Ptr,
    n_cells: usize,
    angles: Ptr,
    n_rot: usize,
}

impl Lists {
    /// # Safety
    /// The session checked the cells; at most `MOVES` moves and `TURNED` angles. The die is at rest; `host` is
    /// page-locked, as large as the tables, and nobody else uses it.
    unsafe fn new(x: &Executor, moves: &[Move], angles: &[f32], host: *mut u8) -> Result<Lists> {
        let pairs: Vec<u32> = moves.iter().filter(|m| m.from != m.to).flat_map(|m| [m.from, m.to]).collect();
        let cells: Vec<u32> = moves.iter().filter(|m| m.delta != 0).map(|m| m.to).collect();
        let words = pairs.iter().copied().chain(cells.iter().copied()).chain(angles.iter().map(|a| a.to_bits()));
        let mut n = 0;
        for word in words {
            // SAFETY: 2 * MOVES + MOVES + TURNED words at most, which the tables have room for.
            unsafe { host.cast::<u32>().add(n).write_unaligned(word) };
            n += 1;
        }
        let at = x.arenas.kv;
        // SAFETY: as above; the KV arena begins with room for the tables, and the caller of `new` waits before it
        // writes again.
        unsafe { x.die.copy_in(at, host, n * size_of::<u32>()) }?;
        let word = |n: usize| at.add(n * size_of::<u32>());
        Ok(Lists {
            pairs: at,
            n_pairs: pairs.len() / 2,
            cells: word(pairs.len()),
            n_cells: cells.len(),
            angles: word(pairs.len() + cells.len()),
            n_rot: angles.len(),
        })
    }

    fn launch(&self, x: &Executor, state: StateId) -> Result<()> {
        let place = x.states[state.0 as usize];
        for part in place.sides() {
            if self.n_pairs == 0 || part.row == 0 {
                continue;
            }
            let (side, row) = (x.arenas.kv.add(part.offset), part.row);
            let grid = [blocks(row, 16 * KV_THREADS)?, blocks(self.n_pairs, 1)?, 1];
            let args = CopyCells { side, pairs: self.pairs, row: row as i64 };
            // SAFETY: the lists' cells lie within the side.
            unsafe { x.die.launch(kernels::copy_cells, grid, &args) }?;
        }
        let Some((shape, rope)) = turning(x, state).filter(|_| self.n_cells > 0) else { return Ok(()) };
        if x.type_k.block_len() > 1 && shape.head_dim_k > KV_TURN_MOST {
            return Err(Error::unsupported(format!(
                "CUDA devices turn keys of up to {KV_TURN_MOST} elements, not {}",
                shape.head_dim_k
            )));
        }
        let args = Turn {
            side: x.arenas.kv.add(place.keys.offset),
            cells: self.cells,
            angles: self.angles,
            row: place.keys.row as i64,
            head_dim: int(shape.head_dim_k)?,
            first: int(rope.first)?,
            n_rot: int(self.n_rot)?,
            neox: i32::from(rope.kind == RopeKind::Neox),
        };
        let grid = [blocks(shape.n_head_kv, 1)?, blocks(self.n_cells, 1)?, 1];
        // SAFETY: as above; the angles are of this layer's rope.
        unsafe { x.die.launch(kernels::turn(x.type_k)?, grid, &args) }
    }
}
