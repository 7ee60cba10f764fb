//! Saved sequences: what a model remembers of a text, as bytes, for another time or another process.

use std::ffi::{c_char, c_void};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::error::{UserData, rekindle_status};
use super::guard::guard;
use super::handle::get;
use super::model::{rekindle_model, rekindle_progress_fn};
use super::output::array;
use super::structs::{self, slice};
use crate::error::{Error, Result, Status};
use crate::session::Model;

/// Saves a sequence to a buffer of `capacity` bytes; `*needed` gets their number. To ask for that alone, pass NULL and
/// 0.
///
/// The bytes do not depend on devices: a sequence that was saved on a CPU loads on dies, on another split of the
/// layers, and with another n_ctx. They hold the model's fingerprint and the cache's types, which must be the same, and
/// a checksum. Checkpoints are not saved. rekindle_cancel ends a long call, with REKINDLE_CANCELLED.
///
/// REKINDLE_BUFFER_TOO_SMALL; nothing is written. REKINDLE_INVALID_ARGUMENT: a sequence id out of range, or a sequence
/// that was cut where it cannot go on (see rekindle_seq_cut). REKINDLE_BUSY, REKINDLE_DEVICE and
/// REKINDLE_OUT_OF_MEMORY, here and below.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_seq_save(
    model: *mut rekindle_model,
    seq_id: i32,
    buffer: *mut u8,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_seq_save", || {
        let m = get::<Model, _>(model)?;
        let n = usize::try_from(m.seq_saved_bytes(seq_id)?).unwrap_or(usize::MAX);
        if buffer.is_null() || capacity < n {
            // It says what is wrong, or gives the size that was asked for.
            if !needed.is_null() {
                // SAFETY: not null, so writable.
                unsafe { needed.write_unaligned(n) };
            }
            return match (buffer.is_null(), capacity, needed.is_null()) {
                (true, 0, false) => Ok(()),
                (true, ..) => {
                    let text = "buffer is NULL; to ask for the size, pass capacity 0 and needed";
                    Err(Error::invalid(text).subject("buffer"))
                }
                _ => {
                    let text = format!("the buffer has room for {capacity} bytes, needed are {n}");
                    Err(Error::new(Status::BufferTooSmall, text).subject("buffer").amounts(n as u64, capacity as u64))
                }
            };
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(n).map_err(|_| Error::out_of_memory("a saved sequence", n as u64))?;
        m.seq_save(seq_id, &mut |piece, _| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        // SAFETY: the caller's buffer.
        unsafe { array(&bytes, buffer, capacity, needed) }
    })
}

/// Loads a sequence that was saved, from `n_bytes` bytes, in place of what `seq_id` has. An error leaves the sequence
/// as it was. It is the host's: rekindle_seq_leave lets generations go on from it.
///
/// REKINDLE_BAD_FILE: the bytes are damaged, or none of a saved sequence. REKINDLE_UNSUPPORTED: they are of another
/// version of the library, another model, or another type of cache; the message says which. REKINDLE_CONTEXT_FULL:
/// there are too few free cells; the sequence's own do not count, so remove it before if nothing else is free.
/// REKINDLE_INVALID_ARGUMENT: a sequence id out of range, or of a sequence that a generation has. REKINDLE_CANCELLED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_seq_load(
    model: *mut rekindle_model,
    seq_id: i32,
    bytes: *const u8,
    n_bytes: usize,
) -> rekindle_status {
    guard("rekindle_seq_load", || {
        let m = get::<Model, _>(model)?;
        // SAFETY: the caller's bytes.
        let mut bytes = unsafe { slice(bytes, n_bytes, "bytes") }?;
        m.seq_load(seq_id, &mut bytes, n_bytes as u64, &mut |_| true)
    })
}

/// Saves a sequence to a file. An error, also a full disk, leaves what was there under that name: the bytes go to
/// `path`.part first. `progress` (may be NULL) gets the share done, 0 to 1; anything but 0 cancels.
///
/// REKINDLE_IO, naming the file; REKINDLE_CANCELLED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_seq_save_file(
    model: *mut rekindle_model,
    seq_id: i32,
    path: *const c_char,
    path_len: usize,
    progress: rekindle_progress_fn,
    user_data: *mut c_void,
) -> rekindle_status {
    guard("rekindle_seq_save_file", || {
        let m = get::<Model, _>(model)?;
        // SAFETY: the caller's text.
        let path = unsafe { structs::path(path, path_len, "path") }?.to_owned();
        m.seq_saved_bytes(seq_id)?;
        let mut part = path.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let mut report = reporting(progress, user_data);
        let outcome = save_to(&m, seq_id, &part, &mut report)
            .and_then(|()| std::fs::rename(&part, &path).map_err(|e| io(&path, &e)));
        if outcome.is_err() {
            let _ = std::fs::remove_file(&part);
        }
        outcome
    })
}

/// Loads a sequence from a file, as rekindle_seq_load does. `progress` as above.
///
/// REKINDLE_IO or REKINDLE_NOT_FOUND, naming the file.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_seq_load_file(
    model: *mut rekindle_model,
    seq_id: i32,
    path: *const c_char,
    path_len: usize,
    progress: rekindle_progress_fn,
    user_data: *mut c_void,
) -> rekindle_status {
    guard("rekindle_seq_load_file", || {
        let m = get::<Model, _>(model)?;
        // SAFETY: the caller's text.
        let path = unsafe { structs::path(path, path_len, "path") }?.to_owned();
        let file = File::open(&path).map_err(|e| io(&path, &e))?;
        let n = file.metadata().map_err(|e| io(&path, &e))?.len();
        let mut report = reporting(progress, user_data);
        m.seq_load(seq_id, &mut BufReader::new(file), n, &mut report).map_err(|e| e.at(&path.display().to_string()))
    })
}

/// The host's function as one that gives false to cancel.
fn reporting(progress: rekindle_progress_fn, user_data: *mut c_void) -> impl FnMut(f32) -> bool {
    let data = UserData(user_data);
    // SAFETY: the host's function and its own pointer.
    move |done: f32| progress.is_none_or(|f| unsafe { f(data.get(), done) } == 0)
}

fn save_to(m: &Model, seq_id: i32, path: &Path, report: &mut dyn FnMut(f32) -> bool) -> Result<()> {
    let mut file = File::create(path).map_err(|e| io(path, &e))?;
    m.seq_save(seq_id, &mut |piece, done| {
        file.write_all(piece).map_err(|e| io(path, &e))?;
        match report(done) {
            true => Ok(()),
            false => Err(Error::new(Status::Cancelled, "saving a sequence was cancelled")),
        }
    })?;
    file.sync_all().map_err(|e| io(path, &e))
}

fn io(path: &Path, e: &std::io::Error) -> Error {
    let status = if e.kind() == ErrorKind::NotFound { Status::NotFound } else { Status::Io };
    Error::new(status, format!("{}: {e}", path.display())).subject("path")
}
