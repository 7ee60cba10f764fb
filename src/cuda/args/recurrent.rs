//! The arguments of recurrent kernels (kernels/recurrent.h). Each has the states of its layer, which are described
//! once.

use super::describe::{Args, Field};
#[cfg(test)]
use super::describe::{Described, DescribedField};
use crate::graph;

args! {
    /// The states of a layer, and how a micro-batch's sequences go through them.
    States {
        /// Cell 0.
        at: *mut f32,
        /// After which tokens the state is kept, and where.
        cells: *const i32,
        runs: *const graph::Run,
        /// Runs count their spans from here.
        spans: *const graph::Span,
        /// Floats from cell to cell.
        row: i64,
        n_runs: i32,
        unused: i32,
    }

    /// A causal convolution over the tokens of each sequence (convolve.cu).
    Convolve {
        /// `[n_tokens, cols]`
        x: *const f32,
        /// `[cols, n_taps]`, the newest token last.
        weight: *const f32,
        /// `[cols]`, or null.
        bias: *const f32,
        /// `[n_tokens, cols]`
        y: *mut f32,
        /// `[n_taps - 1, cols]`, the oldest first.
        states: States,
        cols: i32,
        n_taps: i32,
        silu: i32,
        unused: i32,
    }

    /// Linear attention with a decay (linear_attention.cu).
    LinearAttention {
        /// `[n_tokens, n_head_k * head_k]`
        q: *const f32,
        k: *const f32,
        /// `[n_tokens, n_head * head_v]`
        v: *const f32,
        /// `[n_tokens, n_head]`, or `[n_tokens, n_head * head_k]` where rows have decays of their own.
        steps: *const f32,
        /// `[n_tokens, n_head]`
        betas: *const f32,
        /// `[n_head]`: the logarithms of the decays are `a` times the steps.
        a: *const f32,
        /// `[n_head]`, or null.
        skip: *const f32,
        /// `[n_tokens, n_head * head_v]`
        y: *mut f32,
        /// `[n_head, head_k, head_v]`
        states: States,
        n_head: i32,
        n_head_k: i32,
        head_k: i32,
        head_v: i32,
        /// Pieces of a head's columns.
        pieces: i32,
        /// Head i has keys i % n_head_k; else neighbours share them.
        turns: i32,
        /// The delta rule; else that of sums.
        delta: i32,
        scale_q: f32,
        scale_k: f32,
        unused: i32,
    }

    /// The selective scan of Mamba (scan.cu).
    Scan {
        /// `[n_tokens, cols]`
        v: *const f32,
        steps: *const f32,
        /// `[n_tokens, n_state]`
        b: *const f32,
        c: *const f32,
        /// `[cols, n_state]`
        a: *const f32,
        /// `[n_tokens, cols]`
        y: *mut f32,
        /// `[n_state, cols]`
        states: States,
        cols: i32,
        n_state: i32,
    }
}
