//! The last error of each thread.
//!
//! It hangs on a key of the system's, not on a thread-local variable of Rust's: the latter asks for a few bytes when a
//! thread uses it first, and ends the process if there are none.

use std::ffi::{CString, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Detail;

#[derive(Default)]
pub(super) struct Last {
    pub message: CString,
    pub status: i32,
    pub detail: Detail,
}

/// The system's key and 1, or 0 if there is none yet.
static KEY: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" fn end(last: *mut c_void) {
    // SAFETY: a box of `with`, whose thread ends.
    drop(unsafe { Box::from_raw(last.cast::<Last>()) });
}

fn key() -> Option<libc::pthread_key_t> {
    if let Some(key) = KEY.load(Ordering::Acquire).checked_sub(1) {
        return Some(key as libc::pthread_key_t);
    }
    let mut new = 0;
    // SAFETY: a place for the key; `end` gets what `with` has put there.
    if unsafe { libc::pthread_key_create(&mut new, Some(end)) } != 0 {
        return None;
    }
    match KEY.compare_exchange(0, u64::from(new) + 1, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Some(new),
        Err(other) => {
            // SAFETY: another thread was faster, and nobody knows this key.
            unsafe { libc::pthread_key_delete(new) };
            Some((other - 1) as libc::pthread_key_t)
        }
    }
}

/// Calls `f` with this thread's last error. `None` if the system has no place for it.
pub(super) fn with<R>(f: impl FnOnce(&mut Last) -> R) -> Option<R> {
    let key = key()?;
    // SAFETY: the key is there.
    let mut last = unsafe { libc::pthread_getspecific(key) }.cast::<Last>();
    if last.is_null() {
        last = Box::into_raw(Box::<Last>::default());
        // SAFETY: as above; the thread's end takes the box.
        if unsafe { libc::pthread_setspecific(key, last.cast()) } != 0 {
            // SAFETY: made above, and nobody else has it.
            drop(unsafe { Box::from_raw(last) });
            return None;
        }
    }
    // SAFETY: this thread's own, and `f` is not called within another `f`: its callers only read or replace it.
    Some(f(unsafe { &mut *last }))
}
