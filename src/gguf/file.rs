//! An open model: one memory-mapped file or all splits of one, with look-up by name.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::{Advice, Mmap};

use super::adapters::{self, Adapter};
use super::overrides;
use super::parse::{self, Header, Key, Read, TensorInfo};
use super::value::{Array, Value};
use crate::error::{Error, Result, Status, try_vec};

/// The bytes of a header that are read first; then four times as many, and so on.
const FIRST: u64 = 4 << 20;
/// The most bytes that a header may have. Large vocabularies take some 20 MB.
const MOST: u64 = 256 << 20;

enum Bytes {
    Map { map: Mmap, header: Vec<u8>, file: File, path: PathBuf },
    Owned(Vec<u8>),
}

impl Bytes {
    /// All of the file. Of a mapped one, bytes that another program has cut off cannot be read.
    fn get(&self) -> &[u8] {
        match self {
            Bytes::Map { map, .. } => map,
            Bytes::Owned(v) => v,
        }
    }
    /// The header, which no other program can change.
    fn header(&self) -> &[u8] {
        match self {
            Bytes::Map { header, .. } => header,
            Bytes::Owned(v) => v,
        }
    }
}

/// An open GGUF model. Several threads may read it at once, and its files stay mapped as long as it lives.
///
/// The header with its keys and their values is copied when a file is opened. The tensors' bytes are mapped, which is
/// private to the process. But if another program shortens the file while a model computes with mapped weights, the
/// process ends with a bus error when it touches the part that is gone. So a model's file should be replaced by renaming
/// another one over it, not by writing into it. Weights that are copied are read from the file, not from the map.
pub struct Gguf {
    path: String,
    version: u32,
    /// Those of the model, then one for each adapter.
    files: Vec<Arc<Bytes>>,
    /// The values that the host gave in place of the file's, as the file would have them.
    given: Vec<u8>,
    keys: Vec<Key>,
    key_index: HashMap<String, usize>,
    tensors: Vec<TensorInfo>,
    tensor_index: HashMap<String, usize>,
    adapters: Vec<Adapter>,
    /// Tensors and files of the model itself; those of adapters stand behind them.
    n_own: (usize, usize),
}

/// The largest number of split files that a name can hold.
const MAX_SPLITS: u64 = 99_999;

impl Gguf {
    /// Opens `path`. If it is the first of several splits (`-00001-of-0000N.gguf`), it opens the others as well.
    ///
    /// # Errors
    /// `Io` if a file cannot be read, `BadFile` if it is not well-formed, `Unsupported` for other versions and byte
    /// orders.
    pub fn open(path: &Path) -> Result<Gguf> {
        let shown = path.display().to_string();
        let (first, header) = open(path, 0)?;
        let mut gguf = Gguf::from_first(&shown, first, header)?;
        let count = gguf.get_u64("split.count").map_err(|e| e.at(&shown))?.unwrap_or(1);
        if count > 1 {
            gguf.open_splits(path, count).map_err(|e| e.at(&shown))?;
        }
        gguf.n_own = (gguf.tensors.len(), gguf.files.len());
        gguf.index_tensors().map_err(|e| e.at(&shown))?;
        Ok(gguf)
    }

    /// Puts the host's values in the place of the file's, or beside them: a JSON object of keys and their values. A key
    /// that the file has keeps its type.
    ///
    /// # Errors
    /// `InvalidArgument` for text that is no JSON object of numbers, texts and truth values, for a value that the key's
    /// type does not hold, and for keys of the file itself (`general.alignment`, `split.`); it names the key.
    pub fn override_keys(&mut self, json: &str) -> Result<()> {
        for (name, value) in overrides::read(json)? {
            let old = self.key_index.get(&name).copied();
            let ty = overrides::type_of(&name, &value, old.map(|i| self.keys[i].ty))?;
            let start = self.given.len();
            overrides::write(&value, ty, &mut self.given);
            let key = Key { name, ty, bytes: start..self.given.len(), given: true };
            match old {
                Some(i) => self.keys[i] = key,
                None => {
                    self.key_index.insert(key.name.clone(), self.keys.len());
                    self.keys.push(key);
                }
            }
        }
        Ok(())
    }

