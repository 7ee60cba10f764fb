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
}

/// Where one layer's cache lies in its device's KV arena: n_cells rows of keys, then of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvPlaces {
    pub k_offset: usize,
    pub v_offset: usize,
    /// Bytes of one cell's keys and values, all heads.
    pub k_row: usize,
    pub v_row: usize,
}

/// Sizes and offsets of every arena; the loader allocates just these.
#[derive(Debug, Clone)]
pub struct Measured {
    pub n_cells: usize,
    pub memory: Vec<Memory>,
    /// Per device.
    pub layouts: Vec<Layout>,
    /// Per layer.
    pub kv: Vec<KvPlaces>,
    /// Per weight: the devices that read it, and its offset in each one's weights arena; `None` where it is read from the map.
    pub weights: Vec<Vec<(u32, Option<usize>)>>,
    /// Bytes per layer, the output last.
    pub layer_weights: Vec<u64>,
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

/// Bytes of one layer's cache of `n_cells` cells.
pub(super) fn kv_bytes(s: &KvShape, n_cells: usize, c: Copies) -> Result<u64> {
    let (k, v) = (side(s, c.type_k, s.head_dim_k, n_cells)?.1, side(s, c.type_v, s.head_dim_v, n_cells)?.1);
    Ok(k as u64 + v as u64)
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
    let n_cells = n_ctx as usize;
    let mut memory = vec![Memory::default(); devices.len()];
    let mut layouts = Vec::with_capacity(devices.len());
    for (d, device) in devices.iter().enumerate() {
        let layout = Layout::new(graph, limits, d as u32, placement, &workspace(device.kind, graph, limits, c.n_threads))?;
        memory[d].compute = layout.bytes as u64;
        if placement.layers.contains(&(d as u32)) {
            memory[d].driver = device.driver_bytes;
        }
        layouts.push(layout);
    }

    let mut kv_end = vec![0usize; devices.len()];
    let mut kv = Vec::with_capacity(graph.kv.len());
    let mut layer_kv = Vec::with_capacity(graph.kv.len());
    for (layer, shape) in graph.kv.iter().enumerate() {
        let end = &mut kv_end[placement.layers[layer] as usize];
        let mut take = |ty: Type, head_dim: usize| -> Result<(usize, usize)> {
            let (row, bytes) = side(shape, ty, head_dim, n_cells)?;
            let offset = *end;
            *end = end.checked_add(bytes).filter(|n| *n <= isize::MAX as usize).ok_or_else(overflow)?;
            Ok((offset, row))
        };
        let (k_offset, k_row) = take(c.type_k, shape.head_dim_k)?;
        let (v_offset, v_row) = take(c.type_v, shape.head_dim_v)?;
        kv.push(KvPlaces { k_offset, v_offset, k_row, v_row });
        layer_kv.push(kv_bytes(shape, n_cells, c)?);
    }
    for (m, end) in memory.iter_mut().zip(kv_end) {
        m.kv = end as u64;
    }

    let mut weights: Vec<Vec<(u32, Option<usize>)>> = vec![Vec::new(); graph.weights.len()];
    let mut layer_weights = vec![0u64; graph.n_layer as usize + 1];
    for node in &graph.nodes {
        let Some(d) = placement.device(node.layer) else { continue };
        for id in node.op.weights() {
            let bytes = graph.weight(id).n_bytes;
            if node.layer != INPUT {
                layer_weights[node.layer as usize] += bytes;
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
    Ok(Measured { n_cells, memory, layouts, kv, weights, layer_weights, layer_kv })
}
