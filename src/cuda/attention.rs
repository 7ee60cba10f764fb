//! Attention, in two forms (kernels/attention.cu, kernels/attention_prefill.cu): few tokens are split over the context, more come in
//! tiles.
//!
//! What is launched for few tokens depends on their number, the number of runs and the model alone, so that it can be replayed: each
//! block finds its keys in the tables.

use super::die::Ptr;
use super::executor::FEW_TOKENS;
use super::step::{Step, blocks, int};
use crate::error::{Error, Result};
use crate::graph::{Attend, KvShape, Limits, Node};
use crate::quant::Type;

const THREADS: u32 = 128;
/// With few tokens there are too few query heads to fill a die, so the context is cut into at most so many parts, whose partial
/// results are merged.
const PARTS: usize = 32;
/// Parts that a block of the split form takes, one a warp.
const PARTS_OF_BLOCK: usize = 4;
/// Warps of the split form that fill a K80's 13 multiprocessors, about.
const WARPS: usize = 512;
/// Blocks of the tiled form that do: two each.
const TILES: usize = 26;
/// The split form's largest head, and how many pieces of a group it is still better for than tiles.
const SPLIT_DIM: usize = 256;
const SPLIT_PIECES: usize = 2;

/// Each part keeps of each query row the sum of values, the maximum and the sum of weights: nothing grows with the context.
pub(super) fn workspace_bytes(shape: &KvShape, n_head: usize, limits: Limits) -> Option<usize> {
    let rows = limits.n_tokens.min(FEW_TOKENS).checked_mul(n_head)?;
    let row = shape.head_dim_v.checked_add(2)?.checked_mul(size_of::<f32>())?;
    rows.checked_mul(row)?.checked_mul(PARTS)
}

/// As in attention.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Split {
    q: Ptr,
    keys: Ptr,
    values: Ptr,
    partial: Ptr,
    positions: Ptr,
    runs: Ptr,
    spans: Ptr,
    k_row: i32,
    v_row: i32,
    k_head: i32,
    v_head: i32,
    n_tokens: i32,
    n_runs: i32,
    n_head: i32,
    n_head_kv: i32,
    dk: i32,
    dv: i32,
    pieces: i32,
    n_parts: i32,
    lanes: i32,
    window: i32,
    scale: f32,
    softcap: f32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Merge {
    partial: Ptr,
    sinks: Ptr,
    out: Ptr,
    n_tokens: i32,
    n_head: i32,
    dv: i32,
    n_parts: i32,
}

/// As in attention_prefill.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Tiled {
    q: Ptr,
    keys: Ptr,
    values: Ptr,
    out: Ptr,
    partial: Ptr,
    sinks: Ptr,
    positions: Ptr,
    runs: Ptr,
    spans: Ptr,
    k_row: i32,
    v_row: i32,
    k_head: i32,
    v_head: i32,
    type_k: i32,
    type_v: i32,
    n_tokens: i32,
    n_runs: i32,
    n_head: i32,
    n_head_kv: i32,
    dk: i32,
    dv: i32,
    n_parts: i32,
    window: i32,
    scale: f32,
    softcap: f32,
}

/// The split form of a model: query heads of its kernel, pieces of a group, and lanes that hold a key.
struct SplitForm {
    heads: usize,
    pieces: usize,
    lanes: usize,
}

/// `None`: tiles are better, or the split form's wide loads do not fit. `sides` are type and row bytes of keys and values.
fn split_form(shape: &KvShape, group: usize, sides: [(Type, usize); 2]) -> Option<SplitForm> {
    let heads = [2, 4, 8].into_iter().find(|n| group <= *n).unwrap_or(8);
    let pieces = group.div_ceil(heads);
    let (dk, dv) = (shape.head_dim_k, shape.head_dim_v);
    let lanes = [8, 16, 32].into_iter().find(|n| dk.max(dv) <= 8 * n)?;
    let wide = sides.iter().all(|(ty, row)| row % if *ty == Type::Q8_0 { 8 } else { 16 } == 0);
    // Of keys and values in F32 there is a form if both are.
    let [k, v] = sides.map(|(ty, _)| ty == Type::F32);
    let fits = k == v && dk.max(dv) <= SPLIT_DIM && dk % 8 == 0 && dv % 8 == 0 && pieces <= SPLIT_PIECES && wide;
    fits.then_some(SplitForm { heads, pieces, lanes })
}

/// Elements of a value per head at most, of the kernels that there are.
pub(super) const MOST_VALUE: usize = 512;

/// The tiled form for values of `dv` elements: its kernel, and the query rows of a tile.
fn tiled_form(dv: usize) -> Result<(&'static str, usize)> {
    match dv {
        ..=128 => Ok(("attention_prefill_128", 64)),
        129..=256 => Ok(("attention_prefill_256", 64)),
        257..=MOST_VALUE => Ok(("attention_prefill_512", 32)),
        _ => Err(Error::unsupported(format!(
            "CUDA devices compute attention with values of up to {MOST_VALUE} elements a head, not {dv}"
        ))),
    }
}

