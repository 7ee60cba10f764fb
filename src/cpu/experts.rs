//! MatMulExperts: each row times the matrices of its experts.
//!
//! # Problem
//!
//! Every row has chosen a few experts out of many (`route`). Taken row by row, an expert's weights would be read once
//! for each row that chose it, and no row could share the unpacking of weights with others.
//!
//! # Idea
//!
//! A row and one of its experts are a pair. Pairs are sorted by expert. Then the pairs of one expert are a small
//! product of a few rows with a single matrix, for which the ordinary kernels do. They take a list of the rows to read,
//! and one of the rows to write, so nothing is copied together.
//!
//! ```text
//! routes   row 0: experts 3, 1     pairs    0: row 0, expert 3     by expert   0: pair 2
//!          row 1: experts 0, 3              1: row 0, expert 1                 1: pair 1
//!                                           2: row 1, expert 0                 2: none
//!                                           3: row 1, expert 3                 3: pairs 0, 3
//! ```
//!
//! # Steps
//!
//! 1. One thread sorts: it counts the pairs of each expert, sums these counts up to starts, and puts each pair in its
//!    place. That is a counting sort, which keeps the order of rows.
//! 2. All threads prepare the activations, expert after expert.
//! 3. Threads share all (expert, some rows of its matrix).
//!
//! Kernels give a row the same bits alone and among others, so it does not matter which rows chose the same expert.

use std::cell::OnceCell;
use std::ops::Range;

use super::matmul::{Product, Source, act_bytes, act_format, scratch_bytes};
use super::pool::Over;
use super::product::chunk;
use super::step::Step;
use crate::graph::{Graph, MatMulExperts, Node};

/// The sizes of the lists.
struct Sizes {
    /// Rows times the experts that each has chosen.
    n_pairs: usize,
    n_expert: usize,
}

impl Sizes {
    /// Words of the lists: pairs by expert, the row of the input of each, and the start of each expert's pairs.
    fn words(&self) -> Option<usize> {
        self.n_pairs.checked_mul(2)?.checked_add(self.n_expert)?.checked_add(1)?.checked_next_multiple_of(16)
    }
}

/// Bytes of the lists, of the prepared activations, and of each thread's scratch.
pub(super) fn workspace_bytes(graph: &Graph, o: &MatMulExperts, n_rows: usize, n_threads: usize) -> Option<usize> {
    let (w, n_in) = (graph.weight(o.matrices.weight), o.matrices.n_cols);
    let n_pairs = n_rows.checked_mul(o.n_expert_used)?;
    let sizes = Sizes { n_pairs, n_expert: w.ne[2] as usize };
    let lists = sizes.words()?.checked_mul(size_of::<u32>())?;
    let scratch = scratch_bytes(w.ty, n_pairs, n_in)?.checked_mul(n_threads)?;
    lists.checked_add(acts_bound(w.ty, n_pairs, n_in)?)?.checked_add(scratch)
}

/// Bytes that the prepared activations of all experts take at most, however the pairs are spread over the experts. The
/// bytes per row depend on how many rows an expert has, since some forms are padded; the worst case is taken for all.
fn acts_bound(ty: crate::quant::Type, n_pairs: usize, n_cols: usize) -> Option<usize> {
    let format = act_format(ty);
    let each = (1..=32usize).map(|n| Some(act_bytes(format, n, n_cols)?.div_ceil(n)));
    let each = each.collect::<Option<Vec<usize>>>()?.into_iter().max()?;
    each.checked_next_multiple_of(64)?.checked_mul(n_pairs)
}

