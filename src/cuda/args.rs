//! The arguments of kernels: their structs, and the numbers that both sides must agree on, described once.
//!
//! `kernels/args.h` is generated from this file, and every kernel includes it; a test fails while the two differ
//! (`REKINDLE_BLESS=1 cargo test --lib args_h` writes it). A field's type is written as the kernel sees it; here an
//! address is a `Ptr`. A field named `unused` fills what two compilers might pad differently.

#[macro_use]
mod describe;
mod recurrent;
mod small;

pub use describe::{Args, Field};
#[cfg(test)]
use describe::{Described, DescribedField};
pub use recurrent::{Convolve, LinearAttention, Scan, States};
pub use small::{Norm, Rope, RopeStore, Route, SelectOutputs, SumExperts};

use crate::graph;
use crate::quant::Type;

constants! {
    /// GGUF's numbers of the types that a KV cache may have.
    TYPE_F32 = Type::F32 as usize;
    TYPE_F16 = Type::F16 as usize;
    TYPE_Q8_0 = Type::Q8_0 as usize;
    TYPE_Q4_0 = Type::Q4_0 as usize;
    /// Threads of a block of each form of attention; a warp of the split form takes a part of the context.
    ATTENTION_THREADS = 128;
    /// Parts of a context at most: `attention_merge` has a lane for each.
    ATTENTION_PARTS = 32;
    COLUMNS_THREADS = 128;
    CONVOLVE_THREADS = 128;
    EACH_THREADS = 256;
    GEMM_THREADS = 128;
    /// Rows of x and outputs of a tile.
    GEMM_ROWS = 64;
    GEMM_OUTPUTS = 128;
    /// Those of a small tile.
    GEMM_SMALL_ROWS = 32;
    GEMM_SMALL_OUTPUTS = 64;
    /// The functions of a gate or an activation (`Activation`, `Gate`).
    FUNCTION_IDENTITY = 0;
    FUNCTION_SILU = 1;
    FUNCTION_GELU = 2;
    FUNCTION_GELU_ERF = 3;
    FUNCTION_RELU = 4;
    FUNCTION_RELU_SQUARED = 5;
    FUNCTION_SIGMOID = 6;
    FUNCTION_SOFTPLUS = 7;
    FUNCTION_XIELU = 8;
    FUNCTION_SILU_CLAMPED = 9;
    FUNCTION_SILU_LIMITED = 10;
    FUNCTION_SILU_OF_LIMITED = 11;
    FUNCTION_CLAMP = 12;
    FUNCTION_RECIPROCAL = 13;
    KV_THREADS = 128;
    /// Elements at most of a head of blocks that turns.
    KV_TURN_MOST = 2048;
    /// Four lanes share a column of a state.
    LINEAR_ATTENTION_THREADS = 128;
    LISTS_THREADS = 1024;
    MATVEC_THREADS = 128;
    NORM_THREADS = 512;
    NORM_SMALL_THREADS = 128;
    /// The kinds of norm (`NormKind`).
    NORM_RMS = 0;
    NORM_LAYER = 1;
    NORM_L2 = 2;
    ROPE_THREADS = 128;
    ROUTE_THREADS = 32;
    /// Experts at most of `route`, and of `route_many`.
    ROUTE_FEW = 512;
    ROUTE_MOST = 4096;
    /// The ways in which logits become weights (`Gating`).
    GATING_SOFTMAX = 0;
    GATING_SIGMOID = 1;
    GATING_SOFTMAX_OF_CHOSEN = 2;
    /// Four lanes share a column.
    SCAN_THREADS = 128;
    SELECT_THREADS = 256;
    SUM_THREADS = 256;
}

tables! {
    /// Neighbouring cells of a KV cache that hold neighbouring positions of one sequence. A run's spans stand in the
    /// order of positions.
    Span {
        cell: u32,
        pos: i32,
        len: u32,
    }
    /// Neighbouring tokens of a micro-batch that belong to one sequence and see the same spans, each up to its own
    /// position.
    Run {
        first: u32,
        n: u32,
        first_span: u32,
        n_spans: u32,
    }
}

