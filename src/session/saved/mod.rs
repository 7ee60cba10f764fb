//! Saved sequences: what a model remembers of a text, as bytes.
//!
//! # The form
//!
//! It is the same whatever devices the layers are on, so that a sequence that a CPU has read goes on on dies, on
//! another split, or with another context. All numbers are little-endian.
//!
//! ```text
//! 8 bytes   "RKNDLSEQ"
//! u32       version of the form
//! u32 u32   types of cached keys and values (GGUF's numbers)
//! u64       fingerprint of the model and its adapters: tensors' names, shapes, types, and some of their bytes
//! f32       for each adapter beside the model: the scale that the tokens were computed with
//! u32       length: the last position plus one
//! u32       1 if the tokens are known, and then i32 for each position
//! for each cache of tokens (the whole context, then windows):
//!   u32     number of spans, and for each: i32 position, u32 number of positions
//!   rows    for each position: of each layer that keeps rows in this cache, the key's and the value's, as the CPU has
//!           them
//! rows      with recurrent layers: the state of each after the last token
//! u64       checksum of all bytes before it
//! ```
//!
//! # Why nothing half read is ever seen
//!
//! Rows that come in go to free cells, which no sequence has yet. Only when the checksum agrees are these cells given
//! to the sequence, and that cannot fail.

mod checksum;
mod load;
mod save;

use super::model::Model;
use crate::error::Result;
use crate::gguf::AdapterKind;
use checksum::Checksum;

const MAGIC: &[u8; 8] = b"RKNDLSEQ";
const VERSION: u32 = 1;
/// Bytes of rows that are read or written at once.
const PIECE: usize = 1 << 20;

/// A number that other models do not have: of the tensors' names, shapes and types, and of the first bytes of each.
/// It reads a page of every tensor, so it is made once for a model.
///
/// # Errors
/// `Io` if the file cannot be read any more.
fn fingerprint(model: &Model) -> Result<u64> {
    if let Some(sum) = model.fingerprint.get() {
        return Ok(*sum);
    }
    let sum = sum_of(model)?;
    Ok(*model.fingerprint.get_or_init(|| sum))
}

fn sum_of(model: &Model) -> Result<u64> {
    const FIRST: usize = 64;
    let file = model.file();
    let mut sum = Checksum::default();
    sum.add(model.info().architecture.as_bytes());
    for t in file.tensors() {
        sum.add(t.name.as_bytes());
        t.ne.iter().for_each(|n| sum.add(&n.to_le_bytes()));
        sum.add(&(t.ty as u32).to_le_bytes());
        let mut first = [0; FIRST];
        let first = &mut first[..FIRST.min(t.n_bytes as usize)];
        file.read_tensor(t, 0, first)?;
        sum.add(first);
    }
    for adapter in file.adapters() {
        let alpha = match adapter.kind {
            AdapterKind::Lora { alpha } => alpha,
            AdapterKind::ControlVector => f32::INFINITY,
        };
        sum.add(&alpha.to_bits().to_le_bytes());
    }
    Ok(sum.value())
}
