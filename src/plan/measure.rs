//! The measured estimator: bytes per arena from the graph itself.

use super::{Memory, Weights};
use crate::device::{Device, Kind};
use crate::error::{Error, Result};
use crate::graph::{ALIGN, Graph, INPUT, KvShape, Layout, Limits, Node, Placement};
use crate::quant::Type;
use crate::{cpu, cuda};

/// What decides sizes besides the graph.
#[derive(Debug, Clone, Copy)]
pub struct Copies {
    pub weights: Weights,
    pub type_k: Type,
    pub type_v: Type,
    pub n_threads: u32,
    pub n_seq_max: u32,
    pub n_batch: u32,
}

/// A KV cache that some layers share the bookkeeping of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// Positions further back than this are forgotten, token by token; `None`: nothing is.
    pub window: Option<u32>,
    pub n_cells: usize,
}

/// Where one layer's cache lies in its device's KV arena: n_cells rows of keys, then of values (none where they are part of the keys).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvPlaces {
    /// Which of the caches.
    pub cache: usize,
    pub k_offset: usize,
    pub v_offset: usize,
    /// Bytes of one cell's keys and values, all heads.
    pub k_row: usize,
    pub v_row: usize,
}

/// Sizes and offsets of every arena; the loader allocates just these.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The first is that of the whole context.
    pub caches: Vec<Cache>,
    pub memory: Vec<Memory>,
    /// Per device.
    pub layouts: Vec<Layout>,
    /// Per layer.
    pub kv: Vec<KvPlaces>,
    /// Per weight: the devices that read it, and its offset in each one's weights arena; `None` where it is read from the map.
    pub weights: Vec<Vec<(u32, Option<usize>)>>,
    /// Bytes per layer, the output last.
    pub layer_weights: Vec<u64>,
    /// Of those, the routed experts'.
    pub layer_experts: Vec<u64>,
    pub layer_kv: Vec<u64>,
}

/// Bytes in an arena, where every tensor begins at a multiple of ALIGN.
pub(super) fn aligned(bytes: u64) -> u64 {
    bytes.saturating_add(ALIGN as u64 - 1) / ALIGN as u64 * ALIGN as u64
}

/// What a node's kernel needs besides inputs and output on a kind of device.
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

/// Bytes of a row of one side of a layer's cache, and of the side with `n_cells` rows.
fn side(s: &KvShape, ty: Type, head_dim: usize, n_cells: usize) -> Result<(usize, usize)> {
    let sizes = || {
        let row = ty.row_bytes(s.n_head_kv.checked_mul(head_dim)?)?;
        Some((row, row.checked_mul(n_cells)?.checked_next_multiple_of(ALIGN)?))
    };
    sizes().ok_or_else(overflow)
}

/// The cache that a layer needs for a context of `n_ctx` tokens. A layer that sees a window keeps that for each sequence, and a batch
/// on top, so that a batch that fails takes nothing with it.
fn cache(s: &KvShape, n_ctx: u32, c: Copies) -> Cache {
    let whole = Cache { window: None, n_cells: n_ctx as usize };
    let Some(window) = s.window else { return whole };
    let n = u64::from(window) * u64::from(c.n_seq_max) + u64::from(c.n_batch);
    if n < u64::from(n_ctx) { Cache { window: Some(window), n_cells: n as usize } } else { whole }
}

/// The different caches of a graph's layers, that of the whole context first.
pub(super) fn caches(graph: &Graph, n_ctx: u32, c: Copies) -> Vec<Cache> {
    let mut caches = vec![Cache { window: None, n_cells: n_ctx as usize }];
    for own in graph.kv.iter().map(|shape| cache(shape, n_ctx, c)) {
        if !caches.contains(&own) {
            caches.push(own);
        }
    }
    caches
}

/// Bytes of what a die looks up for a micro-batch, at the start of its KV arena.
pub(super) fn tables_bytes(caches: &[Cache], limits: Limits) -> Result<usize> {
    cuda::tables_bytes(limits, caches).ok_or_else(overflow)
}

