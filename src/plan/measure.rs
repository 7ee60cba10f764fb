//! The measured estimator: bytes per arena from the graph itself.

use super::{Memory, Weights};
use crate::cpu;
use crate::device::{Device, Kind};
use crate::error::{Error, Result};
use crate::graph::{ALIGN, Graph, Layout, Limits, Node};
use crate::quant::Type;

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
    /// Per weight: its offset in the device's weights arena; `None` where it is read from the map.
    pub weight_offsets: Vec<Option<usize>>,
    /// Bytes per layer, the output last.
    pub layer_weights: Vec<u64>,
    pub layer_kv: Vec<u64>,
}

fn overflow() -> Error {
    Error::invalid("the planned bytes overflow; n_ctx is too large").subject("n_ctx")
}

/// Measures `graph` with layer i on device `device_of[i]` (the output last) and a KV cache of `n_ctx` cells.
pub(super) fn measure(
    devices: &[Device],
    graph: &Graph,
    device_of: &[u32],
    limits: Limits,
    n_ctx: u32,
    c: Copies,
) -> Result<Measured> {
    let n_cells = n_ctx as usize;
    let mut memory = vec![Memory::default(); devices.len()];
    let mut layouts = Vec::with_capacity(devices.len());
    for (d, _) in devices.iter().enumerate() {
        let workspace = |node: &Node| cpu::workspace_bytes(graph, node, limits, c.n_threads as usize);
        let layout = Layout::new(graph, limits, d as u32, device_of, &workspace)?;
        memory[d].compute = layout.bytes as u64;
        layouts.push(layout);
    }

    let mut kv_end = vec![0usize; devices.len()];
    let mut kv = Vec::with_capacity(graph.kv.len());
    let mut layer_kv = Vec::with_capacity(graph.kv.len());
    for (layer, shape) in graph.kv.iter().enumerate() {
        let end = &mut kv_end[device_of[layer] as usize];
        let mut take = |ty: Type, head_dim: usize| -> Option<(usize, usize, usize)> {
            let row = ty.row_bytes(shape.n_head_kv.checked_mul(head_dim)?)?;
            let bytes = row.checked_mul(n_cells)?.checked_next_multiple_of(ALIGN)?;
            let offset = *end;
            *end = end.checked_add(bytes).filter(|n| *n <= isize::MAX as usize)?;
            Some((offset, row, bytes))
        };
        let (k_offset, k_row, k_bytes) = take(c.type_k, shape.head_dim_k).ok_or_else(overflow)?;
        let (v_offset, v_row, v_bytes) = take(c.type_v, shape.head_dim_v).ok_or_else(overflow)?;
        kv.push(KvPlaces { k_offset, v_offset, k_row, v_row });
        layer_kv.push(k_bytes as u64 + v_bytes as u64);
    }
    for (m, end) in memory.iter_mut().zip(kv_end) {
        m.kv = end as u64;
    }

    let mut weight_offsets = vec![None; graph.weights.len()];
    let mut layer_weights = vec![0u64; graph.n_layer as usize + 1];
    let mut counted = vec![false; graph.weights.len()];
    for node in &graph.nodes {
        for id in node.op.weights() {
            let i = id.0 as usize;
            if std::mem::replace(&mut counted[i], true) {
                continue;
            }
            let bytes = graph.weights[i].n_bytes;
            layer_weights[node.layer as usize] += bytes;
            let d = device_of[node.layer as usize] as usize;
            if devices[d].kind == Kind::Cpu && c.weights != Weights::Copied {
                memory[d].mapped += bytes;
            } else {
                weight_offsets[i] = Some(memory[d].weights as usize);
                memory[d].weights += bytes.next_multiple_of(ALIGN as u64);
            }
        }
    }
    Ok(Measured { n_cells, memory, layouts, kv, weight_offsets, layer_weights, layer_kv })
}
