//! Walks the header of one file, from the magic number to the end of the tensor directory, and checks it.

use std::collections::HashMap;
use std::ops::Range;

use super::cursor::Cursor;
use super::value::{Value, ValueType};
use crate::error::{Error, Result, try_push};
use crate::quant::Type;

/// A tensor's type as the file gives it. Its size is always known; it may be a type that cannot be computed with.
pub type TypeId = Type;

const MAGIC: u32 = u32::from_le_bytes(*b"GGUF");
const MAX_DIMS: u32 = 4;
/// The most keys, and the most tensors, of a file. Real files have some thousand.
const MOST: u64 = 1 << 16;
const DEFAULT_ALIGNMENT: u64 = 32;

/// A metadata key; its value stays in the file, or where the host's values are.
#[derive(Debug, Clone)]
pub struct Key {
    pub name: String,
    pub ty: ValueType,
    pub(super) bytes: Range<usize>,
    /// True if the host gave the value.
    pub given: bool,
}

impl Key {
    /// The value, from the bytes that it lies in.
    pub(super) fn value<'a>(&self, bytes: &'a [u8]) -> Option<Value<'a>> {
        Cursor::whole(bytes.get(self.bytes.clone())?).value(self.ty, 0).ok()
    }
}

/// An entry of the tensor directory.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    pub name: String,
    pub ty: TypeId,
    /// Elements per dimension, the one whose elements are neighbours first; 1 past `n_dims`.
    pub ne: [u64; 4],
    pub n_dims: u32,
    /// Bytes from the start of its file.
    pub offset: u64,
    pub n_bytes: u64,
    /// The number of the split file that holds it, from 0.
    pub split: usize,
}

impl TensorInfo {
    /// The shape as people write it, `[256, 1024]`.
    pub fn shape(&self) -> String {
        format!("{:?}", &self.ne[..self.n_dims as usize])
    }
}

pub(super) struct Header {
    /// Bytes up to the end of the tensors' directory.
    pub n_bytes: usize,
    pub version: u32,
    pub keys: Vec<Key>,
    pub tensors: Vec<TensorInfo>,
}

/// Names come from a file. Before one reaches a message it is cut to 80 bytes and odd characters are escaped.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).escape_debug().to_string()
}

fn name(bytes: &[u8], max: usize, what: &str) -> Result<String> {
    if bytes.is_empty() || bytes.len() > max {
        return Err(Error::bad_file(format!("{what} is {} bytes long, expected 1 to {max}", bytes.len())));
    }
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| Error::bad_file(format!("{what} '{}' is not UTF-8", printable(bytes))))
}

/// A header, or the number of bytes that it takes at least.
pub(super) enum Read {
    Whole(Header),
    Needs(u64),
}

/// Walks over the header of a file of `file_len` bytes, of which the first ones are at hand.
pub(super) fn header(first: &[u8], file_len: u64, split: usize) -> Result<Read> {
    let mut c = Cursor::new(first, file_len);
    match walk(&mut c, first, file_len, split) {
        Err(_) if c.needed() > 0 => Ok(Read::Needs(c.needed())),
        outcome => outcome.map(Read::Whole),
    }
}

