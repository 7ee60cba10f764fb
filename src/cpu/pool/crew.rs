//! The number of threads that take part in a run, fitted to what the machine gives.
//!
//! # Problem
//!
//! A step ends when its pieces are done. A thread that loses its core has nearly always taken a piece before, and then
//! all others wait for it, some milliseconds long. On a machine with other work this happens in every run, and the more
//! threads take part, the more often. Fewer threads may then be faster, and with small steps one alone. Nobody can know
//! this beforehand: it depends on the other work, on the system's scheduler and on the length of the steps.
//!
//! # Idea
//!
//! Each kind of run (a token of one sequence is one, a micro-batch of a prompt another) has its own number of threads,
//! its *crew*. At first these are all. Two figures are measured:
//!
//! - the *share*: the processor time of the threads inside a run by the time that they were there and not waiting for
//!   others. On a quiet machine it is 1; less means that cores were taken away. It tells when to look for another crew,
//!   and a crew that the cores given would carry: the threads times the share.
//! - the time of a run. It decides. A new crew is tried beside the old one, in alternating blocks of some runs, until
//!   the difference is clear of their noise or both had their turns. So a load that comes or goes meanwhile hits both.
//!
//! ```text
//! share < 0.9    try fewer: threads * share          a failed try: the next one in this direction waits
//! share >= 0.9   try more: twice as many             twice as long, up to LONGEST windows
//! else           now and then, one more
//! ```
//!
//! With all threads at work and a share of 0.9 or more nothing is tried, so a quiet machine loses nothing but two looks
//! at a clock. A crew decides who takes part, not how the work is cut. So results stay the same to the bit.

/// A share below this means that cores are taken away.
const BUSY: f64 = 0.9;
/// The least of a block and of a window: runs, and nanoseconds.
const RUNS: u64 = 4;
const TIME: u64 = 20_000_000;
/// The blocks that each side of a trial has at most, and the nanoseconds that are enough.
const BLOCKS: u32 = 16;
const ENOUGH: u64 = 1_000_000_000;
/// After this number of blocks of each side, a difference of so many standard errors decides.
const EARLY: u32 = 3;
const CLEAR: f64 = 2.5;
/// A smaller crew may be slower by this share, a larger one must be faster by it: threads that gain nothing are left
/// to others.
const MARGIN: f64 = 0.03;
/// Windows to the next try in a direction: after a success in the other one or a first failure, and at most.
const SHORTEST: u32 = 8;
const LONGEST: u32 = 128;
/// Kinds of runs that are remembered.
const KINDS: usize = 8;

/// Nanoseconds of a run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    /// From its beginning to its end.
    pub wall: u64,
    /// Processor time of the threads inside.
    pub on_core: u64,
    /// Time that these threads were inside and did not wait.
    pub inside: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    runs: u64,
    times: Times,
    /// Squares of the runs' nanoseconds.
    squares: f64,
}

impl Sum {
    fn add(&mut self, t: Times) {
        self.runs += 1;
        self.times.wall += t.wall;
        self.times.on_core += t.on_core;
        self.times.inside += t.inside;
        self.squares += t.wall as f64 * t.wall as f64;
    }

    fn is_full(&self) -> bool {
        self.runs >= RUNS && self.times.wall >= TIME
    }

    /// Nanoseconds of a run in the mean.
    fn mean(&self) -> f64 {
        self.times.wall as f64 / self.runs.max(1) as f64
    }

    /// The square of the standard error of the mean.
    fn error(&self) -> f64 {
        let n = self.runs.max(1) as f64;
        (self.squares / n - self.mean() * self.mean()).max(0.0) / n
    }

    fn share(&self) -> f64 {
        if self.times.inside == 0 { 1.0 } else { self.times.on_core as f64 / self.times.inside as f64 }
    }
}

/// The old crew and a new one, in turn.
#[derive(Debug)]
struct Trial {
    to: usize,
    /// All blocks of the old crew and of the new one.
    sums: [Sum; 2],
    blocks: [u32; 2],
    block: Sum,
    /// The side whose block it is: the new crew's first.
    side: usize,
}

impl Trial {
    fn new(to: usize) -> Trial {
        Trial { to, sums: [Sum::default(); 2], blocks: [0; 2], block: Sum::default(), side: 1 }
    }

    /// Takes a run; the time of the new crew by that of the old one, when the trial ends.
    fn add(&mut self, t: Times) -> Option<f64> {
        self.block.add(t);
        self.sums[self.side].add(t);
        if !self.block.is_full() {
            return None;
        }
        self.block = Sum::default();
        self.blocks[self.side] += 1;
        self.side = 1 - self.side;
        let [old, new] = self.sums;
        let n = self.blocks[0];
        let difference = new.mean() - old.mean();
        let clear = n >= EARLY && difference * difference > CLEAR * CLEAR * (new.error() + old.error());
        let ended = n >= BLOCKS || clear || (n >= 2 && old.times.wall.min(new.times.wall) >= ENOUGH);
        let ratio = new.mean() / old.mean();
        (self.blocks[0] == self.blocks[1] && ended).then_some(ratio)
    }
}

/// When the next try in a direction is due.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Windows from now on.
    left: u32,
    /// Windows after the next failure.
    next: u32,
}

impl Patience {
    fn failed(&mut self) {
        self.left = self.next;
        self.next = (self.next * 2).min(LONGEST);
    }
}

#[derive(Debug)]
struct Kind {
    key: u64,
    /// When it was last used.
    used: u64,
    crew: usize,
    window: Sum,
    trial: Option<Trial>,
    fewer: Patience,
    more: Patience,
}

