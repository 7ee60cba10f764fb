//! The KV cache: StoreKv, copies of cells, and the rotation of cached keys to other positions (kernels/kv.cu).

use super::gemm::{blocks, int};
use super::{Executor, Ptr, Step};
use crate::cpu::Move;
use crate::error::{Error, Result};
use crate::graph::{Node, RopeKind};
use crate::quant::Type;

const THREADS: u32 = 128;

/// As in kv.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Store {
    x: Ptr,
    side: Ptr,
    cells: Ptr,
    row: i32,
    cols: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Copies {
    side: Ptr,
    pairs: Ptr,
    row: i64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Turn {
    side: Ptr,
    cells: Ptr,
    angles: Ptr,
    row: i64,
    head_dim: i32,
    first: i32,
    n_rot: i32,
    neox: i32,
}

pub(super) fn store(s: &Step, node: &Node, layer: usize) -> Result<()> {
    let places = s.places(layer);
    let keys = (s.type_k(), places.k_offset, places.k_row);
    // Values that are part of the keys are not kept once more.
    for (v, (ty, offset, row)) in node.inputs.iter().zip([keys, (s.type_v(), places.v_offset, places.v_row)]) {
        let cols = s.graph().value(*v).cols;
        let (side, cells) = (s.kv_base().add(offset), s.cells(places.cache));
        let args = Store { x: s.at(*v), side, cells, row: int(row)?, cols: int(cols)? };
        let grid = [blocks(s.n_rows(*v), 1)?, blocks(cols, THREADS as usize)?, 1];
        s.launch(&format!("store_{}", ty.name()), grid, THREADS, &args)?;
    }
    Ok(())
}

/// Moves whose lists are on a die at once, and elements that turn of a head: with both, the lists fill the least room of the tables.
const MOVES: usize = 1024;
const TURNED: usize = 1024;
/// Elements of a head at most, as in kv.cu.
const HEAD: usize = 2048;

/// In the layers of each cache that are here: copies each of its moves' keys and values to the new cell (which may be the old one) and
/// turns the keys by the delta. `turns` are cosine and sine of each pair, of a rope and a delta. Returns when all is done.
///
/// # Safety
/// The session checked the cells. The die is at rest; `host` is page-locked, as large as the tables, and nobody else uses it.
///
/// # Errors
/// `Device`.
pub unsafe fn move_cells(
    x: &mut Executor,
    moves: &[Vec<Move>],
    turns: &dyn Fn(usize, i32) -> Vec<f32>,
    host: *mut u8,
) -> Result<()> {
    for (cache, moves) in
        moves.iter().enumerate().flat_map(|(cache, all)| portions(all).map(move |moves| (cache, moves)))
    {
        for rope in 0..x.graph.ropes.len() {
            let turned = |l: &usize| x.here[*l] && x.places[*l].cache == cache && x.graph.kv[*l].rope.rope == rope;
            let layers: Vec<usize> = (0..x.places.len()).filter(turned).collect();
            if layers.is_empty() {
                continue;
            }
            let delta = moves[0].delta;
            let angles = if delta == 0 { Vec::new() } else { turns(rope, delta) };
            if angles.len() > TURNED {
                return Err(Error::unsupported(format!(
                    "CUDA devices turn up to {TURNED} elements of a key, not {}",
                    angles.len()
                )));
            }
            // SAFETY: as the caller says.
            let lists = unsafe { Lists::new(x, moves, &angles, host) }?;
            layers.into_iter().try_for_each(|l| lists.launch(x, l))?;
            // The next lists take the place of these.
            x.die.finish()?;
        }
    }
    Ok(())
}

/// Moves by the same delta, as many as are on a die at once.
fn portions(moves: &[Move]) -> impl Iterator<Item = &[Move]> {
    moves.chunk_by(|a, b| a.delta == b.delta).flat_map(|m| m.chunks(MOVES))
}

/// What the kernels of some moves look up, in the place of a micro-batch's tables.
struct Lists {
    pairs: Ptr,
    n_pairs: usize,
    cells: Ptr,
    n_cells: usize,
    angles: Ptr,
    n_rot: usize,
}

impl Lists {
    /// # Safety
    /// As for `move_cells`; at most `MOVES` moves and `TURNED` angles.
    unsafe fn new(x: &Executor, moves: &[Move], angles: &[f32], host: *mut u8) -> Result<Lists> {
        let pairs: Vec<u32> = moves.iter().filter(|m| m.from != m.to).flat_map(|m| [m.from, m.to]).collect();
        let cells: Vec<u32> = moves.iter().filter(|m| m.delta != 0).map(|m| m.to).collect();
        let words = pairs.iter().copied().chain(cells.iter().copied()).chain(angles.iter().map(|a| a.to_bits()));
        let mut n = 0;
        for word in words {
            // SAFETY: 2 * MOVES + MOVES + TURNED words at most, which the tables have room for.
            unsafe { host.cast::<u32>().add(n).write_unaligned(word) };
            n += 1;
        }
        let at = x.arenas.kv;
        // SAFETY: as above; the KV arena begins with room for the tables, and the caller of `new` waits before it writes again.
        unsafe { x.die.copy_in(at, host, n * size_of::<u32>()) }?;
        let word = |n: usize| at.add(n * size_of::<u32>());
        Ok(Lists {
            pairs: at,
            n_pairs: pairs.len() / 2,
            cells: word(pairs.len()),
            n_cells: cells.len(),
            angles: word(pairs.len() + cells.len()),
            n_rot: angles.len(),
        })
    }

    fn launch(&self, x: &Executor, layer: usize) -> Result<()> {
        let (places, shape) = (x.places[layer], x.graph.kv[layer]);
        let keys = x.arenas.kv.add(places.k_offset);
        for (side, row) in [(keys, places.k_row), (x.arenas.kv.add(places.v_offset), places.v_row)] {
            if self.n_pairs == 0 || row == 0 {
                continue;
            }
            let grid = [blocks(row, 16 * THREADS as usize)?, blocks(self.n_pairs, 1)?, 1];
            // SAFETY: the lists' cells lie within the side.
            unsafe { x.die.launch("copy_cells", grid, THREADS, &Copies { side, pairs: self.pairs, row: row as i64 }) }?;
        }
        if self.n_cells == 0 {
            return Ok(());
        }
        if x.type_k == Type::Q8_0 && shape.head_dim_k > HEAD {
            return Err(Error::unsupported(format!(
                "CUDA devices turn keys of up to {HEAD} elements, not {}",
                shape.head_dim_k
            )));
        }
        let args = Turn {
            side: keys,
            cells: self.cells,
            angles: self.angles,
            row: places.k_row as i64,
            head_dim: int(shape.head_dim_k)?,
            first: int(shape.rope.first)?,
            n_rot: int(self.n_rot)?,
            neox: i32::from(shape.rope.kind == RopeKind::Neox),
        };
        let grid = [blocks(shape.n_head_kv, 1)?, blocks(self.n_cells, 1)?, 1];
        // SAFETY: as above; the angles are of this layer's rope.
        unsafe { x.die.launch(&format!("turn_{}", x.type_k.name()), grid, THREADS, &args) }
    }
}