pub(super) fn matmul(s: &Step, node: &Node, o: &MatMulExperts) -> Result<(), Over> {
    let (w, Some(output)) = (s.worker, node.output) else { return Ok(()) };
    let (m, matrices) = s.matrices(o.matrices);
    let (ty, n_in, n_out, n_expert, n_used) = (m.ty, m.n_in, m.n_out, m.n_matrices, o.n_expert_used);
    let (format, input, route) = (act_format(ty), node.inputs[0], node.inputs[1]);
    let n_rows = s.n_rows(output);
    let sizes = Sizes { n_pairs: n_rows * n_used, n_expert };
    // The input has one row for all experts of a row, or one for each.
    let per_expert = s.graph().value(input).cols != n_in;
    // A bias has an element for each row of the whole matrix.
    let (bias_stride, first_row) = (s.graph().weight(o.matrices.weight).ne[1] as usize, o.matrices.first_row);
    // The workspace takes the place of prepared activations.
    s.prepared.set(None);
    let base = s.workspace();
    let words = sizes.words().unwrap_or(0);
    let lists = base.cast::<u32>();
    w.once(|| {
        // SAFETY: the workspace was measured for these words, and no other thread is in this step.
        let lists = unsafe { std::slice::from_raw_parts_mut(lists, words) };
        // SAFETY: a route's row: numbers of experts, then weights.
        let routes = unsafe { s.floats(route, 0, 2 * n_used * n_rows) };
        sort(lists, routes, n_rows, n_used, n_expert, per_expert);
    })?;
    // A thread that comes late must not read the lists, so pieces alone do.
    // SAFETY: filled above, and nobody writes them in the steps below.
    let lists = || Lists::new(unsafe { std::slice::from_raw_parts(lists.cast_const(), words) }, &sizes);
    let found = OnceCell::new();
    let places = || found.get_or_init(|| places(&lists(), n_expert, words, |n| act_bytes(format, n, n_in)));
    let n_parts = w.n_threads;
    w.share(n_parts, 1, |parts| {
        let lists = lists();
        for (part, (e, at)) in parts.flat_map(|part| places().0.iter().map(move |place| (part, place))) {
            let of = lists.of(*e);
            let whole = Source::new(format, s.at(input), of.len(), n_in, base.wrapping_add(*at));
            let source = Source { x_rows: lists.rows[of].as_ptr(), part, n_parts, ..whole };
            // SAFETY: the input has the rows that the list names; the workspace was measured for this.
            unsafe { s.x.kernels.prepare_acts(&source) };
        }
    })?;
    let chunk = chunk(n_out, w.n_threads);
    let n_chunks = n_out.div_ceil(chunk);
    // The experts that may be used; those that are not leave pieces empty.
    w.share(n_expert.min(sizes.n_pairs) * n_chunks, 1, |items| {
        let (lists, (places, end)) = (lists(), places());
        let scratch = w.index * scratch_bytes(ty, sizes.n_pairs, n_in).unwrap_or(0);
        let scratch = base.wrapping_add(end.next_multiple_of(64) + scratch);
        for item in items {
            let Some((e, at)) = places.get(item / n_chunks).copied() else { continue };
            let first = item % n_chunks * chunk;
            let list = &lists.pairs[lists.of(e)];
            let bias = |b| s.x.weight(b).cast::<f32>().wrapping_add(e * bias_stride + first_row);
            let whole = Product::new(ty, matrices.wrapping_add(e * m.matrix_bytes), n_out, n_in, list.len());
            let (rows, acts) = (first..n_out.min(first + chunk), base.wrapping_add(at).cast_const());
            let (y, y_rows, bias) = (s.at(output), list.as_ptr(), o.bias.map_or(std::ptr::null(), bias));
            let product = Product { row_bytes: m.row_bytes, rows, acts, scratch, y, y_rows, bias, ..whole };
            // SAFETY: the builder checked the tensor's shape, `sort` the expert; each piece has other rows and columns
            // of y.
            unsafe { s.x.kernels.matmul(&product) };
        }
    })
}

/// The sorted lists.
struct Lists<'a> {
    pairs: &'a [u32],
    rows: &'a [u32],
    starts: &'a [u32],
}

impl Lists<'_> {
    fn new<'a>(words: &'a [u32], sizes: &Sizes) -> Lists<'a> {
        let (pairs, rest) = words.split_at(sizes.n_pairs);
        let (rows, starts) = rest.split_at(sizes.n_pairs);
        Lists { pairs, rows, starts }
    }

    /// The pairs of an expert.
    fn of(&self, e: usize) -> Range<usize> {
        self.starts[e] as usize..self.starts[e + 1] as usize
    }
}

/// The experts that are used, each with the place of its activations, and the end of all.
fn places(
    lists: &Lists<'_>,
    n_expert: usize,
    words: usize,
    bytes: impl Fn(usize) -> Option<usize>,
) -> (Vec<(usize, usize)>, usize) {
    let mut at = words * size_of::<u32>();
    let mut places = Vec::new();
    for e in (0..n_expert).filter(|e| !lists.of(*e).is_empty()) {
        places.push((e, at));
        at += bytes(lists.of(e).len()).unwrap_or(0);
    }
    (places, at)
}

/// Sorts pairs by expert, in the order of rows, and lists the row of the input of each.
fn sort(lists: &mut [u32], routes: &[f32], n_rows: usize, n_used: usize, n_expert: usize, per_expert: bool) {
    let n_pairs = n_rows * n_used;
    let (pairs, rest) = lists.split_at_mut(n_pairs);
    let (rows, starts) = rest.split_at_mut(n_pairs);
    // `route` gives no larger number; the bound is for numbers that are none.
    let expert = |pair: usize| (routes[pair / n_used * 2 * n_used + pair % n_used] as usize).min(n_expert - 1);
    starts[..=n_expert].fill(0);
    for pair in 0..n_pairs {
        starts[expert(pair) + 1] += 1;
    }
    for e in 0..n_expert {
        starts[e + 1] += starts[e];
    }
    for pair in 0..n_pairs {
        let at = starts[expert(pair)] as usize;
        starts[expert(pair)] += 1;
        pairs[at] = pair as u32;
        rows[at] = if per_expert { pair as u32 } else { (pair / n_used) as u32 };
    }
    // Each start has moved on to its expert's end, which is the next expert's start.
    starts.copy_within(0..n_expert, 1);
    starts[0] = 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_fit_however_pairs_fall() {
        let ty = crate::quant::Type::Q4_K;
        let each = acts_bound(ty, 1, 1536).unwrap();
        for n in 1..600 {
            assert!(act_bytes(act_format(ty), n, 1536).unwrap() <= n * each, "{n} rows of one expert");
        }
    }

    #[test]
    fn pairs_are_sorted_by_expert() {
        // Two rows of two experts among four: 3 and 1, 0 and 3; weights behind.
        let routes = [3.0, 1.0, 0.5, 0.5, 0.0, 3.0, 0.5, 0.5];
        let mut lists = vec![9; Sizes { n_pairs: 4, n_expert: 4 }.words().unwrap()];
        sort(&mut lists, &routes, 2, 2, 4, false);
        assert_eq!(lists[..13], [2, 1, 0, 3, 1, 0, 0, 1, 0, 1, 2, 2, 4]);
        sort(&mut lists, &routes, 2, 2, 4, true);
        assert_eq!(lists[4..8], [2, 1, 0, 3]);
    }
}
