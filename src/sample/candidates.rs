//! The tokens that may still be drawn.
//!
//! A vocabulary has up to a quarter of a million tokens, and to sort them all takes longer than all other steps
//! together. So the list is sorted from the front as far as a step looks (`sort_to`): the first `sorted` candidates are
//! the most likely ones, in order, and the others follow in any order. Each step of looking sorts several times as much
//! as the one before, so that a step that does look at all of them costs little more than one sort.
//!
//! A temperature divides logits, but it is applied late: it is kept beside them and divides differences of logits
//! (`weight`). What needs the logits themselves calls `settle` first.

use crate::error::{Error, Result};

/// A token with its logit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub token: i32,
    pub logit: f32,
}

/// The number of candidates that are sorted at the first look.
const FIRST_LOOK: usize = 64;
/// Each further look sorts so many times as many.
const LOOK_FURTHER: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Candidates {
    list: Vec<Candidate>,
    sorted: usize,
    /// The list ascends by token.
    by_token: bool,
    temperature: f32,
}

/// The most likely comes first, of equals the lower token: an order without ties, so that no draw depends on how a sort
/// works.
fn order(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    rank(a).cmp(&rank(b))
}

/// One number to compare by, which is quicker than two: the logit's bits, such that larger logits give smaller numbers
/// (as `f32::total_cmp` orders them), and the token.
fn rank(c: &Candidate) -> u64 {
    let bits = c.logit.to_bits();
    let falls = if bits >> 31 == 0 { !bits ^ (1 << 31) } else { bits };
    u64::from(falls) << 32 | u64::from(c.token as u32)
}

/// The share of the highest logit's probability that a logit has. An infinite logit minus itself is no number: all the
/// weight goes to that token.
pub(super) fn weight(logit: f32, highest: f32, temperature: f32) -> f64 {
    f64::from(if logit == highest { 1.0 } else { ((logit - highest) / temperature).exp() })
}

/// Sorts `list` so far that its first `k` are the first in `order`; the first `sorted` are so already.
pub(super) fn sort_prefix<T>(
    list: &mut [T],
    sorted: usize,
    k: usize,
    order: impl Fn(&T, &T) -> std::cmp::Ordering + Copy,
) {
    let rest = &mut list[sorted..];
    let k = k - sorted;
    if k < rest.len() {
        rest.select_nth_unstable_by(k - 1, order);
    }
    rest[..k].sort_unstable_by(order);
}

/// The number of candidates to sort in order to see the candidate behind the first `seen`.
pub(super) fn further(seen: usize) -> usize {
    (seen * LOOK_FURTHER).max(FIRST_LOOK)
}

