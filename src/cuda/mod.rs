//! CUDA devices: dies, their arenas, and the executor that gives the graph of a micro-batch to a die's stream. One op, one file, of the
//! same name as in `cpu`; the kernels are in `kernels/`.
//!
//! Everything runs in the die's one stream, in order. The host waits only where it needs a result.

mod attention;
pub mod bench;
mod columns;
mod die;
mod discover;
mod driver;
mod elementwise;
mod embed;
mod experts;
mod fill;
mod gemm;
mod image;
mod images;
mod kv;
mod matvec;
mod norm;
mod replay;
mod rope;
mod route;
mod tables;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use die::{Die, Event, Pinned, Ptr, Visit};
pub use discover::{Found, find, find_one, open};
pub(crate) use fill::RING_BYTES;
pub use fill::{Ring, Source};
pub use image::Shelf;
pub use kv::move_cells;
pub use tables::{Tables, tables_bytes};

use crate::cpu::Micro;
use crate::error::{Error, Result, Status};
use crate::graph::{Graph, Layout, Limits, Node, Op, Rows, ValueId, WeightId};
use crate::plan::KvPlaces;
use crate::quant::Type;
use replay::Replays;

/// Up to so many tokens a step is short: it is recorded and replayed, and its attention is split over the context.
pub(crate) const FEW_TOKENS: usize = 8;
/// Nodes of longer steps between two looks at the cancel flag.
const PIECE: usize = 32;

/// Bytes of workspace that a node's kernel needs at the largest batch; `None` if that overflows. Products decode their weights on the
/// way to registers or shared memory and need none.
pub fn workspace_bytes(graph: &Graph, node: &Node, limits: Limits) -> Option<usize> {
    match &node.op {
        Op::MatMulExperts { weight, n_expert_used, .. } => {
            experts::workspace_bytes(graph, node, *weight, *n_expert_used, limits)
        }
        Op::Attention { layer, n_head, .. } => attention::workspace_bytes(&graph.kv[*layer as usize], *n_head, limits),
        _ => Some(0),
    }
}

/// Bytes behind the layout of the host's compute arena (all of it is page-locked then) for `n_dies` dies: one copy of the tables, and a ring for each die.
pub fn staging_bytes(n_dies: usize, tables: usize) -> usize {
    if n_dies == 0 { 0 } else { tables + n_dies * RING_BYTES }
}

/// Everything an executor is made of. The die has its kernels and arenas, and the weights are in theirs.
pub struct Parts {
    pub die: Die,
    pub graph: Arc<Graph>,
    pub layout: Layout,
    /// Of each weight of the graph: its place in the weights arena, for those that this die reads.
    pub weights: Vec<Option<usize>>,
    pub arenas: Arenas,
    pub places: Vec<KvPlaces>,
    /// Whether a layer's cache is here.
    pub here: Vec<bool>,
    pub type_k: Type,
    pub type_v: Type,
    /// Whether short steps are recorded and replayed.
    pub replay: bool,
    pub pieces: [Event; 2],
}

/// Where a die's three arenas are.
#[derive(Debug, Clone, Copy)]
pub struct Arenas {
    pub weights: Ptr,
    pub kv: Ptr,
    pub compute: Ptr,
}

/// A die's arenas and its part of the graph.
pub struct Executor {
    die: Die,
    graph: Arc<Graph>,
    layout: Layout,
    weights: Vec<Option<usize>>,
    arenas: Arenas,
    places: Vec<KvPlaces>,
    here: Vec<bool>,
    type_k: Type,
    type_v: Type,
    replays: Option<Replays>,
    /// Reached when the piece before the last is done.
    pieces: [Event; 2],
    tables: Tables,
}

impl Executor {
    pub fn new(parts: Parts) -> Executor {
        let Parts { die, graph, layout, weights, arenas, places, here, type_k, type_v, replay, pieces } = parts;
        let (replays, tables) = (replay.then(Replays::default), Tables::default());
        Executor { die, graph, layout, weights, arenas, places, here, type_k, type_v, replays, pieces, tables }
    }

    pub fn die(&self) -> &Die {
        &self.die
    }

    /// The address of row `row` of a value that this die holds.
    pub fn at(&self, v: ValueId, row: usize) -> Ptr {
        let offset = self.layout.offset(v).unwrap_or(0) + row * self.graph.value(v).cols * size_of::<f32>();
        self.arenas.compute.add(offset)
    }

    /// Gives the die a micro-batch's tables, which stand at `from`.
    ///
    /// # Safety
    /// `from` is page-locked, holds the tables, and keeps them until the die has passed.
    pub unsafe fn take_tables(&mut self, tables: &Tables, from: *const u8) -> Result<()> {
        self.tables.clone_from(tables);
        // SAFETY: the plan put room for the largest tables before the caches.
        unsafe { self.die.copy_in(self.arenas.kv, from, tables.bytes) }
    }