fn walk(c: &mut Cursor, first: &[u8], file_len: u64, split: usize) -> Result<Header> {
    if c.u32("magic")? != MAGIC {
        return Err(Error::bad_file("not a GGUF file: it does not begin with 'GGUF'"));
    }
    let version = c.u32("version")?;
    match version {
        2 | 3 => {}
        1 => return Err(Error::unsupported("GGUF version 1 is not supported, expected 2 or 3")),
        v if matches!(v.swap_bytes(), 1..=3) => {
            return Err(Error::unsupported("big-endian GGUF files are not supported, expected little-endian"));
        }
        v => return Err(Error::unsupported(format!("GGUF version {v} is not supported, expected 2 or 3"))),
    }
    let n_tensors = c.u64("tensor count")?;
    let n_keys = c.u64("key count")?;
    // A key takes at least 13 bytes and a tensor 25, so false counts are refused before memory is asked for.
    for (n, least, what) in [(n_keys, 13, "keys"), (n_tensors, 25, "tensors")] {
        if n > MOST {
            return Err(Error::bad_file(format!("{n} {what}, expected at most {MOST}")).amounts(n, MOST));
        }
        if n > file_len / least {
            return Err(
                Error::bad_file(format!("{n} {what} cannot lie in {file_len} bytes")).amounts(n, file_len / least)
            );
        }
    }

    let mut keys = Vec::new();
    let mut seen = HashMap::new();
    for i in 0..n_keys {
        let key = name(c.string("key name")?, 65535, &format!("name of key {i}"))?;
        let read = |c: &mut Cursor| -> Result<(ValueType, Range<usize>)> {
            let ty = c.value_type("value")?;
            let start = c.pos();
            c.value(ty, 0)?;
            Ok((ty, start..c.pos()))
        };
        let (ty, bytes) = read(c).map_err(|e| e.at(&format!("key '{}'", printable(key.as_bytes()))).subject(&key))?;
        seen.try_reserve(1).map_err(|_| Error::out_of_memory("the names of keys", 64))?;
        if seen.insert(key.clone(), ()).is_some() {
            return Err(Error::bad_file(format!("key '{}' occurs twice", printable(key.as_bytes()))).subject(key));
        }
        try_push("the keys", &mut keys, Key { name: key, ty, bytes, given: false })?;
    }

    let alignment = match keys.iter().find(|k| k.name == "general.alignment").and_then(|k| k.value(first)) {
        None => DEFAULT_ALIGNMENT,
        Some(v) => match v.as_int() {
            Some(a) if a > 0 && a <= 1 << 30 && a % 8 == 0 => a as u64,
            _ => {
                return Err(Error::bad_file(format!(
                    "general.alignment is {v:?}, expected a multiple of 8 up to 2^30"
                ))
                .subject("general.alignment"));
            }
        },
    };

    let mut tensors = Vec::new();
    for i in 0..n_tensors {
        try_push("the tensors' directory", &mut tensors, directory_entry(c, i, split)?)?;
    }

    let data = (c.pos() as u64).next_multiple_of(alignment);
    for t in &mut tensors {
        if t.offset % alignment != 0 {
            return Err(Error::bad_file(format!(
                "tensor '{}' begins at offset {}, expected a multiple of {alignment}",
                t.name, t.offset
            ))
            .subject(&t.name));
        }
        let end = data.checked_add(t.offset).and_then(|o| o.checked_add(t.n_bytes));
        match end {
            Some(end) if end <= file_len => t.offset += data,
            _ => {
                return Err(Error::bad_file(format!(
                    "tensor '{}' needs {} bytes at offset {} of the data, the file ends before (it has {file_len} \
                     bytes); is it truncated?",
                    t.name, t.n_bytes, t.offset
                ))
                .subject(&t.name)
                .amounts(end.unwrap_or(u64::MAX), file_len));
            }
        }
    }
    refuse_overlap(&tensors)?;
    Ok(Header { n_bytes: c.pos(), version, keys, tensors })
}

fn directory_entry(c: &mut Cursor, i: u64, split: usize) -> Result<TensorInfo> {
    let name = name(c.string("tensor name")?, 255, &format!("name of tensor {i}"))?;
    let fail = |why: String| Error::bad_file(format!("tensor '{}' {why}", printable(name.as_bytes()))).subject(&name);
    let n_dims = c.u32("dimension count")?;
    if n_dims == 0 || n_dims > MAX_DIMS {
        return Err(fail(format!("has {n_dims} dimensions, expected 1 to {MAX_DIMS}")));
    }
    let mut ne = [1u64; 4];
    for d in &mut ne[..n_dims as usize] {
        *d = c.u64("dimension")?;
    }
    let ty = c.u32("tensor type")?;
    let offset = c.u64("tensor offset")?;
    if ne.contains(&0) {
        return Err(fail(format!("has shape {:?}, expected no zero", &ne[..n_dims as usize])));
    }
    let ty = Type::from_gguf(ty).ok_or_else(|| fail(format!("has type number {ty}, which is not known")))?;
    let row = usize::try_from(ne[0]).ok().and_then(|n| ty.row_bytes(n)).ok_or_else(|| {
        fail(format!("of type {} has rows of {} elements, expected a multiple of {}", ty.name(), ne[0], ty.block_len()))
    })?;
    let n_bytes = ne[1..]
        .iter()
        .try_fold(row as u64, |n, d| n.checked_mul(*d))
        .filter(|n| *n <= i64::MAX as u64)
        .ok_or_else(|| fail(format!("of shape {:?} overflows", &ne[..n_dims as usize])))?;
    Ok(TensorInfo { name, ty, ne, n_dims, offset, n_bytes, split })
}

fn refuse_overlap(tensors: &[TensorInfo]) -> Result<()> {
    let mut order = Vec::new();
    order.try_reserve_exact(tensors.len()).map_err(|_| Error::out_of_memory("the tensors' order", 8))?;
    order.extend(tensors.iter());
    order.sort_unstable_by_key(|t| t.offset);
    for pair in order.windows(2) {
        if pair[0].offset + pair[0].n_bytes > pair[1].offset {
            return Err(Error::bad_file(format!(
                "tensors '{}' and '{}' overlap in the file",
                pair[0].name, pair[1].name
            ))
            .subject(&pair[1].name));
        }
    }
    Ok(())
}
