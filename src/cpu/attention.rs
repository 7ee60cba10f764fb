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
use super::matmul::attend::{BLOCK, BlockOfKeys, Fall};
use super::pool::Over;
use super::step::Step;
use crate::graph::{self, Attend, AttendText, CacheView, Graph, KvShape, Node, ValueId, slope};
use crate::quant::Type;

/// If threads share parts: parts per thread that are computed before they are added up.
const SLOTS: usize = 4;
/// Threads share parts if there are at most so many tiles per thread.
const FEW_TILES: usize = 2;

/// Bytes of the threads' scratch, and of the results of parts and tiles if threads share parts.
pub(super) fn workspace_bytes(shape: &KvShape, n_head: usize, n_threads: usize) -> Option<usize> {
    bytes_of(Sizes::new(n_head / shape.n_head_kv, shape.head_dim_k, shape.head_dim_v)?, n_threads)
}

/// The same for attention over whole texts.
pub(super) fn text_workspace_bytes(graph: &Graph, node: &Node, o: &AttendText, n_threads: usize) -> Option<usize> {
    let cols = |i: usize| graph.value(node.inputs[i]).cols / o.n_head_kv;
    bytes_of(Sizes::new(o.n_head / o.n_head_kv, cols(1), cols(2))?, n_threads)
}

fn bytes_of(sizes: Sizes, n_threads: usize) -> Option<usize> {
    let shared = sizes.result()?.checked_mul(SLOTS + FEW_TILES)?;
    sizes.scratch()?.checked_add(shared)?.checked_mul(n_threads)?.checked_mul(size_of::<f32>())
}

/// Keys and values of the tokens that queries go over: of a cache, or of the micro-batch itself, whose tokens are then
/// the cells.
struct Keys<'a> {
    view: &'a CacheView<'a>,
    types: (Type, Type),
    bases: (*const u8, *const u8),
    sides: (graph::Side, graph::Side),
    n_head: usize,
    dim_k: usize,
    dim_v: usize,
    sees: Sees<'a>,
}

/// The positions that a token sees.
enum Sees<'a> {
    /// Those up to its own, as far back as the cache's shape says.
    Before(&'a KvShape),
    /// All up to so many positions away.
    Text(&'a AttendText),
}

/// A node, and all that its tiles need.
struct Work<'a> {
    s: &'a Step<'a>,
    queries: ValueId,
    output: ValueId,
    n_head: usize,
    scale: f32,
    softcap: Option<f32>,
    /// The spread of slopes by which scores fall with distance.
    alibi: Option<f32>,
    keys: Keys<'a>,
    sizes: Sizes,
    sinks: Option<&'a [f32]>,
    kernels: &'a Kernels,
}

