//! Files: a model's header, read without loading anything.

use std::ffi::c_char;
use std::path::Path;
use std::sync::Arc;

use super::context::rekindle_context;
use super::error::rekindle_status;
use super::guard::guard;
use super::handle::{create, destroy, get};
use super::structs::{self, Struct, chars, place, text, write};
use crate::context::{Context, LogLevel};
use crate::error::Result;
use crate::gguf::Gguf;

/// A GGUF file (or all files of a split one), its header checked, its data mapped.
pub struct rekindle_file {
    _private: (),
}

/// Opens a GGUF file. If it is the first of several splits (`…-00001-of-0000N.gguf`), all of them are opened. Only the
/// header is read, so this takes milliseconds. `path` has `path_len` bytes. On success `*file` is a handle that
/// rekindle_file_close ends.
///
/// The header, with its keys and the vocabulary, is copied. Tensors stay in the file. A model that was loaded with
/// mapped weights (REKINDLE_WEIGHTS_AUTO on the CPU) computes with the file's own pages: nothing is copied, other
/// processes share them, and the system may drop and read them again. So the files must not be changed or cut short
/// while such a model is in use: the process ends with SIGBUS when it computes with a part that is gone. With
/// REKINDLE_WEIGHTS_COPIED a cut file is an error of rekindle_load (or of a first save), and later cuts do no harm. To
/// remove files, or to rename others over them, is always fine. A host that holds an open descriptor, of a sealed memfd
/// for example, passes "/proc/self/fd/N" as the path.
///
/// REKINDLE_IO: a file cannot be opened. REKINDLE_BAD_FILE: it is not well-formed. REKINDLE_UNSUPPORTED: another
/// version of GGUF, or big-endian.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_file_open(
    context: *const rekindle_context,
    path: *const c_char,
    path_len: usize,
    file: *mut *mut rekindle_file,
) -> rekindle_status {
    guard("rekindle_file_open", || {
        let c = get::<Context, _>(context)?;
        let out = place(file, "file")?;
        // SAFETY: the caller's path.
        let path = unsafe { structs::path(path, path_len, "path") }?;
        let handle = open(&c, path, "")?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// Opens a GGUF file as rekindle_file_open does, with values in place of those that its keys have. `overrides` is a
/// JSON object in UTF-8: `{"tokenizer.ggml.pre": "qwen2", "llama.rope.freq_base": 500000.0}`. Plans, models and
/// vocabularies that are made from this file see these values. A key that the file has keeps its type; another one is
/// added. An empty text changes nothing.
///
/// REKINDLE_INVALID_ARGUMENT, naming the key: a value that its type does not hold, an array, or a key that says how the
/// file is read (general.alignment, split.count).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_file_open_with(
    context: *const rekindle_context,
    path: *const c_char,
    path_len: usize,
    overrides: *const c_char,
    overrides_len: usize,
    file: *mut *mut rekindle_file,
) -> rekindle_status {
    guard("rekindle_file_open_with", || {
        let c = get::<Context, _>(context)?;
        let out = place(file, "file")?;
        // SAFETY: the caller's texts.
        let (path, overrides) =
            unsafe { (structs::path(path, path_len, "path")?, text(overrides, overrides_len, "overrides")?) };
        let handle = open(&c, path, overrides)?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(handle) };
        Ok(())
    })
}

fn open(c: &Context, path: &Path, overrides: &str) -> Result<*mut rekindle_file> {
    let shown = path.display().to_string();
    let mut gguf = Gguf::open(path)?;
    if !overrides.is_empty() {
        gguf.override_keys(overrides).map_err(|e| e.at(&shown))?;
    }
    c.log(LogLevel::Info, &format!("{shown}: GGUF version {}, {} tensors", gguf.version(), gguf.tensors().len()));
    create(Arc::new(gguf))
}

/// Closes a file. Plans and models that were made from it go on. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rekindle_file_close(file: *mut rekindle_file) -> rekindle_status {
    guard("rekindle_file_close", || destroy::<Gguf, _>(file))
}

/// The description of a file. A size that its keys do not give is 0, and such a text is empty.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_file_info {
    /// sizeof(rekindle_file_info), set by the caller.
    pub struct_size: u32,
    /// GGUF version, 2 or 3.
    pub version: u32,
    pub n_keys: u64,
    pub n_tensors: u64,
    /// Bytes of all its files.
    pub n_bytes: u64,
    /// Elements of all its tensors.
    pub n_params: u64,
    pub n_files: u32,
    pub n_layer: u32,
    /// The context that the model was trained for, in tokens.
    pub n_ctx_train: u32,
    pub n_embd: u32,
    /// Rows of the token embedding.
    pub n_vocab: u32,
    /// Zero.
    pub reserved: u32,
    /// general.architecture and general.name
    pub architecture: [c_char; 64],
    pub name: [c_char; 128],
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_file_info {
    const NAME: &'static str = "rekindle_file_info";
}

/// Tells what a file is. It may run at the same time as other calls on the file, as may all that take a const file.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_file_get_info(
    file: *const rekindle_file,
    info: *mut rekindle_file_info,
) -> rekindle_status {
    guard("rekindle_file_get_info", || {
        let f = get::<Gguf, _>(file)?;
        let word = |key: &str| f.get_str(key).ok().flatten().unwrap_or_default();
        let architecture = word("general.architecture");
        let size = |key: &str| f.get_u32(&format!("{architecture}.{key}")).ok().flatten().unwrap_or(0);
        let value = rekindle_file_info {
            struct_size: 0,
            version: f.version(),
            n_keys: f.keys().len() as u64,
            n_tensors: f.own_tensors().len() as u64,
            n_bytes: f.n_bytes(),
            n_params: f.own_tensors().iter().map(|t| t.ne.iter().product::<u64>()).fold(0, u64::saturating_add),
            n_files: f.n_files() as u32,
            n_layer: size("block_count").saturating_sub(size("nextn_predict_layers")),
            n_ctx_train: size("context_length"),
            n_embd: size("embedding_length"),
            n_vocab: f.tensor("token_embd.weight").and_then(|t| u32::try_from(t.ne[1]).ok()).unwrap_or(0),
            reserved: 0,
            architecture: chars(architecture),
            name: chars(word("general.name")),
        };
        // SAFETY: the caller's struct.
        unsafe { write(info, &value) }
    })
}
