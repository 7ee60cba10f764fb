//! Results whose length the caller cannot know: they come out by (buffer, capacity, needed).

use std::ffi::c_char;

use crate::error::{Error, Result, Status};

/// Writes a text and a NUL behind it. `needed` gets the bytes with the NUL.
///
/// # Safety
/// `buffer` is null or has `capacity` writable bytes, `needed` is null or writable.
pub(super) unsafe fn text(bytes: &[u8], buffer: *mut c_char, capacity: usize, needed: *mut usize) -> Result<()> {
    // SAFETY: as the caller says; the NUL is written only where there is room for all.
    unsafe {
        if give(bytes, bytes.len() + 1, buffer.cast(), capacity, needed)? {
            buffer.add(bytes.len()).write(0);
        }
    }
    Ok(())
}

/// Writes an array. `needed` gets its length.
///
/// # Safety
/// As for `text`, in elements.
pub(super) unsafe fn array<T: Copy>(items: &[T], buffer: *mut T, capacity: usize, needed: *mut usize) -> Result<()> {
    // SAFETY: as the caller says.
    unsafe { give(items, items.len(), buffer, capacity, needed) }.map(|_| ())
}

/// Writes `items` into the caller's buffer and `n` into `needed`. The result is false if the caller only asked for the
/// size, with NULL and capacity 0.
unsafe fn give<T: Copy>(items: &[T], n: usize, buffer: *mut T, capacity: usize, needed: *mut usize) -> Result<bool> {
    if !needed.is_null() {
        // SAFETY: not null, so writable.
        unsafe { needed.write_unaligned(n) };
    }
    if buffer.is_null() {
        return match (capacity, needed.is_null()) {
            (0, false) => Ok(false),
            _ => {
                Err(Error::invalid("buffer is NULL; to ask for the size, pass capacity 0 and needed").subject("buffer"))
            }
        };
    }
    if capacity < n {
        let text = format!("the buffer has room for {capacity}, needed are {n}");
        return Err(Error::new(Status::BufferTooSmall, text).subject("buffer").amounts(n as u64, capacity as u64));
    }
    // SAFETY: there is room, and the library's memory does not overlap the host's.
    unsafe { std::ptr::copy_nonoverlapping(items.as_ptr().cast::<u8>(), buffer.cast::<u8>(), size_of_val(items)) };
    Ok(true)
}
