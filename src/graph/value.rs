//! The names of things in a graph: activations, weights and parts of them, states.
//!
//! # Slices of weights
//!
//! A device need not hold all of a tensor: one that computes some rows of a product needs those rows alone. So an op
//! says which [`WeightSlice`] it reads, and a device holds a slice that covers all that its ops read ([`union`]). Three
//! answers about slices are given here for all of the library.
//!
//! - The plan asks how many bytes a slice has: [`n_bytes`].
//! - The loader asks which bytes of the file it is: [`pieces`] lists them. They are written one behind the other.
//! - Kernels ask where an op's rows lie in the bytes that a device holds: [`within`] gives an offset, and the steps
//!   from row to row and from matrix to matrix.
//!
//! ```text
//! file: 2 matrices of 4 rows         held: rows 1..4, left half        an op's slice: rows 2..4 of what is held
//!
//! matrix 0  row 0  . . . .
//!           row 1  # # . .   ---->   # #
//!           row 2  # # . .   ---->   # #  <-- offset                   # #
//!           row 3  # # . .   ---->   # #                               # #
//! matrix 1  row 0  . . . .
//!           row 1  # # . .   ---->   # #
//!           row 2  # # . .   ---->   # #  <-- offset + matrix_bytes    # #
//!           row 3  # # . .   ---->   # #                               # #
//! ```
//!
//! Rows that are whole follow each other in the file, so the rows of one matrix are then a single piece.
//!
//! [`union`]: WeightSlice::union
//! [`n_bytes`]: WeightSlice::n_bytes
//! [`pieces`]: WeightSlice::pieces
//! [`within`]: WeightSlice::within

use crate::gguf::TensorInfo;
use crate::quant::Type;

/// An activation: a matrix of f32 that a node makes or that enters from outside. The number is its place among
/// `Graph::values`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ValueId(pub u32);

/// A tensor of the file that the graph reads; its place among `Graph::weights`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WeightId(pub u32);

/// A state, which a layer keeps from one micro-batch to the next; its place among `Graph::states`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateId(pub u32);

/// The parts of a layer that may have a device of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Part {
    /// All of the layer that is no other part.
    #[default]
    Body,
    /// The routed experts.
    Experts,
    /// All that one die of a group computes of a layer that the group shares, by the die's number in the group.
    Shard(u8),
}

impl Part {
    /// The die of a group that has this part: the first one, if no die shares it.
    pub fn die(self) -> usize {
        if let Part::Shard(i) = self { usize::from(i) } else { 0 }
    }
}

/// The dimension that a value's rows count. Its size changes from batch to batch, so it has a name instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rows {
    /// The micro-batch: up to n_ubatch.
    Tokens,
    /// The rows whose logits were asked for: up to n_outputs_max.
    Outputs,
}

/// An activation's shape, `[rows, cols]` of f32.
#[derive(Debug, Clone)]
pub struct Value {
    pub name: &'static str,
    pub rows: Rows,
    pub cols: usize,
}

impl Value {
    pub fn has_shape_of(&self, other: &Value) -> bool {
        self.rows == other.rows && self.cols == other.cols
    }
}

/// Rows and columns of a weight. An op reads such a slice, a device holds one, and a load brings it there.
///
/// A tensor `[n_cols, n_rows, n_matrices]` is a stack of matrices: one per expert or head, and a single one in most
/// tensors. The same rows and columns are taken of each, or of some neighbouring ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WeightSlice {
    pub weight: WeightId,
    pub first_row: usize,
    pub n_rows: usize,
    pub first_col: usize,
    pub n_cols: usize,
    pub first_matrix: usize,
    pub n_matrices: usize,
}

/// The place of a slice's matrices within the bytes that a device holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrices {
    pub ty: Type,
    /// Columns of a matrix: a row of activations has as many elements.
    pub n_in: usize,
    /// Rows of a matrix: a row of the result has as many elements.
    pub n_out: usize,
    pub n_matrices: usize,
    /// Bytes before the first row.
    pub offset: usize,
    /// Bytes from one row to the next, and from one matrix to the next.
    pub row_bytes: usize,
    pub matrix_bytes: usize,
}

