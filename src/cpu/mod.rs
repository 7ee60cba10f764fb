//! The CPU device: its arenas, and the executor that walks the graph of a micro-batch. One op, one file.

mod arena;
mod attention;
mod columns;
mod elementwise;
mod embed;
mod experts;
pub mod isa;
mod kv;
pub mod matmul;
mod norm;
mod pool;
mod product;
mod rope;
mod route;
pub(crate) mod simd;

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub(crate) use arena::{Arena, lock_pages};
pub use kv::{Move, move_cells};
pub use pool::Pool;
use pool::{Poisoned, Worker};

use crate::error::{Error, Result, Status};
use crate::graph::{Graph, Layout, Limits, Node, Op, Rows, ValueId, WeightId};
use crate::plan::KvPlaces;
use crate::quant::Type;
use matmul::{ActFormat, Kernels};

/// Bytes of workspace that a node's kernel needs at the largest batch; `None` if that overflows.
pub fn workspace_bytes(graph: &Graph, node: &Node, limits: Limits, n_threads: usize) -> Option<usize> {
    match &node.op {
        Op::MatMul { weight, .. } => product::workspace_bytes(graph, node, *weight, limits, n_threads),
        Op::MatMulHeads { weight, n_head } => {
            product::heads_workspace_bytes(graph, node, *weight, *n_head, limits, n_threads)
        }
        Op::MatMulExperts { weight, n_expert_used, .. } => {
            experts::workspace_bytes(graph, node, *weight, *n_expert_used, limits, n_threads)
        }
        Op::Route(r) => route::workspace_bytes(r, n_threads),
        Op::Attention { layer, n_head, .. } => {
            attention::workspace_bytes(&graph.kv[*layer as usize], *n_head, n_threads)
        }
        _ => Some(0),
    }
}

/// Neighbouring cells of the KV cache that hold neighbouring positions of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Span {
    pub cell: u32,
    pub pos: i32,
    pub len: u32,
}

/// Neighbouring tokens of a micro-batch that belong to one sequence and see the same spans, each up to its own position.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Run {
    pub first: u32,
    pub n: u32,
    pub first_span: u32,
    pub n_spans: u32,
}

/// What a micro-batch does with one KV cache.
#[derive(Debug, Clone, Copy)]
pub struct CacheView<'a> {
    /// Where each token's keys and values go.
    pub cells: &'a [u32],
    pub runs: &'a [Run],
    pub spans: &'a [Span],
}

/// What one micro-batch computes. Every id, cell and row was checked by the session.
#[derive(Debug, Clone, Copy)]
pub struct Micro<'a> {
    pub tokens: &'a [i32],
    pub positions: &'a [i32],
    /// One per KV cache of the plan.
    pub caches: &'a [CacheView<'a>],
    /// Tokens whose logits are asked for, and the row of the first among the whole batch's.
    pub outputs: &'a [u32],
    pub first_output: usize,
}

/// A device's arenas and the graph that runs in them.
pub struct Executor {
    graph: Arc<Graph>,
    layout: Layout,
    kernels: Kernels,
    /// Per weight: in the weights arena or in the file's map, which the model keeps alive.
    weights: Vec<*const u8>,
    compute: Arena,
    kv: Arena,
    places: Vec<KvPlaces>,
    /// Whether a layer's cache is here.
    here: Vec<bool>,
    type_k: Type,
    type_v: Type,
    /// Of each rope of the graph.
    rotations: Vec<rope::Rotation>,
    n_outputs_max: usize,
}

// SAFETY: the pointers lead into arenas that the executor owns and into read-only weights; `run` takes it mutably.
unsafe impl Send for Executor {}
// SAFETY: as above; shared access only reads results.
unsafe impl Sync for Executor {}

/// Everything an executor is made of.
pub struct Parts {
    pub graph: Arc<Graph>,
    pub layout: Layout,
    pub kernels: Kernels,
    pub weights: Vec<*const u8>,
    pub places: Vec<KvPlaces>,
    /// Whether a layer's cache is here.
    pub here: Vec<bool>,
    pub(crate) kv: Arena,
    /// At least the layout's bytes; what is behind them is for copies between devices.
    pub(crate) compute: Arena,
    pub type_k: Type,
    pub type_v: Type,
    /// Tokens of context: rotations may depend on it.
    pub n_ctx: usize,
    pub n_outputs_max: usize,
}