    /// The same model with adapters beside it (`adapters`), which follow those that it has. Nothing is copied: both
    /// share the maps.
    ///
    /// # Errors
    /// Those of `open`, naming the adapter's file; `Unsupported` for a file that is no adapter or is one of another
    /// model; `BadFile` naming a tensor that does not fit; `InvalidArgument` for too many.
    pub fn with_adapters(&self, paths: &[&Path]) -> Result<Gguf> {
        let mut gguf = Gguf {
            path: self.path.clone(),
            version: self.version,
            files: self.files.clone(),
            given: self.given.clone(),
            keys: self.keys.clone(),
            key_index: self.key_index.clone(),
            tensors: self.tensors.clone(),
            tensor_index: HashMap::new(),
            adapters: self.adapters.clone(),
            n_own: self.n_own,
        };
        for path in paths {
            let own = Gguf::open(path)?;
            let (number, split) = (gguf.adapters.len(), gguf.files.len());
            let (adapter, tensors) =
                adapters::read(self, &own, number, split).map_err(|e| e.at(&path.display().to_string()))?;
            gguf.adapters.push(adapter);
            gguf.tensors.extend(tensors);
            gguf.files.extend(own.files);
        }
        gguf.index_tensors().map_err(|e| e.at(&self.path))?;
        Ok(gguf)
    }

    /// The adapters beside the model, in the order in which they came.
    pub fn adapters(&self) -> &[Adapter] {
        &self.adapters
    }

