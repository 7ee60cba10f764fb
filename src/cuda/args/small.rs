//! The arguments of the small operations' kernels: norms, rotations, routes, rows that are asked for.

use super::describe::{Args, Field};
#[cfg(test)]
use super::describe::{Described, DescribedField};

args! {
    /// Groups of columns, each brought to one size. Groups follow each other without gaps.
    Norm {
        x: *const f32,
        /// Or null, and so is the bias.
        weight: *const f32,
        bias: *const f32,
        y: *mut f32,
        n_groups: i64,
        /// Columns of a group, and of a row.
        group: i32,
        cols: i32,
        eps: f32,
        /// NORM_...
        kind: i32,
        /// They have an element for each column of a row, not of a group.
        weight_of_row: i32,
        bias_of_row: i32,
        /// Added to x before, or null; groups are rows then.
        b: *const f32,
        /// The sum's place.
        sum: *mut f32,
    }

    /// Pairs of elements of each head, turned by the angles of a table.
    Rope {
        x: *const f32,
        /// `[n_tokens, n_rot]`: cosine and sine of each pair, side by side.
        table: *const f32,
        positions: *const i32,
        y: *mut f32,
        n_head: i32,
        head_dim: i32,
        /// Elements that turn, from `first` on.
        n_rot: i32,
        first: i32,
        /// Pairs are (i, i + n_rot / 2), not neighbours.
        halves: i32,
        /// Of the temperature; 0 without one.
        length: i32,
        scale: f32,
        /// The elements that do not turn are written too.
        copies: i32,
        /// Of the temperature: added to positions.
        offset: i32,
        unused: i32,
    }

    /// Rope of queries and keys whose pairs all turn by one table, and the cells of the turned keys and of values.
    RopeStore {
        q: *const f32,
        k: *const f32,
        v: *const f32,
        /// `[n_tokens, n_rot]`: cosine and sine of each pair, side by side.
        table: *const f32,
        q_out: *mut f32,
        /// The cache's sides: cell 0.
        keys: *mut u8,
        values: *mut u8,
        /// Of each token.
        cells: *const i32,
        /// Bytes from cell to cell.
        k_row: i32,
        v_row: i32,
        /// TYPE_...
        type_k: i32,
        type_v: i32,
        /// Columns of q, k and v.
        q_cols: i32,
        k_cols: i32,
        v_cols: i32,
        head_dim: i32,
        n_rot: i32,
        first: i32,
        /// Pairs are (i, i + n_rot / 2), not neighbours.
        halves: i32,
        /// Elements of q that do not turn are written too.
        copies: i32,
        /// Blocks of a token that take queries, and keys; the others take values.
        q_blocks: i32,
        k_blocks: i32,
    }

    /// The choice of each row's experts.
    Route {
        /// `[n_rows, n_expert]`
        logits: *const f32,
        /// Added for choosing only, or null.
        bias: *const f32,
        /// `[n_rows, 2 n_used]`: numbers of experts, then weights.
        y: *mut f32,
        n_expert: i32,
        n_used: i32,
        /// GATING_...
        gating: i32,
        normalise: i32,
        n_group: i32,
        n_group_used: i32,
        scale: f32,
        unused: i32,
    }

    /// The rows whose results are asked for.
    SelectOutputs {
        x: *const f32,
        /// Of each row of y, its row of x.
        outputs: *const i32,
        y: *mut f32,
        cols: i32,
        unused: i32,
    }

    /// The sum of a row's parts, one of each of its experts, by their weights.
    SumExperts {
        /// `[n_rows, n_used cols]`
        x: *const f32,
        route: *const f32,
        /// `[n_rows, cols]`
        y: *mut f32,
        cols: i32,
        n_used: i32,
        /// Parts count by their weights.
        weighted: i32,
        unused: i32,
    }
}