impl Work<'_> {
    /// The last position in front of those that a token at `pos` sees.
    fn behind(&self, pos: i32) -> i64 {
        match self.keys.sees {
            Sees::Before(shape) => shape.behind(pos),
            Sees::Text(o) => o.reach.map_or(-1, |n| i64::from(pos) - i64::from(n) - 1),
        }
    }

    /// The last position that a token at `pos` sees, of a text that ends at `end`.
    fn upto(&self, pos: i32, end: i64) -> i64 {
        match self.keys.sees {
            Sees::Before(_) => i64::from(pos),
            Sees::Text(o) => o.reach.map_or(end, |n| end.min(i64::from(pos) + i64::from(n))),
        }
    }

    /// The heads of queries that share a head of keys.
    fn group(&self) -> usize {
        self.n_head / self.keys.n_head
    }

    fn n_tiles(&self) -> usize {
        let n: usize = self.keys.view.runs.iter().map(|r| (r.n as usize).div_ceil(self.sizes.tokens)).sum();
        n * self.keys.n_head * self.sizes.slices
    }

    /// Tile `index`. Neighbouring tiles are of different KV heads, then of different slices, then of different tokens.
    fn tile(&self, index: usize) -> Option<Tile<'_>> {
        let (view, group) = (self.keys.view, self.group());
        let (head, rest) = (index % self.keys.n_head, index / self.keys.n_head);
        let (slice, mut index) = (rest % self.sizes.slices, rest / self.sizes.slices);
        for run in view.runs {
            let n = (run.n as usize).div_ceil(self.sizes.tokens);
            if index >= n {
                index -= n;
                continue;
            }
            let first = run.first as usize + index * self.sizes.tokens;
            let n_tokens = self.sizes.tokens.min(run.first as usize + run.n as usize - first);
            let first_head = slice * self.sizes.heads;
            let positions = &self.s.micro.positions[first..first + n_tokens];
            let spans = &view.spans[run.first_span as usize..(run.first_span + run.n_spans) as usize];
            let end = spans.last().map_or(-1, |s| i64::from(s.pos) + i64::from(s.len) - 1);
            let upto = self.upto(positions[n_tokens - 1], end);
            let part_of = |pos: i64| pos.max(0).div_euclid(PART);
            return Some(Tile {
                first,
                n_tokens,
                head,
                first_head,
                n_heads: self.sizes.heads.min(group.saturating_sub(first_head)),
                spans,
                end,
                parts: (part_of(self.behind(positions[0]) + 1), part_of(upto)),
            });
        }
        None
    }

    /// Computes the result of a tile over one part.
    fn part(&self, tile: &Tile, part: i64, scratch: &mut [f32], out: &mut Sums) {
        out.clear();
        let (s, sizes, of) = (self.s, &self.sizes, &self.keys);
        let k = Side::new(of.types.0, of.bases.0, of.sides.0, tile.head, of.dim_k);
        // Values that are part of the keys begin where the keys do, also if they are shorter.
        let v = match of.bases.1.is_null() {
            true => Side { dim: of.dim_v, ..k },
            false => Side::new(of.types.1, of.bases.1, of.sides.1, tile.head, of.dim_v),
        };
        let (keys, rest) = scratch.split_at_mut(sizes.dim_k * BLOCK);
        let (values, scores) = rest.split_at_mut(sizes.dim_v * BLOCK);
        let first_head = tile.head * self.group() + tile.first_head;
        let mut queries = [std::ptr::null(); ROWS];
        for (row, query) in queries[..tile.rows()].iter_mut().enumerate() {
            let (token, head) = (tile.first + row / tile.n_heads, first_head + row % tile.n_heads);
            *query = s.at(self.queries).wrapping_add((token * self.n_head + head) * of.dim_k).cast_const();
        }
        let positions = &s.micro.positions[tile.first..tile.first + tile.n_tokens];
        let mut falls = [Fall::default(); ROWS];
        let falls = match self.alibi {
            Some(_) => {
                for (row, fall) in falls[..tile.rows()].iter_mut().enumerate() {
                    let slope = slope(self.alibi, first_head + row % tile.n_heads, self.n_head);
                    *fall = Fall { slope, pos: positions[row / tile.n_heads] };
                }
                &falls[..tile.rows()]
            }
            None => &[],
        };
        // Positions after those that the last token sees, and those that the first one's window has passed, are seen by
        // nobody.
        let last = self.upto(positions[tile.n_tokens - 1], tile.end).min((part + 1) * PART - 1);
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
                let seen = |t: usize| block.seen_from(self.upto(positions[t], tile.end), self.behind(positions[t]));
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
                        dim_k: of.dim_k,
                        dim_v: sizes.dim_v,
                        queries: &queries[rows.clone()],
                        scale: self.scale,
                        softcap: self.softcap,
                        positions: &block.positions,
                        falls: if falls.is_empty() { falls } else { &falls[rows.clone()] },
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
            let first = tile.head * self.group() + tile.first_head;
            for row in 0..tile.rows() {
                (all.max[row], all.total[row]) = (sinks[first + row % tile.n_heads], 1.0);
            }
        }
    }

    /// Divides by the sum of weights, and writes the output.
    fn finish(&self, tile: &Tile, all: &Sums) {
        let dv = self.keys.dim_v;
        let first = tile.head * self.group() + tile.first_head;
        for row in 0..tile.rows() {
            let to = ((tile.first + row / tile.n_heads) * self.n_head + first + row % tile.n_heads) * dv;
            // SAFETY: one writer per query row.
            let out = unsafe { self.s.floats_mut(self.output, to, dv) };
            let factor = 1.0 / all.total[row];
            for (o, x) in out.iter_mut().zip(&all.sums[row * all.dim..]) {
                *o = x * factor;
            }
        }
    }
}

