//! Values of keys: numbers by value, strings and arrays as views into the file.

use super::cursor::Cursor;
use crate::error::{Error, Result};

/// The metadata types of GGUF, by the file's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Str = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    pub fn from_number(n: u32) -> Option<ValueType> {
        use ValueType::*;
        [U8, I8, U16, I16, U32, I32, F32, Bool, Str, Array, U64, I64, F64].into_iter().find(|t| *t as u32 == n)
    }
    /// The name that GGUF's documents use.
    pub fn name(self) -> &'static str {
        use ValueType::*;
        match self {
            U8 => "u8",
            I8 => "i8",
            U16 => "u16",
            I16 => "i16",
            U32 => "u32",
            I32 => "i32",
            F32 => "f32",
            Bool => "bool",
            Str => "string",
            Array => "array",
            U64 => "u64",
            I64 => "i64",
            F64 => "f64",
        }
    }
    /// Bytes of one value in the file; `None` for strings and arrays, whose lengths vary.
    pub fn fixed_size(self) -> Option<usize> {
        use ValueType::*;
        match self {
            U8 | I8 | Bool => Some(1),
            U16 | I16 => Some(2),
            U32 | I32 | F32 => Some(4),
            U64 | I64 | F64 => Some(8),
            Str | Array => None,
        }
    }
}

/// One value of a key. Strings are bytes, since GGUF asks for UTF-8 but files do not always keep to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(&'a [u8]),
    Array(Array<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl<'a> Value<'a> {
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::F32(_) => ValueType::F32,
            Value::Bool(_) => ValueType::Bool,
            Value::Str(_) => ValueType::Str,
            Value::Array(_) => ValueType::Array,
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F64(_) => ValueType::F64,
        }
    }

    /// The value as an integer, if it is one of any width.
    pub fn as_int(&self) -> Option<i128> {
        Some(match *self {
            Value::U8(v) => v.into(),
            Value::I8(v) => v.into(),
            Value::U16(v) => v.into(),
            Value::I16(v) => v.into(),
            Value::U32(v) => v.into(),
            Value::I32(v) => v.into(),
            Value::U64(v) => v.into(),
            Value::I64(v) => v.into(),
            _ => return None,
        })
    }

    /// The value as a float, if it is a float or an integer.
    pub fn as_float(&self) -> Option<f64> {
        match *self {
            Value::F32(v) => Some(v.into()),
            Value::F64(v) => Some(v),
            _ => self.as_int().map(|v| v as f64),
        }
    }
}

/// An array of values: a view into the file that was checked when the header was walked.
#[derive(Clone, Copy, PartialEq)]
pub struct Array<'a> {
    pub(super) elem: ValueType,
    pub(super) len: usize,
    pub(super) bytes: &'a [u8],
}

impl std::fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}; {}]", self.elem.name(), self.len)
    }
}

impl<'a> Array<'a> {
    pub fn elem_type(&self) -> ValueType {
        self.elem
    }
    pub fn len(&self) -> usize {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements in order; nothing is copied.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let mut cursor = Cursor::whole(self.bytes);
        let (elem, len) = (self.elem, self.len);
        // The array was walked when the header was read, so `ok` drops nothing.
        (0..len).map_while(move |_| cursor.value(elem, 0).ok())
    }

    /// The strings of a string array, as bytes.
    pub fn strs(&self) -> Result<impl Iterator<Item = &'a [u8]> + use<'a>> {
        if self.elem != ValueType::Str {
            return Err(Error::bad_file(format!(
                "array of {} where an array of string was expected",
                self.elem.name()
            )));
        }
        Ok(self.iter().filter_map(|v| if let Value::Str(s) = v { Some(s) } else { None }))
    }

    /// The numbers of an array as f32; integers convert.
    pub fn f32s(&self) -> Result<Vec<f32>> {
        self.collect("f32", |v| v.as_float().map(|f| f as f32))
    }
    /// The integers of an array as i32, if all are in range.
    pub fn i32s(&self) -> Result<Vec<i32>> {
        self.collect("i32", |v| v.as_int().and_then(|i| i32::try_from(i).ok()))
    }
    /// The integers of an array as u64, if all are in range.
    pub fn u64s(&self) -> Result<Vec<u64>> {
        self.collect("u64", |v| v.as_int().and_then(|i| u64::try_from(i).ok()))
    }

    fn collect<T>(&self, want: &str, f: impl Fn(Value<'a>) -> Option<T>) -> Result<Vec<T>> {
        let mut out = Vec::new();
        out.try_reserve_exact(self.len).map_err(|_| Error::out_of_memory("metadata array", self.len as u64))?;
        for (i, v) in self.iter().enumerate() {
            let have = v.value_type().name();
            out.push(f(v).ok_or_else(|| Error::bad_file(format!("element {i} ({have}) is no {want}")))?);
        }
        Ok(out)
    }
}
