//! Rows of cells read and written from outside, in the blocks of their types.
//!
//! A die keeps a row of Q8_0 or Q4_0 in another order than the CPU (kernels/kv.cu), so that it reads wide words: first
//! the quants of all blocks, then their scales. In Q4_0 a word has eight neighbouring elements, the first four in the
//! low nibbles of its bytes; a block of the CPU has element i and i + 16 in one byte. The numbers are the same.

use super::driver::Ptr;
use super::executor::Executor;
use crate::error::Result;
use crate::graph::{StateShape, rows_of_cells, states_of};
use crate::quant::Type;

/// Elements of a block.
const BLOCK: usize = 32;

/// The rows of cells: where, bytes, and the type of the elements.
fn rows(x: &Executor, cache: usize, cells: &[u32], n_bytes: usize) -> Result<Vec<(Ptr, usize, Type)>> {
    let rows = rows_of_cells(&x.states, &x.here, cache, cells, n_bytes)?;
    let of = x.states.iter().zip(&x.graph.states).find(|(place, _)| place.cache == cache);
    let kept = matches!(of, Some((_, state)) if matches!(state.shape, StateShape::Recurrent(_)));
    let (k, v) = if kept { (Type::F32, Type::F32) } else { (x.type_k, x.type_v) };
    let sides = states_of(&x.states, &x.here, cache).flat_map(|p| [(p.keys.row, k), (p.values.row, v)]);
    let types: Vec<Type> = sides.filter(|(bytes, _)| *bytes > 0).map(|(_, ty)| ty).collect();
    Ok(rows.into_iter().zip(types.iter().cycle()).map(|((at, n), ty)| (x.arenas.kv.add(at), n, *ty)).collect())
}

pub(super) fn read_cells(x: &mut Executor, cache: usize, cells: &[u32], mut to: &mut [u8]) -> Result<()> {
    let mut copy = Vec::new();
    for (at, n, ty) in rows(x, cache, cells, to.len())? {
        let (row, rest) = std::mem::take(&mut to).split_at_mut(n);
        x.take_out(at, row)?;
        if ty.block_len() > 1 {
            copy.clear();
            copy.extend_from_slice(row);
            to_blocks(ty, &copy, row);
        }
        to = rest;
    }
    Ok(())
}

pub(super) fn write_cells(x: &mut Executor, cache: usize, cells: &[u32], mut from: &[u8]) -> Result<()> {
    let mut copy = Vec::new();
    for (at, n, ty) in rows(x, cache, cells, from.len())? {
        let (row, rest) = from.split_at(n);
        if ty.block_len() > 1 {
            copy.resize(n, 0);
            from_blocks(ty, row, &mut copy);
            x.put_in(at, &copy)?;
        } else {
            x.put_in(at, row)?;
        }
        from = rest;
    }
    Ok(())
}

/// Bytes of a block's quants.
fn quants(ty: Type) -> usize {
    if ty == Type::Q8_0 { BLOCK } else { BLOCK / 2 }
}

/// The place of the scale of block `i` in a row on a die.
fn scale(ty: Type, row: usize, i: usize) -> usize {
    row / (quants(ty) + 2) * quants(ty) + 2 * i
}

/// A row as the CPU has it, from that of a die.
fn to_blocks(ty: Type, die: &[u8], blocks: &mut [u8]) {
    let n = quants(ty);
    for (i, block) in blocks.chunks_exact_mut(n + 2).enumerate() {
        let at = scale(ty, die.len(), i);
        block[..2].copy_from_slice(&die[at..at + 2]);
        let own = &die[n * i..n * (i + 1)];
        if ty == Type::Q8_0 {
            block[2..].copy_from_slice(own);
            continue;
        }
        let nibble = |e: usize| own[e / 8 * 4 + e % 4] >> (e % 8 / 4 * 4) & 15;
        (0..n).for_each(|e| block[2 + e] = nibble(e) | nibble(e + n) << 4);
    }
}

/// The reverse.
fn from_blocks(ty: Type, blocks: &[u8], die: &mut [u8]) {
    let n = quants(ty);
    for (i, block) in blocks.chunks_exact(n + 2).enumerate() {
        let at = scale(ty, blocks.len(), i);
        die[at..at + 2].copy_from_slice(&block[..2]);
        let own = &mut die[n * i..n * (i + 1)];
        if ty == Type::Q8_0 {
            own.copy_from_slice(&block[2..]);
            continue;
        }
        let nibble = |e: usize| block[2 + e % n] >> (e / n * 4) & 15;
        (0..n).for_each(|b| own[b] = nibble(b / 4 * 8 + b % 4) | nibble(b / 4 * 8 + b % 4 + 4) << 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back() {
        for (ty, bytes) in [(Type::Q8_0, 34), (Type::Q4_0, 18)] {
            let blocks: Vec<u8> = (0..3 * bytes).map(|i| (i * 37 + 11) as u8).collect();
            let (mut die, mut back) = (vec![0; blocks.len()], vec![0; blocks.len()]);
            from_blocks(ty, &blocks, &mut die);
            to_blocks(ty, &die, &mut back);
            assert_eq!(back, blocks);
            assert_ne!(die, blocks);
        }
        // Element e has the value e % 16 in blocks of Q4_0, and so in the words of eight.
        let mut blocks = vec![0u8; 18];
        (0..16).for_each(|e| blocks[2 + e] = (e | e << 4) as u8);
        let mut die = vec![0; 18];
        from_blocks(Type::Q4_0, &blocks, &mut die);
        assert_eq!(die[..8], [0x40, 0x51, 0x62, 0x73, 0xc8, 0xd9, 0xea, 0xfb]);
    }
}
