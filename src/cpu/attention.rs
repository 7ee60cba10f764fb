//! Attention: streams over the KV cache with a running maximum and sum (Milakov and Gimelshein 2018, arXiv:1805.02867), so
//! its memory does not grow with the context.
//!
//! A piece of work is one KV head and a few tokens of one sequence: all query rows that read the same keys. They pass over
//! the cache together, a block of keys at a time that stays in the first-level cache. Blocks are cut at multiples of
//! their size in the sequence's positions, wherever cells are, and a query row has its own sums: results do not depend on what else is computed or cached.

use super::matmul::Kernels;
use super::pool::Poisoned;
use super::{Executor, Span, Step};
use crate::graph::{KvShape, Node, WeightId};
use crate::quant::Type;

/// Keys in a block.
const BLOCK: usize = 64;
/// Query rows in a piece of work, at least one token's.
const ROWS: usize = 32;

fn tokens_per_tile(group: usize) -> usize {
    (ROWS / group).max(1)
}

/// Floats per thread: a row of scores, and each query row's sum of values, maximum and sum.
fn scratch_floats(shape: &KvShape, group: usize) -> Option<usize> {
    let rows = tokens_per_tile(group).checked_mul(group)?;
    rows.checked_mul(shape.head_dim_v.checked_add(2)?)?.checked_add(BLOCK)?.checked_next_multiple_of(16)
}

pub(super) fn workspace_bytes(shape: &KvShape, n_head: usize, n_threads: usize) -> Option<usize> {
    scratch_floats(shape, n_head / shape.n_head_kv)?.checked_mul(size_of::<f32>())?.checked_mul(n_threads)
}

/// One side of the cache: where a head's part of cell `i` is.
#[derive(Clone, Copy)]
struct Side {
    ty: Type,
    base: *const u8,
    row_bytes: usize,
    head_bytes: usize,
}

impl Side {
    fn new(ty: Type, base: *const u8, row_bytes: usize, head: usize, head_dim: usize) -> Side {
        let base = base.wrapping_add(Executor::head_offset(ty, head, head_dim));
        Side { ty, base, row_bytes, head_bytes: Executor::head_offset(ty, 1, head_dim) }
    }

    /// # Safety
    /// The cell exists and holds what was stored there.
    unsafe fn cell<T>(&self, cell: usize) -> &[T] {
        // SAFETY: rows start at multiples of 64 bytes plus multiples of a head's bytes, which fit T's alignment.
        unsafe { std::slice::from_raw_parts(self.base.add(cell * self.row_bytes).cast(), self.head_bytes / size_of::<T>()) }
    }

    /// # Safety
    /// As for `cell`.
    unsafe fn dot(&self, k: &Kernels, cell: usize, x: &[f32]) -> f32 {
        // SAFETY: the type says what the bytes are.
        unsafe {
            match self.ty {
                Type::F32 => k.dot_f32(self.cell(cell), x),
                Type::F16 => k.dot_f16(self.cell(cell), x),
                _ => k.dot_q8_0(self.cell(cell), x),
            }
        }
    }

    /// # Safety
    /// As for `cell`.
    unsafe fn axpy(&self, k: &Kernels, a: f32, cell: usize, y: &mut [f32]) {
        // SAFETY: the type says what the bytes are.
        unsafe {
            match self.ty {
                Type::F32 => k.axpy_f32(a, self.cell(cell), y),
                Type::F16 => k.axpy_f16(a, self.cell(cell), y),
                _ => k.axpy_q8_0(a, self.cell(cell), y),
            }
        }
    }
}

/// The next keys of a sequence, by position.
struct Block {
    cells: [u32; BLOCK],
    positions: [i32; BLOCK],
    n: usize,
}

impl Block {
    fn new() -> Block {
        Block { cells: [0; BLOCK], positions: [0; BLOCK], n: 0 }
    }

    /// Takes keys from the front of `spans`, of whose first span `used` are gone already: those whose positions lie between the same
    /// two multiples of `BLOCK`, so that blocks do not depend on where a window or a batch begins.
    fn fill(&mut self, spans: &mut &[Span], used: &mut u32) {
        self.n = 0;
        let at = |span: &Span, used: u32| i64::from(span.pos) + i64::from(used);
        let Some(end) = spans.first().map(|span| (at(span, *used) / BLOCK as i64 + 1) * BLOCK as i64) else { return };
        while let Some((span, rest)) = spans.split_first() {
            let n = (end - at(span, *used)).clamp(0, i64::from(span.len - *used)) as usize;
            let (cells, positions) = (&mut self.cells[self.n..self.n + n], &mut self.positions[self.n..self.n + n]);
            for (i, (cell, pos)) in cells.iter_mut().zip(positions).enumerate() {
                *cell = span.cell + *used + i as u32;
                *pos = span.pos + (*used + i as u32) as i32;
            }
            self.n += n;
            *used += n as u32;
            if *used < span.len {
                return;
            }
            (*spans, *used) = (rest, 0);
        }
    }

    /// The cells that a token at `pos` sees, those of positions above `behind`.
    fn seen_from(&self, pos: i32, behind: i64) -> &[u32] {
        let positions = &self.positions[..self.n];
        let first = positions.partition_point(|p| i64::from(*p) <= behind);
        &self.cells[first..positions.partition_point(|p| *p <= pos).max(first)]
    }
}

/// What an attention node says besides its layer.
pub(super) struct Heads {
    pub n_head: usize,
    pub scale: f32,
    pub softcap: Option<f32>,
    pub sinks: Option<WeightId>,
}