    /// Gives a stretch of the graph's nodes to the stream; returns before they are done. The tables are there.
    ///
    /// # Errors
    /// `Device`, naming die and call, here and above; `Cancelled` soon after `cancel` is set, with what was given so far still running.
    pub fn run(&mut self, nodes: Range<usize>, micro: &Micro<'_>, cancel: &AtomicBool) -> Result<()> {
        if micro.tokens.len() <= FEW_TOKENS
            && let Some(mut replays) = self.replays.take()
        {
            let outcome = replays.run(self, nodes, micro);
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

    fn launch(&self, nodes: Range<usize>, micro: &Micro<'_>) -> Result<()> {
        self.die.enter()?;
        let step = Step { x: self, micro };
        self.graph.nodes[nodes].iter().try_for_each(|node| step.node(node))
    }
}

/// A micro-batch on its way through the graph.
struct Step<'a> {
    x: &'a Executor,
    micro: &'a Micro<'a>,
}

impl Step<'_> {
    fn graph(&self) -> &Graph {
        &self.x.graph
    }
    fn micro(&self) -> &Micro<'_> {
        self.micro
    }
    fn places(&self, layer: usize) -> KvPlaces {
        self.x.places[layer]
    }
    fn type_k(&self) -> Type {
        self.x.type_k
    }
    fn type_v(&self) -> Type {
        self.x.type_v
    }
    fn kv_base(&self) -> Ptr {
        self.x.arenas.kv
    }
    fn workspace(&self) -> Ptr {
        self.x.arenas.compute
    }

    fn n_rows(&self, v: ValueId) -> usize {
        match self.x.graph.value(v).rows {
            Rows::Tokens => self.micro.tokens.len(),
            Rows::Outputs => self.micro.outputs.len(),
        }
    }
    /// Row 0 of this micro-batch.
    fn at(&self, v: ValueId) -> Ptr {
        let kept = v == self.x.graph.logits || v == self.x.graph.embeddings;
        self.x.at(v, if kept { self.micro.first_output } else { 0 })
    }
    fn weight(&self, id: WeightId) -> Ptr {
        // The plan put every weight that a node of this die reads on this die.
        self.x.arenas.weights.add(self.x.weights[id.0 as usize].unwrap_or(0))
    }

    fn table(&self, offset: usize) -> Ptr {
        self.x.arenas.kv.add(offset)
    }
    fn positions(&self) -> Ptr {
        self.table(0)
    }
    fn outputs(&self) -> Ptr {
        self.table(self.x.tables.outputs)
    }
    fn cells(&self, cache: usize) -> Ptr {
        self.table(self.x.tables.caches[cache].0)
    }
    fn runs(&self, cache: usize) -> Ptr {
        self.table(self.x.tables.caches[cache].1)
    }
    /// Those of all caches.
    fn spans(&self) -> Ptr {
        self.table(self.x.tables.spans)
    }

    fn launch<A: Copy>(&self, kernel: &str, grid: [u32; 3], threads: u32, args: &A) -> Result<()> {
        // SAFETY: each operation's file has the kernel's struct and takes its addresses from the layout and the plan.
        unsafe { self.x.die.launch(kernel, grid, threads, args) }
    }

    fn node(&self, node: &Node) -> Result<()> {
        let rows = node.output.map_or(self.micro.tokens.len(), |v| self.n_rows(v));
        if rows == 0 {
            return Ok(());
        }
        match &node.op {
            // Both belong to the input, which is the host's.
            Op::Embed { .. } | Op::RopeTable { .. } => {
                Err(Error::new(Status::Internal, "the input was given to a die"))
            }
            Op::SelectOutputs => embed::select_outputs(self, node),
            Op::RmsNorm { weight, eps, group } => norm::rms_norm(self, node, *weight, *eps, *group),
            Op::MatMul { weight, bias, first } => matvec::matmul(self, node, *weight, *bias, *first),
            Op::MatMulHeads { weight, n_head } => matvec::matmul_heads(self, node, *weight, *n_head),
            Op::MatMulExperts { weight, bias, n_expert_used, first } => {
                experts::matmul(self, node, *weight, *bias, *n_expert_used, *first)
            }
            Op::Route(r) => route::route(self, node, r),
            Op::SumExperts { n_expert_used } => route::sum_experts(self, node, *n_expert_used),
            Op::Rope { n_head, head_dim, first, kind, temperature } => {
                let (n_head, head_dim, first, kind, temperature) = (*n_head, *head_dim, *first, *kind, *temperature);
                rope::rotate(self, node, &rope::Turned { n_head, head_dim, first, kind, temperature })
            }
            Op::Columns { n_head, first } => columns::columns(self, node, *n_head, *first),
            Op::Concat { n_head } => columns::concat(self, node, *n_head),
            Op::StoreKv { layer } => kv::store(self, node, *layer as usize),
            Op::Attention { layer, n_head, scale, softcap, sinks } => {
                let a = attention::Heads { n_head: *n_head, scale: *scale, softcap: *softcap, sinks: *sinks };
                attention::attention(self, node, *layer as usize, &a)
            }
            Op::Scale { scale, bias, n_expert_used } => elementwise::scale(self, node, *scale, *bias, *n_expert_used),
            Op::Add => elementwise::add(self, node),
            Op::Gate(gate) => elementwise::gate(self, node, *gate),
            Op::SoftCap { cap } => elementwise::soft_cap(self, node, *cap),
        }
    }
}