impl Kind {
    /// The number of threads of the next run.
    fn now(&self) -> usize {
        self.trial.as_ref().filter(|t| t.side == 1).map_or(self.crew, |t| t.to)
    }

    fn add(&mut self, t: Times, n_threads: usize) {
        if let Some(trial) = &mut self.trial {
            let to = trial.to;
            if let Some(ratio) = trial.add(t) {
                self.trial = None;
                self.decide(to, ratio);
            }
            return;
        }
        self.window.add(t);
        if self.window.is_full() {
            self.trial = self.next(n_threads).map(Trial::new);
            self.window = Sum::default();
        }
    }

    fn decide(&mut self, to: usize, ratio: f64) {
        let down = to < self.crew;
        let won = if down { ratio < 1.0 + MARGIN } else { ratio < 1.0 - MARGIN };
        let (this, other) = if down { (&mut self.fewer, &mut self.more) } else { (&mut self.more, &mut self.fewer) };
        if won {
            self.crew = to;
            *this = Patience { left: 0, next: SHORTEST };
            other.left = other.left.max(SHORTEST);
        } else {
            this.failed();
        }
    }

    /// After a window: the crew to try, if any is due.
    fn next(&mut self, n_threads: usize) -> Option<usize> {
        let (crew, share) = (self.crew, self.window.share());
        let busy = share < BUSY;
        self.fewer.left = self.fewer.left.saturating_sub(1);
        self.more.left = self.more.left.saturating_sub(if busy { 1 } else { 2 });
        if busy && crew > 1 && self.fewer.left == 0 {
            return Some(((crew as f64 * share).round() as usize).clamp(1, crew - 1));
        }
        let more = if busy { crew + 1 } else { crew * 2 };
        (crew < n_threads && self.more.left == 0).then(|| more.min(n_threads))
    }
}

/// The crews of a pool, by kind of run.
#[derive(Debug)]
pub(super) struct Crews {
    n_threads: usize,
    kinds: Vec<Kind>,
    clock: u64,
}

impl Crews {
    pub fn new(n_threads: usize) -> Crews {
        Crews { n_threads, kinds: Vec::with_capacity(KINDS), clock: 0 }
    }

    /// The number of threads for a run. A new kind begins with that of the last one.
    pub fn begin(&mut self, key: u64) -> usize {
        self.clock += 1;
        if let Some(kind) = self.kinds.iter_mut().find(|k| k.key == key) {
            kind.used = self.clock;
            return kind.now();
        }
        let crew = self.kinds.iter().max_by_key(|k| k.used).map_or(self.n_threads, |k| k.crew);
        if self.kinds.len() == KINDS {
            let oldest = (0..KINDS).min_by_key(|i| self.kinds[*i].used).unwrap_or(0);
            self.kinds.swap_remove(oldest);
        }
        let patience = Patience { left: 0, next: SHORTEST };
        let (window, trial) = (Sum::default(), None);
        self.kinds.push(Kind { key, used: self.clock, crew, window, trial, fewer: patience, more: patience });
        crew
    }

    /// Takes the times of a run.
    pub fn end(&mut self, key: u64, times: Times) {
        let n_threads = self.n_threads;
        if let Some(kind) = self.kinds.iter_mut().find(|k| k.key == key) {
            kind.add(times, n_threads);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that takes `seconds(threads)` milliseconds for a run, more or less, at a share. The mean of the runs
    /// from `from` on by that of the best crew.
    fn live(crews: &mut Crews, ms: &[f64], share: f64, runs: usize, from: usize) -> f64 {
        let best = ms.iter().copied().fold(f64::INFINITY, f64::min);
        let (mut sum, mut state) = (0.0, 1u64);
        for run in 0..runs {
            let n = crews.begin(7);
            // Some runs take a little, others very long: exponential times.
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let noise = if share < BUSY { -(1.0 - (state >> 11) as f64 / (1u64 << 53) as f64).ln() } else { 1.0 };
            let wall = (ms[n - 1] * noise * 1e6) as u64;
            let inside = 1_000_000 * n as u64;
            crews.end(7, Times { wall, on_core: (inside as f64 * share) as u64, inside });
            sum += if run >= from { ms[n - 1] } else { 0.0 };
        }
        sum / (runs - from) as f64 / best
    }

    #[test]
    fn a_quiet_machine_keeps_all_threads() {
        assert_eq!(live(&mut Crews::new(4), &[4.0, 2.0, 1.5, 1.0], 0.97, 2000, 0), 1.0);
    }

    #[test]
    fn a_busy_machine_gets_the_best_crew_and_few_trials() {
        for ms in [[5.0, 8.0, 12.0, 16.0], [16.0, 9.0, 12.0, 16.0], [8.0, 8.0, 8.0, 8.0]] {
            let loss = live(&mut Crews::new(4), &ms, 0.3, 6000, 1000);
            assert!(loss < 1.1, "{ms:?}: {loss}");
        }
    }

    #[test]
    fn all_threads_come_back_when_the_load_has_gone() {
        let mut crews = Crews::new(4);
        live(&mut crews, &[5.0, 8.0, 12.0, 16.0], 0.3, 3000, 0);
        assert_eq!(live(&mut crews, &[4.0, 2.0, 1.5, 1.0], 0.98, 3000, 2500), 1.0);
    }

    #[test]
    fn kinds_have_their_own_crews_and_the_oldest_is_forgotten() {
        let mut crews = Crews::new(4);
        for key in 0..50 {
            assert_eq!(crews.begin(key), 4);
        }
        assert_eq!(crews.kinds.len(), KINDS);
        assert!(crews.kinds.iter().all(|k| k.key >= 42));
    }
}
