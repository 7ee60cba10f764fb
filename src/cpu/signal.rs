//! A signal that threads wait for: awake for a while, then asleep.

use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Condvar, Mutex};

/// Number of looks at a signal before the core is given away.
const SPINS: u32 = 2000;
/// Number of further looks before the thread sleeps.
const YIELDS: u32 = 50;

/// A number that goes up, and threads that wait for it to do so. They are awake for a while, then they sleep.
#[derive(Default)]
pub(super) struct Signal {
    value: AtomicU32,
    sleepers: AtomicU32,
    mutex: Mutex<()>,
    wake: Condvar,
}

impl Signal {
    pub fn get(&self) -> u32 {
        self.value.load(Ordering::Acquire)
    }

    /// Adds 1, and wakes those who sleep.
    pub fn raise(&self) {
        self.value.fetch_add(1, Ordering::SeqCst);
        // The order is sequential in both functions, so either this sees the sleeper, or the sleeper sees the new
        // value.
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = self.mutex.lock();
            self.wake.notify_all();
        }
    }

    /// Waits until the number is another than `old`. Calls `meanwhile` first, as long as it says that there is more to
    /// do.
    pub fn wait_past(&self, old: u32, mut meanwhile: impl FnMut() -> bool) {
        while self.get() == old && meanwhile() {}
        for i in 0..SPINS + YIELDS {
            if self.get() != old {
                return;
            }
            if i < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        let mut guard = self.mutex.lock();
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while self.value.load(Ordering::SeqCst) == old {
            self.wake.wait(&mut guard);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}
