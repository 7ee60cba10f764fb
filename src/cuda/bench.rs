//! For benchmarks (benches/cuda.rs), of no use otherwise: single operations, given to a die as a decode gives them, and timed by the
//! die's own marks.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::die::{Event, Pinned};
use super::discover::open;
use super::driver::Ptr;
use super::executor::{Arenas, Executor, Held, Parts, Staging};
use super::image::Shelf;
use super::run::workspace_bytes;
use super::tables::{Tables, tables_bytes};
use crate::device::{Arena, Device};
use crate::error::{Error, Result};
use crate::gguf::TensorInfo;
use crate::graph::{
    Attend, Cache, CacheView, Embed, Executor as _, Graph, INPUT, KeyRope, KvShape, Layout, Limits, MatMul, Micro,
    Node, Op, Outcome, Part, Placement, RopeKind, Rows, Run, Side, Span, State, StateId, StatePlace, StateShape, Value,
    ValueId, WeightId, WeightSlice,
};
use crate::quant::Type;

/// What is timed.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// Rows of activations times a matrix.
    Product { ty: Type, n_in: usize, n_out: usize },
    /// Tokens at the end of a context.
    Attention { ty: Type, n_head: usize, n_head_kv: usize, head_dim: usize, n_ctx: usize },
}

impl Work {
    /// Bytes of the matrix, or of the cached keys and values.
    pub fn bytes(&self) -> usize {
        match *self {
            Work::Product { ty, n_in, n_out } => n_in / ty.block_len() * ty.block_bytes() * n_out,
            Work::Attention { ty, n_head_kv, head_dim, n_ctx, .. } => {
                2 * n_ctx * (n_head_kv * head_dim / ty.block_len() * ty.block_bytes())
            }
        }
    }
}

/// A die, and memory for every work.
pub struct Bench {
    // Before the die, whose context it needs, and the memory that it locks.
    pinned: Option<Pinned>,
    executor: Executor,
    host: Arena,
    marks: [Event; 2],
    works: Vec<(Work, Range<usize>)>,
    bytes: usize,
}

/// Random bytes that are finite numbers of ordinary size in every format.
const PATTERN: usize = 1 << 20;

impl Bench {
    /// Room for up to `n_rows` rows. Each work is repeated on other weights (or another layer's cache) until `bytes` were read, so that no
    /// cache of the die has what it reads.
    ///
    /// # Errors
    /// Those of the driver's calls. Attention works that differ in their cache's type are an error.
    pub fn new(device: &Device, works: &[Work], n_rows: usize, bytes: usize) -> Result<Bench> {
        let mut b = Building::default();
        let ranges = works.iter().map(|work| b.add(*work, bytes)).collect::<Vec<_>>();
        let cache = b.cache.unwrap_or(Type::F16);
        if works.iter().any(|w| matches!(w, Work::Attention { ty, .. } if *ty != cache)) {
            return Err(Error::invalid("one cache type for each benchmark of attention"));
        }
        let graph = Graph {
            n_layer: b.states.len() as u32,
            n_vocab: 1,
            n_embd: 1,
            values: b.values,
            weights: b.weights,
            nodes: b.nodes,
            inputs: Vec::new(),
            results: vec![(Outcome::Logits, ValueId(0))],
            states: b.states,
            ropes: Vec::new(),
        };
        let limits = Limits { n_tokens: n_rows, n_outputs: 1 };
        let placement = Placement::whole(1, vec![0; graph.states.len() + 1]);
        let layout = Layout::new(&graph, limits, 0, &placement, &|node| workspace_bytes(&graph, node, limits))?;
        let overflow = || Error::invalid("sizes overflow");
        let tables = tables_bytes(limits, &[Cache { window: None, n_cells: b.n_ctx }]).ok_or_else(overflow)?;
        for place in &mut b.places {
            place.keys.offset += tables;
            place.values.offset += tables;
        }
        let mut die = open(device, 0, &mut Shelf::default())?;
        let arenas = Arenas {
            weights: die.allocate("weights", b.weight_bytes.max(bytes))?,
            kv: die.allocate("the KV cache", tables + b.kv_bytes)?,
            compute: die.allocate("activations", layout.bytes)?,
        };
        let host = Arena::new("page-locked memory", tables.max(PATTERN))?;
        // SAFETY: the arena is dropped after it.
        let pinned = Some(unsafe { Pinned::new(&die, host.base(), host.bytes()) }?);
        // SAFETY: the arena's own bytes, which nobody else knows yet.
        fill_pattern(unsafe { std::slice::from_raw_parts_mut(host.base(), PATTERN) });
        let repeat = |to: Ptr, n: usize| {
            (0..n).step_by(PATTERN).try_for_each(|at| {
                // SAFETY: page-locked and not written before `finish`; within the allocation.
                unsafe { die.copy_in(to.add(at), host.base(), PATTERN.min(n - at)) }
            })
        };
        repeat(arenas.weights, b.weight_bytes.max(bytes))
            .and_then(|()| repeat(arenas.kv, tables + b.kv_bytes))
            .and_then(|()| repeat(arenas.compute, layout.bytes))
            .and(die.finish())?;
        let marks = [die.timed_event()?, die.timed_event()?];
        let pieces = [die.event()?, die.event()?];
        // All read the same bytes.
        let held = |w: usize| Some(Held { part: graph.whole(WeightId(w as u32)), offset: 0 });
        let parts = Parts {
            die,
            layout,
            weights: (0..graph.weights.len()).map(held).collect(),
            arenas,
            states: b.places,
            here: vec![true; graph.states.len()],
            graph: Arc::new(graph),
            type_k: cache,
            type_v: cache,
            rotations: Arc::new([]),
            replay: true,
            pieces,
            staging: Staging { at: host.base(), bytes: host.bytes() },
        };
        // SAFETY: page-locked above, and kept beside the executor, whose calls take it mutably.
        let executor = unsafe { Executor::new(parts) };
        Ok(Bench { pinned, executor, host, marks, works: works.iter().copied().zip(ranges).collect(), bytes })
    }

