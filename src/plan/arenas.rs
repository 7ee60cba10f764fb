//! The arenas of a placement: their bytes on each device, and the place of everything in them.
//!
//! Nothing here is estimated. Weights come from the file's directory, states from their shapes, activations from their
//! lifetimes, and working memory from the kernels themselves. The loader allocates just these bytes, and executors use
//! just these offsets. A device has three arenas:
//!
//! ```text
//! weights   | tensor | tensor | ...                    slices, in the order of the first node that reads them
//! KV        | tables | keys | values | keys | ...      states by layer; a die has tables that a step looks up
//! compute   | workspace | activations | staging        activations by lifetime (graph/layout.rs); the host has the
//!                                                      page-locked memory through which dies get their bytes
//! ```
//!
//! Every piece begins at a multiple of `ALIGN`. The CPU mostly has no weights arena, because it reads the file's map.
//!
//! A KV cache has a cell per token of the context. Layers with a window need fewer: the window of each sequence, and a
//! batch on top. Its cells are taken before any is given up, so a batch that fails has cost nothing. If that is no less
//! than the whole context, they share its cache.
//!
//! Recurrent layers keep a state per sequence, whatever its length. A batch writes the new state beside the old one, so
//! that an error leaves the old one; so there are two cells per sequence. On top come those of the checkpoints, from
//! which a sequence that was cut goes on, and one for each token of a draft, which may be cut anywhere.

use super::memory::Memory;
use super::params::Weights;
use crate::device::{Device, Kind};
use crate::error::{Error, Result};
use crate::graph::{
    ALIGN, Cache, CacheKind, Executor, Graph, INPUT, KvShape, Layout, Limits, Node, Part, Placement, Side, StatePlace,
    StateShape, WeightSlice,
};
use crate::quant::Type;
use crate::{cpu, cuda};

/// The choices that decide sizes besides the graph.
#[derive(Debug, Clone, Copy)]
pub struct Sizing {
    pub weights: Weights,
    pub type_k: Type,
    pub type_v: Type,
    pub n_threads: u32,
    pub n_seq_max: u32,
    pub n_checkpoints: u32,
    pub n_draft: u32,
    pub n_batch: u32,
}

/// The arenas of all devices.
#[derive(Debug, Clone)]
pub struct Arenas {
    /// The first cache is that of the whole context.
    pub caches: Vec<Cache>,
    /// By device.
    pub memory: Vec<Memory>,
    /// By device.
    pub layouts: Vec<Layout>,
    /// Bytes of the tables that a die looks up for a micro-batch. They are at the start of its KV arena, and once on
    /// the host.
    pub tables_bytes: usize,
    /// By state of the graph.
    pub states: Vec<StatePlace>,
    /// By weight of the graph: the devices that hold it.
    pub weights: Vec<Vec<Holder>>,
    /// Bytes of each layer's weights, the output last.
    pub layer_weights: Vec<u64>,
    /// Bytes of the routed experts among them.
    pub layer_experts: Vec<u64>,
    /// Bytes of each layer's states, the output last: that of a prediction layer.
    pub layer_states: Vec<u64>,
}

/// A device that reads a weight, and the slice of it that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    pub device: u32,
    /// The smallest slice with all that the device's nodes read of the weight.
    pub part: WeightSlice,
    /// Offset in the weights arena; `None` if it is read from the file's map.
    pub offset: Option<usize>,
}

/// Bytes in an arena, where every tensor begins at a multiple of ALIGN.
pub(super) fn aligned(bytes: u64) -> u64 {
    bytes.saturating_add(ALIGN as u64 - 1) / ALIGN as u64 * ALIGN as u64
}

/// The bytes of working memory that a node's kernel needs on a kind of device.
pub(super) fn workspace<'a>(
    kind: Kind,
    graph: &'a Graph,
    limits: Limits,
    n_threads: u32,
) -> impl Fn(&Node) -> Option<usize> + 'a {
    move |node| match kind {
        Kind::Cpu => cpu::workspace_bytes(graph, node, limits, n_threads as usize),
        Kind::Cuda => cuda::workspace_bytes(graph, node, limits),
    }
}

