//! Attention: each query row (a token's query of one head) over the keys and values of the cache that its token sees.
//!
//! # Problem
//!
//! The result of a query row is the sum of all values, weighted by the softmax of its scores. Written down as such, a
//! row needs room for a score per cached token, which grows with heads x batch x context. And every row would read the
//! whole cache by itself, though neighbouring tokens, and several heads of queries, read the same keys.
//!
//! # Idea: a running maximum and sum
//!
//! A row goes over the keys in blocks, and keeps three things (Milakov and Gimelshein 2018, arXiv:1805.02867): the
//! largest score so far, the sum of `exp(score - largest)`, and the sum of values with these weights. If a block brings
//! a larger score, both sums are first multiplied by `exp(old largest - new largest)`. In the end the second sum
//! divided by the first is the result. Nothing grows with the context.
//!
//! # Tiles, blocks and parts
//!
//! - A tile is a KV head and a few tokens of one sequence: up to 64 query rows that read the same keys. They go over
//!   the cache together.
//! - A block is 64 positions. Its keys and values are turned into floats once for all rows of the tile
//!   (`matmul/attend.rs`).
//! - A part is 2048 positions. It begins with empty sums, and its result is then added to that of the parts before it.
//!
//! ```text
//! positions    0     64    128   ...        2048                    4096
//! blocks       |-----|-----|-----|  ...     |-----|-----| ...       |----
//! parts        |--------- part 0 -----------|------- part 1 --------|----
//! result       ((part 0) + part 1) + part 2 ...
//! ```
//!
//! If there are many tiles (a prompt, several sequences), threads share tiles, and each takes a tile's parts one after
//! the other. If there are few (one token), a long context would leave threads without work. Then threads share the
//! parts of all tiles, some parts at a time, and add them up in between.
//!
//! # Why results do not depend on threads or neighbours
//!
//! Blocks and parts are cut at multiples of their size in the sequence's positions, wherever the cells lie and wherever
//! a batch or a window begins. A row has its own sums, and adds blocks and parts in the order of positions, whichever
//! threads computed them. So a token's result is the same bits in every batch, for any number of threads.

mod block;
mod sums;
mod tile;

use block::{Block, Side};
use sums::Sums;
use tile::{PART, ROWS, Sizes, Tile};

use super::matmul::Kernels;
use super::matmul::attend::{BLOCK, BlockOfKeys};
use super::pool::Poisoned;
use super::step::Step;
use crate::graph::{Attend, KvShape, Node, StatePlace, ValueId};

/// If threads share parts: parts per thread that are computed before they are added up.
const SLOTS: usize = 4;
/// Threads share parts if there are at most so many tiles per thread.
const FEW_TILES: usize = 2;

/// Bytes of the threads' scratch, and of the results of parts and tiles if threads share parts.
pub(super) fn workspace_bytes(shape: &KvShape, n_head: usize, n_threads: usize) -> Option<usize> {
    let sizes = Sizes::new(shape, n_head)?;
    let shared = sizes.result()?.checked_mul(SLOTS + FEW_TILES)?;
    sizes.scratch()?.checked_add(shared)?.checked_mul(n_threads)?.checked_mul(size_of::<f32>())
}

/// A node, and all that its tiles need.
struct Work<'a> {
    s: &'a Step<'a>,
    queries: ValueId,
    output: ValueId,
    a: &'a Attend,
    place: StatePlace,
    shape: &'a KvShape,
    sizes: Sizes,
    sinks: Option<&'a [f32]>,
    kernels: &'a Kernels,
}

