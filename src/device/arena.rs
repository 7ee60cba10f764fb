//! A block of memory of exactly the planned size, from the system, present from the start.

use std::ptr::NonNull;

use crate::error::{Error, Result, Status};

/// A block of private, zeroed memory, aligned to a page.
pub struct Arena {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: an arena is plain memory that it owns; its user decides which thread writes where.
unsafe impl Send for Arena {}
// SAFETY: as above; shared access only gives the address.
unsafe impl Sync for Arena {}

impl Arena {
    /// Allocates `bytes` bytes. Every page is present when this returns, so a lack of memory shows here and not in the
    /// middle of a decode.
    ///
    /// # Errors
    /// `OutOfMemory`, naming `what` and the bytes.
    pub fn new(what: &str, bytes: usize) -> Result<Arena> {
        if bytes == 0 {
            return Ok(Arena { base: NonNull::dangling(), bytes });
        }
        // SAFETY: a fresh anonymous mapping touches nothing that exists.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Error::out_of_memory(what, bytes as u64));
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(|| Error::out_of_memory(what, bytes as u64))?;
        let arena = Arena { base, bytes };
        arena.populate(what)?;
        Ok(arena)
    }

    fn populate(&self, what: &str) -> Result<()> {
        let base = self.base.as_ptr();
        // SAFETY: advice about our own mapping; large pages are a wish.
        unsafe { libc::madvise(base.cast(), self.bytes, libc::MADV_HUGEPAGE) };
        // SAFETY: as above; if memory is short, this one fails and does not kill the process.
        if unsafe { libc::madvise(base.cast(), self.bytes, libc::MADV_POPULATE_WRITE) } == 0 {
            return Ok(());
        }
        if std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOMEM) {
            return Err(Error::out_of_memory(what, self.bytes as u64));
        }
        // Linux before 5.14 does not know that advice.
        for offset in (0..self.bytes).step_by(PAGE) {
            // SAFETY: within the mapping, which nobody else knows yet.
            unsafe { base.add(offset).write_volatile(0) };
        }
        Ok(())
    }

    /// Keeps the pages from being swapped out.
    ///
    /// # Errors
    /// `OutOfMemory` if the system refuses.
    pub fn lock(&self, what: &str) -> Result<()> {
        lock_range(self.base.as_ptr(), self.bytes).map_err(|e| e.at(what))
    }

    /// Lets `fill` write `n` bytes from `offset` on.
    ///
    /// # Errors
    /// `Internal` if they do not lie within the arena; those of `fill`.
    pub fn write_with(&mut self, offset: usize, n: usize, fill: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
        if offset.checked_add(n).is_none_or(|end| end > self.bytes) {
            return Err(Error::new(Status::Internal, format!("{n} bytes at {offset} are outside the arena")));
        }
        // SAFETY: within the arena, which is present and which `self` alone uses here.
        fill(unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(offset), n) })
    }

    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: mapped by `new` with this size; nobody uses it after its owner is gone.
            unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
        }
    }
}

const PAGE: usize = 4096;

/// Keeps the pages of mapped data from being swapped out.
///
/// # Errors
/// `OutOfMemory` if the system refuses.
pub fn lock_pages(data: &[u8]) -> Result<()> {
    lock_range(data.as_ptr().cast_mut(), data.len()).map_err(|e| e.at("the mapped weights"))
}

fn lock_range(base: *mut u8, bytes: usize) -> Result<()> {
    // SAFETY: changes no memory; a wrong range is refused.
    if bytes > 0 && unsafe { libc::mlock(base.cast(), bytes) } != 0 {
        let why = std::io::Error::last_os_error();
        return Err(Error::new(Status::OutOfMemory, format!("mlock of {bytes} bytes failed: {why}")));
    }
    Ok(())
}