/// Attention over a KV cache.
pub(super) fn attention(s: &Step, node: &Node, a: &Attend) -> Result<(), Over> {
    let (shape, place) = (s.graph().kv(a.state), s.x.states[a.state.0 as usize]);
    let sizes = Sizes::new(a.n_head / shape.n_head_kv, shape.head_dim_k, shape.head_dim_v);
    let (Some(output), Some(sizes)) = (node.output, sizes) else { return Ok(()) };
    let sinks = a.sinks.map(|w| s.weight_floats(w));
    let base = s.x.kv.base().cast_const();
    let keys = Keys {
        view: &s.micro.caches[place.cache],
        types: (s.x.type_k, s.x.type_v),
        bases: (base, if shape.v_in_k { std::ptr::null() } else { base }),
        sides: (place.keys, place.values),
        n_head: shape.n_head_kv,
        dim_k: shape.head_dim_k,
        dim_v: shape.head_dim_v,
        sees: Sees::Before(shape),
    };
    let (queries, n_head, scale, softcap, alibi) = (node.inputs[0], a.n_head, a.scale, a.softcap, a.alibi);
    let (sinks, kernels) = (sinks.as_deref(), &s.x.kernels);
    compute(&Work { s, queries, output, n_head, scale, softcap, alibi, keys, sizes, sinks, kernels })
}

/// Attention over whole texts: the keys and values are the node's other inputs.
pub(super) fn attend_text(s: &Step, node: &Node, o: &AttendText) -> Result<(), Over> {
    let [queries, k, v] = node.inputs[..] else { return Ok(()) };
    let cols = |v: ValueId| s.graph().value(v).cols;
    let (dim_k, dim_v) = (cols(k) / o.n_head_kv, cols(v) / o.n_head_kv);
    let sizes = Sizes::new(o.n_head / o.n_head_kv, dim_k, dim_v);
    let (Some(output), Some(sizes)) = (node.output, sizes) else { return Ok(()) };
    let base = |v: ValueId| s.at(v).cast::<u8>().cast_const();
    let side = |v: ValueId| graph::Side { offset: 0, row: cols(v) * size_of::<f32>() };
    let keys = Keys {
        view: &s.micro.caches[0],
        types: (Type::F32, Type::F32),
        bases: (base(k), base(v)),
        sides: (side(k), side(v)),
        n_head: o.n_head_kv,
        dim_k,
        dim_v,
        sees: Sees::Text(o),
    };
    let (n_head, scale, alibi, kernels) = (o.n_head, o.scale, o.alibi, &s.x.kernels);
    compute(&Work { s, queries, output, n_head, scale, softcap: None, alibi, keys, sizes, sinks: None, kernels })
}

/// Shares tiles, or their parts, among the threads.
fn compute(work: &Work) -> Result<(), Over> {
    let (s, sizes) = (work.s, &work.sizes);
    // The scratch below takes the place of prepared activations.
    s.prepared.set(None);
    // Measured for the largest batch, so they do not overflow here.
    let (scratch_floats, result_floats) = (sizes.scratch().unwrap_or(0), sizes.result().unwrap_or(0));
    let (n_threads, base) = (s.worker.n_threads, s.workspace().cast::<f32>());
    // This thread's scratch: for a block of keys, and two results.
    let scratch = || {
        // SAFETY: the workspace was measured for this many floats per thread; it is asked for once in a piece.
        let all = unsafe { std::slice::from_raw_parts_mut(base.add(scratch_floats * s.worker.index), scratch_floats) };
        let (block, results) = all.split_at_mut(scratch_floats - 2 * result_floats);
        let (one, all) = results.split_at_mut(result_floats);
        (block, one, all)
    };
    let n_tiles = work.n_tiles();
    let few = n_tiles <= FEW_TILES * n_threads && !n_tiles.is_multiple_of(n_threads);
    let tiles = || (0..n_tiles).filter_map(|index| work.tile(index));
    let most = if few && tiles().all(|t| t.is_dense()) { tiles().map(|t| t.n_parts()).max().unwrap_or(0) } else { 0 };
    if most <= 1 {
        return s.worker.share(n_tiles, 1, |tiles| {
            let (block, one, all) = scratch();
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
        // SAFETY: the workspace was measured for this many results; each is one thread's in a step.
        unsafe { std::slice::from_raw_parts_mut(shared.add(i * result_floats), result_floats) }
    };
    let waves = (most as usize).div_ceil(each);
    for wave in 0..waves {
        s.worker.share(n_tiles * each, 1, |items| {
            let (block, ..) = scratch();
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
