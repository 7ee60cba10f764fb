//! Attention: streams over the KV cache with a running maximum and sum (Milakov and Gimelshein 2018, arXiv:1805.02867),
//! so its memory does not grow with the context.
//!
//! A tile is a KV head and a few tokens of one sequence: query rows that read the same keys. They pass over the cache
//! together, a block of keys at a time, which is turned into floats once for all of them. Blocks are cut at multiples
//! of their size in the sequence's positions, wherever cells are. So are parts, of many blocks, each of which starts
//! afresh; its result is then added to those before it. That order is the same whether one thread takes a tile's parts
//! one after another or several at the same time, and a query row has its own sums: results do not depend on threads,
//! nor on what else is computed or cached.

use super::matmul::Kernels;
use super::matmul::attend::{BLOCK, BlockOfKeys, Cells};
use super::pool::Poisoned;
use super::step::Step;
use crate::graph::{self, Attend, KvShape, Node, Span, StatePlace, ValueId};
use crate::quant::Type;

/// Query rows of a tile at most.
const ROWS: usize = 64;
/// Positions in a part, a multiple of BLOCK.
const PART: i64 = 2048;
/// Parts computed before they are added up, where parts are shared out, and tiles for which that is done at most; per
/// thread.
const SLOTS: usize = 4;
const FEW_TILES: usize = 2;

/// How query heads and tokens make tiles, and what a tile needs.
#[derive(Clone, Copy)]
struct Sizes {
    /// Query heads of a tile, and tiles that the query heads of a KV head take.
    heads: usize,
    slices: usize,
    /// Tokens of a tile.
    tokens: usize,
    /// Elements of a key and a value, up to a multiple of 16.
    dim_k: usize,
    dim_v: usize,
}

impl Sizes {
    fn new(shape: &KvShape, n_head: usize) -> Option<Sizes> {
        let group = n_head / shape.n_head_kv;
        let slices = group.div_ceil(ROWS);
        let heads = group.div_ceil(slices);
        let (dim_k, dim_v) =
            (shape.head_dim_k.checked_next_multiple_of(16)?, shape.head_dim_v.checked_next_multiple_of(16)?);
        Some(Sizes { heads, slices, tokens: ROWS / heads, dim_k, dim_v })
    }

    fn rows(&self) -> usize {
        self.tokens * self.heads
    }

    /// Floats of a tile's result: each row's sum of values, maximum and sum.
    fn result(&self) -> Option<usize> {
        self.dim_v.checked_add(2)?.checked_mul(self.rows())?.checked_next_multiple_of(16)
    }

    /// Floats per thread: a block's keys and values, the rows' scores, a part's result and that of all parts.
    fn scratch(&self) -> Option<usize> {
        let block = self.dim_k.checked_add(self.dim_v)?.checked_mul(BLOCK)?;
        block.checked_add(self.rows() * BLOCK)?.checked_add(self.result()?.checked_mul(2)?)
    }
}

/// The threads' scratch, then results of parts and of tiles whose parts are shared out.
pub(super) fn workspace_bytes(shape: &KvShape, n_head: usize, n_threads: usize) -> Option<usize> {
    let sizes = Sizes::new(shape, n_head)?;
    let shared = sizes.result()?.checked_mul(SLOTS + FEW_TILES)?;
    sizes.scratch()?.checked_add(shared)?.checked_mul(n_threads)?.checked_mul(size_of::<f32>())
}

/// One side of the cache, of one head.
#[derive(Clone, Copy)]
struct Side {
    ty: Type,
    base: *const u8,
    row_bytes: usize,
    dim: usize,
}

impl Side {
    /// Head `head` of a side of the KV arena. The plan checked that a head is a whole number of blocks.
    fn new(ty: Type, arena: *const u8, side: graph::Side, head: usize, dim: usize) -> Side {
        let offset = side.offset + ty.row_bytes(head * dim).unwrap_or(0);
        Side { ty, base: arena.wrapping_add(offset), row_bytes: side.row, dim }
    }

    fn cells<'a>(&self, cells: &'a [u32]) -> Cells<'a> {
        Cells { base: self.base, row_bytes: self.row_bytes, cells, dim: self.dim }
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

    /// Takes keys from the front of `spans`, of whose first span `used` are gone already: those whose positions lie
    /// between the same two multiples of `BLOCK`, so that blocks do not depend on where a window or a batch begins.
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

    /// Which keys a token at `pos` sees, those of positions above `behind`.
    fn seen_from(&self, pos: i32, behind: i64) -> (usize, usize) {
        let positions = &self.positions[..self.n];
        let first = positions.partition_point(|p| i64::from(*p) <= behind);
        (first, positions.partition_point(|p| *p <= pos).max(first))
    }
}