/// True if a kind of device has kernels for a node.
pub(super) fn computes(kind: Kind, graph: &Graph, node: &Node) -> bool {
    let facts = node.op.facts();
    if kind == Kind::Cuda && !cuda::has_kernel(graph, node) {
        return false;
    }
    let Some(weight) = facts.product.map(|p| p.part.weight).or(facts.table) else { return true };
    let ty = graph.weight(weight).ty;
    match kind {
        Kind::Cpu => cpu::Executor::supports(&node.op, ty),
        Kind::Cuda => cuda::Executor::supports(&node.op, ty),
    }
}

/// The cache that a state needs for a context of `n_ctx` tokens.
fn cache(s: &StateShape, n_ctx: u32, c: Sizing) -> Cache {
    let whole = Cache { kind: CacheKind::Context, n_cells: n_ctx as usize };
    match s {
        StateShape::Recurrent(_) => {
            let n_cells = 2 * c.n_seq_max as usize + c.n_checkpoints as usize + c.n_draft as usize;
            Cache { kind: CacheKind::Recurrent, n_cells }
        }
        StateShape::Kv(KvShape { window: None, .. }) => whole,
        StateShape::Kv(KvShape { window: Some(window), .. }) => {
            let n = u64::from(*window) * u64::from(c.n_seq_max) + u64::from(c.n_batch);
            if n < u64::from(n_ctx) { Cache { kind: CacheKind::Window(*window), n_cells: n as usize } } else { whole }
        }
    }
}

/// The different caches of a graph's states, that of the whole context first.
pub(super) fn caches(graph: &Graph, n_ctx: u32, c: Sizing) -> Vec<Cache> {
    let mut caches = vec![Cache { kind: CacheKind::Context, n_cells: n_ctx as usize }];
    for own in graph.states.iter().map(|state| cache(&state.shape, n_ctx, c)) {
        if !caches.contains(&own) {
            caches.push(own);
        }
    }
    // The session keeps that of recurrent states apart.
    caches.sort_by_key(|c| c.kind == CacheKind::Recurrent);
    caches
}

/// Bytes of the tables that a die looks up for a micro-batch.
pub(super) fn tables_bytes(caches: &[Cache], limits: Limits) -> Result<usize> {
    cuda::tables_bytes(limits, caches).ok_or_else(overflow)
}

/// (bytes of a row, bytes of all rows) of each side of a state with `n_cells` cells.
fn sides(s: &StateShape, n_cells: usize, c: Sizing) -> Result<[(usize, usize); 2]> {
    let side = |ty: Type, n_heads: usize, head_dim: usize| {
        let row = ty.row_bytes(n_heads.checked_mul(head_dim)?)?;
        Some((row, row.checked_mul(n_cells)?.checked_next_multiple_of(ALIGN)?))
    };
    let (keys, values) = match s {
        StateShape::Kv(s) => (
            side(c.type_k, s.n_head_kv, s.head_dim_k),
            if s.v_in_k { Some((0, 0)) } else { side(c.type_v, s.n_head_kv, s.head_dim_v) },
        ),
        StateShape::Recurrent(n) => (side(Type::F32, 1, *n), Some((0, 0))),
    };
    Ok([keys.ok_or_else(overflow)?, values.ok_or_else(overflow)?])
}

/// Bytes of each layer's states for a context of `n_ctx` tokens, the output last: of all parts of a layer, or of those
/// that are one die's.
pub(super) fn layer_states(graph: &Graph, n_ctx: u32, c: Sizing, die: Option<usize>) -> Result<Vec<u64>> {
    let mut bytes = vec![0; graph.n_layer as usize + 1];
    for state in graph.states.iter().filter(|s| die.is_none_or(|die| s.part.die() == die)) {
        let [k, v] = sides(&state.shape, cache(&state.shape, n_ctx, c).n_cells, c)?;
        bytes[state.layer as usize] += k.1 as u64 + v.1 as u64;
    }
    Ok(bytes)
}

fn overflow() -> Error {
    Error::invalid("the planned bytes overflow; n_ctx is too large").subject("n_ctx")
}

