//! Reads little-endian values from the first bytes of a file. Every length is checked against the whole file before it
//! is used. If it lies in the file but not in the bytes that are at hand, the cursor remembers how many are needed.

use super::value::{Array, Value, ValueType};
use crate::error::{Error, Result};

/// Arrays may hold arrays, and a hostile file could nest them until the stack ends.
const MAX_NESTING: u32 = 8;

pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pos: usize,
    file_len: u64,
    needed: u64,
}

impl<'a> Cursor<'a> {
    /// Over bytes that are all there is.
    pub fn whole(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor::new(bytes, bytes.len() as u64)
    }
    /// Over the first bytes of a file.
    pub fn new(bytes: &'a [u8], file_len: u64) -> Cursor<'a> {
        Cursor { bytes, pos: 0, file_len, needed: 0 }
    }
    /// Bytes from the file's start that a failed read would have needed; 0 if it failed for another reason.
    pub fn needed(&self) -> u64 {
        self.needed
    }
    /// Bytes of the file from here on.
    fn left(&self) -> u64 {
        self.file_len.saturating_sub(self.pos as u64)
    }
    pub fn pos(&self) -> usize {
        self.pos
    }

    pub fn take(&mut self, n: u64, what: &str) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.pos..];
        if n > rest.len() as u64 {
            let (pos, left) = (self.pos, self.left());
            if n <= left {
                self.needed = pos as u64 + n;
            }
            return Err(Error::bad_file(format!("{what} at byte {pos} needs {n} bytes, the file has {left} left"))
                .amounts(n, left));
        }
        self.pos += n as usize;
        Ok(&rest[..n as usize])
    }

    fn fixed<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, what)?);
        Ok(out)
    }
    pub fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.fixed(what)?))
    }
    pub fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.fixed(what)?))
    }
    pub fn string(&mut self, what: &str) -> Result<&'a [u8]> {
        let n = self.u64(what)?;
        self.take(n, what)
    }
    pub fn value_type(&mut self, what: &str) -> Result<ValueType> {
        let n = self.u32(what)?;
        ValueType::from_number(n)
            .ok_or_else(|| Error::bad_file(format!("{what}: unknown metadata type {n} (0 to 12 are known)")))
    }

    pub fn value(&mut self, ty: ValueType, depth: u32) -> Result<Value<'a>> {
        let what = ty.name();
        Ok(match ty {
            ValueType::U8 => Value::U8(self.fixed::<1>(what)?[0]),
            ValueType::I8 => Value::I8(self.fixed::<1>(what)?[0] as i8),
            ValueType::U16 => Value::U16(u16::from_le_bytes(self.fixed(what)?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(self.fixed(what)?)),
            ValueType::U32 => Value::U32(self.u32(what)?),
            ValueType::I32 => Value::I32(self.u32(what)? as i32),
            ValueType::F32 => Value::F32(f32::from_bits(self.u32(what)?)),
            ValueType::Bool => match self.fixed::<1>(what)?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                b => return Err(Error::bad_file(format!("bool holds {b}, expected 0 or 1"))),
            },
            ValueType::Str => Value::Str(self.string(what)?),
            ValueType::Array => Value::Array(self.array(depth)?),
            ValueType::U64 => Value::U64(self.u64(what)?),
            ValueType::I64 => Value::I64(self.u64(what)? as i64),
            ValueType::F64 => Value::F64(f64::from_bits(self.u64(what)?)),
        })
    }

    fn array(&mut self, depth: u32) -> Result<Array<'a>> {
        if depth >= MAX_NESTING {
            return Err(Error::bad_file(format!("arrays nested deeper than {MAX_NESTING}")));
        }
        let elem = self.value_type("array element type")?;
        let n = self.u64("array length")?;
        let start = self.pos;
        match elem.fixed_size() {
            Some(size) => {
                let bytes = n
                    .checked_mul(size as u64)
                    .ok_or_else(|| Error::bad_file(format!("array of {n} {} overflows", elem.name())))?;
                self.take(bytes, "array")?;
            }
            None => {
                // Each element takes at least the 8 bytes of a length, so a false count ends here and not after 2^64
                // steps.
                let left = self.left();
                if n > left / 8 {
                    return Err(Error::bad_file(format!(
                        "array of {n} {} cannot lie in the {left} bytes left",
                        elem.name()
                    ))
                    .amounts(n, left / 8));
                }
                for _ in 0..n {
                    self.value(elem, depth + 1)?;
                }
            }
        }
        let bytes = &self.bytes[start..self.pos];
        if elem == ValueType::Bool && bytes.iter().any(|b| *b > 1) {
            return Err(Error::bad_file("array of bool holds a byte that is neither 0 nor 1"));
        }
        Ok(Array { elem, len: n as usize, bytes })
    }
}
