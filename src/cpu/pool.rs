//! The threads of a context, and the way in which they share a run.
//!
//! # Problem
//!
//! A token passes through some hundred operations, most of which take a few microseconds on all cores together. To wake
//! a sleeping thread takes longer than that. And threads do not run evenly: the system takes a core away for some
//! milliseconds, or one core is slower than the others, and then nobody should have to wait for one.
//!
//! # Idea
//!
//! - Threads live as long as the context. In a run ([`Pool::run`]) they all call the same function, which walks the
//!   same steps ([`Worker::share`]). Nobody hands out work: each thread computes by itself which pieces of a step are
//!   its own, does them, and then helps others with theirs.
//! - A step ends when its *pieces* are done, not when all threads have been there. A thread that has lost its core and
//!   has no piece of this step is not waited for. When it comes back, it finds that steps are over, and walks on to the
//!   one that is not.
//! - A thread that waits looks at a number in memory, some thousand times. Then it gives its core away between looks,
//!   and at last it sleeps ([`Signal`]). So steps that follow each other never cost a wake-up, and an idle context
//!   costs no CPU time.
//! - Each thread has a row of neighbouring pieces, so that it reads weights front to back as the processor's
//!   prefetchers like it.
//! - A thread that loses its core *while* it does pieces of the step is waited for: it tells of them all at once, when
//!   it finds none left. Whoever waits for it sleeps soon, and the core that this frees is what the other one needs.
//!
//! ```text
//! 3 threads, 9 pieces      pieces   0 1 2 | 3 4 5 | 6 7 8
//!                          owner      0   |   1   |   2
//! thread 0 loses its core  thread 1 does 3 4 5, then 6 7 8 if any is left there, then what is left of 0 1 2
//! ```
//!
//! # Why it is right
//!
//! `done` counts the pieces of all steps of a run that are done. The steps are the same for every thread, so each knows
//! how many pieces there are up to the end of its step. A step is over when `done` has reached that number, and only
//! then do pieces of the next one begin.
//!
//! A piece is taken by its owner's [`Ticket`], which holds the number of the step and how many of the owner's pieces
//! are taken. It is changed by compare-and-exchange, and its step only goes up. So a piece is taken once, and a thread
//! that comes late takes none: the ticket belongs to a later step, or all are taken. Whoever has taken a piece keeps
//! the step from ending until it is done.
//!
//! The calling thread walks all steps. Then it closes the gate, so that nobody comes in any more, makes `done` so large
//! that every step is over for those who are inside, and waits until they have left. A thread that is not inside, since
//! it sleeps or waits for a core, is not waited for. If a thread panics, `done` is made large as well, and all leave.
//!
//! # How many take part
//!
//! On a machine with other work, fewer threads may be faster. `crew` chooses their number for each run; the others
//! sleep, and their pieces belong to those who take part.

mod crew;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use crate::sync::Mutex;

use self::crew::{Crews, Times};
use self::worker::Ticket;
pub(crate) use self::worker::{Over, Worker};
use super::signal::Signal;
use crate::error::{Error, Result, Status};
use crate::threads::Thread;

/// So many pieces are done when the run has ended. No run has as many.
const OVER: usize = usize::MAX / 2;
/// Of the gate: one thread inside, and the bit that says that it is open. The upper half is the number of the run.
const INSIDE: u64 = 1;
const OPEN: u64 = 1 << 31;

