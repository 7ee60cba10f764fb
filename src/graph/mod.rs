//! The graph of one micro-batch: what the planner measures, the loader allocates for, and decode runs.
//!
//! Every activation is a matrix of f32, `[rows, cols]`. Rows are a named dimension (the tokens of the micro-batch, or
//! the rows whose logits were asked for); columns are fixed by the model. So one graph serves every batch size: it is
//! laid out once at the largest, and a smaller batch uses the same offsets (rule 3 of the design).
//!
//! The room holds the words that graphs are written in: values and weights (`value`), operations (`op`), what stays
//! (`state`), nodes and what enters and leaves (`graph`), the builder (`build` and the files of blocks beside it),
//! places by lifetime (`layout`), a step (`step`), and the face of a device (`executor`).

mod adapters;
mod attention;
mod build;
mod draft;
mod executor;
mod feed_forward;
mod graph;
mod layout;
mod linear;
mod op;
mod per_layer;
mod pool;
mod pooling;
mod recurrence;
mod recurrent;
mod rope;
mod state;
mod step;
mod value;

pub use attention::{Attention, Latent, OutputGate, QkNorm};
pub use build::{Builder, Extras, Norms};
pub use executor::Executor;
pub use feed_forward::{Act, Chunks, Dense, Mixture, Shared};
pub use graph::{AdapterScale, Draft, Graph, INPUT, Input, Node, Outcome, Part};
pub use layout::{ALIGN, Layout, Limits, Placement};
pub use op::{
    Activation, Attend, AttendText, Columns, Concat, Embed, EmbedBy, Facts, Gate, Gating, MatMul, MatMulExperts,
    MatMulHeads, Norm, NormKind, Op, Product, RopeTable, Rotate, Route, Scale, SoftCap, StoreKv, SumExperts, slope,
};
pub use pooling::{Head, Pick, Pooling};
pub use recurrence::{Convolve, LinearAttention, Rule, Scan, Sharing};
pub use recurrent::{Delta, Kimi, Mamba, Mamba2, Plamo, Recurrent};
pub use rope::{Factors, Rope, RopeKind, Rotation, Sections, Temperature, Yarn};
pub use state::{Cache, CacheKind, KeyRope, KvShape, Side, State, StatePlace, StateShape, rows_of_cells, states_of};
pub use step::{CacheView, Micro, Move, NO_CELL, Run, Span};
pub use value::{Matrices, Rows, StateId, Value, ValueId, WeightId, WeightSlice};
