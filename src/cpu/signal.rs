//! A signal that threads wait for: awake for a while, then asleep.

use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Instant;

use crate::sync::{Condvar, Mutex};

/// Number of looks before the core is given away.
const SPINS: u32 = 2000;
/// Number of further looks before the thread sleeps.
const YIELDS: u32 = 50;

/// Threads wait here until something is so. Whoever makes it so calls [`Signal::raise`] afterwards. They are awake for a
/// while, then they sleep.
#[derive(Default)]
pub(super) struct Signal {
    sleepers: AtomicU32,
    mutex: Mutex<()>,
    wake: Condvar,
}

impl Signal {
    /// Wakes those who sleep.
    pub fn raise(&self) {
        // A fence stands between what has become so and the look at the sleepers, and another one between a sleeper's
        // entry and its last look. So either this sees the sleeper, or the sleeper sees what has become so.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            let _guard = self.mutex.lock();
            self.wake.notify_all();
        }
    }

    /// Waits until `ready`. Calls `meanwhile` first, as long as it says that there is more to do. The nanoseconds from
    /// the first look on after which the core was given away.
    pub fn wait(&self, ready: impl Fn() -> bool, mut meanwhile: impl FnMut() -> bool) -> u64 {
        while !ready() && meanwhile() {}
        for _ in 0..SPINS {
            if ready() {
                return 0;
            }
            std::hint::spin_loop();
        }
        let began = Instant::now();
        let mut looks = 0..YIELDS;
        while !ready() {
            match looks.next() {
                Some(_) => std::thread::yield_now(),
                None => self.sleep(&ready),
            }
        }
        u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Sleeps until `ready`.
    pub fn sleep(&self, ready: impl Fn() -> bool) {
        let mut guard = self.mutex.lock();
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        while !ready() {
            guard = self.wake.wait(guard);
        }
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }
}
