//! Reader for GGUF files, versions 2 and 3, little-endian, one file or several splits of one model.
//!
//! A file consists of a magic number, a version, two counts, the keys with their values, the directory of tensors,
//! padding, and the data of the tensors. `parse` walks over everything before the data once, when the file is opened.
//! Arrays and strings stay in the memory map and are read when somebody asks for them, so a plan never copies a
//! vocabulary.
//!
//! A file may come from anywhere, so nothing in it is believed:
//!
//! - `cursor` hands out bytes only after it has compared the length with the bytes that are left.
//! - A count is compared with the least number of bytes that so many entries take, before the first of them is read and
//!   before any memory is asked for. So a false count costs neither time nor memory.
//! - Nested arrays may be eight levels deep, since each level takes a call.
//! - Sums and products are checked for overflow: an array's bytes, a tensor's bytes, the end of its data.
//! - Names of keys and tensors are UTF-8, of bounded length, and unique. Tensors lie inside the file, at multiples of
//!   the alignment, and do not overlap.
//! - A message shows at most 80 bytes of a name, with odd ones escaped.
//!
//! After this walk every value and every tensor is known to be there, and reading it cannot fail.

mod adapters;
mod cursor;
mod file;
mod overrides;
mod parse;
mod value;

pub use adapters::{Adapter, AdapterKind, MAX_ADAPTERS};
pub use file::Gguf;
pub use parse::{Key, TensorInfo, TypeId};
pub use value::{Array, Value, ValueType};
