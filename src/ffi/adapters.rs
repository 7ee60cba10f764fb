//! Adapters: LoRAs and control vectors beside a model.

use std::ffi::c_char;
use std::path::Path;
use std::sync::Arc;

use super::context::rekindle_context;
use super::error::rekindle_status;
use super::file::rekindle_file;
use super::guard::guard;
use super::handle::{create, get};
use super::model::rekindle_model;
use super::structs::{self, Struct, chars, place, slice, write};
use crate::context::{Context, LogLevel};
use crate::error::{Error, Result};
use crate::gguf::{AdapterKind, Gguf};
use crate::session::Model;

/// Puts adapters beside a model's file: GGUF files of LoRAs (general.type "adapter", adapter.type "lora") and of
/// control vectors (general.architecture "controlvector"). `paths` has `n_paths` paths with the lengths
/// `path_lens`. On success `*adapted` is another handle, which rekindle_file_close ends; `file` stays as it is. Plans
/// of it count the adapters' bytes, and a model that is loaded by such a plan can compute with them. They are numbered
/// from 0 in this order, behind those that `file` has already.
///
/// Nothing changes until a scale is set, for a sequence (rekindle_seq_set_adapters) or a generation (adapter_scales).
/// With a scale s, a LoRA adds s alpha / rank B (A x) to W x for each matrix W that it has A and B for, and a control
/// vector adds s times its direction to a layer's result. Norms in a LoRA's file are left out, with a warning in the
/// log. What rekindle_file_get_info and rekindle_model_get_info count is the model without its adapters.
///
/// REKINDLE_IO: a file cannot be opened. REKINDLE_BAD_FILE: it is not well-formed, or a tensor does not fit the model
/// or holds what is no finite number. REKINDLE_UNSUPPORTED: it is no adapter, or one of another architecture.
/// REKINDLE_INVALID_ARGUMENT: more than 32 adapters.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_file_adapt(
    context: *const rekindle_context,
    file: *const rekindle_file,
    paths: *const *const c_char,
    path_lens: *const usize,
    n_paths: usize,
    adapted: *mut *mut rekindle_file,
) -> rekindle_status {
    guard("rekindle_file_adapt", || {
        let c = get::<Context, _>(context)?;
        let f = get::<Gguf, _>(file)?;
        let out = place(adapted, "adapted")?;
        // SAFETY: the caller's arrays.
        let (paths, lens) = unsafe { (slice(paths, n_paths, "paths")?, slice(path_lens, n_paths, "path_lens")?) };
        // SAFETY: the caller's texts.
        let path = |(p, n): (&*const c_char, &usize)| unsafe { structs::path(*p, *n, "paths") };
        let paths = paths.iter().zip(lens).map(path).collect::<Result<Vec<&Path>>>()?;
        let gguf = f.with_adapters(&paths)?;
        for adapter in &gguf.adapters()[f.adapters().len()..] {
            let n = adapter.left_out.len();
            if let Some(first) = adapter.left_out.first() {
                let text = format!("{}: {n} tensors are left out, the first is '{first}'", adapter.path);
                c.log(LogLevel::Warn, &text);
            }
        }
        let handle = create(Arc::new(gguf))?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// The kinds of adapter.
pub const REKINDLE_ADAPTER_LORA: i32 = 1;
pub const REKINDLE_ADAPTER_CONTROL_VECTOR: i32 = 2;

/// The description of an adapter beside a file.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_adapter_info {
    /// sizeof(rekindle_adapter_info), set by the caller.
    pub struct_size: u32,
    /// REKINDLE_ADAPTER_…
    pub kind: i32,
    /// Bytes of its tensors.
    pub n_bytes: u64,
    pub n_tensors: u32,
    /// A LoRA's alpha; 0: what it adds is not divided by the rank.
    pub alpha: f32,
    /// general.name; empty if the file has none.
    pub name: [c_char; 128],
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_adapter_info {
    const NAME: &'static str = "rekindle_adapter_info";
}

/// Tells what adapter `index` of a file is.
///
/// REKINDLE_NOT_FOUND: the file has no such adapter; so counting up to it finds all.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_file_get_adapter(
    file: *const rekindle_file,
    index: u32,
    info: *mut rekindle_adapter_info,
) -> rekindle_status {
    guard("rekindle_file_get_adapter", || {
        let f = get::<Gguf, _>(file)?;
        let a = f.adapters().get(index as usize).ok_or_else(|| {
            Error::not_found(format!("adapter {index} is out of range, the file has {}", f.adapters().len()))
        })?;
        let (kind, alpha) = match a.kind {
            AdapterKind::Lora { alpha } => (REKINDLE_ADAPTER_LORA, alpha),
            AdapterKind::ControlVector => (REKINDLE_ADAPTER_CONTROL_VECTOR, 0.0),
        };
        let value = rekindle_adapter_info {
            struct_size: 0,
            kind,
            n_bytes: a.n_bytes,
            n_tensors: a.n_tensors as u32,
            alpha,
            name: chars(&a.name),
        };
        // SAFETY: the caller's struct.
        unsafe { write(info, &value) }
    })
}

/// Sets the scales of the model's adapters for the tokens of a sequence: `n_scales` numbers in the adapters' order;
/// those that are not given are 0, which every sequence begins with. Sequences of one batch may have different ones.
/// The sequence must be empty, since cached tokens were computed with the scales that held then; a copy
/// (rekindle_seq_copy) and a saved sequence have the same ones. They hold until they are set again; a generation that
/// gets the sequence sets its own.
///
/// REKINDLE_INVALID_ARGUMENT: a sequence id out of range, of a generation or with tokens; more scales than adapters; a
/// scale that is no finite number. REKINDLE_BUSY.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_seq_set_adapters(
    model: *mut rekindle_model,
    seq_id: i32,
    scales: *const f32,
    n_scales: usize,
) -> rekindle_status {
    guard("rekindle_seq_set_adapters", || {
        let m = get::<Model, _>(model)?;
        // SAFETY: the caller's array.
        m.seq_set_adapters(seq_id, unsafe { slice(scales, n_scales, "scales") }?)
    })
}
