//! A file that is there as a header, to be changed and written again with its data.

use std::io;
use std::path::Path;

use rekindle::gguf::{self, Gguf};

use super::writer::{Header, Tensor, Value};

/// The header of a file.
pub fn of_file(file: &Gguf) -> Header {
    let keys = file.keys().iter().map(|k| (k.name.clone(), value(file.value(k).unwrap())));
    let tensors = file.tensors().iter().map(|t| Tensor::new(&t.name, t.ty, &t.ne[..t.n_dims as usize]));
    Header { keys: keys.collect(), tensors: tensors.collect() }
}

fn value(of: gguf::Value) -> Value {
    use gguf::Value as R;
    let text = |s: &[u8]| String::from_utf8(s.to_vec()).unwrap();
    match of {
        R::U32(n) => Value::U32(n),
        R::I32(n) => Value::I32(n),
        R::F32(n) => Value::F32(n),
        R::Bool(b) => Value::Bool(b),
        R::U64(n) => Value::U64(n),
        R::Str(s) => Value::Str(text(s)),
        R::Array(a) => match a.elem_type() {
            gguf::ValueType::Str => Value::Strs(a.strs().unwrap().map(text).collect()),
            gguf::ValueType::F32 => Value::F32s(a.f32s().unwrap()),
            gguf::ValueType::Bool => Value::Bools(a.iter().map(|v| v == R::Bool(true)).collect()),
            _ => Value::I32s(a.i32s().unwrap()),
        },
        other => panic!("{other:?} is in no small model"),
    }
}

impl Header {
    /// Writes the file with the data that `data` has for each tensor.
    pub fn write_with(&self, path: &Path, data: impl Fn(&Tensor) -> Vec<u8>) -> io::Result<()> {
        let (mut bytes, len) = self.bytes();
        let start = bytes.len() as u64;
        for t in &self.tensors {
            let data = data(t);
            assert_eq!(data.len() as u64, t.bytes(), "{}", t.name);
            bytes.extend(data);
            let offset = bytes.len() as u64 - start;
            bytes.resize((start + offset.next_multiple_of(super::writer::ALIGNMENT)) as usize, 0);
        }
        assert_eq!(bytes.len() as u64, len);
        std::fs::write(path, bytes)
    }
}
