//! A GGUF writer for files of which only the header counts: the data is left sparse, or empty.

use std::path::PathBuf;

use crate::gguf::Gguf;
use crate::quant::Type;

/// A key's value.
pub(super) enum Val {
    U32(u32),
    I32(i32),
    Str(String),
    U32s(Vec<u32>),
    Strs(Vec<&'static str>),
}

fn string(out: &mut Vec<u8>, s: &str) {
    out.extend((s.len() as u64).to_le_bytes());
    out.extend(s.as_bytes());
}

/// The header's bytes, padded, and the file's length with all tensors.
fn header(keys: &[(String, Val)], tensors: &[(String, Type, Vec<u64>)]) -> (Vec<u8>, u64) {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((keys.len() as u64).to_le_bytes());
    for (name, value) in keys {
        string(&mut out, name);
        let array = |out: &mut Vec<u8>, elem: u32, len: usize| {
            out.extend([9, elem].map(u32::to_le_bytes).concat());
            out.extend((len as u64).to_le_bytes());
        };
        match value {
            Val::U32(n) => out.extend([4, *n].map(u32::to_le_bytes).concat()),
            Val::I32(n) => out.extend([5, *n].map(i32::to_le_bytes).concat()),
            Val::Str(s) => {
                out.extend(8u32.to_le_bytes());
                string(&mut out, s);
            }
            Val::U32s(all) => {
                array(&mut out, 4, all.len());
                all.iter().for_each(|n| out.extend(n.to_le_bytes()));
            }
            Val::Strs(all) => {
                array(&mut out, 8, all.len());
                all.iter().for_each(|s| string(&mut out, s));
            }
        }
    }
    let mut offset = 0u64;
    for (name, ty, shape) in tensors {
        string(&mut out, name);
        out.extend((shape.len() as u32).to_le_bytes());
        shape.iter().for_each(|n| out.extend(n.to_le_bytes()));
        out.extend(ty.gguf().to_le_bytes());
        out.extend(offset.to_le_bytes());
        let bytes = shape.iter().product::<u64>() / ty.block_len() as u64 * ty.block_bytes() as u64;
        offset += bytes.next_multiple_of(32);
    }
    out.resize(out.len().next_multiple_of(32), 0);
    let end = out.len() as u64 + offset;
    (out, end)
}

/// A small file in memory.
pub(super) fn in_memory(keys: &[(String, Val)], tensors: &[(String, Type, Vec<u64>)]) -> Gguf {
    let (mut bytes, end) = header(keys, tensors);
    bytes.resize(end as usize, 0);
    Gguf::from_bytes("in-memory", bytes).unwrap()
}

/// A file of any size, sparse on the disk and gone once it is mapped.
pub(super) fn sparse(name: &str, keys: &[(String, Val)], tensors: &[(String, Type, Vec<u64>)]) -> Gguf {
    let (bytes, end) = header(keys, tensors);
    let path: PathBuf = std::env::temp_dir().join(format!("rekindle-family-{}-{name}.gguf", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(end).unwrap();
    let file = Gguf::open(&path);
    std::fs::remove_file(&path).unwrap();
    file.unwrap()
}