impl Executor {
    /// Allocates the compute and KV arenas.
    ///
    /// # Safety
    /// Each of `parts.weights` that a node of this device reads must be the whole tensor of the graph's weight of that index, for as
    /// long as the executor lives.
    pub unsafe fn new(parts: Parts) -> Executor {
        let Parts { graph, layout, kernels, weights, places, here, kv, compute, type_k, type_v, n_ctx, n_outputs_max } =
            parts;
        let rotation = |r: &crate::graph::Rope| {
            // SAFETY: the builder took the factors as floats; the caller vouches for the tensor.
            let factors = r.factors.at(n_ctx).map(|w| unsafe { floats_of(&graph, &weights, w) });
            rope::Rotation { frequencies: r.frequencies(factors.as_deref()), magnitude: r.magnitude() }
        };
        let rotations = graph.ropes.iter().map(rotation).collect();
        Executor {
            graph,
            layout,
            kernels,
            weights,
            compute,
            kv,
            places,
            here,
            type_k,
            type_v,
            rotations,
            n_outputs_max,
        }
    }

    /// Bytes of the KV cache and compute arenas as they are.
    pub fn arena_bytes(&self) -> (usize, usize) {
        (self.kv.bytes(), self.compute.bytes())
    }

    /// Keeps both from being swapped out.
    ///
    /// # Errors
    /// `OutOfMemory` if the system refuses.
    pub fn lock(&self) -> Result<()> {
        self.compute.lock("the compute arena")?;
        self.kv.lock("the KV cache")
    }

    /// Row `row` of the logits `[n_outputs_max, n_vocab]`; of the batch that ran last, if it had so many.
    pub fn logits_row(&self, row: usize) -> &[f32] {
        self.output_row(self.graph.logits, row)
    }

    /// The hidden state behind it, of `[n_outputs_max, n_embd]`, after the output norm.
    pub fn embeddings_row(&self, row: usize) -> &[f32] {
        self.output_row(self.graph.embeddings, row)
    }

    fn output_row(&self, v: ValueId, row: usize) -> &[f32] {
        assert!(row < self.n_outputs_max, "the session checks rows");
        // SAFETY: the layout has room for n_outputs_max rows, and the arena was filled with zeros; `run` needs `&mut self`.
        unsafe { std::slice::from_raw_parts(self.at(v, row), self.graph.value(v).cols) }
    }

    /// The compute arena, and how much of it the layout takes.
    pub(crate) fn compute(&self) -> (&Arena, usize) {
        (&self.compute, self.layout.bytes)
    }

    /// The angles, as cosine and sine of each pair, that `delta` positions more turn keys of rope `rope` by.
    pub fn turns(&self, rope: usize, delta: i32) -> Vec<f32> {
        self.rotations[rope].turns(delta).flatten().collect()
    }

    /// Row `row` of a value that this device holds.
    pub fn at(&self, v: ValueId, row: usize) -> *mut f32 {
        let offset = self.layout.offset(v).unwrap_or(0) + row * self.graph.value(v).cols * size_of::<f32>();
        self.compute.base().wrapping_add(offset).cast()
    }

    /// A tensor that the builder took as floats; a file may put it at any address.
    fn weight_floats(&self, id: WeightId) -> Cow<'_, [f32]> {
        // SAFETY: a whole tensor of F32, which stays as long as the executor.
        unsafe { floats_of(&self.graph, &self.weights, id) }
    }

    fn weight(&self, id: WeightId) -> *const u8 {
        self.weights[id.0 as usize]
    }

    /// Computes the nodes of a stretch of the graph for a micro-batch, on all threads of `pool`.
    ///
    /// # Errors
    /// `Cancelled` soon after `cancel` is set; `Internal` if a kernel panicked. The rows and cells then hold anything.
    pub fn run(&mut self, pool: &Pool, nodes: Range<usize>, micro: &Micro<'_>, cancel: &AtomicBool) -> Result<()> {
        let stop_before = AtomicUsize::new(usize::MAX);
        let this = &*self;
        pool.run(&|worker| {
            let step = Step { x: this, worker, micro, prepared: Cell::new(None) };
            let nodes = &this.graph.nodes[nodes.clone()];
            product::expect(&step, nodes);
            for (i, node) in nodes.iter().enumerate() {
                // Told one node ahead, so that all threads stop at the same one.
                if worker.index == 0 && cancel.load(Ordering::Relaxed) {
                    stop_before.fetch_min(i + 1, Ordering::Relaxed);
                }
                if stop_before.load(Ordering::Relaxed) <= i {
                    return Ok(());
                }
                step.node(node, &nodes[i + 1..])?;
            }
            Ok(())
        })?;
        match stop_before.load(Ordering::Relaxed) {
            usize::MAX => Ok(()),
            _ => Err(Error::new(Status::Cancelled, "decode was cancelled")),
        }
    }
}

