//! A row of the table: one op, and all that it reads.

use rekindle::graph::{KvShape, Move, Op, Rope, Run, Span};
use rekindle::quant::Type;

use super::noise::Noise;
use super::weight::Weight;

/// Half a unit in the last place of a float in 1..2: what a rounding errs by, of numbers of that size.
pub const ULP: f64 = 1.0 / (1 << 24) as f64;

/// Where a row runs. Devices that compute in float32 err less than those that round activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Cpu,
    Cuda,
}

/// Activations.
#[derive(Debug, Clone)]
pub struct Matrix {
    pub cols: usize,
    pub x: Vec<f32>,
}

impl Matrix {
    pub fn random(noise: &mut Noise, rows: usize, cols: usize) -> Matrix {
        Matrix { cols, x: noise.floats(rows * cols) }
    }
    pub fn rows(&self) -> usize {
        self.x.len() / self.cols
    }
    pub fn row(&self, i: usize) -> &[f32] {
        &self.x[i * self.cols..(i + 1) * self.cols]
    }
}

/// What a micro-batch has besides activations.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub tokens: Vec<i32>,
    pub positions: Vec<i32>,
    pub outputs: Vec<u32>,
    pub first_output: usize,
    /// Of the cache of the row.
    pub cells: Vec<u32>,
    pub runs: Vec<Run>,
    pub spans: Vec<Span>,
}

impl Batch {
    /// So many tokens, from position 0.
    pub fn of(n_tokens: usize) -> Batch {
        let tokens: Vec<i32> = (0..n_tokens as i32).collect();
        Batch { positions: tokens.clone(), tokens, ..Batch::default() }
    }
}

/// A KV cache, or one of recurrent states.
#[derive(Debug, Clone)]
pub struct Cached {
    pub shape: KvShape,
    pub type_k: Type,
    pub type_v: Type,
    pub n_cells: usize,
    /// Which of two caches it is.
    pub cache: usize,
    /// Cells that hold something before the op: keys and values of all heads.
    pub filled: Vec<(u32, Vec<f32>, Vec<f32>)>,
    /// What happens to cells after the op.
    pub moves: Vec<Move>,
    /// True if a cell has a state of `head_dim_k` floats in place of keys and values.
    pub recurrent: bool,
}

/// One op, and all that it reads.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: String,
    pub op: Op,
    pub inputs: Vec<Matrix>,
    /// Columns of the result; 0: there is none.
    pub cols: usize,
    pub weights: Vec<Weight>,
    pub rope: Option<Rope>,
    pub cached: Option<Cached>,
    pub batch: Batch,
    /// Others read the first input later, so the result has a place of its own.
    pub kept: bool,
}

impl Row {
    /// A row without weights, a token for each row of the first input.
    pub fn new(name: String, op: Op, inputs: Vec<Matrix>, cols: usize) -> Row {
        let batch = Batch::of(inputs.first().map_or(0, Matrix::rows));
        Row { name, op, inputs, cols, weights: Vec::new(), rope: None, cached: None, batch, kept: false }
    }

    pub fn with(self, weights: Vec<Weight>) -> Row {
        Row { weights, ..self }
    }

    /// With weights for so many copies of the op.
    pub fn repeated(mut self, times: usize) -> Row {
        if let Op::MatMul(_) = self.op {
            self.weights[0] = self.weights[0].taller(times);
        }
        self
    }

    /// Rows of the result.
    pub fn n_rows(&self) -> usize {
        if let Op::SelectOutputs | Op::Mean = self.op { self.batch.outputs.len() } else { self.batch.tokens.len() }
    }

    /// The type of the weights that the op multiplies by, or takes rows of.
    pub fn ty(&self) -> Type {
        let facts = self.op.facts();
        let weight = facts.product.map(|p| p.part.weight).or(facts.table);
        weight.map_or(Type::F32, |w| self.weights[w.0 as usize].info.ty)
    }

    /// The same with other numbers to read, so that its result must differ.
    pub fn disturbed(&self) -> Row {
        let mut row = self.clone();
        match (&self.op, &mut row.cached) {
            (Op::Embed(_), _) => (row.batch.tokens[0], row.batch.positions[0]) = (1, 1),
            (Op::RopeTable(_), _) => row.batch.positions[0] += 1,
            (Op::Attention(_), Some(c)) => {
                c.filled.iter_mut().for_each(|(_, k, v)| k.iter_mut().chain(v).for_each(|x| *x = -*x))
            }
            _ => row.inputs[0].x.iter_mut().for_each(|x| *x = -*x),
        }
        row
    }
}

/// What a number should be, and how far it may be off.
#[derive(Debug, Clone, Copy)]
pub struct Near {
    pub is: f64,
    pub within: f64,
}

impl Near {
    pub fn exactly(x: f32) -> Near {
        Near { is: f64::from(x), within: 0.0 }
    }
}

/// The largest share of what is allowed that a number is off, and which number. What is no number must be none.
pub fn off(are: &[f32], should: &[Near]) -> (f64, usize) {
    assert!(are.len() == should.len() && !are.is_empty(), "{} numbers, not {}", are.len(), should.len());
    let share = |(x, near): (&f32, &Near)| {
        let x = f64::from(*x);
        match x.is_nan() || near.is.is_nan() {
            true if x.is_nan() && near.is.is_nan() => 0.0,
            false if x == near.is => 0.0,
            false if near.is.is_finite() => (x - near.is).abs() / near.within,
            _ => f64::INFINITY,
        }
    };
    let shares = are.iter().zip(should).map(share);
    shares.enumerate().fold((0.0, 0), |worst, (i, share)| if share > worst.0 { (share, i) } else { worst })
}
