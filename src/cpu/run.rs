//! The walk through the graph: the file for each op, and the working memory that it needs.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::executor::Executor;
use super::matmul::Kernels;
use super::pool::Over;
use super::step::Step;
use super::{
    attention, columns, convolve, elementwise, embed, experts, kv, linear_attention, mean, norm, product, rope, route,
    scan, softmax,
};
use crate::error::{Error, Result, Status};
use crate::graph::{self, Graph, Limits, Micro, Move, Node, Op, StatePlace, ValueId};
use crate::quant::Type;

/// Bytes of workspace that a node's kernel needs at the largest batch; `None` if that overflows.
pub fn workspace_bytes(graph: &Graph, node: &Node, limits: Limits, n_threads: usize) -> Option<usize> {
    let rows = node.inputs.first().map_or(0, |v| limits.rows(graph.value(*v).rows));
    match &node.op {
        Op::MatMul(o) => product::workspace_bytes(graph, o, rows, n_threads),
        Op::MatMulHeads(o) => product::heads_workspace_bytes(graph, o, rows, n_threads),
        Op::MatMulExperts(o) => experts::workspace_bytes(graph, o, rows, n_threads),
        Op::Route(o) => route::workspace_bytes(o, n_threads),
        Op::Attention(o) => attention::workspace_bytes(graph.kv(o.state), o.n_head, n_threads),
        Op::AttendText(o) => attention::text_workspace_bytes(graph, node, o, n_threads),
        Op::LinearAttention(o) => linear_attention::workspace_bytes(o, n_threads),
        Op::Scan(o) => scan::workspace_bytes(o, n_threads),
        _ => Some(0),
    }
}

/// Computes a node; `rest` are the nodes after it.
fn compute(s: &Step, node: &Node, rest: &[Node]) -> std::result::Result<(), Over> {
    if s.rows_of(node) == 0 {
        return Ok(());
    }
    match &node.op {
        Op::Embed(o) => embed::embed(s, node, o),
        Op::SelectOutputs => embed::select_outputs(s, node),
        Op::Norm(o) => norm::norm(s, node, o),
        Op::MatMul(o) => product::matmul(s, node, o, rest),
        Op::MatMulHeads(o) => product::matmul_heads(s, node, o),
        Op::MatMulExperts(o) => experts::matmul(s, node, o),
        Op::Route(o) => route::route(s, node, o),
        Op::SumExperts(o) => route::sum_experts(s, node, o),
        Op::RopeTable(o) => rope::table(s, node, o),
        Op::Rope(o) => rope::rotate(s, node, o),
        Op::Columns(o) => columns::columns(s, node, o),
        Op::Concat(o) => columns::concat(s, node, o),
        Op::StoreKv(o) => kv::store(s, node, o),
        Op::Attention(o) => attention::attention(s, node, o),
        Op::AttendText(o) => attention::attend_text(s, node, o),
        Op::Convolve(o) => convolve::convolve(s, node, o),
        Op::LinearAttention(o) => linear_attention::linear_attention(s, node, o),
        Op::Scan(o) => scan::scan(s, node, o),
        Op::Scale(o) => elementwise::scale(s, node, o),
        Op::Add => elementwise::add(s, node),
        Op::Activation(o) => elementwise::activation(s, node, *o),
        Op::Gate(o) => elementwise::gate(s, node, *o),
        Op::SoftCap(o) => elementwise::soft_cap(s, node, o),
        Op::Mean => mean::mean(s, node),
        Op::Softmax => softmax::softmax(s, node),
    }
}

impl graph::Executor for Executor {
    fn supports(op: &Op, ty: Type) -> bool {
        let facts = op.facts();
        (facts.product.is_none() && facts.table.is_none()) || Kernels::supports(ty)
    }

    fn run(&mut self, nodes: Range<usize>, micro: &Micro<'_>, cancel: &AtomicBool) -> Result<()> {
        let stopped = AtomicBool::new(false);
        let this = &self.0;
        // Runs of as many tokens and rows through the same nodes do about the same work.
        let kind = (nodes.start as u64) << 40 ^ (micro.tokens.len() as u64) << 20 ^ micro.outputs.len() as u64;
        this.pool.run(kind, &|worker| {
            let step = Step { x: this, worker, micro, prepared: Cell::new(None) };
            let nodes = &this.graph.nodes[nodes.clone()];
            product::prefetch_next(&step, nodes);
            for (i, node) in nodes.iter().enumerate() {
                // The caller's thread decides. Others may be at other nodes; they find that the run is over.
                if worker.index == 0 && cancel.load(Ordering::Relaxed) {
                    stopped.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                compute(&step, node, &nodes[i + 1..])?;
            }
            Ok(())
        })?;
        match stopped.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(Error::new(Status::Cancelled, "decode was cancelled")),
        }
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    fn read(&mut self, v: ValueId, first: usize, to: &mut [f32]) -> Result<()> {
        let at = self.0.layout.rows(&self.0.graph, v, first, to.len())?;
        // SAFETY: within the arena, which nobody writes meanwhile.
        unsafe { std::ptr::copy_nonoverlapping(self.0.compute.base().add(at).cast(), to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    fn write(&mut self, v: ValueId, first: usize, from: &[f32]) -> Result<()> {
        let at = self.0.layout.rows(&self.0.graph, v, first, from.len())?;
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.0.compute.base().add(at).cast(), from.len()) };
        Ok(())
    }

    fn move_cells(&mut self, moves: &[Vec<Move>]) -> Result<()> {
        kv::move_cells(&self.0, moves)
    }
    fn state_bytes(&self, cache: usize, state: usize) -> usize {
        let is_here = self.0.here.get(state).is_some_and(|here| *here);
        self.0.states.get(state).filter(|p| is_here && p.cache == cache).map_or(0, StatePlace::cell_bytes)
    }
    fn read_cells(&mut self, cache: usize, cells: &[u32], to: &mut [u8]) -> Result<()> {
        kv::read_cells(&self.0, cache, cells, to)
    }
    fn write_cells(&mut self, cache: usize, cells: &[u32], from: &[u8]) -> Result<()> {
        kv::write_cells(&self.0, cache, cells, from)
    }
}
