//! The tables of a micro-batch, which its kernels look up: positions, rows whose results are asked for, and for each
//! cache the cells of the new tokens, runs and spans.
//!
//! The host writes them side by side into page-locked memory, and each die gets them by one copy to the start of its KV
//! arena. Their places depend only on the numbers of tokens, results and runs, so that a recorded step finds them
//! again; the spans, whose number changes with the caches' order, come last.

use crate::graph::{Cache, CacheKind, Limits, Micro, Run, Span};

/// Every table begins at a multiple of this.
const ALIGN: usize = 16;
/// Bytes at least: a shift of cells puts its moves and angles in the same place (kv.rs).
const LEAST: usize = 16 << 10;

/// Bytes of the tables at the largest micro-batch; `None` if they overflow. A cache's spans are at most its cells: a
/// micro-batch that has more, because sequences share cells, is cut. With recurrent states each run has one at most,
/// and sequences that take turns have a run for each token.
pub fn tables_bytes(limits: Limits, caches: &[Cache]) -> Option<usize> {
    let (n, outputs) = (limits.n_tokens, limits.n_outputs.min(limits.n_tokens));
    let mut bytes = n.checked_add(outputs)?.checked_mul(4)?;
    for cache in caches {
        bytes = bytes.checked_add(n.checked_mul(4 + size_of::<Run>())?)?;
        let spans = if cache.kind == CacheKind::Recurrent { n } else { cache.n_cells };
        bytes = bytes.checked_add(spans.checked_mul(size_of::<Span>())?)?;
    }
    let padding = (3 + 2 * caches.len()) * ALIGN;
    bytes.checked_add(padding)?.max(LEAST).checked_next_multiple_of(crate::graph::ALIGN)
}

/// Offsets of one micro-batch's tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    pub(super) outputs: usize,
    /// The places of each cache's cells and runs.
    pub(super) caches: Vec<(usize, usize)>,
    /// The place of all caches' spans; runs count their spans from here.
    pub(super) spans: usize,
    pub(super) bytes: usize,
}

impl Tables {
    fn new(micro: &Micro<'_>) -> Tables {
        // Positions come first.
        let mut end = (micro.positions.len() * 4).next_multiple_of(ALIGN);
        let mut take = |bytes: usize| {
            let at = end;
            end = (end + bytes).next_multiple_of(ALIGN);
            at
        };
        let outputs = take(micro.outputs.len() * 4);
        let caches = micro.caches.iter().map(|c| (take(c.cells.len() * 4), take(size_of_val(c.runs)))).collect();
        let spans = take(micro.caches.iter().map(|c| size_of_val(c.spans)).sum());
        Tables { outputs, caches, spans, bytes: end }
    }

    /// Writes a micro-batch's tables to `to`.
    ///
    /// # Safety
    /// `to` has `tables_bytes` bytes of the limits that the micro-batch keeps, aligned to 16, which nobody
    /// reads meanwhile.
    pub unsafe fn write(micro: &Micro<'_>, to: *mut u8) -> Tables {
        let tables = Tables::new(micro);
        let put = |at: usize, from: *const u8, bytes: usize| {
            // SAFETY: the tables lie within the bytes that the caller vouches for.
            unsafe { std::ptr::copy_nonoverlapping(from, to.add(at), bytes) };
        };
        put(0, micro.positions.as_ptr().cast(), size_of_val(micro.positions));
        put(tables.outputs, micro.outputs.as_ptr().cast(), size_of_val(micro.outputs));
        let mut first_span = 0;
        for (cache, (cells, runs)) in micro.caches.iter().zip(&tables.caches) {
            put(*cells, cache.cells.as_ptr().cast(), size_of_val(cache.cells));
            for (i, run) in cache.runs.iter().enumerate() {
                let run = Run { first_span: run.first_span + first_span, ..*run };
                put(runs + i * size_of::<Run>(), (&raw const run).cast(), size_of::<Run>());
            }
            let at = tables.spans + first_span as usize * size_of::<Span>();
            put(at, cache.spans.as_ptr().cast(), size_of_val(cache.spans));
            first_span += cache.spans.len() as u32;
        }
        tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{CacheKind, CacheView};

    #[test]
    fn tables_lie_apart_and_within_their_bytes() {
        let runs =
            [Run { first: 0, n: 2, first_span: 0, n_spans: 1 }, Run { first: 2, n: 1, first_span: 1, n_spans: 2 }];
        let span = |cell| Span { cell, pos: 5, len: 1 };
        let spans = [span(0), span(3), span(6)];
        let view = CacheView { cells: &[1, 2, 3], runs: &runs, spans: &spans };
        let micro = Micro {
            tokens: &[7, 8, 9],
            positions: &[4, 5, 6],
            caches: &[view, view],
            outputs: &[2],
            first_output: 0,
            adapters: &[],
            n_before: 0,
        };
        let cache = |kind| Cache { kind, n_cells: 3 };
        let caches = [cache(CacheKind::Context), cache(CacheKind::Window(2))];
        let most = tables_bytes(Limits { n_tokens: 3, n_outputs: 1 }, &caches).unwrap();
        let mut bytes = vec![0u64; most / 8];
        // SAFETY: as many bytes as asked for, of a multiple of 16.
        let t = unsafe { Tables::write(&micro, bytes.as_mut_ptr().cast()) };
        assert!(t.bytes <= most);
        let int = |at: usize| (bytes[at / 8] >> (at % 8 * 8)) as u32;
        assert_eq!((int(0), int(8), int(t.outputs)), (4, 6, 2));
        // The second cache's runs count on.
        assert_eq!((int(t.caches[1].0), int(t.caches[1].1 + 8), int(t.caches[1].1 + 16 + 8)), (1, 3, 4));
        assert_eq!((int(t.spans), int(t.spans + 12), int(t.spans + 5 * 12)), (0, 3, 6));
    }
}
