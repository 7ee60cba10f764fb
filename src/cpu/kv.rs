//! The KV cache: StoreKv, copies of cells, the rotation of cached keys to other positions, and reading and writing of
//! cells.

use super::executor::Executor;
use super::pool::Poisoned;
use super::rope::turn;
use super::step::Step;
use crate::error::{Error, Result, try_vec};
use crate::graph::{Move, Node, StateId, StatePlace, StoreKv};
use crate::quant::{dequantize, quantize};

pub(super) fn store(s: &Step, node: &Node, o: &StoreKv) -> std::result::Result<(), Poisoned> {
    let place = s.x.states[o.state.0 as usize];
    let cells = s.micro.caches[place.cache].cells;
    let keys = (node.inputs[0], s.x.type_k, place.keys);
    // Values that are part of the keys are not kept once more.
    let parts = [keys, node.inputs.get(1).map_or(keys, |v| (*v, s.x.type_v, place.values))];
    let n_parts = node.inputs.len();
    s.worker.share(n_parts * cells.len(), 1, |items| {
        for i in items {
            let (t, (v, ty, side)) = (i / n_parts, parts[i % n_parts]);
            let cols = s.graph().value(v).cols;
            // SAFETY: the session checked the cell; one writer per cell and part.
            unsafe {
                let to = s.x.kv.base().add(side.at(cells[t]));
                quantize(ty, s.floats(v, t * cols, cols), std::slice::from_raw_parts_mut(to, side.row));
            }
        }
    })
}

/// Moves cells as `graph::Executor` says, the states shared among the threads.
pub(super) fn move_cells(x: &mut Executor, moves: &[Vec<Move>]) -> Result<()> {
    let row = x.graph.kv_shapes().map(|k| k.n_head_kv * k.head_dim_k).max().unwrap_or(0);
    let pool = x.pool.clone();
    let mut rows = try_vec("rows of keys", row * pool.n_threads(), 0f32)?;
    let n_rot = x.graph.ropes.iter().map(|r| r.n_rot).max().unwrap_or(0);
    let mut angles = try_vec("angles", n_rot * pool.n_threads(), 0f32)?;
    let (rows_at, angles_at) = (Shared(rows.as_mut_ptr()), Shared(angles.as_mut_ptr()));
    let this = &*x;
    pool.run(&|worker| {
        worker.share(this.states.len(), 1, |states| {
            // SAFETY: each thread has its own part of both buffers, which outlive the run.
            let (keys, angles) = unsafe {
                (
                    std::slice::from_raw_parts_mut(rows_at.get().add(row * worker.index), row),
                    std::slice::from_raw_parts_mut(angles_at.get().add(n_rot * worker.index), n_rot),
                )
            };
            for state in states.filter(|s| this.here[*s]) {
                for m in &moves[this.states[state].cache] {
                    // SAFETY: the session checked the cells; each state has one writer.
                    unsafe { this.move_cell(StateId(state as u32), *m, keys, angles) };
                }
            }
        })
    })
}

/// A buffer of which each thread uses its own part.
struct Shared(*mut f32);

// SAFETY: the parts are disjoint.
unsafe impl Sync for Shared {}

impl Shared {
    fn get(&self) -> *mut f32 {
        self.0
    }
}

impl Executor {
    /// # Safety
    /// The cells exist and nobody else uses this state.
    unsafe fn move_cell(&self, state: StateId, m: Move, keys: &mut [f32], angles: &mut [f32]) {
        let place = self.states[state.0 as usize];
        let base = self.kv.base();
        if m.from != m.to {
            for side in place.sides() {
                // SAFETY: two different rows of the arena.
                unsafe {
                    std::ptr::copy_nonoverlapping(base.add(side.at(m.from)), base.add(side.at(m.to)), side.row);
                }
            }
        }
        if m.delta == 0 {
            return;
        }
        let shape = self.graph.kv(state);
        let rotation = &self.rotations[shape.rope.rope];
        let angles = &mut angles[..2 * rotation.frequencies.len()];
        let keys = &mut keys[..shape.n_head_kv * shape.head_dim_k];
        // SAFETY: the row that `to` holds.
        let cell = unsafe { std::slice::from_raw_parts_mut(base.add(place.keys.at(m.to)), place.keys.row) };
        dequantize(self.type_k, cell, keys);
        for (angle, turn) in angles.chunks_exact_mut(2).zip(rotation.turns(m.delta)) {
            angle.copy_from_slice(&turn);
        }
        for head in keys.chunks_exact_mut(shape.head_dim_k) {
            turn(&mut head[shape.rope.first..], angles, shape.rope.kind);
        }
        quantize(self.type_k, keys, cell);
    }

    /// The states of a cache that are here.
    pub(super) fn states_of(&self, cache: usize) -> impl Iterator<Item = &StatePlace> {
        self.states.iter().zip(&self.here).filter(move |(p, here)| **here && p.cache == cache).map(|(p, _)| p)
    }
}

/// The rows of cells, in the order of `graph::Executor::read_cells`: (where in the KV arena, bytes).
fn rows_of<'a>(x: &'a Executor, cache: usize, cells: &'a [u32]) -> impl Iterator<Item = (usize, usize)> + 'a {
    cells.iter().flat_map(move |c| x.states_of(cache).flat_map(|p| p.sides()).map(move |side| (side.at(*c), side.row)))
}

/// # Errors
/// `InvalidArgument` for a buffer of another length or a cell outside the arena.
fn check(x: &Executor, cache: usize, cells: &[u32], n_bytes: usize) -> Result<()> {
    let bytes: usize = x.states_of(cache).map(StatePlace::cell_bytes).sum();
    let inside = rows_of(x, cache, cells).all(|(at, n)| at + n <= x.kv.bytes());
    match bytes.checked_mul(cells.len()) == Some(n_bytes) && inside {
        true => Ok(()),
        false => Err(Error::invalid(format!("{} cells do not take {n_bytes} bytes of this cache", cells.len()))),
    }
}

pub(super) fn read_cells(x: &Executor, cache: usize, cells: &[u32], to: &mut [u8]) -> Result<()> {
    check(x, cache, cells, to.len())?;
    let mut done = 0;
    for (at, n) in rows_of(x, cache, cells) {
        // SAFETY: within the arena, which nobody writes meanwhile.
        let row = unsafe { std::slice::from_raw_parts(x.kv.base().add(at), n) };
        to[done..done + n].copy_from_slice(row);
        done += n;
    }
    Ok(())
}

pub(super) fn write_cells(x: &mut Executor, cache: usize, cells: &[u32], from: &[u8]) -> Result<()> {
    check(x, cache, cells, from.len())?;
    let mut done = 0;
    for (at, n) in rows_of(x, cache, cells) {
        // SAFETY: within the arena, which this call alone uses.
        let row = unsafe { std::slice::from_raw_parts_mut(x.kv.base().add(at), n) };
        row.copy_from_slice(&from[done..done + n]);
        done += n;
    }
    Ok(())
}