impl WeightSlice {
    /// All of a tensor.
    pub fn whole(weight: WeightId, info: &TensorInfo) -> WeightSlice {
        WeightSlice {
            weight,
            first_row: 0,
            n_rows: info.ne[1] as usize,
            first_col: 0,
            n_cols: info.ne[0] as usize,
            first_matrix: 0,
            n_matrices: (info.ne[2] * info.ne[3]) as usize,
        }
    }

    /// True if it is all of the tensor.
    pub fn is_whole(&self, info: &TensorInfo) -> bool {
        *self == WeightSlice::whole(self.weight, info)
    }

    /// The smallest slice that covers this one and another of the same tensor.
    pub fn union(&self, other: &WeightSlice) -> WeightSlice {
        let join = |a: (usize, usize), b: (usize, usize)| {
            let first = a.0.min(b.0);
            (first, (a.0 + a.1).max(b.0 + b.1) - first)
        };
        let (first_row, n_rows) = join((self.first_row, self.n_rows), (other.first_row, other.n_rows));
        let (first_col, n_cols) = join((self.first_col, self.n_cols), (other.first_col, other.n_cols));
        let (first_matrix, n_matrices) =
            join((self.first_matrix, self.n_matrices), (other.first_matrix, other.n_matrices));
        WeightSlice { weight: self.weight, first_row, n_rows, first_col, n_cols, first_matrix, n_matrices }
    }

    /// Bytes of the slice. Its columns are whole blocks: whoever makes a slice of some columns sees to that. Nothing
    /// overflows, since the reader checked the bytes of the whole tensor.
    pub fn n_bytes(&self, info: &TensorInfo) -> u64 {
        if self.is_whole(info) {
            return info.n_bytes;
        }
        let row = info.ty.row_bytes(self.n_cols).unwrap_or(0) as u64;
        row * self.n_rows as u64 * self.n_matrices as u64
    }