    /// A model that lies in memory; `name` stands in messages.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Gguf> {
        let header = match parse::header(&bytes, bytes.len() as u64, 0).map_err(|e| e.at(name))? {
            Read::Whole(header) => header,
            Read::Needs(_) => return Err(Error::new(Status::Internal, "a header lies in its file")),
        };
        let mut gguf = Gguf::from_first(name, Bytes::Owned(bytes), header)?;
        gguf.n_own = (gguf.tensors.len(), gguf.files.len());
        gguf.index_tensors().map_err(|e| e.at(name))?;
        Ok(gguf)
    }

    fn from_first(name: &str, bytes: Bytes, h: Header) -> Result<Gguf> {
        let mut key_index = HashMap::new();
        let room = key_index.try_reserve(h.keys.len());
        room.map_err(|_| Error::out_of_memory("the index of keys", h.keys.len() as u64 * 32))?;
        key_index.extend(h.keys.iter().enumerate().map(|(i, k)| (k.name.clone(), i)));
        Ok(Gguf {
            path: name.to_owned(),
            version: h.version,
            files: vec![Arc::new(bytes)],
            given: Vec::new(),
            keys: h.keys,
            key_index,
            tensors: h.tensors,
            tensor_index: HashMap::new(),
            adapters: Vec::new(),
            n_own: (0, 0),
        })
    }

    fn open_splits(&mut self, path: &Path, count: u64) -> Result<()> {
        let no = self.get_u64("split.no")?.unwrap_or(0);
        if no != 0 {
            return Err(Error::bad_file(format!(
                "this is split {} of {count}; open the first one (…-00001-of-{count:05}.gguf)",
                no + 1
            ))
            .subject("split.no"));
        }
        if count > MAX_SPLITS {
            return Err(Error::bad_file(format!("split.count is {count}, expected at most {MAX_SPLITS}"))
                .subject("split.count"));
        }
        let tail = format!("-00001-of-{count:05}.gguf");
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let stem = name.strip_suffix(&tail).ok_or_else(|| {
            Error::bad_file(format!(
                "the first of {count} splits must be named '…{tail}', so that the others can be found"
            ))
            .subject("split.count")
        })?;
        for i in 1..count {
            let next: PathBuf = path.with_file_name(format!("{stem}-{:05}-of-{count:05}.gguf", i + 1));
            let (bytes, h) = open(&next, i as usize)?;
            let no = h
                .keys
                .iter()
                .find(|k| k.name == "split.no")
                .and_then(|k| k.value(bytes.header()))
                .and_then(|v| v.as_int());
            if no != Some(i.into()) {
                return Err(Error::bad_file(format!("{}: split.no is {no:?}, expected {i}", next.display()))
                    .subject("split.no"));
            }
            let room = self.tensors.try_reserve(h.tensors.len());
            room.map_err(|_| Error::out_of_memory("the tensors' directory", h.tensors.len() as u64 * 96))?;
            self.tensors.extend(h.tensors);
            self.files.push(Arc::new(bytes));
        }
        if let Some(n) = self.get_u64("split.tensors.count")?
            && n != self.tensors.len() as u64
        {
            return Err(Error::bad_file(format!(
                "split.tensors.count is {n}, the splits hold {} tensors",
                self.tensors.len()
            ))
            .subject("split.tensors.count"));
        }
        Ok(())
    }

    fn index_tensors(&mut self) -> Result<()> {
        let room = self.tensor_index.try_reserve(self.tensors.len());
        room.map_err(|_| Error::out_of_memory("the index of tensors", self.tensors.len() as u64 * 32))?;
        for (i, t) in self.tensors.iter().enumerate() {
            if self.tensor_index.insert(t.name.clone(), i).is_some() {
                return Err(Error::bad_file(format!("tensor '{}' occurs twice", t.name)).subject(&t.name));
            }
        }
        Ok(())
    }

    pub fn version(&self) -> u32 {
        self.version
    }
    /// The path (or name) it was opened by, for messages.
    pub fn path(&self) -> &str {
        &self.path
    }
    /// Bytes of all its files, but for those of adapters.
    pub fn n_bytes(&self) -> u64 {
        self.files[..self.n_own.1].iter().map(|f| f.get().len() as u64).sum()
    }
    /// The number of its files, but for those of adapters.
    pub fn n_files(&self) -> usize {
        self.n_own.1
    }
    /// The keys in file order (those of the first split).
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }
    /// The value of a key of this file.
    pub fn value(&self, key: &Key) -> Option<Value<'_>> {
        key.value(if key.given { &self.given } else { self.files[0].header() })
    }
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        self.value(&self.keys[*self.key_index.get(key)?])
    }
    /// All tensors, those of adapters last.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }
    /// The tensors of the model itself.
    pub fn own_tensors(&self) -> &[TensorInfo] {
        &self.tensors[..self.n_own.0]
    }
    /// True if a tensor is an adapter's.
    pub fn is_adapters(&self, t: &TensorInfo) -> bool {
        t.split >= self.n_own.1
    }
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensor_index.get(name).map(|i| &self.tensors[*i])
    }
    /// The bytes of a tensor of this model; they lie in the memory map.
    pub fn tensor_data(&self, t: &TensorInfo) -> &[u8] {
        // The range was checked against this file when its header was read.
        &self.files[t.split].get()[t.offset as usize..(t.offset + t.n_bytes) as usize]
    }

    /// Tells the system that the files will be read in order, so that it reads far ahead.
    pub fn read_in_order(&self) {
        for bytes in &self.files {
            if let Bytes::Map { file, .. } = bytes.as_ref() {
                // SAFETY: advice about an open file; a refusal changes nothing.
                unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_SEQUENTIAL) };
            }
        }
    }

    /// Brings `n` bytes of a tensor from `first` on into memory, so that reading them waits for nothing.
    ///
    /// # Errors
    /// `Io`, also where the file became shorter.
    pub fn bring_in(&self, t: &TensorInfo, first: usize, n: usize) -> Result<()> {
        let Bytes::Map { map, path, file, .. } = self.files[t.split].as_ref() else { return Ok(()) };
        let at = t.offset as usize + first;
        match map.advise_range(Advice::PopulateRead, at, n) {
            Ok(()) => {}
            Err(e) if matches!(e.raw_os_error(), Some(libc::EFAULT | libc::EHWPOISON | libc::ENOMEM)) => {
                let path = path.display();
                let what = format!(
                    "{path}: {n} bytes at {at} cannot be read: the file became shorter or its disk fails ({e})"
                );
                return Err(Error::new(Status::Io, what).subject(&t.name));
            }
            // Kernels before 5.14 do not know that advice.
            Err(_) => self.read_through(t, first, n)?,
        }
        // The page of the file's end is there as a whole, and zero behind that end.
        if file.metadata().map_err(|e| io_error(path, e))?.len() < (at + n) as u64 {
            let what = format!("{}: the file became shorter than {} bytes", path.display(), at + n);
            return Err(Error::new(Status::Io, what).subject(&t.name));
        }
        // A virtual machine gets memory that it has not used before only at the first touch, which may take longer than
        // the disk.
        let bytes = &self.tensor_data(t)[first..first + n];
        for byte in bytes.iter().step_by(4096).chain(bytes.last()) {
            std::hint::black_box(*byte);
        }
        Ok(())
    }

    /// Reads `n` bytes of a tensor from `first` on for the sake of the system's page cache alone, where the map shares
    /// them.
    fn read_through(&self, t: &TensorInfo, first: usize, n: usize) -> Result<()> {
        let mut to = try_vec("a piece of a tensor", n.min(1 << 20), 0)?;
        for at in (first..first + n).step_by(1 << 20) {
            let n = to.len().min(first + n - at);
            self.read_tensor(t, at as u64, &mut to[..n])?;
        }
        Ok(())
    }

    /// Reads a tensor's bytes from `first` on, for what is not worth mapping.
    ///
    /// # Errors
    /// `Io`, also where the file became shorter.
    pub fn read_tensor(&self, t: &TensorInfo, first: u64, to: &mut [u8]) -> Result<()> {
        match self.files[t.split].as_ref() {
            Bytes::Map { file, path, .. } => read_at(file, path, t, first, to),
            Bytes::Owned(_) => {
                to.copy_from_slice(&self.tensor_data(t)[first as usize..first as usize + to.len()]);
                Ok(())
            }
        }
    }

    fn typed<'a, T>(&'a self, key: &str, want: &str, f: impl Fn(Value<'a>) -> Option<T>) -> Result<Option<T>> {
        let Some(v) = self.get(key) else { return Ok(None) };
        f(v).map(Some).ok_or_else(|| {
            Error::bad_file(format!("key '{key}' holds {} ({v:?}), expected {want}", v.value_type().name()))
                .subject(key)
        })
    }
    pub fn get_u32(&self, key: &str) -> Result<Option<u32>> {
        self.typed(key, "an integer from 0 to 2^32-1", |v| v.as_int().and_then(|i| u32::try_from(i).ok()))
    }
    pub fn get_u64(&self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "an integer from 0 to 2^64-1", |v| v.as_int().and_then(|i| u64::try_from(i).ok()))
    }
    pub fn get_i64(&self, key: &str) -> Result<Option<i64>> {
        self.typed(key, "an integer of 64 bits", |v| v.as_int().and_then(|i| i64::try_from(i).ok()))
    }
    pub fn get_f32(&self, key: &str) -> Result<Option<f32>> {
        self.typed(key, "a finite number", |v| v.as_float().map(|f| f as f32).filter(|f| f.is_finite()))
    }
    pub fn get_f64(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", |v| v.as_float())
    }
    pub fn get_bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a bool", |v| if let Value::Bool(b) = v { Some(b) } else { None })
    }
    pub fn get_str(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a string of UTF-8", |v| if let Value::Str(s) = v { std::str::from_utf8(s).ok() } else { None })
    }
    pub fn get_array(&self, key: &str) -> Result<Option<Array<'_>>> {
        self.typed(key, "an array", |v| if let Value::Array(a) = v { Some(a) } else { None })
    }
}

