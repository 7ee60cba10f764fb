//! Keys and tensors of a file, one by one.

use std::ffi::c_char;
use std::fmt::Write;

use super::error::rekindle_status;
use super::file::rekindle_file;
use super::guard::guard;
use super::handle::get;
use super::output;
use super::structs::{Struct, chars, place, text, write};
use crate::error::{Error, Result};
use crate::gguf::{Gguf, Key, Value};

/// Types of a key's value, by GGUF's numbers.
pub const REKINDLE_VALUE_U8: i32 = 0;
pub const REKINDLE_VALUE_I8: i32 = 1;
pub const REKINDLE_VALUE_U16: i32 = 2;
pub const REKINDLE_VALUE_I16: i32 = 3;
pub const REKINDLE_VALUE_U32: i32 = 4;
pub const REKINDLE_VALUE_I32: i32 = 5;
pub const REKINDLE_VALUE_F32: i32 = 6;
pub const REKINDLE_VALUE_BOOL: i32 = 7;
pub const REKINDLE_VALUE_STRING: i32 = 8;
pub const REKINDLE_VALUE_ARRAY: i32 = 9;
pub const REKINDLE_VALUE_U64: i32 = 10;
pub const REKINDLE_VALUE_I64: i32 = 11;
pub const REKINDLE_VALUE_F64: i32 = 12;

/// A key of a file.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_key_info {
    /// sizeof(rekindle_key_info), set by the caller.
    pub struct_size: u32,
    /// REKINDLE_VALUE_…
    pub value_type: i32,
    /// The type of an array's elements; -1 for other values.
    pub element_type: i32,
    /// Zero.
    pub reserved: u32,
    /// The elements of an array, the bytes of a string; 1 for other values.
    pub count: u64,
    pub name: [c_char; 256],
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_key_info {
    const NAME: &'static str = "rekindle_key_info";
}

fn key(f: &Gguf, index: u32) -> Result<(&Key, Value<'_>)> {
    let none =
        || Error::not_found(format!("key {index} is out of range, the file has {}", f.keys().len())).subject("index");
    let key = f.keys().get(index as usize).ok_or_else(none)?;
    Ok((key, f.value(key).ok_or_else(none)?))
}

/// Gives the index of a key by its name (UTF-8, name_len bytes).
///
/// REKINDLE_NOT_FOUND: the file has no such key.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_file_find_key(
    file: *const rekindle_file,
    name: *const c_char,
    name_len: usize,
    index: *mut u32,
) -> rekindle_status {
    guard("rekindle_file_find_key", || {
        let f = get::<Gguf, _>(file)?;
        let out = place(index, "index")?;
        // SAFETY: the caller's text.
        let name = unsafe { text(name, name_len, "name") }?;
        let found = f.keys().iter().position(|k| k.name == name);
        let i =
            found.ok_or_else(|| Error::not_found(format!("{}: there is no key '{name}'", f.path())).subject(name))?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(i as u32) };
        Ok(())
    })
}

/// Tells what key `index` of a file is.
///
/// REKINDLE_NOT_FOUND: there is no such index, here and below.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_file_get_key(
    file: *const rekindle_file,
    index: u32,
    info: *mut rekindle_key_info,
) -> rekindle_status {
    guard("rekindle_file_get_key", || {
        let f = get::<Gguf, _>(file)?;
        let (key, value) = key(&f, index)?;
        let (element_type, count) = match value {
            Value::Array(a) => (a.elem_type() as i32, a.len() as u64),
            Value::Str(s) => (-1, s.len() as u64),
            _ => (-1, 1),
        };
        let value = rekindle_key_info {
            struct_size: 0,
            value_type: value.value_type() as i32,
            element_type,
            reserved: 0,
            count,
            name: chars(&key.name),
        };
        // SAFETY: the caller's struct.
        unsafe { write(info, &value) }
    })
}

/// Writes the value of key `index` as text: a string as it is, a number in decimal, an array as [a, b, …] with at most
/// `max_elements` elements. Bytes of strings that are no UTF-8 come as U+FFFD. Text: buffer, capacity, needed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_file_key_text(
    file: *const rekindle_file,
    index: u32,
    max_elements: u32,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_file_key_text", || {
        let f = get::<Gguf, _>(file)?;
        let (_, value) = key(&f, index)?;
        let mut out = String::new();
        show(&value, max_elements as usize, &mut out);
        // SAFETY: the caller's buffer.
        unsafe { output::text(out.as_bytes(), buffer, capacity, needed) }
    })
}