    /// The pieces of the file's tensor that make up the slice, in order: (first byte, bytes). A device that holds the
    /// slice has them one behind the other.
    pub fn pieces(&self, info: &TensorInfo) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (part, n_bytes) = (*self, info.n_bytes as usize);
        let bytes_of = |n: usize| info.ty.row_bytes(n).unwrap_or(0);
        let (all, row, first) = (bytes_of(info.ne[0] as usize), bytes_of(part.n_cols), bytes_of(part.first_col));
        let (whole, rows) = (self.is_whole(info), info.ne[1] as usize);
        // Whole rows follow each other, so those of one matrix are one piece.
        let lines = if row == all { 1 } else { part.n_rows };
        let n = if whole { 1 } else { part.n_matrices * lines };
        (0..n).map(move |i| {
            if whole {
                return (0, n_bytes);
            }
            let (matrix, line) = (part.first_matrix + i / lines, i % lines);
            (((matrix * rows + part.first_row + line) * all) + first, row * (part.n_rows / lines))
        })
    }

    /// The pieces of the file's tensor that make up `n` bytes of the slice from `first` on.
    pub fn pieces_of(&self, info: &TensorInfo, first: usize, n: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        // All have the same length.
        let piece = self.pieces(info).next().map_or(1, |(_, bytes)| bytes.max(1));
        let end = first + n;
        let cut = move |(i, (at, bytes)): (usize, (usize, usize))| {
            let begin = i * piece;
            let (from, to) = (first.max(begin), end.min(begin + bytes));
            (at + from - begin, to.saturating_sub(from))
        };
        self.pieces(info).enumerate().skip(first / piece).map(cut).take_while(|(_, bytes)| *bytes > 0)
    }

    /// The place of this slice's matrices in a device's bytes of `held`, a slice of the same tensor that covers this
    /// one.
    pub fn within(&self, held: &WeightSlice, info: &TensorInfo) -> Matrices {
        let bytes_of = |n: usize| info.ty.row_bytes(n).unwrap_or(0);
        let row_bytes = bytes_of(held.n_cols);
        Matrices {
            ty: info.ty,
            n_in: self.n_cols,
            n_out: self.n_rows,
            n_matrices: self.n_matrices,
            offset: (self.first_matrix - held.first_matrix) * held.n_rows * row_bytes
                + (self.first_row - held.first_row) * row_bytes
                + bytes_of(self.first_col - held.first_col),
            row_bytes,
            matrix_bytes: held.n_rows * row_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experts() -> TensorInfo {
        let (name, ty) = (String::new(), Type::Q8_0);
        TensorInfo { name, ty, ne: [64, 6, 3, 1], n_dims: 3, offset: 0, n_bytes: 3 * 6 * 68, split: 0 }
    }

    /// Two shards of a stack of matrices, by rows and by columns: together they have every byte once.
    #[test]
    fn shards_have_every_byte_once() {
        let info = experts();
        let whole = WeightSlice::whole(WeightId(0), &info);
        assert_eq!(whole.pieces(&info).collect::<Vec<_>>(), [(0, info.n_bytes as usize)]);
        let rows = [WeightSlice { n_rows: 2, ..whole }, WeightSlice { first_row: 2, n_rows: 4, ..whole }];
        let cols = [WeightSlice { n_cols: 32, ..whole }, WeightSlice { first_col: 32, n_cols: 32, ..whole }];
        for shards in [rows, cols] {
            let mut hits = vec![0; info.n_bytes as usize];
            for s in shards {
                let pieces: Vec<_> = s.pieces(&info).collect();
                assert_eq!(pieces.iter().map(|p| p.1 as u64).sum::<u64>(), s.n_bytes(&info));
                pieces.iter().for_each(|(first, n)| hits[*first..first + n].iter_mut().for_each(|h| *h += 1));
                // The same in portions of an odd length.
                let bytes = |all: Vec<(usize, usize)>| all.into_iter().flat_map(|(at, n)| at..at + n);
                let n = s.n_bytes(&info) as usize;
                let some = |first: usize| s.pieces_of(&info, first, 101.min(n - first)).collect();
                assert!((0..n).step_by(101).flat_map(|first| bytes(some(first))).eq(bytes(pieces)));
            }
            assert!(hits.iter().all(|h| *h == 1));
            assert_eq!(shards[0].union(&shards[1]), whole);
        }
        let last = WeightSlice { first_matrix: 2, n_matrices: 1, ..whole };
        assert_eq!(last.pieces(&info).collect::<Vec<_>>(), [(2 * 6 * 68, 6 * 68)]);
        assert_eq!(last.n_bytes(&info), 6 * 68);
        assert_eq!(last.within(&whole, &info).offset, 2 * 408);
        assert_eq!(rows[1].pieces(&info).nth(1), Some(((6 + 2) * 68, 4 * 68)));
    }

    #[test]
    fn matrices_lie_where_their_holder_has_them() {
        let info = experts();
        let whole = WeightSlice::whole(WeightId(0), &info);
        let part = WeightSlice { first_row: 3, n_rows: 2, ..whole };
        let m = part.within(&whole, &info);
        assert_eq!((m.n_in, m.n_out, m.n_matrices, m.offset, m.row_bytes, m.matrix_bytes), (64, 2, 3, 204, 68, 408));
        // A device that holds rows 2..6 has the part one row in, and its matrices closer together.
        let m = part.within(&WeightSlice { first_row: 2, n_rows: 4, ..whole }, &info);
        assert_eq!((m.offset, m.row_bytes, m.matrix_bytes), (68, 68, 272));
        let half = WeightSlice { first_col: 32, n_cols: 32, ..whole };
        assert_eq!((half.within(&whole, &info).offset, half.within(&half, &info).row_bytes), (34, 34));
    }
}
