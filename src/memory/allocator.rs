//! The allocator of the whole library: the system's, and behind it the reserve.

use std::alloc::{GlobalAlloc, Layout, System};

use super::{TAKEN, hold, reserve};

pub struct Allocator;

/// A block of the reserve, or null.
fn from_reserve(layout: Layout) -> *mut u8 {
    let p = reserve::take(layout.size(), layout.align());
    if !p.is_null() {
        // At the very end of a thread nobody asks any more.
        let _ = TAKEN.try_with(|n| n.set(n.get() + 1));
    }
    p
}

// SAFETY: blocks come from the system's allocator or from the reserve, and go back to where they came from.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout has a size.
        let p = unsafe { System.alloc(layout) };
        let p = if p.is_null() { from_reserve(layout) } else { p };
        if !p.is_null() {
            hold(layout.size() as isize);
        }
        p
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let p = unsafe { System.alloc_zeroed(layout) };
        if !p.is_null() {
            hold(layout.size() as isize);
            return p;
        }
        let p = from_reserve(layout);
        if !p.is_null() {
            hold(layout.size() as isize);
            // SAFETY: the block has this size.
            unsafe { p.write_bytes(0, layout.size()) };
        }
        p
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        hold(-(layout.size() as isize));
        if !reserve::give_back(p, layout.size()) {
            // SAFETY: not the reserve's, so the system's.
            unsafe { System.dealloc(p, layout) }
        }
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let ours = reserve::holds(p);
        if !ours {
            // SAFETY: the system's block.
            let new = unsafe { System.realloc(p, layout, size) };
            if !new.is_null() {
                hold(size as isize - layout.size() as isize);
                return new;
            }
        }
        // SAFETY: the caller vouches that this size, rounded up to the alignment, does not overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller's new size is not zero.
        let new = unsafe { self.alloc(wanted) };
        if !new.is_null() {
            // SAFETY: both blocks have that many bytes and are apart.
            unsafe { new.copy_from_nonoverlapping(p, layout.size().min(size)) };
            // SAFETY: the caller's block, which the new one replaces.
            unsafe { self.dealloc(p, layout) };
        }
        new
    }
}
