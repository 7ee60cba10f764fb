//! Scan: each column has a state of a few numbers, which change and are summed up with every token.
//!
//! Every number has a decay of its own, so a prompt cannot be said as products of matrices as in linear attention.
//! Instead, neighbouring columns are computed side by side (`matmul/scan.rs`). Threads share chains (`recurrent.rs`)
//! and pieces of columns.

use super::matmul::scan::{COLUMNS, Token};
use super::pool::Over;
use super::recurrent::States;
use super::step::Step;
use crate::graph::{Node, Scan};

/// Bytes of the threads' scratch: the weights of a piece of columns.
pub(super) fn workspace_bytes(o: &Scan, n_threads: usize) -> Option<usize> {
    o.n_state.checked_mul(COLUMNS * size_of::<f32>())?.checked_mul(n_threads)
}

pub(super) fn scan(s: &Step, node: &Node, o: &Scan) -> Result<(), Over> {
    let Some(output) = node.output else { return Ok(()) };
    // The scratch below takes the place of prepared activations.
    s.prepared.set(None);
    let cols = s.graph().value(output).cols;
    let a = s.weight_floats(o.a);
    let [v, steps, b, c] = [0, 1, 2, 3].map(|i| s.at(node.inputs[i]).cast_const());
    let n_scratch = o.n_state * COLUMNS;
    let states = States::new(s, o.state);
    let pieces = cols.div_ceil(COLUMNS);
    s.worker.share(states.chains.len() * pieces, 1, |items| {
        // SAFETY: the workspace was measured for this many floats per thread.
        let scratch = unsafe {
            std::slice::from_raw_parts_mut(s.workspace().cast::<f32>().add(n_scratch * s.worker.index), n_scratch)
        };
        for item in items {
            let first = item % pieces * COLUMNS;
            let n = COLUMNS.min(cols - first);
            for i in 0..o.n_state {
                for col in 0..n {
                    scratch[i * COLUMNS + col] = a[(first + col) * o.n_state + i];
                }
            }
            states.stretches(item / pieces, first, |st| {
                let mut from = st.from.unwrap_or(std::ptr::null());
                for t in st.first..st.first + st.n {
                    let at = t * cols + first;
                    let token = Token {
                        from,
                        to: st.to,
                        stride: cols,
                        n,
                        a: scratch,
                        v: v.wrapping_add(at),
                        steps: steps.wrapping_add(at),
                        // SAFETY: `n_state` numbers for each token.
                        b: unsafe { std::slice::from_raw_parts(b.add(t * o.n_state), o.n_state) },
                        // SAFETY: as above.
                        c: unsafe { std::slice::from_raw_parts(c.add(t * o.n_state), o.n_state) },
                        out: s.at(output).wrapping_add(at),
                    };
                    // SAFETY: rows of `n` columns, of the values and of `n_state` rows of the state, all this
                    // piece's.
                    unsafe { s.x.kernels.scan(token) };
                    from = st.to;
                }
            });
        }
    })
}
