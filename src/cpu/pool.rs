//! The threads of a context, and the way in which they share a run.
//!
//! # Problem
//!
//! A token passes through some hundred operations, most of which take a few microseconds on all cores together. To wake
//! a sleeping thread takes longer than that. And threads do not run evenly: the system takes a core away for a
//! millisecond, or one core is slower than the others, and then all wait for one.
//!
//! # Idea
//!
//! - Threads live as long as the context. In a run ([`Pool::run`]) they all call the same function, which walks the
//!   same nodes. Nobody hands out work: each thread computes by itself which part of a node is its own, and all meet at
//!   a barrier ([`Worker::barrier`]) before the next node.
//! - A thread that waits looks at a number in memory, some thousand times. Then it gives its core away between looks,
//!   and at last it sleeps ([`Signal`]). So nodes that follow each other never cost a wake-up, and an idle context
//!   costs no CPU time.
//! - A node's `n` items are cut into pieces ([`Worker::share`]). Each thread has a row of neighbouring pieces, so that
//!   it reads weights front to back as the processor's prefetchers like it. A thread that is done takes pieces of
//!   others.
//!
//! ```text
//! 3 threads, 9 pieces      pieces   0 1 2 | 3 4 5 | 6 7 8
//!                          owner      0   |   1   |   2
//! thread 0 loses its core  thread 0 does 0; thread 1 does 3 4 5, then 6 7 8 if any is left there, then 1 2
//! ```
//!
//! # Why it is right
//!
//! Each owner has a [`Ticket`], the number of its pieces that are taken. A piece is taken by adding 1 to that, so it is
//! done once, whoever takes it. A ticket has to be 0 again when the next node begins, and nobody can wait for that. So
//! there are three per thread, used in turn, and a thread sets its next one to 0 before it enters the barrier: that one
//! was used two nodes ago, and the barriers since then have seen every thread leave it.
//!
//! The barrier counts arrivals. The last to come sets the count back and raises the signal, which frees the others. If
//! a thread panics, it never arrives; it sets `poisoned` and raises the signal in its place. Every wait ends then, and
//! all threads leave the run with [`Poisoned`].

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::signal::Signal;
use crate::error::{Error, Result, Status};

/// The most other threads that a thread takes pieces from.
const HELPED: usize = 8;
/// Lines of memory that a waiting thread asks for between two looks at the signal.
const LINES: usize = 8;

/// A thread of the run panicked. The others stop at their next barrier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Poisoned;

/// The function that every thread calls, its lifetime erased. It is used only while `Pool::run`, which borrows it,
/// waits.
#[derive(Clone, Copy)]
struct Job(*const (dyn Fn(&Worker<'_>) -> std::result::Result<(), Poisoned> + Sync));

// SAFETY: the closure is Sync, and `Pool::run` keeps it alive until every thread has finished with it.
unsafe impl Send for Job {}

/// The pool's state, which all threads see.
struct Shared {
    n_threads: usize,
    job: Mutex<Option<Job>>,
    /// Raised when a run begins, or when the threads shall end.
    start: Signal,
    /// Raised when all threads have finished the run.
    done: Signal,
    /// Threads that have finished the run.
    finished: AtomicUsize,
    /// True when the threads shall end.
    quit: AtomicBool,
    /// Threads that are at the barrier.
    arrived: AtomicUsize,
    /// Raised when all threads are at the barrier, and by a thread that panicked.
    barrier: Signal,
    poisoned: AtomicBool,
    /// By thread: the tickets of three steps, used in turn.
    tickets: Vec<[Ticket; 3]>,
}

/// Number of a thread's pieces in a step that are taken; alone in its cache lines.
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
    /// Barriers that this thread has entered in this run.
    phase: Cell<usize>,
    shared: &'a Shared,
    coming: Cell<Coming>,
}

impl Worker<'_> {
    /// Waits until all threads are here.
    pub fn barrier(&self) -> std::result::Result<(), Poisoned> {
        let s = self.shared;
        let phase = self.phase.get();
        self.phase.set(phase + 1);
        // The next step's ticket. It was last used in the step before the previous one, which everyone has left.
        s.tickets[self.index][(phase + 1) % 3].0.store(0, Ordering::Relaxed);
        if self.n_threads > 1 {
            let old = s.barrier.get();
            // This is read after `old`, so poison that comes later raises the barrier past `old`.
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

    /// The part of `0..n` that [`Worker::share`] gives this thread before it helps others.
    pub fn part(&self, n: usize, chunk: usize) -> std::ops::Range<usize> {
        let pieces = self.pieces(n, chunk, self.index);
        (pieces.start * chunk).min(n)..(pieces.end * chunk).min(n)
    }

    /// The pieces of `0..n` that belong to thread `owner`.
    fn pieces(&self, n: usize, chunk: usize, owner: usize) -> std::ops::Range<usize> {
        let n_pieces = n.div_ceil(chunk);
        n_pieces * owner / self.n_threads..n_pieces * (owner + 1) / self.n_threads
    }

    /// Shares `0..n` among the threads in pieces of `chunk`, and waits until all are done. Each thread does its own
    /// pieces front to back, and then helps some others with theirs.
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
            // A look first: unlike adding, it does not take the cache line away from the owner.
            while ticket.load(Ordering::Relaxed) < pieces.len() {
                let piece = pieces.start + ticket.fetch_add(1, Ordering::Relaxed);
                if piece >= pieces.end {
                    break;
                }
                f(piece * chunk..n.min((piece + 1) * chunk));
            }
        }
        self.barrier()
    }

    /// Names memory that this thread will read after the next barrier. While it waits there, it asks for these lines.
    /// The addresses need not exist, since a prefetch never fails.
    pub fn prefetch_while_waiting(&self, from: *const u8, bytes: usize) {
        self.coming.set(Coming { from, bytes });
    }

    /// Asks for some lines of that memory; true if any were left.
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

/// Brings a cache line into the second-level cache.
fn prefetch(p: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has it, and any address will do.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(p.cast())
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// The threads. There is one run at a time; a second one waits.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    running: Mutex<()>,
}

impl Pool {
    pub fn n_threads(&self) -> usize {
        self.shared.n_threads
    }

    /// Starts the threads. `n_threads` counts the caller of `run`, which works too.
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

/// One thread's share of a run.
fn step(s: &Shared, index: usize, f: &(dyn Fn(&Worker<'_>) -> std::result::Result<(), Poisoned> + Sync)) {
    let coming = Cell::new(Coming { from: std::ptr::null(), bytes: 0 });
    let worker = Worker { index, n_threads: s.n_threads, phase: Cell::new(0), shared: s, coming };
    let outcome = catch_unwind(AssertUnwindSafe(|| f(&worker)));
    if outcome.is_err() {
        s.poisoned.store(true, Ordering::Release);
        // The others wait at a barrier that this thread will never reach, or have yet to leave the last one. This frees
        // them all.
        s.barrier.raise();
    }
    if s.finished.fetch_add(1, Ordering::AcqRel) + 1 == s.n_threads {
        s.done.raise();
    }
}

/// The life of a thread: it waits for a run, does its share, and waits again.
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
                        w.barrier()?;
                        assert!(w.index != guilty, "provoked");
                        w.barrier()?;
                        w.barrier()
                    })
                    .unwrap_err();
                assert_eq!(e.status, Status::Internal);
                pool.run(&|w| w.barrier()).unwrap();
            }
        }
    }
}
