//! Attention. Every query row is compared with the cached keys that its token sees, and gets the values' sum, weighted
//! by the softmax of the scores. Both forms walk over the keys with a running maximum and sum, so that nothing grows
//! with the context.
//!
//! - The **tiled form** (kernels/attention_prefill.cu) is for many tokens. The query rows of a run (its tokens times
//!   the heads that share a KV head) are cut into tiles; a block takes a tile, and reads each key and value once for
//!   all its rows.
//! - The **split form** (kernels/attention.cu) is for few tokens. They have too few rows to fill a die, so the context
//!   is cut into parts: a warp takes a token, a part, and the heads that share a KV head. `attention_merge` joins what
//!   the parts found.
//!
//! Few tokens go by tiles too where the split form does not fit (large heads or groups, odd lengths); the context is
//! cut into parts then as well. The launches for few tokens depend on nothing but their number, the number of runs and
//! the model, so that they can be replayed: each block finds its keys in the micro-batch's tables.

use super::args::{self, ATTENTION_PARTS, ATTENTION_THREADS};
use super::driver::Ptr;
use super::executor::FEW_TOKENS;
use super::kernels::{Kernel, attention_merge, attention_split};
use super::kernels::{attention_prefill_128, attention_prefill_256, attention_prefill_512, attention_prefill_alibi};
use super::step::{Step, blocks, int};
use crate::error::{Error, Result};
use crate::graph::{Attend, KvShape, Limits, Node};
use crate::quant::Type;

/// Parts that a block of the split form takes, one a warp.
const PARTS_OF_BLOCK: usize = ATTENTION_THREADS / 32;
/// Warps of the split form that fill a K80's 13 multiprocessors, about.
const WARPS: usize = 512;
/// Blocks of the tiled form that fill them: two each.
const TILES: usize = 26;
/// The split form's largest head, and how many pieces of a group it is still better for than tiles.
const SPLIT_DIM: usize = 256;
const SPLIT_PIECES: usize = 2;

/// Each part keeps of each query row the sum of values, the maximum and the sum of weights.
pub(super) fn workspace_bytes(shape: &KvShape, n_head: usize, limits: Limits) -> Option<usize> {
    let rows = limits.n_tokens.min(FEW_TOKENS).checked_mul(n_head)?;
    let row = shape.head_dim_v.checked_add(2)?.checked_mul(size_of::<f32>())?;
    rows.checked_mul(row)?.checked_mul(ATTENTION_PARTS)
}

/// The split form of a model: its kernel, pieces of a group, and lanes that hold a key.
struct SplitForm {
    kernel: Kernel<args::Attention>,
    pieces: usize,
    lanes: usize,
}

/// `None`: tiles are better, or the split form's wide loads do not fit. `sides` are type and row bytes of keys and
/// values.
fn split_form(shape: &KvShape, group: usize, sides: [(Type, usize); 2]) -> Option<SplitForm> {
    let forms = attention_split(sides[0].0, sides[1].0)?;
    let (form, heads) = [2, 4, 8].into_iter().enumerate().find(|(_, n)| group <= *n).unwrap_or((2, 8));
    let pieces = group.div_ceil(heads);
    let (dk, dv) = (shape.head_dim_k, shape.head_dim_v);
    let lanes = [8, 16, 32].into_iter().find(|n| dk.max(dv) <= 8 * n)?;
    let wide = sides.iter().all(|(ty, row)| row % wide_bytes(*ty) == 0);
    let fits = dk.max(dv) <= SPLIT_DIM && dk % 8 == 0 && dv % 8 == 0 && pieces <= SPLIT_PIECES && wide;
    fits.then_some(SplitForm { kernel: forms[form], pieces, lanes })
}

/// Bytes of a load of eight elements, of which the kernels want every row to be a multiple.
fn wide_bytes(ty: Type) -> usize {
    match ty {
        Type::Q8_0 => 8,
        Type::Q4_0 => 4,
        _ => 16,
    }
}

/// Elements of a value per head at most, of the kernels that there are.
pub(super) const MOST_VALUE: usize = 512;

/// The same of those for this attention.
pub(super) fn most_value(a: &Attend) -> usize {
    if a.alibi.is_some() { MOST_FALLING } else { MOST_VALUE }
}

/// Of the kernel whose scores fall with distance.
const MOST_FALLING: usize = 256;

/// The tiled form for values of `dv` elements: its kernel, and the query rows of a tile.
fn tiled_form(dv: usize) -> Result<(Kernel<args::Attention>, usize)> {
    match dv {
        ..=128 => Ok((attention_prefill_128, 64)),
        129..=256 => Ok((attention_prefill_256, 64)),
        257..=MOST_VALUE => Ok((attention_prefill_512, 32)),
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
    let whole = args::Attention {
        q: s.at(node.inputs[0]),
        keys,
        values,
        out: s.at(output),
        partial: s.workspace(),
        sinks: a.sinks.map_or(Ptr::NULL, |w| s.weight(w).add(a.first_head * size_of::<f32>())),
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
        pieces: 0,
        lanes: 0,
        window: shape.window.map_or(i32::MAX, |w| w.min(i32::MAX as u32) as i32),
        scale: a.scale,
        softcap: a.softcap.unwrap_or(0.0),
        chunked: i32::from(shape.chunked),
        alibi: a.alibi.unwrap_or(0.0),
    };
    let (tiled, rows) = match a.alibi {
        Some(_) if dv <= MOST_FALLING => (attention_prefill_alibi, 64),
        Some(_) => {
            return Err(Error::unsupported(format!(
                "CUDA devices compute attention that falls with distance with values of up to {MOST_FALLING} elements \
                 a head, not {dv}"
            )));
        }
        None => tiled_form(dv)?,
    };
    if n_tokens > FEW_TOKENS {
        let n_tiles: usize = runs.iter().map(|r| (r.n as usize * group).div_ceil(rows)).sum();
        return s.launch(tiled, [blocks(n_tiles, 1)?, 1, blocks(n_head_kv, 1)?], &whole);
    }
    let split = split_form(shape, group, [(s.type_k(), place.keys.row), (type_v, v_row)]);
    let in_parts = match split.filter(|_| a.alibi.is_none()) {
        Some(SplitForm { kernel, pieces, lanes }) => {
            let parts = (WARPS / (n_tokens * pieces * n_head_kv)).clamp(PARTS_OF_BLOCK, ATTENTION_PARTS)
                / PARTS_OF_BLOCK
                * PARTS_OF_BLOCK;
            let in_parts = args::Attention { n_parts: int(parts)?, pieces: int(pieces)?, lanes: int(lanes)?, ..whole };
            let grid = [blocks(n_tokens * pieces, 1)?, blocks(parts, PARTS_OF_BLOCK)?, blocks(n_head_kv, 1)?];
            s.launch(kernel, grid, &in_parts)?;
            in_parts
        }
        None => {
            // As many tiles as these runs can have at most, whatever their lengths.
            let n_tiles = (n_tokens * group + runs.len() * (rows - 1)) / rows;
            let parts = (TILES / (n_tiles * n_head_kv)).clamp(1, ATTENTION_PARTS);
            let in_parts = args::Attention { n_parts: int(parts)?, ..whole };
            s.launch(tiled, [blocks(n_tiles, 1)?, blocks(parts, 1)?, blocks(n_head_kv, 1)?], &in_parts)?;
            in_parts
        }
    };
    if in_parts.n_parts == 1 {
        return Ok(());
    }
    s.launch(attention_merge, [blocks(a.n_head, 1)?, blocks(n_tokens, 1)?, 1], &in_parts)
}