/// The values of an F32 tensor, which a file may put at any address.
///
/// # Safety
/// `weights` must hold the whole tensor for `'a`.
unsafe fn floats_of<'a>(graph: &Graph, weights: &[*const u8], id: WeightId) -> Cow<'a, [f32]> {
    let n = graph.weight(id).ne.iter().product::<u64>() as usize;
    let at = weights[id.0 as usize].cast::<f32>();
    if at.is_aligned() {
        // SAFETY: as the caller says.
        return Cow::Borrowed(unsafe { std::slice::from_raw_parts(at, n) });
    }
    // SAFETY: as the caller says.
    Cow::Owned((0..n).map(|i| unsafe { at.add(i).read_unaligned() }).collect())
}

/// One thread's walk through one micro-batch.
struct Step<'a> {
    x: &'a Executor,
    worker: &'a Worker<'a>,
    micro: &'a Micro<'a>,
    /// The activations that the workspace holds, ready for products.
    prepared: Cell<Option<(ValueId, ActFormat)>>,
}

impl Step<'_> {
    fn n_rows(&self, v: ValueId) -> usize {
        match self.x.graph.value(v).rows {
            Rows::Tokens => self.micro.tokens.len(),
            Rows::Outputs => self.micro.outputs.len(),
        }
    }

    /// Row 0 of this micro-batch.
    fn at(&self, v: ValueId) -> *mut f32 {
        let kept = v == self.x.graph.logits || v == self.x.graph.embeddings;
        self.x.at(v, if kept { self.micro.first_output } else { 0 })
    }

    /// `rest` are the nodes after it.
    fn node(&self, node: &Node, rest: &[Node]) -> std::result::Result<(), Poisoned> {
        let rows = node.output.map_or(self.micro.tokens.len(), |v| self.n_rows(v));
        if rows == 0 {
            return Ok(());
        }
        match &node.op {
            Op::Embed { table, scale } => embed::embed(self, node, *table, *scale),
            Op::SelectOutputs => embed::select_outputs(self, node),
            Op::RmsNorm { weight, eps, group } => norm::rms_norm(self, node, *weight, *eps, *group),
            Op::MatMul { weight, bias, first } => product::matmul(self, node, *weight, *bias, *first, rest),
            Op::MatMulHeads { weight, n_head } => product::matmul_heads(self, node, *weight, *n_head),
            Op::MatMulExperts { weight, bias, n_expert_used, first } => {
                experts::matmul(self, node, *weight, *bias, *n_expert_used, *first)
            }
            Op::Route(r) => route::route(self, node, r),
            Op::SumExperts { n_expert_used } => route::sum_experts(self, node, *n_expert_used),
            Op::RopeTable { rope } => rope::table(self, node, *rope),
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

    /// `n` floats of a value from element `first` of this micro-batch's rows.
    ///
    /// # Safety
    /// They lie within the value's rows of this micro-batch, and no thread writes them meanwhile.
    unsafe fn floats(&self, v: ValueId, first: usize, n: usize) -> &[f32] {
        // SAFETY: the layout gave the value room for its largest number of rows.
        unsafe { std::slice::from_raw_parts(self.at(v).add(first), n) }
    }

    /// The same, to write.
    ///
    /// # Safety
    /// As above, and this thread alone uses them.
    #[allow(clippy::mut_from_ref)]
    unsafe fn floats_mut(&self, v: ValueId, first: usize, n: usize) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.at(v).add(first), n) }
    }
}