pub(super) fn attention(s: &Step, node: &Node, layer: usize, a: &Heads) -> Result<(), Poisoned> {
    let n_head = a.n_head;
    let Some(output) = node.output else { return s.worker.meet() };
    // The scratch below takes the place of prepared activations.
    s.prepared.set(None);
    let (shape, places) = (s.x.graph.kv[layer], s.x.places[layer]);
    let (dk, dv) = (shape.head_dim_k, shape.head_dim_v);
    let cache = &s.micro.caches[places.cache];
    let sinks = a.sinks.map(|w| s.x.weight_floats(w));
    // Positions at or before this are not seen by a token at `pos`.
    let behind = |pos: i32| shape.window.map_or(-1, |w| i64::from(pos) - i64::from(w));
    let group = n_head / shape.n_head_kv;
    let tile = tokens_per_tile(group);
    let n_tiles: usize = cache.runs.iter().map(|r| (r.n as usize).div_ceil(tile)).sum();
    // Measured for the largest batch, so it cannot overflow here.
    let floats = scratch_floats(&shape, group).unwrap_or(0);
    let kernels = &s.x.kernels;
    s.worker.share(n_tiles * shape.n_head_kv, 1, |items| {
        // SAFETY: the workspace was measured for this many floats per thread.
        let scratch =
            unsafe { std::slice::from_raw_parts_mut(s.x.compute.base().cast::<f32>().add(floats * s.worker.index), floats) };
        for item in items {
            let (head, mut index) = (item % shape.n_head_kv, item / shape.n_head_kv);
            let Some(run) = cache.runs.iter().find(|r| {
                let n = (r.n as usize).div_ceil(tile);
                let here = index < n;
                if !here {
                    index -= n;
                }
                here
            }) else {
                continue;
            };
            let first = run.first as usize + index * tile;
            let n_tokens = tile.min(run.first as usize + run.n as usize - first);
            let rows = n_tokens * group;
            let (scores, rest) = scratch.split_at_mut(BLOCK);
            let (sums, rest) = rest.split_at_mut(rows * dv);
            let (max, rest) = rest.split_at_mut(rows);
            let total = &mut rest[..rows];
            sums.fill(0.0);
            total.fill(0.0);
            max.fill(f32::NEG_INFINITY);
            if let Some(sinks) = &sinks {
                // A sink is a key that every query has, and has no value.
                for row in 0..rows {
                    (max[row], total[row]) = (sinks[head * group + row % group], 1.0);
                }
            }
            let base = s.x.kv.base().cast_const();
            let k = Side::new(s.x.type_k, base.wrapping_add(places.k_offset), places.k_row, head, dk);
            let v = match shape.v_in_k {
                true => Side { head_bytes: Executor::head_offset(s.x.type_k, 1, dv), ..k },
                false => Side::new(s.x.type_v, base.wrapping_add(places.v_offset), places.v_row, head, dv),
            };
            let mut spans = &cache.spans[run.first_span as usize..(run.first_span + run.n_spans) as usize];
            let (mut block, mut used) = (Block::new(), 0);
            // What even the last token does not see is left out, and what the first one does not see any more.
            let last = s.micro.positions[first + n_tokens - 1];
            let gone = behind(s.micro.positions[first]);
            while let Some((span, rest)) = spans.split_first() {
                used = (gone - i64::from(span.pos) + 1).clamp(0, i64::from(span.len)) as u32;
                if used < span.len {
                    break;
                }
                (spans, used) = (rest, 0);
            }
            while spans.first().is_some_and(|span| i64::from(span.pos) + i64::from(used) <= i64::from(last)) {
                block.fill(&mut spans, &mut used);
                for row in 0..rows {
                    let token = first + row / group;
                    let pos = s.micro.positions[token];
                    let cells = block.seen_from(pos, behind(pos));
                    if cells.is_empty() {
                        continue;
                    }
                    let scores = &mut scores[..cells.len()];
                    // SAFETY: the query's head; the spans' cells hold keys and values; nobody writes them in this step.
                    unsafe {
                        let q = s.floats(node.inputs[0], (token * n_head + head * group + row % group) * dk, dk);
                        for (score, cell) in scores.iter_mut().zip(cells) {
                            *score = k.dot(kernels, *cell as usize, q) * a.scale;
                        }
                    }
                    if let Some(cap) = a.softcap {
                        scores.iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
                    }
                    let sums = &mut sums[row * dv..(row + 1) * dv];
                    let highest = scores.iter().copied().fold(max[row], f32::max);
                    if highest > max[row] {
                        let shrink = (max[row] - highest).exp();
                        sums.iter_mut().for_each(|x| *x *= shrink);
                        total[row] *= shrink;
                        max[row] = highest;
                    }
                    total[row] += kernels.exp_inplace(scores, max[row]);
                    for (p, cell) in scores.iter().zip(cells) {
                        // SAFETY: as above.
                        unsafe { v.axpy(kernels, *p, *cell as usize, sums) };
                    }
                }
            }
            for row in 0..rows {
                let to = ((first + row / group) * n_head + head * group + row % group) * dv;
                // SAFETY: one writer per query row.
                let out = unsafe { s.floats_mut(output, to, dv) };
                let factor = 1.0 / total[row];
                for (o, x) in out.iter_mut().zip(&sums[row * dv..(row + 1) * dv]) {
                    *o = x * factor;
                }
            }
        }
    })
}