impl Work<'_> {
    /// The last position that a token at `pos` does not see any more, since its window has passed it.
    fn behind(&self, pos: i32) -> i64 {
        self.shape.behind(pos)
    }

    fn n_tiles(&self) -> usize {
        let runs = self.s.micro.caches[self.place.cache].runs;
        let n: usize = runs.iter().map(|r| (r.n as usize).div_ceil(self.sizes.tokens)).sum();
        n * self.shape.n_head_kv * self.sizes.slices
    }

    /// Tile `index`. Neighbouring tiles are of different KV heads, then of different slices, then of different tokens.
    fn tile(&self, index: usize) -> Option<Tile<'_>> {
        let cache = &self.s.micro.caches[self.place.cache];
        let group = self.a.n_head / self.shape.n_head_kv;
        let (head, rest) = (index % self.shape.n_head_kv, index / self.shape.n_head_kv);
        let (slice, mut index) = (rest % self.sizes.slices, rest / self.sizes.slices);
        for run in cache.runs {
            let n = (run.n as usize).div_ceil(self.sizes.tokens);
            if index >= n {
                index -= n;
                continue;
            }
            let first = run.first as usize + index * self.sizes.tokens;
            let n_tokens = self.sizes.tokens.min(run.first as usize + run.n as usize - first);
            let first_head = slice * self.sizes.heads;
            let positions = &self.s.micro.positions[first..first + n_tokens];
            let part_of = |pos: i64| pos.max(0).div_euclid(PART);
            return Some(Tile {
                first,
                n_tokens,
                head,
                first_head,
                n_heads: self.sizes.heads.min(group.saturating_sub(first_head)),
                spans: &cache.spans[run.first_span as usize..(run.first_span + run.n_spans) as usize],
                parts: (part_of(self.behind(positions[0]) + 1), part_of(i64::from(positions[n_tokens - 1]))),
            });
        }
        None
    }

    /// Computes the result of a tile over one part.
    fn part(&self, tile: &Tile, part: i64, scratch: &mut [f32], out: &mut Sums) {
        out.clear();
        let (s, sizes) = (self.s, &self.sizes);
        let (place, shape) = (&self.place, self.shape);
        let base = s.x.kv.base().cast_const();
        let k = Side::new(s.x.type_k, base, place.keys, tile.head, shape.head_dim_k);
        let v = match shape.v_in_k {
            true => Side { dim: shape.head_dim_v, ..k },
            false => Side::new(s.x.type_v, base, place.values, tile.head, shape.head_dim_v),
        };
        let (keys, rest) = scratch.split_at_mut(sizes.dim_k * BLOCK);
        let (values, scores) = rest.split_at_mut(sizes.dim_v * BLOCK);
        let group = self.a.n_head / shape.n_head_kv;
        let mut queries = [std::ptr::null(); ROWS];
        for (row, query) in queries[..tile.rows()].iter_mut().enumerate() {
            let (token, head) =
                (tile.first + row / tile.n_heads, tile.head * group + tile.first_head + row % tile.n_heads);
            *query = s.at(self.queries).wrapping_add((token * self.a.n_head + head) * shape.head_dim_k).cast_const();
        }
        let positions = &s.micro.positions[tile.first..tile.first + tile.n_tokens];
        // Positions after the last token's, and those that the first one's window has passed, are seen by nobody.
        let last = i64::from(positions[tile.n_tokens - 1]).min((part + 1) * PART - 1);
        let gone = self.behind(positions[0]).max(part * PART - 1);
        let mut spans = &tile.spans[tile.spans.partition_point(|s| i64::from(s.pos) + i64::from(s.len) <= gone + 1)..];
        let mut used = spans.first().map_or(0, |s| (gone + 1 - i64::from(s.pos)).max(0) as u32);
        let mut block = Block::new();
        while spans.first().is_some_and(|span| i64::from(span.pos) + i64::from(used) <= last) {
            block.fill(&mut spans, &mut used);
            let cells = &block.cells[..block.n];
            // SAFETY: the spans' cells hold keys and values, which nobody writes in this step; the scratch has room for
            // a block.
            unsafe {
                self.kernels.block_of_keys(k.ty, k.cells(cells), keys.as_mut_ptr());
                self.kernels.block_of_values(v.ty, v.cells(cells), values.as_mut_ptr());
            }
            // Tokens that see the same keys of the block go over it together.
            let mut token = 0;
            while token < tile.n_tokens {
                let seen = |t: usize| block.seen_from(positions[t], self.behind(positions[t]));
                let (from, to) = seen(token);
                let mut end = token + 1;
                while end < tile.n_tokens && seen(end) == (from, to) {
                    end += 1;
                }
                let rows = token * tile.n_heads..end * tile.n_heads;
                token = end;
                if from == to {
                    continue;
                }
                // SAFETY: the queries' rows and the scratch are as long as the sizes say; the sums are this thread's.
                unsafe {
                    self.kernels.attend(BlockOfKeys {
                        keys: keys.as_ptr(),
                        values: values.as_ptr(),
                        from,
                        to,
                        dim_k: shape.head_dim_k,
                        dim_v: sizes.dim_v,
                        queries: &queries[rows.clone()],
                        scale: self.a.scale,
                        softcap: self.a.softcap,
                        scores: scores.as_mut_ptr(),
                        sums: out.sums.as_mut_ptr().add(rows.start * sizes.dim_v),
                        max: &mut out.max[rows.clone()],
                        total: &mut out.total[rows],
                    });
                }
            }
        }
    }

    /// The result over no keys. A sink counts as a key that every query sees and that has no value, so its score is
    /// there from the start.
    fn begin(&self, tile: &Tile, all: &mut Sums) {
        all.clear();
        if let Some(sinks) = self.sinks {
            let first = tile.head * (self.a.n_head / self.shape.n_head_kv) + tile.first_head;
            for row in 0..tile.rows() {
                (all.max[row], all.total[row]) = (sinks[first + row % tile.n_heads], 1.0);
            }
        }
    }

    /// Divides by the sum of weights, and writes the output.
    fn finish(&self, tile: &Tile, all: &Sums) {
        let dv = self.shape.head_dim_v;
        let first = tile.head * (self.a.n_head / self.shape.n_head_kv) + tile.first_head;
        for row in 0..tile.rows() {
            let to = ((tile.first + row / tile.n_heads) * self.a.n_head + first + row % tile.n_heads) * dv;
            // SAFETY: one writer per query row.
            let out = unsafe { self.s.floats_mut(self.output, to, dv) };
            let factor = 1.0 / all.total[row];
            for (o, x) in out.iter_mut().zip(&all.sums[row * all.dim..]) {
                *o = x * factor;
            }
        }
    }
}

