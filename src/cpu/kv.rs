//! The KV cache: StoreKv, moves of cells (copies, and the rotation of cached keys to other positions), and reading and
//! writing of cells.

use super::executor::Parts;
use super::pool::Over;
use super::rope::turn;
use super::step::Step;
use crate::error::{Result, try_vec};
use crate::graph::{Move, Node, StateId, StoreKv, rows_of_cells};
use crate::quant::{dequantize, quantize};

pub(super) fn store(s: &Step, node: &Node, o: &StoreKv) -> std::result::Result<(), Over> {
    let place = s.x.states[o.state.0 as usize];
    let cells = s.micro.caches[place.cache].cells;
    let keys = (node.inputs[0], s.x.type_k, place.keys);
    // Values that are part of the keys are not stored once more.
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

/// Moves cells as `graph::Executor` says. Threads share the states.
pub(super) fn move_cells(x: &Parts, moves: &[Vec<Move>]) -> Result<()> {
    let row = x.graph.kv_shapes().map(|k| k.n_head_kv * k.head_dim_k).max().unwrap_or(0);
    let pool = x.pool.clone();
    let mut rows = try_vec("rows of keys", row * pool.n_threads(), 0f32)?;
    let n_rot = x.graph.ropes.iter().map(|r| r.n_rot).max().unwrap_or(0);
    let mut angles = try_vec("angles", n_rot * pool.n_threads(), 0f32)?;
    let (rows_at, angles_at) = (Shared(rows.as_mut_ptr()), Shared(angles.as_mut_ptr()));
    pool.run(u64::MAX, &|worker| {
        worker.share(x.states.len(), 1, |states| {
            // SAFETY: each thread has its own part of both buffers, which outlive the run.
            let (keys, angles) = unsafe {
                (
                    std::slice::from_raw_parts_mut(rows_at.get().add(row * worker.index), row),
                    std::slice::from_raw_parts_mut(angles_at.get().add(n_rot * worker.index), n_rot),
                )
            };
            for state in states.filter(|s| x.here[*s]) {
                for m in &moves[x.states[state].cache] {
                    // SAFETY: the session checked the cells; each state has one writer.
                    unsafe { x.move_cell(StateId(state as u32), *m, keys, angles) };
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

impl Parts {
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
        let Some(rope) = shape.rope else { return };
        let rotation = &self.rotations[rope.rope];
        let angles = &mut angles[..2 * rotation.frequencies.len()];
        let keys = &mut keys[..shape.n_head_kv * shape.head_dim_k];
        // SAFETY: the row that `to` holds.
        let cell = unsafe { std::slice::from_raw_parts_mut(base.add(place.keys.at(m.to)), place.keys.row) };
        dequantize(self.type_k, cell, keys);
        for (angle, turn) in angles.chunks_exact_mut(2).zip(rotation.turns(m.delta)) {
            angle.copy_from_slice(&turn);
        }
        for head in keys.chunks_exact_mut(shape.head_dim_k) {
            turn(&mut head[rope.first..], angles, rope.kind);
        }
        quantize(self.type_k, keys, cell);
    }
}

pub(super) fn read_cells(x: &Parts, cache: usize, cells: &[u32], mut to: &mut [u8]) -> Result<()> {
    for (at, n) in rows_of_cells(&x.states, &x.here, cache, cells, to.len())? {
        let (row, rest) = std::mem::take(&mut to).split_at_mut(n);
        // SAFETY: within the arena, which nobody writes meanwhile.
        row.copy_from_slice(unsafe { std::slice::from_raw_parts(x.kv.base().add(at), n) });
        to = rest;
    }
    Ok(())
}

pub(super) fn write_cells(x: &Parts, cache: usize, cells: &[u32], mut from: &[u8]) -> Result<()> {
    for (at, n) in rows_of_cells(&x.states, &x.here, cache, cells, from.len())? {
        let (row, rest) = from.split_at(n);
        // SAFETY: within the arena, which this call alone uses.
        unsafe { std::slice::from_raw_parts_mut(x.kv.base().add(at), n) }.copy_from_slice(row);
        from = rest;
    }
    Ok(())
}
