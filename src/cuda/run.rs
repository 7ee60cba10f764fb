//! The walk through the graph: each op goes to the file that gives it to the stream, or tells its working memory.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::executor::{Executor, FEW_TOKENS};
use super::step::Step;
use super::{
    attention, cells, columns, convolve, elementwise, embed, experts, fuse, kv, linear_attention, matvec, norm, rope,
    route, scan,
};
use crate::error::{Error, Result, Status};
use crate::graph::{self, Graph, Limits, Micro, Move, Node, Op, StatePlace, ValueId};
use crate::quant::Type;

/// Nodes of longer steps between two looks at the cancel flag.
const PIECE: usize = 32;

/// Bytes of workspace that a node's kernel needs at the largest batch; `None` if that overflows. Products decode their
/// weights on the way to registers or shared memory and need none.
pub fn workspace_bytes(graph: &Graph, node: &Node, limits: Limits) -> Option<usize> {
    let rows = node.inputs.first().map_or(0, |v| limits.rows(graph.value(*v).rows));
    match &node.op {
        Op::MatMulExperts(o) => experts::workspace_bytes(graph, o, rows),
        Op::Attention(o) => attention::workspace_bytes(graph.kv(o.state), o.n_head, limits),
        _ => Some(0),
    }
}

/// True if there are kernels for a node of these shapes; those of weights are `supports`' affair.
pub fn has_kernel(graph: &Graph, node: &Node) -> bool {
    match &node.op {
        Op::Attention(o) => graph.kv(o.state).head_dim_v <= attention::most_value(o),
        Op::LinearAttention(o) => o.head_k <= linear_attention::MOST_ROWS,
        Op::Scan(o) => o.n_state <= scan::MOST_STATE,
        Op::AttendText(_) | Op::Mean | Op::Softmax => false,
        _ => true,
    }
}

/// Gives a node to the stream.
fn give(s: &Step, node: &Node) -> Result<()> {
    if s.rows_of(node) == 0 {
        return Ok(());
    }
    match &node.op {
        // Both belong to the input, which is the host's.
        Op::Embed(_) | Op::RopeTable(_) => Err(Error::new(Status::Internal, "the input was given to a die")),
        Op::SelectOutputs => embed::select_outputs(s, node),
        Op::Norm(o) => norm::norm(s, node, o),
        Op::MatMul(o) => matvec::matmul(s, node, o),
        Op::MatMulHeads(o) => matvec::matmul_heads(s, node, o),
        Op::MatMulExperts(o) => experts::matmul(s, node, o),
        Op::Route(o) => route::route(s, node, o),
        Op::SumExperts(o) => route::sum_experts(s, node, o),
        Op::Rope(o) => rope::rotate(s, node, o),
        Op::Columns(o) => columns::columns(s, node, o),
        Op::Concat(o) => columns::concat(s, node, o),
        Op::StoreKv(o) => kv::store(s, node, o),
        Op::Attention(o) => attention::attention(s, node, o),
        Op::Convolve(o) => convolve::convolve(s, node, o),
        Op::LinearAttention(o) => linear_attention::linear_attention(s, node, o),
        Op::Scan(o) => scan::scan(s, node, o),
        Op::Scale(o) => elementwise::scale(s, node, o),
        Op::Add => elementwise::add(s, node),
        Op::Activation(o) => elementwise::activation(s, node, *o),
        Op::Gate(o) => elementwise::gate(s, node, *o),
        Op::SoftCap(o) => elementwise::soft_cap(s, node, o),
        Op::AttendText(_) | Op::Mean | Op::Softmax => {
            Err(Error::new(Status::Internal, "a die has no kernel for this node"))
        }
    }
}

impl Executor {
    fn launch(&self, nodes: Range<usize>, micro: &Micro<'_>) -> Result<()> {
        self.die.enter()?;
        let step = Step { x: self, micro };
        let mut left = &self.graph.nodes[nodes];
        while let [node, ..] = left {
            let joined = if self.die.joins { fuse::give(&step, left)? } else { 0 };
            if joined == 0 {
                give(&step, node)?;
            }
            left = &left[joined.max(1)..];
        }
        Ok(())
    }
}

impl graph::Executor for Executor {
    fn supports(op: &Op, ty: Type) -> bool {
        let on_host = matches!(op, Op::Embed(_) | Op::RopeTable(_));
        !on_host && (op.facts().product.is_none() || ty.on_cuda())
    }

    /// Returns before the nodes are done. The tables must be on the die.
    fn run(&mut self, nodes: Range<usize>, micro: &Micro<'_>, cancel: &AtomicBool) -> Result<()> {
        if micro.tokens.len() <= FEW_TOKENS
            && let Some(mut replays) = self.replays.take()
        {
            let outcome = replays.run(&self.die, nodes.clone(), micro, &|| self.launch(nodes.clone(), micro));
            self.replays = Some(replays);
            return outcome;
        }
        for (i, piece) in nodes.clone().step_by(PIECE).enumerate() {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::new(Status::Cancelled, "decode was cancelled"));
            }
            // The stream is never more than two pieces ahead, so that a cancelled call ends soon.
            if i >= 2 {
                self.die.reach(self.pieces[i % 2])?;
            }
            self.launch(piece..nodes.end.min(piece + PIECE), micro)?;
            self.die.record(self.pieces[i % 2])?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.die.finish()
    }

    fn read(&mut self, v: ValueId, first: usize, to: &mut [f32]) -> Result<()> {
        let at = self.arenas.compute.add(self.layout.rows(&self.graph, v, first, to.len())?);
        // SAFETY: floats have no other demands than their bytes.
        let bytes = unsafe { std::slice::from_raw_parts_mut(to.as_mut_ptr().cast::<u8>(), size_of_val(to)) };
        self.take_out(at, bytes)
    }

    fn write(&mut self, v: ValueId, first: usize, from: &[f32]) -> Result<()> {
        let at = self.arenas.compute.add(self.layout.rows(&self.graph, v, first, from.len())?);
        // SAFETY: the bytes of floats.
        let bytes = unsafe { std::slice::from_raw_parts(from.as_ptr().cast::<u8>(), size_of_val(from)) };
        self.put_in(at, bytes)
    }

    fn move_cells(&mut self, moves: &[Vec<Move>]) -> Result<()> {
        kv::move_cells(self, moves)
    }
    fn state_bytes(&self, cache: usize, state: usize) -> usize {
        let is_here = self.here.get(state).is_some_and(|here| *here);
        self.states.get(state).filter(|p| is_here && p.cache == cache).map_or(0, StatePlace::cell_bytes)
    }
    fn read_cells(&mut self, cache: usize, cells: &[u32], to: &mut [u8]) -> Result<()> {
        cells::read_cells(self, cache, cells, to)
    }
    fn write_cells(&mut self, cache: usize, cells: &[u32], from: &[u8]) -> Result<()> {
        cells::write_cells(self, cache, cells, from)
    }
}
