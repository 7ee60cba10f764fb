//! The reserve: a piece of address space, and a map of its units, a bit for each, that says which are in use.
//!
//! It is used rarely and by few, so a block is found by walking over the map. Nothing here may allocate, so the lock is
//! a flag that is waited for, and the map is a static.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Bytes of a unit; a block begins with one.
const UNIT: usize = 64;
/// Bytes of the reserve.
const BYTES: usize = 32 << 20;
/// The largest block. A larger one must be asked for fallibly. Libraries ask for the tables of a vocabulary in one
/// piece.
const LARGEST: usize = 1 << 20;

const WORDS: usize = BYTES / UNIT / 64;

static BASE: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static LOCKED: AtomicBool = AtomicBool::new(false);
static USED: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// Sets the reserve aside, if that has not been done; false if the system gives none.
pub fn is_there() -> bool {
    if !BASE.load(Ordering::Acquire).is_null() {
        return true;
    }
    let Some(new) = map() else { return false };
    if BASE.compare_exchange(std::ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire).is_err() {
        // Another thread was faster.
        // SAFETY: mapped above, and nobody knows of it.
        unsafe { libc::munmap(new.cast(), BYTES) };
    }
    true
}

/// Pages of the reserve take memory only when they are used.
fn map() -> Option<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, wherever the system likes.
    let p = unsafe { libc::mmap(std::ptr::null_mut(), BYTES, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    (p != libc::MAP_FAILED).then_some(p.cast())
}

/// True if half of it is in use.
pub fn is_low() -> bool {
    IN_USE.load(Ordering::Relaxed) > BYTES / UNIT / 2
}

pub fn holds(p: *const u8) -> bool {
    let base = BASE.load(Ordering::Acquire);
    !base.is_null() && p.addr().wrapping_sub(base.addr()) < BYTES
}

/// Held while the process is forked, so that the child finds it free.
pub fn lock() {
    while LOCKED.swap(true, Ordering::Acquire) {
        spin_loop();
    }
}

pub fn unlock() {
    LOCKED.store(false, Ordering::Release);
}

struct Lock;

impl Lock {
    fn new() -> Lock {
        lock();
        Lock
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        unlock();
    }
}

fn is_used(unit: usize) -> bool {
    USED[unit / 64].load(Ordering::Relaxed) >> (unit % 64) & 1 != 0
}

/// Turns the bits of these units.
fn flip(first: usize, n: usize) {
    for unit in first..first + n {
        USED[unit / 64].fetch_xor(1 << (unit % 64), Ordering::Relaxed);
    }
}

/// A block, or null if it is too large or the reserve has no room.
pub fn take(size: usize, align: usize) -> *mut u8 {
    let base = BASE.load(Ordering::Acquire);
    if base.is_null() || size > LARGEST || align > 4096 {
        return std::ptr::null_mut();
    }
    // The base is a page's.
    let (n, step) = (size.div_ceil(UNIT).max(1), (align / UNIT).max(1));
    let _lock = Lock::new();
    let mut first = 0;
    while first + n <= BYTES / UNIT {
        match (first..first + n).rev().find(|unit| is_used(*unit)) {
            Some(used) => first = (used + 1).next_multiple_of(step),
            None => {
                flip(first, n);
                IN_USE.fetch_add(n, Ordering::Relaxed);
                return base.wrapping_add(first * UNIT);
            }
        }
    }
    std::ptr::null_mut()
}

/// Takes a block back, if it is the reserve's.
pub fn give_back(p: *mut u8, size: usize) -> bool {
    if !holds(p) {
        return false;
    }
    let n = size.div_ceil(UNIT).max(1);
    let _lock = Lock::new();
    flip((p.addr() - BASE.load(Ordering::Acquire).addr()) / UNIT, n);
    IN_USE.fetch_sub(n, Ordering::Relaxed);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_apart_and_come_back_and_a_full_reserve_gives_null() {
        assert!(is_there());
        let sizes = [(1, 1), (64, 64), (65, 8), (LARGEST, 4096), (1000, 256), (0, 1)];
        let blocks: Vec<_> = (0..60).map(|i| (take(sizes[i % 6].0, sizes[i % 6].1), sizes[i % 6])).collect();
        let mut ranges: Vec<_> = blocks.iter().map(|(p, (size, _))| (p.addr(), p.addr() + size.max(&1))).collect();
        ranges.sort();
        assert!(ranges.windows(2).all(|two| two[0].1 <= two[1].0));
        for (p, (size, align)) in blocks {
            assert!(holds(p) && p.addr() % align == 0);
            // SAFETY: the block's bytes.
            unsafe { p.write_bytes(0xa5, size) };
            assert!(give_back(p, size));
        }
        assert!(take(LARGEST + 1, 1).is_null());
        assert!(!give_back(std::ptr::dangling_mut(), 1));

        let all: Vec<_> = std::iter::repeat_with(|| take(LARGEST, 64)).take_while(|p| !p.is_null()).collect();
        assert!(all.len() * LARGEST > BYTES / 2 && is_low());
        assert!(all.into_iter().all(|p| give_back(p, LARGEST)));
        assert!(!is_low());
        assert!(USED.iter().all(|word| word.load(Ordering::Relaxed) == 0));
    }
}