pub(super) fn attention(s: &Step, node: &Node, a: &Attend) -> Result<(), Poisoned> {
    let (shape, place) = (s.graph().kv(a.state), s.x.states[a.state.0 as usize]);
    let (Some(output), Some(sizes)) = (node.output, Sizes::new(shape, a.n_head)) else { return s.worker.barrier() };
    // The scratch below takes the place of prepared activations.
    s.prepared.set(None);
    let sinks = a.sinks.map(|w| s.weight_floats(w));
    let (queries, sinks, kernels) = (node.inputs[0], sinks.as_deref(), &s.x.kernels);
    let work = Work { s, queries, output, a, place, shape, sizes, sinks, kernels };
    // Measured for the largest batch, so they do not overflow here.
    let (scratch_floats, result_floats) = (sizes.scratch().unwrap_or(0), sizes.result().unwrap_or(0));
    let (n_threads, base) = (s.worker.n_threads, s.workspace().cast::<f32>());
    // SAFETY: the workspace was measured for this many floats per thread.
    let scratch = unsafe { std::slice::from_raw_parts_mut(base.add(scratch_floats * s.worker.index), scratch_floats) };
    let (block, results) = scratch.split_at_mut(scratch_floats - 2 * result_floats);
    let (one, all) = results.split_at_mut(result_floats);
    let n_tiles = work.n_tiles();
    let few = n_tiles <= FEW_TILES * n_threads && !n_tiles.is_multiple_of(n_threads);
    let tiles = || (0..n_tiles).filter_map(|index| work.tile(index));
    let most = if few && tiles().all(|t| t.is_dense()) { tiles().map(|t| t.n_parts()).max().unwrap_or(0) } else { 0 };
    if most <= 1 {
        return s.worker.share(n_tiles, 1, |tiles| {
            for tile in tiles.filter_map(|index| work.tile(index)) {
                let (mut one, mut all) =
                    (Sums::new(one, tile.rows(), sizes.dim_v), Sums::new(all, tile.rows(), sizes.dim_v));
                work.begin(&tile, &mut all);
                for part in tile.parts_with_keys() {
                    work.part(&tile, part, block, &mut one);
                    all.add(&one);
                }
                work.finish(&tile, &all);
            }
        });
    }
    // Threads share parts: in a wave, `each` parts of every tile are computed, then added up.
    let each = SLOTS * n_threads / n_tiles;
    let shared = base.wrapping_add(scratch_floats * n_threads);
    let result = |i: usize| {
        // SAFETY: the workspace was measured for this many results; each is one thread's between two barriers.
        unsafe { std::slice::from_raw_parts_mut(shared.add(i * result_floats), result_floats) }
    };
    let waves = (most as usize).div_ceil(each);
    for wave in 0..waves {
        s.worker.share(n_tiles * each, 1, |items| {
            for item in items {
                let (index, i) = (item % n_tiles, item / n_tiles);
                let Some(tile) = work.tile(index) else { continue };
                let part = tile.parts.0 + (wave * each + i) as i64;
                if part <= tile.parts.1 {
                    let mut out = Sums::new(result(index * each + i), tile.rows(), sizes.dim_v);
                    work.part(&tile, part, block, &mut out);
                }
            }
        })?;
        s.worker.share(n_tiles, 1, |tiles| {
            for index in tiles {
                let Some(tile) = work.tile(index) else { continue };
                let mut all = Sums::new(result(SLOTS * n_threads + index), tile.rows(), sizes.dim_v);
                if wave == 0 {
                    work.begin(&tile, &mut all);
                }
                for i in 0..each {
                    if tile.parts.0 + (wave * each + i) as i64 <= tile.parts.1 {
                        all.add(&Sums::new(result(index * each + i), tile.rows(), sizes.dim_v));
                    }
                }
                if wave + 1 == waves {
                    work.finish(&tile, &all);
                }
            }
        })?;
    }
    Ok(())
}