impl Candidates {
    /// Starts with all tokens of a row of logits. A logit that is no number counts as -infinity.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn fill(&mut self, logits: &[f32]) -> Result<()> {
        self.list.clear();
        self.list.try_reserve_exact(logits.len()).map_err(|_| {
            Error::out_of_memory("candidate tokens", (logits.len() as u64) * size_of::<Candidate>() as u64)
        })?;
        let candidate = |(token, logit): (usize, &f32)| Candidate {
            token: token as i32,
            logit: if logit.is_nan() { f32::NEG_INFINITY } else { *logit },
        };
        self.list.extend(logits.iter().enumerate().map(candidate));
        (self.sorted, self.by_token, self.temperature) = (0, true, 1.0);
        Ok(())
    }

    /// Starts with one token. It needs no logit of its own: alone it is as likely with any.
    pub fn fill_one(&mut self, token: i32) {
        self.replace(std::iter::once(Candidate { token, logit: 0.0 }));
        self.temperature = 1.0;
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The candidates that are left. The first ones are the most likely, in order, as far as `sort_to` was asked for.
    pub fn list(&self) -> &[Candidate] {
        &self.list
    }

    /// The temperature that logits are still to be divided by.
    pub fn temperature(&self) -> f32 {
        self.temperature
    }

    /// Sorts the most likely `k` candidates, or all if there are fewer, to the front.
    pub fn sort_to(&mut self, k: usize) {
        let k = k.min(self.list.len());
        if k > self.sorted {
            sort_prefix(&mut self.list, self.sorted, k, order);
            self.sorted = k;
            self.by_token = false;
        }
    }

    /// The candidate at place `i` of those sorted by probability.
    pub fn ranked(&mut self, i: usize) -> Option<Candidate> {
        if i >= self.sorted {
            self.sort_to(further(i));
        }
        self.list.get(i).copied()
    }

    /// The highest logit, -infinity if there are no candidates.
    pub fn highest(&self) -> f32 {
        match self.sorted {
            0 => self.list.iter().fold(f32::NEG_INFINITY, |best, c| if c.logit > best { c.logit } else { best }),
            _ => self.list[0].logit,
        }
    }

    /// The candidate with the highest logit, of equals the lowest token.
    pub fn best(&self) -> Option<Candidate> {
        if self.sorted > 0 {
            return self.list.first().copied();
        }
        let first = |best: Candidate, c: Candidate| if c.logit > best.logit { c } else { best };
        let lower = |best: Candidate, c: Candidate| {
            if c.logit == best.logit && c.token < best.token { c } else { first(best, c) }
        };
        let all = self.list.iter().copied();
        if self.by_token { all.reduce(first) } else { all.reduce(lower) }
    }

    /// The sum of all weights, to which [`weight`]s by the same highest logit are shares.
    pub fn sum(&self, highest: f32) -> f64 {
        self.list.iter().map(|c| weight(c.logit, highest, self.temperature)).sum()
    }

    /// The place of a token.
    fn place(&self, token: i32) -> Option<usize> {
        let direct = usize::try_from(token).ok()?;
        if self.list.get(direct).is_some_and(|c| c.token == token) {
            return Some(direct);
        }
        match self.by_token {
            true => self.list.binary_search_by_key(&token, |c| c.token).ok(),
            false => self.list.iter().position(|c| c.token == token),
        }
    }

    /// Changes a token's logit, if it is a candidate.
    pub fn change(&mut self, token: i32, change: impl FnOnce(f32) -> f32) {
        if let Some(place) = self.place(token) {
            let logit = change(self.list[place].logit);
            self.list[place].logit = if logit.is_nan() { f32::NEG_INFINITY } else { logit };
            self.sorted = 0;
        }
    }

    /// Leaves the tokens of a set of bits: token t is bit t % 32 of word t / 32.
    pub fn mask(&mut self, allowed: &[u32]) {
        let member = |t: usize| allowed.get(t / 32).is_some_and(|word| word >> (t % 32) & 1 == 1);
        self.list.retain(|c| member(c.token as usize));
        self.sorted = 0;
    }

    /// Takes out the candidates that cannot be drawn any more.
    pub fn prune(&mut self) {
        // Without an early end this is several candidates at a time.
        if self.list.iter().fold(false, |any, c| any | (c.logit == f32::NEG_INFINITY)) {
            self.keep_likely(|logit| logit > f32::NEG_INFINITY);
        }
    }

    /// Leaves those whose logit is high enough. `enough` never holds for a logit and not for a higher one.
    pub fn keep_likely(&mut self, enough: impl Fn(f32) -> bool) {
        let kept = self.list[..self.sorted].partition_point(|c| enough(c.logit));
        if kept < self.sorted {
            // All behind the sorted ones are even less likely.
            self.list.truncate(kept);
        } else {
            self.list.retain(|c| enough(c.logit));
        }
        self.sorted = kept;
    }

    /// Leaves the `k` most likely ones.
    pub fn keep_first(&mut self, k: usize) {
        if k < self.list.len() {
            self.sort_to(k);
            self.list.truncate(k);
            self.sorted = k;
        }
    }

    /// Takes the `n` most likely ones out.
    pub fn drop_first(&mut self, n: usize) {
        self.sort_to(n);
        self.list.drain(..n);
        self.sorted -= n;
    }

    /// Leaves one candidate alone.
    pub fn keep_only(&mut self, candidate: Candidate) {
        self.list.clear();
        self.list.push(candidate);
        self.sorted = 1;
    }

    /// Puts others in the place of all candidates, in any order.
    pub fn replace(&mut self, with: impl Iterator<Item = Candidate>) {
        self.list.clear();
        self.list.extend(with);
        (self.sorted, self.by_token) = (0, false);
    }

    /// Gives each candidate, as they stand in the list, a new logit, in place of a temperature, too.
    pub fn rate(&mut self, mut logit: impl FnMut() -> f32) {
        for c in &mut self.list {
            c.logit = logit();
        }
        (self.sorted, self.temperature) = (0, 1.0);
    }

    /// Divides logits by a temperature above 0, from now on.
    pub fn heat(&mut self, temperature: f32) {
        self.temperature *= temperature;
    }

    /// Divides the logits by the temperatures so far.
    pub fn settle(&mut self) {
        if self.temperature == 1.0 {
            return;
        }
        // If the quotients overflow, the temperature is as good as 0.
        if let Some(best) = self.best().filter(|c| (c.logit / self.temperature).is_infinite()) {
            self.keep_only(best);
        }
        for c in &mut self.list {
            c.logit /= self.temperature;
        }
        self.temperature = 1.0;
    }
}