/// Some tokens of a run, and query heads of one KV head.
#[derive(Clone, Copy)]
struct Tile<'a> {
    first: usize,
    n_tokens: usize,
    /// KV head, its first query head here, and how many.
    head: usize,
    first_head: usize,
    n_heads: usize,
    spans: &'a [Span],
    /// First and last part in which a token of the tile sees anything.
    parts: (i64, i64),
}

impl Tile<'_> {
    fn rows(&self) -> usize {
        self.n_tokens * self.n_heads
    }

    fn n_parts(&self) -> i64 {
        self.parts.1 - self.parts.0 + 1
    }

    /// The parts that hold keys; positions may leave millions out.
    fn parts_with_keys(&self) -> impl Iterator<Item = i64> {
        let next = |part: i64| {
            let gone = self.spans.partition_point(|s| i64::from(s.pos) + i64::from(s.len) <= part * PART);
            let span = self.spans.get(gone)?;
            Some(part.max(i64::from(span.pos) / PART)).filter(|p| *p <= self.parts.1)
        };
        std::iter::successors(next(self.parts.0), move |part| next(part + 1))
    }

    /// Whether about as many parts may hold keys as there are.
    fn is_dense(&self) -> bool {
        let n_cells: i64 = self.spans.iter().map(|s| i64::from(s.len)).sum();
        self.n_parts() <= 1 + 2 * self.spans.len() as i64 + n_cells / PART
    }
}

/// The result of a tile's rows over some keys, relative to the maximum.
struct Sums<'a> {
    dim: usize,
    sums: &'a mut [f32],
    max: &'a mut [f32],
    total: &'a mut [f32],
}

impl<'a> Sums<'a> {
    /// In `floats`, which are `Sizes::result` many.
    fn new(floats: &'a mut [f32], rows: usize, dim: usize) -> Sums<'a> {
        let (sums, rest) = floats.split_at_mut(rows * dim);
        let (max, rest) = rest.split_at_mut(rows);
        Sums { dim, sums, max, total: &mut rest[..rows] }
    }

    fn clear(&mut self) {
        self.sums.fill(0.0);
        self.total.fill(0.0);
        self.max.fill(f32::NEG_INFINITY);
    }

    /// Adds what comes behind.
    fn add(&mut self, part: &Sums) {
        for row in 0..self.max.len() {
            // No keys.
            if part.total[row] == 0.0 {
                continue;
            }
            let values = row * self.dim..(row + 1) * self.dim;
            let (to, from) = (&mut self.sums[values.clone()], &part.sums[values]);
            if self.total[row] == 0.0 {
                to.copy_from_slice(from);
                (self.max[row], self.total[row]) = (part.max[row], part.total[row]);
                continue;
            }
            let max = self.max[row].max(part.max[row]);
            let (before, more) = ((self.max[row] - max).exp(), (part.max[row] - max).exp());
            to.iter_mut().zip(from).for_each(|(x, y)| *x = *x * before + y * more);
            self.total[row] = self.total[row] * before + part.total[row] * more;
            self.max[row] = max;
        }
    }
}

/// A node's work.
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
    /// Positions at or before this are not seen by a token at `pos`.
    fn behind(&self, pos: i32) -> i64 {
        self.shape.window.map_or(-1, |w| i64::from(pos) - i64::from(w))
    }

    fn n_tiles(&self) -> usize {
        let runs = self.s.micro.caches[self.place.cache].runs;
        let n: usize = runs.iter().map(|r| (r.n as usize).div_ceil(self.sizes.tokens)).sum();
        n * self.shape.n_head_kv * self.sizes.slices
    }

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

    /// The keys of one part.
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
        // What even the last token does not see is left out, and what the first one does not see any more.
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

    /// Nothing seen yet, but for a sink: a key that every query has, and has no value.
    fn begin(&self, tile: &Tile, all: &mut Sums) {
        all.clear();
        if let Some(sinks) = self.sinks {
            let first = tile.head * (self.a.n_head / self.shape.n_head_kv) + tile.first_head;
            for row in 0..tile.rows() {
                (all.max[row], all.total[row]) = (sinks[first + row % tile.n_heads], 1.0);
            }
        }
    }

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
    let (Some(output), Some(sizes)) = (node.output, Sizes::new(shape, a.n_head)) else { return s.worker.meet() };
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
    // Some parts of every tile at a time, then these are added up.
    let each = SLOTS * n_threads / n_tiles;
    let shared = base.wrapping_add(scratch_floats * n_threads);
    let result = |i: usize| {
        // SAFETY: the workspace was measured for this many results; each is one thread's between two meetings.
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
