//! The KV cache: StoreKv, copies of cells, and the rotation of cached keys to other positions.

use super::pool::Poisoned;
use super::rope::turn;
use super::{Executor, Pool, Step};
use crate::error::{Result, try_vec};
use crate::graph::Node;
use crate::quant::{Type, dequantize, quantize};

pub(super) fn store(s: &Step, node: &Node, layer: usize) -> std::result::Result<(), Poisoned> {
    let places = s.x.places[layer];
    let cells = s.micro.caches[places.cache].cells;
    let keys = (node.inputs[0], s.x.type_k, places.k_offset, places.k_row);
    // Values that are part of the keys are not kept once more.
    let parts = [keys, node.inputs.get(1).map_or(keys, |v| (*v, s.x.type_v, places.v_offset, places.v_row))];
    let n_parts = node.inputs.len();
    s.worker.share(n_parts * cells.len(), 1, |items| {
        for i in items {
            let (t, (v, ty, offset, row_bytes)) = (i / n_parts, parts[i % n_parts]);
            let cols = s.x.graph.value(v).cols;
            // SAFETY: the session checked the cell; one writer per cell and part.
            unsafe {
                let to = s.x.kv.base().add(offset + cells[t] as usize * row_bytes);
                quantize(ty, s.floats(v, t * cols, cols), std::slice::from_raw_parts_mut(to, row_bytes));
            }
        }
    })
}

/// What happens to cached cells when sequences are copied apart or shifted.
#[derive(Debug, Clone, Copy)]
pub struct Move {
    pub from: u32,
    pub to: u32,
    /// Positions that the keys move by.
    pub delta: i32,
}

/// In the layers of each cache: copies each of its moves' keys and values to the new cell (which may be the old one) and turns the
/// keys by the delta.
///
/// # Errors
/// `OutOfMemory` for the small buffers, before anything is changed.
pub fn move_cells(x: &mut Executor, pool: &Pool, moves: &[Vec<Move>]) -> Result<()> {
    let row = x.graph.kv.iter().map(|k| k.n_head_kv * k.head_dim_k).max().unwrap_or(0);
    let mut rows = try_vec("rows of keys", row * pool.n_threads(), 0f32)?;
    let n_rot = x.graph.ropes.iter().map(|r| r.n_rot).max().unwrap_or(0);
    let mut angles = try_vec("angles", n_rot * pool.n_threads(), 0f32)?;
    let (rows_at, angles_at) = (Shared(rows.as_mut_ptr()), Shared(angles.as_mut_ptr()));
    let this = &*x;
    pool.run(&|worker| {
        worker.share(this.places.len(), 1, |layers| {
            // SAFETY: each thread has its own part of both buffers, which outlive the run.
            let (keys, angles) = unsafe {
                (
                    std::slice::from_raw_parts_mut(rows_at.get().add(row * worker.index), row),
                    std::slice::from_raw_parts_mut(angles_at.get().add(n_rot * worker.index), n_rot),
                )
            };
            for layer in layers.filter(|l| this.here[*l]) {
                for m in &moves[this.places[layer].cache] {
                    // SAFETY: the session checked the cells; each layer has one writer.
                    unsafe { this.move_cell(layer, *m, keys, angles) };
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
    /// The cells exist and nobody else uses this layer's cache.
    unsafe fn move_cell(&self, layer: usize, m: Move, keys: &mut [f32], angles: &mut [f32]) {
        let p = self.places[layer];
        let base = self.kv.base();
        if m.from != m.to {
            for (offset, bytes) in [(p.k_offset, p.k_row), (p.v_offset, p.v_row)] {
                // SAFETY: two different rows of the arena.
                unsafe {
                    let from = base.add(offset + m.from as usize * bytes);
                    std::ptr::copy_nonoverlapping(from, base.add(offset + m.to as usize * bytes), bytes);
                }
            }
        }
        if m.delta == 0 {
            return;
        }
        let shape = self.graph.kv[layer];
        let rotation = &self.rotations[shape.rope.rope];
        let angles = &mut angles[..2 * rotation.frequencies.len()];
        let keys = &mut keys[..shape.n_head_kv * shape.head_dim_k];
        // SAFETY: the row that `to` holds.
        let cell = unsafe { std::slice::from_raw_parts_mut(base.add(p.k_offset + m.to as usize * p.k_row), p.k_row) };
        dequantize(self.type_k, cell, keys);
        for (angle, turn) in angles.chunks_exact_mut(2).zip(rotation.turns(m.delta)) {
            angle.copy_from_slice(&turn);
        }
        for head in keys.chunks_exact_mut(shape.head_dim_k) {
            turn(&mut head[shape.rope.first..], angles, shape.rope.kind);
        }
        quantize(self.type_k, keys, cell);
    }

    /// Bytes of one cell's keys of one head, and of all heads, of a type.
    pub(super) fn head_offset(ty: Type, head: usize, head_dim: usize) -> usize {
        // The plan checked that a head is a whole number of blocks.
        ty.row_bytes(head * head_dim).unwrap_or(0)
    }
}