args! {
    /// Attention in each of its forms (attention.cu, attention_prefill.cu), and the merging of parts.
    Attention {
        /// Queries `[n_tokens, n_head * dk]`.
        q: *const f32,
        /// The cache's sides: cell 0.
        keys: *const u8,
        values: *const u8,
        /// `[n_tokens, n_head * dv]`
        out: *mut f32,
        /// The parts' results, for merging: `dv` floats for each (token, head, part), then a maximum and a sum for
        /// each.
        partial: *mut f32,
        /// `[n_head]`, or null.
        sinks: *const f32,
        /// Of each token.
        positions: *const i32,
        runs: *const graph::Run,
        /// Runs count their spans from here.
        spans: *const graph::Span,
        /// Bytes from cell to cell.
        k_row: i32,
        v_row: i32,
        /// Elements from head to head.
        k_head: i32,
        v_head: i32,
        /// TYPE_...; the tiled form looks at them.
        type_k: i32,
        type_v: i32,
        n_tokens: i32,
        n_runs: i32,
        n_head: i32,
        n_head_kv: i32,
        /// Elements of a key and of a value.
        dk: i32,
        dv: i32,
        /// Parts that the context is cut into.
        n_parts: i32,
        /// Of the split form: pieces of the query heads that share a KV head, one a warp.
        pieces: i32,
        /// Of the split form: lanes that hold a key; 8, 16 or 32, and 8 lanes are no fewer than dk and dv.
        lanes: i32,
        /// Positions that a token sees.
        window: i32,
        scale: f32,
        /// 0: none.
        softcap: f32,
        /// A token sees back to the last multiple of the window only.
        chunked: i32,
        /// The spread of slopes by which scores fall with distance; 0: none. Only attention_prefill_alibi looks at it.
        alibi: f32,
    }

    /// Elements first .. first + n of each head of `head` elements.
    Columns {
        x: *const f32,
        y: *mut f32,
        head: i32,
        first: i32,
        n: i32,
        unused: i32,
    }

    /// n_x elements of each head of x, then n_b of b: of the same head, or of the row where b has one part for all
    /// heads.
    Concat {
        x: *const f32,
        b: *const f32,
        y: *mut f32,
        n_head: i32,
        n_x: i32,
        n_b: i32,
        /// Parts of a row of b: 1 or n_head.
        parts: i32,
    }

    /// x times `by` and a scale, plus a bias; where there is a route, those of each part's expert.
    Scale {
        x: *const f32,
        /// Or null.
        scale: *const f32,
        /// Or null.
        bias: *const f32,
        /// Or null.
        route: *const f32,
        y: *mut f32,
        cols: i32,
        /// Experts of a row, 0 without a route.
        n_used: i32,
        by: f32,
        /// Each column has a scale of its own.
        of_columns: i32,
    }

    /// n elements of x, b and y.
    Each {
        x: *const f32,
        b: *const f32,
        y: *mut f32,
        n: i64,
        /// Of the cap.
        limit: f32,
        unused: i32,
    }

    /// A function of n elements of x, times those of b if it is a gate. The last four numbers are what the function has
    /// of them.
    Gate {
        x: *const f32,
        b: *const f32,
        y: *mut f32,
        /// Elements of y.
        n: i64,
        /// Elements of b for each of x.
        wide: i32,
        /// FUNCTION_...
        function: i32,
        alpha: f32,
        limit: f32,
        beta: f32,
        eps: f32,
    }

    /// The pairs of a row and one of its experts, sorted by expert (experts.cu).
    ExpertLists {
        /// `[n_rows, 2 n_used]`: numbers of experts, then weights.
        route: *const f32,
        /// Ints: the number of tiles; where each expert's pairs begin `[n_expert + 1]`; the pairs by expert `[n_rows
        /// n_used]`; the tiles, `[n_tiles, 2]`: expert and first pair.
        lists: *mut i32,
        n_rows: i32,
        n_used: i32,
        n_expert: i32,
        unused: i32,
    }

    /// Many rows times a matrix, or times a matrix for each head: head h takes columns h n_in .. of x and h n_out .. of
    /// y.
    Gemm {
        w: *const u8,
        x: *const f32,
        /// Or null.
        bias: *const f32,
        y: *mut f32,
        /// From one head's matrix to the next.
        head_bytes: i64,
        row_bytes: i32,
        n_in: i32,
        n_out: i32,
        n_rows: i32,
        /// Floats from row to row.
        x_stride: i32,
        y_stride: i32,
    }

    /// Many pairs of a row and an expert: pair p reads row p / per_row of x and writes row p of y, both without gaps.
    GemmExperts {
        /// Of expert 0, at the first output that is wanted.
        w: *const u8,
        x: *const f32,
        /// Likewise, or null.
        bias: *const f32,
        y: *mut f32,
        /// As `expert_lists` leaves them.
        lists: *const i32,
        expert_bytes: i64,
        row_bytes: i32,
        n_in: i32,
        n_out: i32,
        n_pairs: i32,
        n_expert: i32,
        /// Floats from one expert's bias to the next.
        bias_stride: i32,
        per_row: i32,
        unused: i32,
    }

    /// Rows of new keys or values, to their cells.
    Store {
        /// `[n_tokens, cols]`
        x: *const f32,
        /// Cell 0, of `row` bytes.
        side: *mut u8,
        /// Of each token.
        cells: *const i32,
        row: i32,
        cols: i32,
    }

    /// Copies of cells.
    CopyCells {
        /// Cell 0, of `row` bytes, an even number.
        side: *mut u8,
        /// From, to. No cell is the first of one pair and the second of another.
        pairs: *const i32,
        row: i64,
    }

    /// The rotation of cached keys to other positions.
    Turn {
        /// Cell 0, of `row` bytes.
        side: *mut u8,
        cells: *const i32,
        /// `[n_rot]`: cosine and sine of each pair of elements, side by side.
        angles: *const f32,
        row: i64,
        /// Elements of a head; the first that turns; and how many do.
        head_dim: i32,
        first: i32,
        n_rot: i32,
        /// Pairs are (i, i + n_rot / 2), not neighbours.
        neox: i32,
    }

    /// One of the matrices that a launch multiplies a row by.
    MatvecPart {
        w: *const u8,
        y: *mut f32,
        /// Or null.
        bias: *const f32,
        row_bytes: i64,
        n_out: i32,
        /// The number of its first block in the grid; beyond the grid where there is no such part.
        first_block: i32,
        /// Warps that share their rows: 1, 2 or 4.
        split: i32,
        unused: i32,
    }

    /// A row times up to three matrices with as many columns, or times a matrix for each head (the grid's y). Gated:
    /// the result is a function of the first product times the second, at the first part's y.
    MatvecOne {
        first: MatvecPart,
        second: MatvecPart,
        third: MatvecPart,
        x: *const f32,
        /// From one head's matrix to the next.
        head_bytes: i64,
        n_in: i32,
        /// Floats from head to head.
        x_head: i32,
        y_head: i32,
        /// FUNCTION_... of a gate.
        function: i32,
    }

    /// Up to eight rows times a matrix, or times a matrix for each head (the grid's y).
    Matvec {
        w: *const u8,
        x: *const f32,
        y: *mut f32,
        /// Or null.
        bias: *const f32,
        row_bytes: i64,
        /// From one head's matrix to the next.
        head_bytes: i64,
        n_in: i32,
        n_out: i32,
        n_rows: i32,
        /// Floats from row to row.
        x_stride: i32,
        y_stride: i32,
        /// Floats from head to head.
        x_head: i32,
        y_head: i32,
        /// Warps that share their rows: 1, 2 or 4.
        split: i32,
    }

    /// Pairs of a row and an expert, each for itself.
    MatvecExperts {
        /// Of expert 0, at the first output that is wanted.
        w: *const u8,
        x: *const f32,
        y: *mut f32,
        /// Likewise, or null.
        bias: *const f32,
        /// `[n_rows, 2 n_used]`
        route: *const f32,
        row_bytes: i64,
        expert_bytes: i64,
        n_in: i32,
        n_out: i32,
        n_expert: i32,
        n_used: i32,
        /// Floats from one expert's bias to the next.
        bias_stride: i32,
        /// Floats from row to row of x.
        x_row: i32,
        /// Floats from one used expert's part of x to the next; 0: they share it.
        x_part: i32,
        /// Floats from row to row of y.
        y_stride: i32,
        /// Warps that share their rows: 1, 2 or 4.
        split: i32,
        unused: i32,
    }
}

impl Field for MatvecPart {
    type Held = MatvecPart;
    #[cfg(test)]
    const C: &'static str = "MatvecPart ";
}

#[cfg(test)]
mod tests;
