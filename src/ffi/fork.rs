//! Forks of the host's process.
//!
//! A child has one thread, the one that forked, and a copy of all memory. The threads of the parent's contexts are not
//! there, so objects made before the fork can do nothing in the child; their handles are refused. Locks of the whole
//! process (the table of handles, the reserve of memory) must not be held by a thread that is gone. So the thread that
//! forks holds them meanwhile, and frees them in both processes.

use std::sync::atomic::{AtomicBool, Ordering};

use super::handle;
use crate::memory;

static WATCHED: AtomicBool = AtomicBool::new(false);

/// Asks the system, once, to be told of forks.
pub(super) fn watch() {
    if WATCHED.load(Ordering::Relaxed) || WATCHED.swap(true, Ordering::Relaxed) {
        return;
    }
    // SAFETY: the three functions neither unwind nor call anything that may not be called around a fork.
    let code = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    // Without memory for it the next call tries again.
    WATCHED.store(code == 0, Ordering::Relaxed);
}

extern "C" fn before() {
    handle::lock();
    memory::lock();
}

extern "C" fn in_parent() {
    memory::unlock();
    handle::unlock();
}

extern "C" fn in_child() {
    memory::unlock();
    handle::forget_older();
    handle::unlock();
}
