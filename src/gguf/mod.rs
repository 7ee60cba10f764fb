//! Reader for GGUF files, versions 2 and 3, little-endian, one file or several splits.
//!
//! A file is: magic, version, counts, key-values, tensor directory, padding, tensor data. The header is walked once;
//! arrays and strings stay in the memory map and are read when asked for, so a plan never copies a vocabulary.
//! Every count, length, product and offset is checked against the file before it is used.

mod cursor;
mod file;
mod parse;
mod value;

pub use file::Gguf;
pub use parse::{Key, TensorInfo, TypeId};
pub use value::{Array, Value, ValueType};