fn show(value: &Value<'_>, max_elements: usize, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = match value {
        Value::U8(x) => write!(out, "{x}"),
        Value::I8(x) => write!(out, "{x}"),
        Value::U16(x) => write!(out, "{x}"),
        Value::I16(x) => write!(out, "{x}"),
        Value::U32(x) => write!(out, "{x}"),
        Value::I32(x) => write!(out, "{x}"),
        Value::U64(x) => write!(out, "{x}"),
        Value::I64(x) => write!(out, "{x}"),
        Value::F32(x) => write!(out, "{x}"),
        Value::F64(x) => write!(out, "{x}"),
        Value::Bool(x) => write!(out, "{x}"),
        Value::Str(s) => write!(out, "{}", String::from_utf8_lossy(s)),
        Value::Array(a) => {
            out.push('[');
            for (i, v) in a.iter().take(max_elements).enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                show(&v, max_elements, out);
            }
            out.push_str(match (a.len() > max_elements, max_elements > 0) {
                (true, true) => ", …]",
                (true, false) => "…]",
                _ => "]",
            });
            Ok(())
        }
    };
}

/// Gives the value of key `index` as an integer; booleans are 0 and 1.
///
/// REKINDLE_INVALID_ARGUMENT: it is no integer, or does not fit.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_file_key_integer(
    file: *const rekindle_file,
    index: u32,
    value: *mut i64,
) -> rekindle_status {
    guard("rekindle_file_key_integer", || {
        let f = get::<Gguf, _>(file)?;
        let out = place(value, "value")?;
        let (key, v) = key(&f, index)?;
        let n = match v {
            Value::Bool(b) => Some(i64::from(b)),
            other => other.as_int().and_then(|n| i64::try_from(n).ok()),
        };
        let n =
            n.ok_or_else(|| Error::invalid(format!("key '{}' is no integer of 64 bits", key.name)).subject(&key.name))?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(n) };
        Ok(())
    })
}

/// Gives the value of key `index` as a floating-point number.
///
/// REKINDLE_INVALID_ARGUMENT: it is none.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_file_key_number(
    file: *const rekindle_file,
    index: u32,
    value: *mut f64,
) -> rekindle_status {
    guard("rekindle_file_key_number", || {
        let f = get::<Gguf, _>(file)?;
        let out = place(value, "value")?;
        let (key, v) = key(&f, index)?;
        let n = v.as_float().or_else(|| v.as_int().map(|n| n as f64));
        let n = n.ok_or_else(|| Error::invalid(format!("key '{}' is no number", key.name)).subject(&key.name))?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(n) };
        Ok(())
    })
}

/// A tensor of a file.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_tensor_info {
    /// sizeof(rekindle_tensor_info), set by the caller.
    pub struct_size: u32,
    /// GGUF's number of its type.
    pub tensor_type: u32,
    pub n_dims: u32,
    /// The number of the split file that holds it, from 0.
    pub split: u32,
    /// Elements per dimension, the one that lies closest together first; 1 past n_dims.
    pub ne: [u64; 4],
    /// The place in that file where its data begins, in bytes.
    pub offset: u64,
    pub n_bytes: u64,
    /// GGUF's name of its type: "Q4_K".
    pub type_name: [c_char; 16],
    pub name: [c_char; 128],
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_tensor_info {
    const NAME: &'static str = "rekindle_tensor_info";
}

/// Tells what tensor `index` of a file is.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_file_get_tensor(
    file: *const rekindle_file,
    index: u32,
    info: *mut rekindle_tensor_info,
) -> rekindle_status {
    guard("rekindle_file_get_tensor", || {
        let f = get::<Gguf, _>(file)?;
        let t = f.own_tensors().get(index as usize).ok_or_else(|| {
            Error::not_found(format!("tensor {index} is out of range, the file has {}", f.own_tensors().len()))
                .subject("index")
        })?;
        let value = rekindle_tensor_info {
            struct_size: 0,
            tensor_type: t.ty.gguf(),
            n_dims: t.n_dims,
            split: t.split as u32,
            ne: t.ne,
            offset: t.offset,
            n_bytes: t.n_bytes,
            type_name: chars(t.ty.name()),
            name: chars(&t.name),
        };
        // SAFETY: the caller's struct.
        unsafe { write(info, &value) }
    })
}
