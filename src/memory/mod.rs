//! Memory: the system's, and a reserve for the moment when the system has none left.
//!
//! # Problem
//!
//! Rust ends the process when a small allocation fails. A library must not do that to its host. Not every small text,
//! list and box can be asked for in a way that may fail: much of it is in other libraries and in Rust's own.
//!
//! # Idea
//!
//! - All that has its size from outside (a file, a text, a number of the host's) is asked for fallibly, with
//!   `try_reserve`, and a refusal is an error as any other.
//! - For the rest there is a reserve ([`reserve`]): some address space, set aside at the first call. The library's
//!   allocator ([`allocator`]) gives of it when the system refuses a small block. The thread remembers that.
//! - The running call ends at its next [`check`], with `OutOfMemory`. Checks stand where an object gets its handle, and
//!   in loops whose length comes from outside. What the call has made is dropped then, and so the reserve is full again
//!   for the next call.

mod allocator;
mod reserve;

use std::cell::Cell;

use crate::error::{Error, Result, Status};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

thread_local! {
    /// Blocks that this thread took from the reserve in the running call.
    static TAKEN: Cell<usize> = const { Cell::new(0) };
    /// Bytes that this thread has asked for less those that it gave back.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The most that it should hold.
    static LIMIT: Cell<isize> = const { Cell::new(isize::MAX) };
}

/// A call of the host's. It begins with nothing taken; when it ends, what an outer call had taken counts again.
pub struct Call {
    before: usize,
}

impl Call {
    /// `None` if there is no reserve and the system gives none. Then there is no memory for an error's text either.
    pub fn begin() -> Option<Call> {
        reserve::is_there().then(|| Call { before: TAKEN.replace(0) })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        TAKEN.set(self.before);
    }
}

/// Runs `f`, in which [`has_room`] tells whether this thread holds no more than `bytes` more than now.
pub fn limited<T>(bytes: usize, f: impl FnOnce() -> T) -> T {
    struct Back(isize);
    impl Drop for Back {
        fn drop(&mut self) {
            LIMIT.set(self.0);
        }
    }
    let limit = HELD.get().saturating_add_unsigned(bytes);
    let _back = Back(LIMIT.replace(limit));
    f()
}

/// True if this thread may take so many more bytes.
pub fn has_room(bytes: usize) -> bool {
    HELD.get().saturating_add_unsigned(bytes) <= LIMIT.get()
}

/// Counts bytes that this thread has taken, or given back.
fn hold(bytes: isize) {
    // At the very end of a thread nobody asks any more.
    let _ = HELD.try_with(|held| held.set(held.get().wrapping_add(bytes)));
}

/// Nobody takes from the reserve until `unlock`.
pub fn lock() {
    reserve::lock();
}

pub fn unlock() {
    reserve::unlock();
}

/// Ends a call that lives on the reserve.
///
/// # Errors
/// `OutOfMemory` if the system has refused memory in this call, or if half of the reserve is gone.
pub fn check() -> Result<()> {
    if TAKEN.get() > 0 || reserve::is_low() {
        return Err(Error::new(Status::OutOfMemory, "the system has no more memory"));
    }
    Ok(())
}
