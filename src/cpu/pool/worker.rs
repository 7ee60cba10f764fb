//! A thread's view of a run: it takes pieces of steps until all steps are done.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{OVER, Shared};

/// Lines of memory that a waiting thread asks for between two looks at the signal.
const LINES: usize = 8;

/// The run is over for this thread: it has ended, or a thread panicked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Over;

/// Counts an owner's pieces of a step that are taken: the step's number in the upper half, the count in the lower one.
/// It is alone in its cache lines.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Ticket(AtomicU64);

impl Ticket {
    /// Takes the next of `n` pieces of a step; `None` if all are taken or a later step has begun.
    fn take(&self, step: u32, n: usize) -> Option<usize> {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            let taken = match (now >> 32).cmp(&u64::from(step)) {
                std::cmp::Ordering::Less => 0,
                std::cmp::Ordering::Equal => now & u64::from(u32::MAX),
                std::cmp::Ordering::Greater => return None,
            };
            if taken >= n as u64 {
                return None;
            }
            let next = u64::from(step) << 32 | (taken + 1);
            match self.0.compare_exchange_weak(now, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(taken as usize),
                Err(other) => now = other,
            }
        }
    }

    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

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
    /// The threads that take part. Each of them owns pieces; another one, that has come by chance, only helps.
    crew: usize,
    shared: &'a Shared,
    /// The step that this thread is at; the first one is 1.
    step: Cell<u32>,
    /// Pieces of all steps before.
    before: Cell<usize>,
    coming: Cell<Coming>,
    /// Nanoseconds that this thread gave its core away while it waited for steps.
    waited: Cell<u64>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(shared: &'a Shared, index: usize) -> Worker<'a> {
        let coming = Cell::new(Coming { from: std::ptr::null(), bytes: 0 });
        let (n_threads, crew) = (shared.n_threads, shared.crew.load(Ordering::Relaxed));
        let (step, before, waited) = (Cell::new(1), Cell::new(0), Cell::new(0));
        Worker { index, n_threads, crew, shared, step, before, coming, waited }
    }

    /// Nanoseconds that this thread gave its core away while it waited for steps.
    pub(super) fn waited(&self) -> u64 {
        self.waited.get()
    }

    /// The part of `0..n` that [`Worker::share`] gives this thread before it helps others.
    pub fn part(&self, n: usize, chunk: usize) -> Range<usize> {
        let pieces = self.pieces(n, chunk, self.index);
        (pieces.start * chunk).min(n)..(pieces.end * chunk).min(n)
    }

    /// The pieces of `0..n` that belong to thread `owner`.
    fn pieces(&self, n: usize, chunk: usize, owner: usize) -> Range<usize> {
        let n_pieces = n.div_ceil(chunk);
        let begin = |owner: usize| n_pieces * owner.min(self.crew) / self.crew;
        begin(owner)..begin(owner + 1)
    }

    /// A step: `0..n` is shared among the threads in pieces of `chunk`, and this returns when all are done. Each thread
    /// does its own pieces front to back, and then helps others with theirs.
    ///
    /// A thread may come late, when the step is done and later ones have begun. So outside of `f` nobody may read what
    /// an earlier step has written, nor keep a reference to memory that a later one writes. All threads must come with
    /// the same `n` and `chunk`.
    pub fn share(&self, n: usize, chunk: usize, mut f: impl FnMut(Range<usize>)) -> Result<(), Over> {
        let (s, chunk, step) = (self.shared, chunk.max(1), self.step.get());
        let all = self.before.get() + n.div_ceil(chunk);
        self.step.set(step + 1);
        self.before.set(all);
        if s.done.load(Ordering::Acquire) < all {
            let mut done = 0;
            for ahead in 0..self.crew {
                let owner = (self.index + ahead) % self.crew;
                let pieces = self.pieces(n, chunk, owner);
                while let Some(piece) = s.tickets[owner].take(step, pieces.len()) {
                    let first = (pieces.start + piece) * chunk;
                    f(first..n.min(first + chunk));
                    done += 1;
                }
            }
            if done > 0 && s.done.fetch_add(done, Ordering::AcqRel) + done == all {
                s.step_done.raise();
            } else if s.done.load(Ordering::Acquire) < all {
                let waited = s.step_done.wait(|| s.done.load(Ordering::Acquire) >= all, || self.fetch());
                self.waited.set(self.waited.get() + waited);
            }
        }
        if s.done.load(Ordering::Acquire) >= OVER { Err(Over) } else { Ok(()) }
    }

    /// A step of one piece, which one thread does.
    pub fn once(&self, f: impl FnOnce()) -> Result<(), Over> {
        let mut f = Some(f);
        self.share(1, 1, |_| f.take().into_iter().for_each(|f| f()))
    }

    /// Names memory that this thread will read after the next step. While it waits there, it asks for these lines. The
    /// addresses need not exist, since a prefetch never fails.
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