/// Measures `graph` with this placement and a context of `n_ctx` tokens.
pub(super) fn measure(
    devices: &[Device],
    graph: &Graph,
    placement: &Placement,
    limits: Limits,
    n_ctx: u32,
    c: Sizing,
) -> Result<Arenas> {
    let mut memory = vec![Memory::default(); devices.len()];
    let mut layouts = Vec::with_capacity(devices.len());
    for (d, device) in devices.iter().enumerate() {
        let layout =
            Layout::new(graph, limits, d as u32, placement, &workspace(device.kind, graph, limits, c.n_threads))?;
        memory[d].compute = layout.bytes as u64;
        if placement.devices().any(|used| used == d as u32) {
            memory[d].driver = device.driver_bytes;
        }
        layouts.push(layout);
    }

    let caches = caches(graph, n_ctx, c);
    let tables = tables_bytes(&caches, limits)?;
    let dies = |d: &u32| devices[*d as usize].kind == Kind::Cuda;
    let mut kv_end = vec![0usize; devices.len()];
    let mut n_dies = 0;
    for d in (0..devices.len() as u32).filter(dies).filter(|d| placement.devices().any(|used| used == *d)) {
        kv_end[d as usize] = tables;
        n_dies += 1;
    }
    memory[placement.input as usize].compute += cuda::staging_bytes(n_dies, tables) as u64;
    let mut states = Vec::with_capacity(graph.states.len());
    for state in &graph.states {
        let own = cache(&state.shape, n_ctx, c);
        let cache = caches.iter().position(|other| *other == own).unwrap_or(0);
        let device = placement.of_state(state).unwrap_or(placement.input) as usize;
        let end = &mut kv_end[device];
        let before = *end;
        let mut take = |(row, bytes): (usize, usize)| -> Result<Side> {
            let offset = *end;
            *end = end.checked_add(bytes).filter(|n| *n <= isize::MAX as usize).ok_or_else(overflow)?;
            Ok(Side { offset, row })
        };
        let [k, v] = sides(&state.shape, own.n_cells, c)?;
        states.push(StatePlace { cache, n_cells: own.n_cells, keys: take(k)?, values: take(v)? });
        if own.kind == CacheKind::Recurrent {
            memory[device].states += (kv_end[device] - before) as u64;
        }
    }
    for (m, end) in memory.iter_mut().zip(kv_end) {
        m.kv = end as u64;
    }

    let (weights, layer_weights, layer_experts) = weights(devices, graph, placement, c.weights, &mut memory);
    let layer_states = layer_states(graph, n_ctx, c, None)?;
    Ok(Arenas {
        caches,
        memory,
        layouts,
        tables_bytes: tables,
        states,
        weights,
        layer_weights,
        layer_experts,
        layer_states,
    })
}

/// The holders of each weight, and the bytes of each layer's weights and of its experts. A device holds a weight once,
/// however many of its nodes read it. Adds the bytes to `memory`.
fn weights(
    devices: &[Device],
    graph: &Graph,
    placement: &Placement,
    mode: Weights,
    memory: &mut [Memory],
) -> (Vec<Vec<Holder>>, Vec<u64>, Vec<u64>) {
    let mut holders: Vec<Vec<Holder>> = vec![Vec::new(); graph.weights.len()];
    // (weight, holder), in the order of the first node that reads them.
    let mut order = Vec::with_capacity(graph.weights.len());
    let mut layer_weights = vec![0u64; graph.n_layer as usize + 1];
    let mut layer_experts = layer_weights.clone();
    // The last layer that counted a weight. Several nodes of a layer may read one, if it is fused.
    let mut counted = vec![INPUT; graph.weights.len()];
    for node in &graph.nodes {
        let Some(device) = placement.device(node) else { continue };
        for part in graph.reads(node) {
            let w = part.weight.0 as usize;
            if node.layer != INPUT && std::mem::replace(&mut counted[w], node.layer) != node.layer {
                let bytes = graph.weights[w].n_bytes;
                layer_weights[node.layer as usize] += bytes;
                layer_experts[node.layer as usize] += if node.part == Part::Experts { bytes } else { 0 };
            }
            match holders[w].iter_mut().find(|h| h.device == device) {
                Some(holder) => holder.part = holder.part.union(&part),
                None => {
                    order.push((w, holders[w].len()));
                    holders[w].push(Holder { device, part, offset: None });
                }
            }
        }
    }
    for (w, i) in order {
        let holder = &mut holders[w][i];
        let m = &mut memory[holder.device as usize];
        let bytes = holder.part.n_bytes(&graph.weights[w]);
        // In the map lies the whole tensor, so a part of one is copied.
        let whole = holder.part.is_whole(&graph.weights[w]);
        if devices[holder.device as usize].kind == Kind::Cpu && mode != Weights::Copied && whole {
            m.mapped += bytes;
        } else {
            holder.offset = Some(m.weights as usize);
            m.weights += aligned(bytes);
        }
    }
    (holders, layer_weights, layer_experts)
}