fn io_error(path: &Path, e: std::io::Error) -> Error {
    Error::new(Status::Io, format!("{}: {e}", path.display()))
}

fn read_at(file: &File, path: &Path, t: &TensorInfo, first: u64, to: &mut [u8]) -> Result<()> {
    file.read_exact_at(to, t.offset + first).map_err(|e| io_error(path, e).subject(&t.name))
}

/// Opens split `split`: its bytes, and its header.
fn open(path: &Path, split: usize) -> Result<(Bytes, Header)> {
    let shown = path.display().to_string();
    let io = |e: std::io::Error| io_error(path, e);
    // Without the flag, opening a pipe would wait for a writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() {
        return Err(Error::new(Status::Io, format!("{shown}: not a regular file")));
    }
    if meta.len() == 0 {
        return Err(Error::bad_file(format!("{shown}: the file is empty")));
    }
    let (bytes, header) = read_header(&file, path, meta.len(), split)?;
    // SAFETY: the map is private and read-only; that no other program shortens the file is the documented condition.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| match e.raw_os_error() {
        Some(libc::ENOMEM) => Error::out_of_memory(&format!("{shown}: address space for the file"), meta.len()),
        _ => io(e),
    })?;
    // The file may be another one by now.
    if (map.len() as u64) < meta.len() {
        return Err(Error::new(Status::Io, format!("{shown}: the file became shorter while it was opened")));
    }
    Ok((Bytes::Map { map, header: bytes, file, path: path.to_owned() }, header))
}

