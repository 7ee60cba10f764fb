//! Writes GGUF version 3: keys, tensor directory, and a hole where the data would be.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rekindle::quant::Type;

/// Every tensor's data begins at a multiple of this, counted from the start of the data.
pub(super) const ALIGNMENT: u64 = 32;

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(String),
    U64(u64),
    I64(i64),
    F64(f64),
    Strs(Vec<String>),
    U32s(Vec<u32>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    Bools(Vec<bool>),
}

macro_rules! from {
    ($($of:ty => $to:ident,)*) => {
        $(impl From<$of> for Value {
            fn from(v: $of) -> Value {
                Value::$to(v.into())
            }
        })*
    };
}
from! {
    u32 => U32, i32 => I32, f32 => F32, bool => Bool, u64 => U64, &str => Str, String => Str,
    Vec<String> => Strs, Vec<u32> => U32s, Vec<i32> => I32s, Vec<f32> => F32s, Vec<bool> => Bools,
}

impl Value {
    /// GGUF's number, and that of the elements of an array.
    fn numbers(&self) -> (u32, Option<u32>) {
        match self {
            Value::U8(_) => (0, None),
            Value::I8(_) => (1, None),
            Value::U16(_) => (2, None),
            Value::I16(_) => (3, None),
            Value::U32(_) => (4, None),
            Value::I32(_) => (5, None),
            Value::F32(_) => (6, None),
            Value::Bool(_) => (7, None),
            Value::Str(_) => (8, None),
            Value::U64(_) => (10, None),
            Value::I64(_) => (11, None),
            Value::F64(_) => (12, None),
            Value::U32s(_) => (9, Some(4)),
            Value::I32s(_) => (9, Some(5)),
            Value::F32s(_) => (9, Some(6)),
            Value::Bools(_) => (9, Some(7)),
            Value::Strs(_) => (9, Some(8)),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        let (ty, elem) = self.numbers();
        out.extend(ty.to_le_bytes());
        out.extend(elem.into_iter().flat_map(u32::to_le_bytes));
        match self {
            Value::U8(v) => out.push(*v),
            Value::I8(v) => out.extend(v.to_le_bytes()),
            Value::U16(v) => out.extend(v.to_le_bytes()),
            Value::I16(v) => out.extend(v.to_le_bytes()),
            Value::U32(v) => out.extend(v.to_le_bytes()),
            Value::I32(v) => out.extend(v.to_le_bytes()),
            Value::F32(v) => out.extend(v.to_le_bytes()),
            Value::Bool(v) => out.push((*v).into()),
            Value::Str(v) => text(out, v),
            Value::U64(v) => out.extend(v.to_le_bytes()),
            Value::I64(v) => out.extend(v.to_le_bytes()),
            Value::F64(v) => out.extend(v.to_le_bytes()),
            Value::Strs(v) => all(out, v, |out, s| text(out, s)),
            Value::U32s(v) => all(out, v, |out, n| out.extend(n.to_le_bytes())),
            Value::I32s(v) => all(out, v, |out, n| out.extend(n.to_le_bytes())),
            Value::F32s(v) => all(out, v, |out, n| out.extend(n.to_le_bytes())),
            Value::Bools(v) => all(out, v, |out, b| out.push((*b).into())),
        }
    }
}

fn text(out: &mut Vec<u8>, s: &str) {
    out.extend((s.len() as u64).to_le_bytes());
    out.extend(s.as_bytes());
}

fn all<T>(out: &mut Vec<u8>, values: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    out.extend((values.len() as u64).to_le_bytes());
    values.iter().for_each(|v| put(out, v));
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tensor {
    pub name: String,
    pub ty: Type,
    /// Elements per dimension, the fastest first.
    pub shape: Vec<u64>,
}

impl Tensor {
    pub fn new(name: impl Into<String>, ty: Type, shape: &[u64]) -> Tensor {
        Tensor { name: name.into(), ty, shape: shape.to_vec() }
    }
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
    pub fn bytes(&self) -> u64 {
        let row = self.ty.row_bytes(self.shape[0] as usize);
        row.unwrap_or_else(|| panic!("{}: rows of {} in {}", self.name, self.shape[0], self.ty.name())) as u64
            * self.shape[1..].iter().product::<u64>()
    }
}

/// The header of a file: everything before its data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Header {
    pub keys: Vec<(String, Value)>,
    pub tensors: Vec<Tensor>,
}

/// The sizes of a file that was written.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    pub tensors: usize,
    /// The length of the file.
    pub claimed: u64,
    /// The bytes that it takes on the disk; the rest is a hole.
    pub on_disk: u64,
}

impl Header {
    pub fn key(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.keys.push((name.into(), value.into()));
    }
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.keys.iter().find(|k| k.0 == name).map(|k| &k.1)
    }
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(Tensor::elements).sum()
    }

    /// The header up to the first byte of data, and the length of the whole file.
    pub fn bytes(&self) -> (Vec<u8>, u64) {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        for (name, value) in &self.keys {
            text(&mut out, name);
            value.put(&mut out);
        }
        let mut offset = 0u64;
        for t in &self.tensors {
            text(&mut out, &t.name);
            out.extend((t.shape.len() as u32).to_le_bytes());
            t.shape.iter().for_each(|n| out.extend(n.to_le_bytes()));
            out.extend(t.ty.gguf().to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset = (offset + t.bytes()).next_multiple_of(ALIGNMENT);
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
        let len = out.len() as u64 + offset;
        (out, len)
    }

    pub fn write(&self, path: &Path) -> io::Result<Written> {
        let (bytes, len) = self.bytes();
        let mut file = File::create(path)?;
        file.write_all(&bytes)?;
        file.set_len(len)?;
        // Some file systems count blocks only once they have chosen them.
        file.sync_all()?;
        let meta = file.metadata()?;
        Ok(Written { tensors: self.tensors.len(), claimed: len, on_disk: meta.blocks() * 512 })
    }
}