    /// Seconds that work `i` takes with so many rows: the best of three rounds of about `round` seconds, one run at least each.
    ///
    /// # Errors
    /// Those of the driver's calls; the work must exist and have room for the rows.
    pub fn seconds(&mut self, i: usize, n_rows: usize, round: f64) -> Result<f64> {
        let (work, nodes) = self.works.get(i).cloned().ok_or_else(|| Error::invalid("no such work"))?;
        let n_ctx = if let Work::Attention { n_ctx, .. } = work { n_ctx.max(n_rows) } else { n_rows };
        let cells: Vec<u32> = (n_ctx - n_rows..n_ctx).map(|cell| cell as u32).collect();
        let positions: Vec<i32> = cells.iter().map(|cell| *cell as i32).collect();
        let runs = [Run { first: 0, n: n_rows as u32, first_span: 0, n_spans: 1 }];
        let spans = [Span { cell: 0, pos: 0, len: n_ctx as u32 }];
        let caches = [CacheView { cells: &cells, runs: &runs, spans: &spans }];
        let micro = Micro { tokens: &positions, positions: &positions, caches: &caches, outputs: &[], first_output: 0 };
        // SAFETY: as large as the largest tables, and the die is at rest.
        let tables = unsafe { Tables::write(&micro, self.host.base()) };
        // SAFETY: page-locked; not written before the die is at rest again.
        unsafe { self.executor.take_tables(&tables, self.host.base()) }?;
        let n = nodes.len() as f64;
        let cancel = AtomicBool::new(false);
        let one = |x: &mut Executor| x.run(nodes.clone(), &micro, &cancel);
        // Kernels are found at the first time, and launches recorded at the second.
        let warm = (0..3).try_for_each(|_| one(&mut self.executor));
        warm.and(self.executor.die().finish())?;
        Ok(best(&mut self.executor, self.marks, round, &one)? / n)
    }

    /// Bytes that a copy within the die's memory reads and writes, and its seconds, as `seconds` has them.
    ///
    /// # Errors
    /// Those of the driver's calls.
    pub fn copy(&mut self, round: f64) -> Result<(usize, f64)> {
        let half = self.bytes / 2;
        let from = self.executor.arenas.weights;
        let one = |x: &mut Executor| {
            // SAFETY: both halves are within the weights.
            unsafe { x.die.copy_from(from.add(half), &x.die, from, half) }
        };
        one(&mut self.executor).and(self.executor.die().finish())?;
        Ok((2 * half, best(&mut self.executor, self.marks, round, &one)?))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.executor.die().enter();
        self.pinned = None;
    }
}

