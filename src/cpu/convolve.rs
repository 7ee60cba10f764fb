//! Convolve: a causal convolution over the tokens of each sequence, column by column.
//!
//! A token's result is a weighted sum of its own row and the `n_taps - 1` rows before it. Those of tokens before the
//! micro-batch are in the state, the oldest first:
//!
//! ```text
//! n_taps = 4        state  a b c     tokens  d e     result of d: a b c d, of e: b c d e     new state  c d e
//! ```
//!
//! Threads share chains and pieces of columns.

use super::pool::Over;
use super::recurrent::States;
use super::step::Step;
use crate::graph::{Convolve, Node};

/// Columns of a piece of work.
const COLUMNS: usize = 256;

pub(super) fn convolve(s: &Step, node: &Node, o: &Convolve) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    let cols = s.graph().value(output).cols;
    let (weight, bias) = (s.weight_floats(o.weight), o.bias.map(|b| s.weight_floats(b)));
    let states = States::new(s, o.state);
    let pieces = cols.div_ceil(COLUMNS);
    let n_old = o.n_taps - 1;
    s.worker.share(states.chains.len() * pieces, 1, |items| {
        for item in items {
            let first_col = item % pieces * COLUMNS;
            let n = COLUMNS.min(cols - first_col);
            // The weights of a tap side by side.
            let mut weights = [[0f32; COLUMNS]; Convolve::MOST_TAPS];
            for (c, of_column) in weight[first_col * o.n_taps..].chunks_exact(o.n_taps).take(n).enumerate() {
                weights.iter_mut().zip(of_column).for_each(|(of_tap, w)| of_tap[c] = *w);
            }
            states.stretches(item / pieces, first_col, |st| {
                let x = |t: usize| s.at(node.inputs[0]).wrapping_add((st.first + t) * cols + first_col).cast_const();
                // The row `back` before token t.
                let row = |t: usize, back: usize| match t.checked_sub(back) {
                    Some(t) => Some(x(t)),
                    None => st.from.map(|state| state.wrapping_add((n_old + t - back) * cols)),
                };
                for t in 0..st.n {
                    let mut sums = [0f32; COLUMNS];
                    let sums = &mut sums[..n];
                    if let Some(bias) = &bias {
                        sums.copy_from_slice(&bias[first_col..first_col + n]);
                    }
                    for tap in 0..o.n_taps {
                        let Some(row) = row(t, n_old - tap) else { continue };
                        // SAFETY: a row of the input or of the state has `cols` columns; nobody writes either until
                        // this piece's results are made.
                        let row = unsafe { std::slice::from_raw_parts(row, n) };
                        for ((sum, x), w) in sums.iter_mut().zip(row).zip(&weights[tap]) {
                            *sum += x * w;
                        }
                    }
                    // SAFETY: one writer per piece of columns.
                    let out = unsafe { s.floats_mut(output, (st.first + t) * cols + first_col, n) };
                    if o.silu {
                        s.x.kernels.silu_mul(sums, &[1.0; COLUMNS], out);
                    } else {
                        out.copy_from_slice(sums);
                    }
                }
                // The oldest first, so that a row is read before it is written where both states are one.
                for i in 0..n_old {
                    let to = st.to.wrapping_add(i * cols);
                    match row(st.n - 1, n_old - 1 - i) {
                        // SAFETY: rows of the input and of two states, or of one state and another row of it; this
                        // thread alone uses these columns of them.
                        Some(from) => unsafe { std::ptr::copy(from, to, n) },
                        // SAFETY: as above.
                        None => unsafe { std::ptr::write_bytes(to, 0, n) },
                    }
                }
            });
        }
    })
}