/// Reads the first bytes of a file, as many as the header needs.
fn read_header(file: &File, path: &Path, len: u64, split: usize) -> Result<(Vec<u8>, Header)> {
    let mut n = FIRST.min(len);
    loop {
        let mut bytes = try_vec("the file's header", n as usize, 0u8)?;
        file.read_exact_at(&mut bytes, 0).map_err(|e| io_error(path, e))?;
        match parse::header(&bytes, len, split).map_err(|e| e.at(&path.display().to_string()))? {
            Read::Whole(header) => {
                bytes.truncate(header.n_bytes);
                bytes.shrink_to_fit();
                return Ok((bytes, header));
            }
            Read::Needs(more) if more > MOST => {
                let text = format!("{}: the header needs {more} bytes, expected at most {MOST}", path.display());
                return Err(Error::bad_file(text).amounts(more, MOST));
            }
            Read::Needs(more) => n = n.saturating_mul(4).max(more).min(MOST).min(len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_same_however_they_are_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf");
        let model = Gguf::open(&path).unwrap();
        let info = &model.tensors[1];
        let mut read = [0; 100];
        model.read_tensor(info, 7, &mut read).unwrap();
        assert_eq!(&read[..], &model.tensor_data(info)[7..107]);
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error() {
        let path = std::env::temp_dir().join(format!("rekindle-shorter-{}.gguf", std::process::id()));
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf"), &path).unwrap();
        let model = Gguf::open(&path).unwrap();
        let Bytes::Map { map, .. } = model.files[0].as_ref() else { panic!("not mapped") };
        // Kernels before 5.14 do not say so in time.
        let says_so = map.advise_range(Advice::PopulateRead, 0, 4096).is_ok();
        let last = model.tensors.iter().max_by_key(|t| t.offset).unwrap();
        let n = last.n_bytes as usize;
        assert!(model.bring_in(last, 0, n).is_ok() && model.read_through(last, 0, n).is_ok());
        File::options().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
        let error = says_so.then(|| model.bring_in(last, 0, n).unwrap_err());
        let other = model.read_through(last, 0, n).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert!(error.is_none_or(|e| e.status == Status::Io && e.to_string().contains("shorter")));
        assert_eq!((other.status, other.detail.subject), (Status::Io, last.name.clone()));
    }
}
