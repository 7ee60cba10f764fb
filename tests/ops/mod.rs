//! The one table of operations: op x shapes x types, each op with a plain reference in double precision.
//!
//! A row (`row`) is one op with all that it reads. `table` has the rows of every op, which the tests run on the CPU
//! with each of its instruction sets and on dies, and hold against the reference of the op; `speeds` has rows of the
//! sizes of models for the benchmark (`benches/ops.rs`). `run` runs a row on a device, through the face that sessions
//! use too (`graph::Executor`); `cpu` and `cuda` are the devices.
//!
//! To add an op: a reference and rows in the file of its kind, and a line in `reference`.

#![allow(dead_code, reason = "tests and benchmarks each use a part")]

pub mod attention;
mod columns;
pub mod cpu;
pub mod cuda;
mod elementwise;
mod embed;
mod kv;
pub mod noise;
mod norm;
mod product;
pub mod recurrent;
mod rope;
mod route;
pub mod row;
pub mod run;
pub mod single;
pub mod speeds;
mod texts;
mod weight;

use rekindle::graph::Op;
use row::{Near, On, Row};

/// The rows of every op.
pub fn table() -> Vec<Row> {
    let kinds: [fn() -> Vec<Row>; 11] = [
        embed::rows,
        norm::rows,
        product::rows,
        route::rows,
        rope::rows,
        columns::rows,
        kv::rows,
        attention::rows,
        recurrent::rows,
        elementwise::rows,
        texts::rows,
    ];
    kinds.iter().flat_map(|rows| rows()).collect()
}

/// What the op of a row should make of what it reads, and how far a device may be off.
pub fn reference(row: &Row, on: On) -> Vec<Near> {
    match &row.op {
        Op::Embed(o) => embed::embed(row, o),
        Op::Norm(o) => norm::norm(row, o),
        Op::MatMul(o) => product::matmul(row, o, on),
        Op::MatMulHeads(o) => product::matmul_heads(row, o, on),
        Op::MatMulExperts(o) => product::matmul_experts(row, o, on),
        Op::Route(o) => route::route(row, o),
        Op::SumExperts(o) => route::sum_experts(row, o),
        Op::RopeTable(_) => rope::rope_table(row),
        Op::Rope(o) => rope::rope(row, o),
        Op::Columns(o) => columns::columns(row, o),
        Op::Concat(o) => columns::concat(row, o),
        Op::StoreKv(_) => kv::store_kv(row),
        Op::Attention(o) => attention::attention(row, o, 0, 0),
        Op::Convolve(o) => recurrent::convolve(row, o),
        Op::LinearAttention(o) => recurrent::linear_attention(row, o),
        Op::Scan(o) => recurrent::scan(row, o),
        Op::Scale(o) => elementwise::scale(row, o),
        Op::Add => elementwise::add(row),
        Op::Activation(o) => elementwise::activation(row, *o),
        Op::Gate(o) => elementwise::gate(row, *o),
        Op::SoftCap(o) => elementwise::soft_cap(row, o),
        Op::SelectOutputs => embed::select_outputs(row),
        Op::AttendText(o) => texts::attend_text(row, o),
        Op::Mean => texts::mean(row),
        Op::Softmax => texts::softmax(row),
    }
}
