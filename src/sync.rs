//! Locks without a memory of their own outside of themselves.
//!
//! They are the standard library's, on Linux a number in the lock itself and the system's futex. So a child that a host
//! forks inherits none that it cannot use, as long as it makes its own objects. A panic while a lock is held leaves it
//! free, since a panic ends the call and the object says by itself what of it is usable.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{self, PoisonError, TryLockError};

pub use std::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

#[derive(Debug, Default)]
pub struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Mutex<T> {
        Mutex(sync::Mutex::new(value))
    }
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(e)) => Some(e.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
pub struct RwLock<T>(sync::RwLock<T>);

impl<T> RwLock<T> {
    pub const fn new(value: T) -> RwLock<T> {
        RwLock(sync::RwLock::new(value))
    }
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
pub struct Condvar(sync::Condvar);

impl Condvar {
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// A number that no other thread has which lives; never 0.
pub fn this_thread() -> usize {
    thread_local! {
        static HERE: Cell<u8> = const { Cell::new(0) };
    }
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

/// A lock that knows which thread holds it.
pub struct Owned<T> {
    inner: Mutex<T>,
    /// A number of the thread; 0 if nobody holds it.
    owner: AtomicUsize,
}

impl<T> Owned<T> {
    pub fn new(value: T) -> Owned<T> {
        Owned { inner: Mutex::new(value), owner: AtomicUsize::new(0) }
    }

    /// Calls `f` with the value, unless this thread is within such a call.
    pub fn unless_within(&self, f: impl FnOnce(&T)) {
        let me = this_thread();
        if self.owner.load(Ordering::Relaxed) == me {
            return;
        }
        let value = self.inner.lock();
        let _free = Free(&self.owner);
        self.owner.store(me, Ordering::Relaxed);
        f(&value);
    }
}

/// Says that nobody holds the lock, also after a panic.
struct Free<'a>(&'a AtomicUsize);

impl Drop for Free<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