fn best(
    x: &mut Executor,
    [start, end]: [Event; 2],
    round: f64,
    one: &dyn Fn(&mut Executor) -> Result<()>,
) -> Result<f64> {
    let (mut best, mut times) = (f64::INFINITY, 1);
    for _ in 0..4 {
        x.die.record(start)?;
        let given = (0..times).try_for_each(|_| one(x));
        given.and(x.die.record(end)).and(x.die.finish())?;
        let seconds = x.die.seconds(start, end)? / f64::from(times);
        best = best.min(seconds);
        times = (round / seconds.max(1e-7)).clamp(1.0, 1e4) as u32;
    }
    Ok(best)
}

fn fill_pattern(bytes: &mut [u8]) {
    let mut state = 1u32;
    for byte in bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = 0x2c + (state >> 28) as u8;
    }
}

/// The graph on its way.
#[derive(Default)]
struct Building {
    values: Vec<Value>,
    weights: Vec<TensorInfo>,
    nodes: Vec<Node>,
    states: Vec<State>,
    places: Vec<StatePlace>,
    cache: Option<Type>,
    weight_bytes: usize,
    kv_bytes: usize,
    n_ctx: usize,
}

impl Building {
    fn node(&mut self, op: Op, inputs: Vec<ValueId>, cols: usize, layer: u32) -> ValueId {
        // Nobody asks for logits: they are value 0.
        let name = "bench";
        if self.values.is_empty() {
            self.values.push(Value { name, rows: Rows::Outputs, cols: 1 });
        }
        let output = ValueId(self.values.len() as u32);
        self.values.push(Value { name, rows: Rows::Tokens, cols });
        self.nodes.push(Node { op, inputs, output: Some(output), layer, part: Part::Body });
        output
    }

    /// Adds a work, and says which nodes it is.
    fn add(&mut self, work: Work, bytes: usize) -> Range<usize> {
        let copies = (bytes / work.bytes().max(1)).max(1);
        // What comes from the host, so that it has a place.
        let given = Op::Embed(Embed { table: WeightId(0), scale: 1.0 });
        match work {
            Work::Product { ty, n_in, n_out } => {
                let x = self.node(given, Vec::new(), n_in, INPUT);
                let first = self.nodes.len();
                let weight = WeightId(self.weights.len() as u32);
                let n_bytes = copies * work.bytes();
                self.weight_bytes = self.weight_bytes.max(n_bytes);
                let ne = [n_in as u64, (copies * n_out) as u64, 1, 1];
                let name = format!("{}.weight", ty.name());
                self.weights.push(TensorInfo { name, ty, ne, n_dims: 2, offset: 0, n_bytes: n_bytes as u64, split: 0 });
                for copy in 0..copies {
                    let (first_row, n_rows) = (copy * n_out, n_out);
                    let matrix = WeightSlice { weight, first_row, n_rows, first_col: 0, n_cols: n_in };
                    self.node(Op::MatMul(MatMul { matrix, bias: None }), vec![x], n_out, 0);
                }
                first..self.nodes.len()
            }
            Work::Attention { ty, n_head, n_head_kv, head_dim, n_ctx } => {
                self.cache = self.cache.or(Some(ty));
                self.n_ctx = self.n_ctx.max(n_ctx);
                let x = self.node(given, Vec::new(), n_head * head_dim, INPUT);
                let first = self.nodes.len();
                let rope = KeyRope { rope: 0, first: 0, kind: RopeKind::Neox };
                let shape = KvShape {
                    n_head_kv,
                    head_dim_k: head_dim,
                    head_dim_v: head_dim,
                    v_in_k: false,
                    window: None,
                    rope,
                };
                let row = n_head_kv * head_dim / ty.block_len() * ty.block_bytes();
                let side = (n_ctx * row).next_multiple_of(crate::graph::ALIGN);
                let scale = 1.0 / (head_dim as f32).sqrt();
                for _ in 0..copies {
                    let (layer, offset) = (self.states.len() as u32, self.kv_bytes);
                    self.states.push(State { layer, shape: StateShape::Kv(shape) });
                    let (keys, values) = (Side { offset, row }, Side { offset: offset + side, row });
                    self.places.push(StatePlace { cache: 0, n_cells: n_ctx, keys, values });
                    self.kv_bytes += 2 * side;
                    let attend = Attend { state: StateId(layer), n_head, scale, softcap: None, sinks: None };
                    self.node(Op::Attention(attend), vec![x], n_head * head_dim, layer);
                }
                first..self.nodes.len()
            }
        }
    }
}
