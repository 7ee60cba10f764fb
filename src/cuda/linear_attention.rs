//! LinearAttention: four lanes share a column of a head's state, and keep it in registers while the tokens of a
//! sequence pass (kernels/linear_attention.cu), be they one or a prompt.

use super::args::{self, LINEAR_ATTENTION_THREADS};
use super::driver::Ptr;
use super::kernels::{
    Kernel, linear_attention_64, linear_attention_128, linear_attention_256, linear_attention_by_row_64,
    linear_attention_by_row_128, linear_attention_by_row_256,
};
use super::step::{Step, blocks, int};
use crate::error::Result;
use crate::graph::{LinearAttention, Node, Rule, Sharing};

/// Rows at most of a head's state.
pub(super) const MOST_ROWS: usize = 256;

fn kernel(o: &LinearAttention) -> Kernel<args::LinearAttention> {
    match (o.by_row, o.head_k) {
        (false, ..=64) => linear_attention_64,
        (false, ..=128) => linear_attention_128,
        (false, _) => linear_attention_256,
        (true, ..=64) => linear_attention_by_row_64,
        (true, ..=128) => linear_attention_by_row_128,
        (true, _) => linear_attention_by_row_256,
    }
}

pub(super) fn linear_attention(s: &Step, node: &Node, o: &LinearAttention) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let states = s.recurrent(o.state)?;
    let [q, k, v, steps, betas] = [0, 1, 2, 3, 4].map(|i| s.at(node.inputs[i]));
    // The kernel counts a state's numbers in 32 bits.
    int(o.n_head * o.head_k * o.head_v)?;
    let pieces = o.head_v.div_ceil(LINEAR_ATTENTION_THREADS / 4);
    let args = args::LinearAttention {
        q,
        k,
        v,
        steps,
        betas,
        a: s.weight(o.a),
        skip: o.skip.map_or(Ptr::NULL, |w| s.weight(w)),
        y: s.at(output),
        states,
        n_head: int(o.n_head)?,
        n_head_k: int(o.n_head_k)?,
        head_k: int(o.head_k)?,
        head_v: int(o.head_v)?,
        pieces: int(pieces)?,
        turns: i32::from(o.sharing == Sharing::Turns),
        delta: i32::from(o.rule == Rule::Delta),
        scale_q: o.scale_q,
        scale_k: o.scale_k,
        unused: 0,
    };
    s.launch(kernel(o), [blocks(states.n_runs as usize * pieces, 1)?, blocks(o.n_head, 1)?, 1], &args)
}