pub(super) fn attention(s: &Step, node: &Node, a: &Attend) -> Result<()> {
    let Some(output) = node.output else { return Ok(()) };
    let (shape, place) = (s.graph().kv(a.state), s.place(a.state));
    let (dk, dv, n_head_kv) = (shape.head_dim_k, shape.head_dim_v, shape.n_head_kv);
    let (n_tokens, group) = (s.n_rows(output), a.n_head / n_head_kv);
    let runs = s.micro().caches[place.cache].runs;
    let keys = s.kv_base().add(place.keys.offset);
    // Values that are part of the keys are the first elements of each head.
    let (values, type_v, v_row, v_head) = match shape.v_in_k {
        true => (keys, s.type_k(), place.keys.row, dk),
        false => (s.kv_base().add(place.values.offset), s.type_v(), place.values.row, dv),
    };
    let tiled = Tiled {
        q: s.at(node.inputs[0]),
        keys,
        values,
        out: s.at(output),
        partial: s.workspace(),
        sinks: a.sinks.map_or(Ptr::NULL, |w| s.weight(w)),
        positions: s.positions(),
        runs: s.runs(place.cache),
        spans: s.spans(),
        k_row: int(place.keys.row)?,
        v_row: int(v_row)?,
        k_head: int(dk)?,
        v_head: int(v_head)?,
        type_k: s.type_k().gguf() as i32,
        type_v: type_v.gguf() as i32,
        n_tokens: int(n_tokens)?,
        n_runs: int(runs.len())?,
        n_head: int(a.n_head)?,
        n_head_kv: int(n_head_kv)?,
        dk: int(dk)?,
        dv: int(dv)?,
        n_parts: 1,
        window: shape.window.map_or(i32::MAX, |w| w.min(i32::MAX as u32) as i32),
        scale: a.scale,
        softcap: a.softcap.unwrap_or(0.0),
    };
    let (kernel, rows) = tiled_form(dv)?;
    if n_tokens > FEW_TOKENS {
        let n_tiles: usize = runs.iter().map(|r| (r.n as usize * group).div_ceil(rows)).sum();
        return s.launch(kernel, [blocks(n_tiles, 1)?, 1, blocks(n_head_kv, 1)?], THREADS, &tiled);
    }
    let n_parts = match split_form(shape, group, [(s.type_k(), place.keys.row), (type_v, v_row)]) {
        Some(form) => {
            let parts = (WARPS / (n_tokens * form.pieces * n_head_kv)).clamp(PARTS_OF_BLOCK, PARTS) / PARTS_OF_BLOCK
                * PARTS_OF_BLOCK;
            let args = split(&tiled, &form, parts)?;
            let kernel = format!("attention_{}_{}_{}", s.type_k().name(), type_v.name(), form.heads);
            let grid = [blocks(n_tokens * form.pieces, 1)?, blocks(parts, PARTS_OF_BLOCK)?, blocks(n_head_kv, 1)?];
            s.launch(&kernel, grid, THREADS, &args)?;
            parts
        }
        None => {
            // As many tiles as these runs can have at most, whatever their lengths.
            let n_tiles = (n_tokens * group + runs.len() * (rows - 1)) / rows;
            let parts = (TILES / (n_tiles * n_head_kv)).clamp(1, PARTS);
            let grid = [blocks(n_tiles, 1)?, blocks(parts, 1)?, blocks(n_head_kv, 1)?];
            s.launch(kernel, grid, THREADS, &Tiled { n_parts: int(parts)?, ..tiled })?;
            parts
        }
    };
    if n_parts == 1 {
        return Ok(());
    }
    let Tiled { partial, sinks, out, n_tokens, n_head, dv, .. } = tiled;
    let merge = Merge { partial, sinks, out, n_tokens, n_head, dv, n_parts: int(n_parts)? };
    s.launch("attention_merge", [n_head as u32, n_tokens as u32, 1], THREADS, &merge)
}

fn split(a: &Tiled, form: &SplitForm, n_parts: usize) -> Result<Split> {
    let Tiled { q, keys, values, partial, positions, runs, spans, k_row, v_row, k_head, v_head, .. } = *a;
    let Tiled { n_tokens, n_runs, n_head, n_head_kv, dk, dv, window, scale, softcap, .. } = *a;
    let (pieces, n_parts, lanes) = (int(form.pieces)?, int(n_parts)?, int(form.lanes)?);
    Ok(Split {
        q,
        keys,
        values,
        partial,
        positions,
        runs,
        spans,
        k_row,
        v_row,
        k_head,
        v_head,
        n_tokens,
        n_runs,
        n_head,
        n_head_kv,
        dk,
        dv,
        pieces,
        n_parts,
        lanes,
        window,
        scale,
        softcap,
    })
}
