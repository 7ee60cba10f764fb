//! The persistent threads of a context, and how they share a run: all walk the same steps, and meet after each.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, Result, Status};

/// Looks at a signal this often before giving the core away, and then this often before sleeping.
const SPINS: u32 = 2000;
const YIELDS: u32 = 50;

/// A number that goes up, and threads that wait for it to do so: briefly awake, then asleep.
#[derive(Default)]
struct Signal {
    value: AtomicU32,
    sleepers: AtomicU32,
    mutex: Mutex<()>,
    wake: Condvar,
}

impl Signal {
    fn get(&self) -> u32 {
        self.value.load(Ordering::Acquire)
    }

    fn raise(&self) {
        self.value.fetch_add(1, Ordering::SeqCst);
        // Sequential order: either this sees the sleeper, or the sleeper sees the new value.
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = self.mutex.lock();
            self.wake.notify_all();
        }
    }

    fn wait_past(&self, old: u32) {
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

/// Some thread of the run panicked; the others stop at their next meeting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Poisoned;

/// A job for every thread, its lifetime erased; it is only used while `Pool::run`, which borrows it, waits.
#[derive(Clone, Copy)]
struct Job(*const (dyn Fn(&Worker<'_>) -> std::result::Result<(), Poisoned> + Sync));

// SAFETY: the closure is Sync, and `Pool::run` keeps it alive until every thread has finished with it.
unsafe impl Send for Job {}

struct Shared {
    n_threads: usize,
    job: Mutex<Option<Job>>,
    start: Signal,
    done: Signal,
    finished: AtomicUsize,
    quit: AtomicBool,
    arrived: AtomicUsize,
    barrier: Signal,
    poisoned: AtomicBool,
    /// Next item of a shared step; three, so that one can be set back while the other two may be in use.
    tickets: [AtomicUsize; 3],
}

/// A thread's view of a run.
pub(crate) struct Worker<'a> {
    pub index: usize,
    pub n_threads: usize,
    phase: Cell<usize>,
    shared: &'a Shared,
}

impl Worker<'_> {
    /// Waits until all threads are here.
    pub fn meet(&self) -> std::result::Result<(), Poisoned> {
        let s = self.shared;
        let phase = self.phase.get();
        self.phase.set(phase + 1);
        if self.n_threads > 1 {
            let old = s.barrier.get();
            // Read after `old`: poison that comes later raises the barrier past it.
            if s.poisoned.load(Ordering::Acquire) {
                return Err(Poisoned);
            }
            if self.index == 0 {
                // Last used in the step before the previous one, which everyone has left.
                s.tickets[(phase + 1) % 3].store(0, Ordering::Relaxed);
            }
            if s.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.n_threads {
                s.arrived.store(0, Ordering::Relaxed);
                s.barrier.raise();
            } else {
                s.barrier.wait_past(old);
            }
        } else {
            s.tickets[(phase + 1) % 3].store(0, Ordering::Relaxed);
        }
        if s.poisoned.load(Ordering::Acquire) { Err(Poisoned) } else { Ok(()) }
    }

    /// Splits `0..n` into pieces of `chunk`, given to whichever thread is free, and waits until all are done.
    pub fn share(&self, n: usize, chunk: usize, mut f: impl FnMut(std::ops::Range<usize>)) -> std::result::Result<(), Poisoned> {
        let ticket = &self.shared.tickets[self.phase.get() % 3];
        let chunk = chunk.max(1);
        loop {
            let first = ticket.fetch_add(chunk, Ordering::Relaxed);
            if first >= n {
                break;
            }
            f(first..n.min(first + chunk));
        }
        self.meet()
    }
}

/// The threads. One run at a time; a second waits.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    running: Mutex<()>,
}

impl Pool {
    pub fn n_threads(&self) -> usize {
        self.shared.n_threads
    }

    /// `n_threads` counts the caller of `run`, which works too.
    ///
    /// # Errors
    /// `OutOfMemory` if the system gives no more threads.
    pub fn new(n_threads: usize) -> Result<Pool> {
        let shared = Arc::new(Shared {
            n_threads: n_threads.max(1),
            job: Mutex::new(None),
            start: Signal::default(),
            done: Signal::default(),
            finished: AtomicUsize::new(0),
            quit: AtomicBool::new(false),
            arrived: AtomicUsize::new(0),
            barrier: Signal::default(),
            poisoned: AtomicBool::new(false),
            tickets: Default::default(),
        });
        let mut pool = Pool { shared: shared.clone(), workers: Vec::new(), running: Mutex::new(()) };
        for index in 1..shared.n_threads {
            let shared = shared.clone();
            let thread = std::thread::Builder::new().name(format!("rekindle-{index}")).spawn(move || work(&shared, index));
            pool.workers
                .push(thread.map_err(|e| Error::new(Status::OutOfMemory, format!("thread {index} could not be started: {e}")))?);
        }
        Ok(pool)
    }

    /// Runs `f` on every thread at once, the caller's among them.
    ///
    /// # Errors
    /// `Internal` if `f` panicked on any of them.
    pub(crate) fn run(&self, f: &(dyn Fn(&Worker<'_>) -> std::result::Result<(), Poisoned> + Sync)) -> Result<()> {
        let _one = self.running.lock();
        let s = &*self.shared;
        s.arrived.store(0, Ordering::Relaxed);
        s.finished.store(0, Ordering::Relaxed);
        s.poisoned.store(false, Ordering::Relaxed);
        for t in &s.tickets {
            t.store(0, Ordering::Relaxed);
        }
        let done = s.done.get();
        // SAFETY: only the lifetime changes; every thread is done with the reference before this function returns.
        let erased = unsafe {
            std::mem::transmute::<
                &(dyn Fn(&Worker<'_>) -> std::result::Result<(), Poisoned> + Sync),
                *const (dyn Fn(&Worker<'_>) -> std::result::Result<(), Poisoned> + Sync),
            >(f)
        };
        *s.job.lock() = Some(Job(erased));
        s.start.raise();
        step(s, 0, f);
        if s.n_threads > 1 {
            s.done.wait_past(done);
        }
        *s.job.lock() = None;
        match s.poisoned.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(Error::new(Status::Internal, "a kernel panicked; this is a defect of the library")),
        }
    }
}

/// One thread's part of a run.
fn step(s: &Shared, index: usize, f: &(dyn Fn(&Worker<'_>) -> std::result::Result<(), Poisoned> + Sync)) {
    let worker = Worker { index, n_threads: s.n_threads, phase: Cell::new(0), shared: s };
    let outcome = catch_unwind(AssertUnwindSafe(|| f(&worker)));
    if outcome.is_err() {
        s.poisoned.store(true, Ordering::Release);
        // The others wait at a meeting that this thread will never reach, or have yet to leave the last one: wake all for good.
        s.barrier.raise();
    }
    if s.finished.fetch_add(1, Ordering::AcqRel) + 1 == s.n_threads {
        s.done.raise();
    }
}

fn work(s: &Shared, index: usize) {
    let mut seen = 0;
    loop {
        s.start.wait_past(seen);
        seen = seen.wrapping_add(1);
        if s.quit.load(Ordering::Acquire) {
            return;
        }
        let job = *s.job.lock();
        if let Some(job) = job {
            // SAFETY: the run that set the job waits for this thread's `finished` before the closure goes away.
            step(s, index, unsafe { &*job.0 });
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::Release);
        self.shared.start.raise();
        for w in self.workers.drain(..) {
            // A worker catches its panics, so joining cannot fail.
            let _ = w.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_once_in_every_step() {
        for n_threads in [1, 2, 5] {
            let pool = Pool::new(n_threads).unwrap();
            for _ in 0..20 {
                let hits: Vec<AtomicUsize> = (0..97).map(|_| AtomicUsize::new(0)).collect();
                pool.run(&|w| {
                    for step in 0..7 {
                        w.share(hits.len(), 1 + step, |items| {
                            for i in items {
                                // Each item goes up once a step, in step with all others.
                                assert_eq!(hits[i].fetch_add(1, Ordering::Relaxed), step);
                            }
                        })?;
                    }
                    Ok(())
                })
                .unwrap();
                assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 7));
            }
        }
    }

    #[test]
    fn a_panic_on_any_thread_is_a_status_and_the_pool_goes_on() {
        for n_threads in [1, 3] {
            let pool = Pool::new(n_threads).unwrap();
            for guilty in 0..n_threads {
                let e = pool
                    .run(&|w| {
                        w.meet()?;
                        assert!(w.index != guilty, "provoked");
                        w.meet()?;
                        w.meet()
                    })
                    .unwrap_err();
                assert_eq!(e.status, Status::Internal);
                pool.run(&|w| w.meet()).unwrap();
            }
        }
    }
}