/// (row, bytes) of the keys and of the values of a layer's cache.
fn sides(s: &KvShape, n_cells: usize, c: Copies) -> Result<[(usize, usize); 2]> {
    let values = if s.v_in_k { (0, 0) } else { side(s, c.type_v, s.head_dim_v, n_cells)? };
    Ok([side(s, c.type_k, s.head_dim_k, n_cells)?, values])
}

/// Bytes of one layer's cache for a context of `n_ctx` tokens.
pub(super) fn kv_bytes(s: &KvShape, n_ctx: u32, c: Copies) -> Result<u64> {
    let [k, v] = sides(s, cache(s, n_ctx, c).n_cells, c)?;
    Ok(k.1 as u64 + v.1 as u64)
}

fn overflow() -> Error {
    Error::invalid("the planned bytes overflow; n_ctx is too large").subject("n_ctx")
}

/// Measures `graph` placed as `placement` says, with a KV cache of `n_ctx` cells.
pub(super) fn measure(
    devices: &[Device],
    graph: &Graph,
    placement: &Placement,
    limits: Limits,
    n_ctx: u32,
    c: Copies,
) -> Result<Measured> {
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
    for d in (0..devices.len() as u32).filter(dies).filter(|d| placement.layers.contains(d)) {
        kv_end[d as usize] = tables;
        n_dies += 1;
    }
    memory[placement.input as usize].compute += cuda::staging_bytes(n_dies, tables) as u64;
    let mut kv = Vec::with_capacity(graph.kv.len());
    let mut layer_kv = Vec::with_capacity(graph.kv.len());
    for (layer, shape) in graph.kv.iter().enumerate() {
        let own = cache(shape, n_ctx, c);
        let cache = caches.iter().position(|other| *other == own).unwrap_or(0);
        let end = &mut kv_end[placement.layers[layer] as usize];
        let mut take = |(row, bytes): (usize, usize)| -> Result<(usize, usize)> {
            let offset = *end;
            *end = end.checked_add(bytes).filter(|n| *n <= isize::MAX as usize).ok_or_else(overflow)?;
            Ok((offset, row))
        };
        let [k, v] = sides(shape, own.n_cells, c)?;
        let ((k_offset, k_row), (v_offset, v_row)) = (take(k)?, take(v)?);
        kv.push(KvPlaces { cache, k_offset, v_offset, k_row, v_row });
        layer_kv.push(kv_bytes(shape, n_ctx, c)?);
    }
    for (m, end) in memory.iter_mut().zip(kv_end) {
        m.kv = end as u64;
    }

    let mut weights: Vec<Vec<(u32, Option<usize>)>> = vec![Vec::new(); graph.weights.len()];
    let mut layer_weights = vec![0u64; graph.n_layer as usize + 1];
    let mut layer_experts = layer_weights.clone();
    // Fused weights are read by several nodes of a layer, and are its once.
    let mut counted = vec![INPUT; graph.weights.len()];
    for node in &graph.nodes {
        let Some(d) = placement.device(node) else { continue };
        for id in graph.weights_of(node) {
            let bytes = graph.weight(id).n_bytes;
            if std::mem::replace(&mut counted[id.0 as usize], node.layer) != node.layer {
                layer_weights[node.layer as usize] += bytes;
                layer_experts[node.layer as usize] += if node.experts { bytes } else { 0 };
            }
            let places = &mut weights[id.0 as usize];
            if places.iter().any(|(on, _)| *on == d) {
                continue;
            }
            let m = &mut memory[d as usize];
            if devices[d as usize].kind == Kind::Cpu && c.weights != Weights::Copied {
                m.mapped += bytes;
                places.push((d, None));
            } else {
                places.push((d, Some(m.weights as usize)));
                m.weights += aligned(bytes);
            }
        }
    }
    Ok(Measured { caches, memory, layouts, kv, weights, layer_weights, layer_experts, layer_kv })
}
