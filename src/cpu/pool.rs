//! The persistent threads of a context, and how they share a run: all walk the same steps, and meet after each.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, Result, Status};

/// From so many others at most a thread takes over pieces.
const HELPED: usize = 8;
/// Lines of memory that a waiting thread asks for between two looks at the signal.
const LINES: usize = 8;

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

    /// Calls `meanwhile` as long as it says that there is more to do.
    fn wait_past(&self, old: u32, mut meanwhile: impl FnMut() -> bool) {
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
    /// Of each thread; three, so that one can be set back while the other two may be in use.
    tickets: Vec<[Ticket; 3]>,
}

/// How many pieces of a thread's part of a shared step are taken; alone in its cache lines.
#[derive(Default)]
#[repr(align(128))]
struct Ticket(AtomicUsize);

/// Memory that will be read soon.
#[derive(Clone, Copy)]
struct Coming {
    from: *const u8,
    bytes: usize,
}

/// A thread's view of a run.
pub(crate) struct Worker<'a> {
    pub index: usize,
    pub n_threads: usize,
    phase: Cell<usize>,
    shared: &'a Shared,
    coming: Cell<Coming>,
}

impl Worker<'_> {
    /// Waits until all threads are here.
    pub fn meet(&self) -> std::result::Result<(), Poisoned> {
        let s = self.shared;
        let phase = self.phase.get();
        self.phase.set(phase + 1);
        // Last used in the step before the previous one, which everyone has left.
        s.tickets[self.index][(phase + 1) % 3].0.store(0, Ordering::Relaxed);
        if self.n_threads > 1 {
            let old = s.barrier.get();
            // Read after `old`: poison that comes later raises the barrier past it.
            if s.poisoned.load(Ordering::Acquire) {
                return Err(Poisoned);
            }
            if s.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.n_threads {
                s.arrived.store(0, Ordering::Relaxed);
                s.barrier.raise();
            } else {
                s.barrier.wait_past(old, || self.fetch());
            }
        }
        if s.poisoned.load(Ordering::Acquire) { Err(Poisoned) } else { Ok(()) }
    }

    /// What of `0..n` [`Worker::share`] gives this thread before it helps others.
    pub fn part(&self, n: usize, chunk: usize) -> std::ops::Range<usize> {
        let pieces = self.pieces(n, chunk, self.index);
        (pieces.start * chunk).min(n)..(pieces.end * chunk).min(n)
    }

    fn pieces(&self, n: usize, chunk: usize, owner: usize) -> std::ops::Range<usize> {
        let n_pieces = n.div_ceil(chunk);
        n_pieces * owner / self.n_threads..n_pieces * (owner + 1) / self.n_threads
    }

    /// Splits `0..n` into pieces of `chunk`, and waits until all are done. Each thread does its part front to back, so
    /// that what is read ahead is its own, and then helps some others with theirs.
    pub fn share(
        &self,
        n: usize,
        chunk: usize,
        mut f: impl FnMut(std::ops::Range<usize>),
    ) -> std::result::Result<(), Poisoned> {
        let chunk = chunk.max(1);
        for ahead in 0..self.n_threads.min(1 + HELPED) {
            let owner = (self.index + ahead) % self.n_threads;
            let ticket = &self.shared.tickets[owner][self.phase.get() % 3].0;
            let pieces = self.pieces(n, chunk, owner);
            // Reading alone leaves the line where it is.
            while ticket.load(Ordering::Relaxed) < pieces.len() {
                let piece = pieces.start + ticket.fetch_add(1, Ordering::Relaxed);
                if piece >= pieces.end {
                    break;
                }
                f(piece * chunk..n.min((piece + 1) * chunk));
            }
        }
        self.meet()
    }

    /// Tells what this thread will read next from memory, which it asks for while it waits. Nothing is read where
    /// nothing is.
    pub fn expect(&self, from: *const u8, bytes: usize) {
        self.coming.set(Coming { from, bytes });
    }

    /// Asks for some of it; whether there was any.
    fn fetch(&self) -> bool {
        let Coming { from, bytes } = self.coming.get();
        let now = bytes.min(LINES * 64);
        for line in (0..now).step_by(64) {
            prefetch(from.wrapping_add(line));
        }
        self.coming.set(Coming { from: from.wrapping_add(now), bytes: bytes - now });
        now > 0
    }
}

/// Brings a line into the second-level cache.
fn prefetch(p: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has it, and any address will do.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(p.cast())
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
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
            tickets: (0..n_threads.max(1)).map(|_| Default::default()).collect(),
        });
        let mut pool = Pool { shared: shared.clone(), workers: Vec::new(), running: Mutex::new(()) };
        for index in 1..shared.n_threads {
            let shared = shared.clone();
            let thread =
                std::thread::Builder::new().name(format!("rekindle-{index}")).spawn(move || work(&shared, index));
            pool.workers.push(
                thread.map_err(|e| {
                    Error::new(Status::OutOfMemory, format!("thread {index} could not be started: {e}"))
                })?,
            );
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
        for t in s.tickets.iter().flatten() {
            t.0.store(0, Ordering::Relaxed);
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
            s.done.wait_past(done, || false);
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
    let coming = Cell::new(Coming { from: std::ptr::null(), bytes: 0 });
    let worker = Worker { index, n_threads: s.n_threads, phase: Cell::new(0), shared: s, coming };
    let outcome = catch_unwind(AssertUnwindSafe(|| f(&worker)));
    if outcome.is_err() {
        s.poisoned.store(true, Ordering::Release);
        // The others wait at a meeting that this thread will never reach, or have yet to leave the last one: wake all
        // for good.
        s.barrier.raise();
    }
    if s.finished.fetch_add(1, Ordering::AcqRel) + 1 == s.n_threads {
        s.done.raise();
    }
}

fn work(s: &Shared, index: usize) {
    let mut seen = 0;
    loop {
        s.start.wait_past(seen, || false);
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
        for n_threads in [1, 2, 5, 12] {
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