/// The function that every thread calls, its lifetime erased. It is used only while `Pool::run`, which borrows it,
/// waits.
#[derive(Clone, Copy)]
struct Job(*const (dyn Fn(&Worker<'_>) -> std::result::Result<(), Over> + Sync));

// SAFETY: the closure is Sync, and `Pool::run` keeps it alive until every thread has left the run.
unsafe impl Send for Job {}

/// The pool's state, which all threads see.
struct Shared {
    n_threads: usize,
    /// The number of threads that take part in this run, the caller among them.
    crew: AtomicUsize,
    job: Mutex<Option<Job>>,
    /// Raised when a run begins, or when the threads shall end.
    start: Signal,
    /// Raised when the crew grows, or when the threads shall end. Those wait here who do not take part.
    grown: Signal,
    /// The run's number, whether threads may come in, and how many other than the caller are inside.
    gate: AtomicU64,
    /// Raised when the last thread has left a closed run.
    left: Signal,
    /// True when the threads shall end.
    quit: AtomicBool,
    /// Pieces of this run that are done.
    done: AtomicUsize,
    /// Raised when a step is done, and when the run is over.
    step_done: Signal,
    poisoned: AtomicBool,
    /// Nanoseconds of this run: processor time of the threads inside, and time that they were inside and did not wait.
    on_core: AtomicU64,
    inside: AtomicU64,
    /// By thread.
    tickets: Vec<Ticket>,
}

/// The threads. There is one run at a time; a second one waits.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<Thread>,
    running: Mutex<Crews>,
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
        let n_threads = n_threads.max(1);
        let shared = Arc::new(Shared {
            n_threads,
            crew: AtomicUsize::new(n_threads),
            job: Mutex::new(None),
            start: Signal::default(),
            grown: Signal::default(),
            gate: AtomicU64::new(0),
            left: Signal::default(),
            quit: AtomicBool::new(false),
            done: AtomicUsize::new(0),
            step_done: Signal::default(),
            poisoned: AtomicBool::new(false),
            on_core: AtomicU64::new(0),
            inside: AtomicU64::new(0),
            tickets: (0..n_threads).map(|_| Ticket::default()).collect(),
        });
        let mut pool = Pool { shared: shared.clone(), workers: Vec::new(), running: Mutex::new(Crews::new(n_threads)) };
        for index in 1..n_threads {
            let shared = shared.clone();
            let thread = Thread::start(&format!("rekindle-{index}"), move || live(&shared, index));
            pool.workers.push(thread.map_err(|e| e.at(&format!("thread {index}")))?);
        }
        Ok(pool)
    }

    /// Runs `f` on every thread that comes, the caller's among them, until the caller's has returned. Steps that the
    /// caller has passed are done. Runs of the same `kind` do about the same work.
    ///
    /// # Errors
    /// `Internal` if `f` panicked on any of them.
    pub(crate) fn run(
        &self,
        kind: u64,
        f: &(dyn Fn(&Worker<'_>) -> std::result::Result<(), Over> + Sync),
    ) -> Result<()> {
        let mut crews = self.running.lock();
        let s = &*self.shared;
        let began = Instant::now();
        if s.n_threads > 1 {
            s.choose(crews.begin(kind));
        }
        s.done.store(0, Ordering::Relaxed);
        s.poisoned.store(false, Ordering::Relaxed);
        s.tickets.iter().for_each(Ticket::reset);
        // SAFETY: only the lifetime changes; every thread is done with the reference before this function returns.
        let erased = unsafe {
            std::mem::transmute::<
                &(dyn Fn(&Worker<'_>) -> std::result::Result<(), Over> + Sync),
                *const (dyn Fn(&Worker<'_>) -> std::result::Result<(), Over> + Sync),
            >(f)
        };
        *s.job.lock() = Some(Job(erased));
        let run = (s.gate.load(Ordering::Relaxed) >> 32) as u32;
        s.gate.store(u64::from(run.wrapping_add(1)) << 32 | OPEN, Ordering::Release);
        if s.crew.load(Ordering::Relaxed) > 1 {
            s.start.raise();
        }
        walk(s, 0, f);
        s.gate.fetch_and(!OPEN, Ordering::AcqRel);
        s.end();
        s.left.wait(|| s.inside() == 0, || false);
        *s.job.lock() = None;
        if s.n_threads > 1 {
            let (on_core, inside) = (s.on_core.load(Ordering::Relaxed), s.inside.load(Ordering::Relaxed));
            crews.end(kind, Times { wall: nanoseconds(began), on_core, inside });
        }
        match s.poisoned.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(Error::new(Status::Internal, "a kernel panicked; this is a defect of the library")),
        }
    }
}

impl Shared {
    /// The next run has a crew of this size.
    fn choose(&self, crew: usize) {
        self.on_core.store(0, Ordering::Relaxed);
        self.inside.store(0, Ordering::Relaxed);
        if self.crew.swap(crew, Ordering::AcqRel) < crew {
            self.grown.raise();
        }
    }

    /// True if a thread takes part.
    fn takes(&self, index: usize) -> bool {
        index < self.crew.load(Ordering::Acquire)
    }

    /// Threads other than the caller that are inside the run.
    fn inside(&self) -> u64 {
        self.gate.load(Ordering::Acquire) & (OPEN - 1)
    }

    /// Every step is over.
    fn end(&self) {
        self.done.fetch_max(OVER, Ordering::AcqRel);
        self.step_done.raise();
    }

    /// True if a run is open that is not `seen`.
    fn calls(&self, seen: u32) -> bool {
        let gate = self.gate.load(Ordering::Acquire);
        gate & OPEN != 0 && (gate >> 32) as u32 != seen
    }

    /// Comes in, if the gate is open; the number of the run.
    fn enter(&self) -> Option<u32> {
        let enter = |gate: u64| (gate & OPEN != 0).then_some(gate + INSIDE);
        let gate = self.gate.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).ok()?;
        Some((gate >> 32) as u32)
    }

    fn leave(&self) {
        let gate = self.gate.fetch_sub(INSIDE, Ordering::AcqRel) - INSIDE;
        if gate & (OPEN | (OPEN - 1)) == 0 {
            self.left.raise();
        }
    }
}

/// One thread's share of a run.
fn walk(s: &Shared, index: usize, f: &(dyn Fn(&Worker<'_>) -> std::result::Result<(), Over> + Sync)) {
    let worker = Worker::new(s, index);
    let (began, on_core) = (Instant::now(), processor_time());
    if catch_unwind(AssertUnwindSafe(|| f(&worker))).is_err() {
        s.poisoned.store(true, Ordering::Release);
        // The others wait for a piece that will never be done.
        s.end();
    }
    if s.n_threads > 1 {
        s.on_core.fetch_add(processor_time().saturating_sub(on_core), Ordering::Relaxed);
        s.inside.fetch_add(nanoseconds(began).saturating_sub(worker.waited()), Ordering::Relaxed);
    }
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds that this thread has had a core.
fn processor_time() -> u64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the time, or leaves zeros.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut at) };
    at.tv_sec as u64 * 1_000_000_000 + at.tv_nsec as u64
}

/// The life of a thread: it waits for a run, does its share, and waits again.
fn live(s: &Shared, index: usize) {
    let mut seen = 0;
    loop {
        let quits = || s.quit.load(Ordering::Acquire);
        if s.takes(index) {
            s.start.wait(|| quits() || s.calls(seen) || !s.takes(index), || false);
        } else {
            s.grown.sleep(|| quits() || s.takes(index));
        }
        if quits() {
            return;
        }
        // One that comes in all the same, since the crew is another one by now, does no harm.
        if !s.takes(index) || !s.calls(seen) {
            continue;
        }
        let Some(run) = s.enter() else { continue };
        seen = run;
        let job = *s.job.lock();
        if let Some(job) = job {
            // SAFETY: the run that set the job waits until this thread has left.
            walk(s, index, unsafe { &*job.0 });
        }
        s.leave();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::Release);
        self.shared.start.raise();
        self.shared.grown.raise();
        // Dropping them waits for their ends.
        self.workers.clear();
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
                pool.run(0, &|w| {
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
                let pieces =
                    |w: &Worker<'_>, bad: usize| w.share(n_threads, 1, |at| assert!(at.start != bad, "provoked"));
                let e = pool.run(0, &|w| pieces(w, usize::MAX).and_then(|()| pieces(w, guilty))).unwrap_err();
                assert_eq!(e.status, Status::Internal);
                pool.run(0, &|w| w.once(|| ())).unwrap();
            }
        }
    }
}
