//! DRY ("don't repeat yourself", github.com/oobabooga/text-generation-webui/pull/5677) lowers the logit of a token that
//! would make a repetition longer.
//!
//! ```text
//! accepted   a b c c b c y a b c     The last tokens, a b c, came before, and c followed. So c would repeat a b c,
//!            - - - ^       - - -     and loses multiplier * base^(3 - allowed length).
//! ```
//!
//! For each place in the accepted tokens this asks how many tokens before it are the same as at the end. Those are the
//! numbers of the Z-algorithm (Gusfield 1997, Algorithms on Strings, Trees, and Sequences, section 1.3) for the tokens
//! in reverse, which finds them all in linear time. The token at that place is the one that loses.
//!
//! A breaker is a short sequence of tokens, such as a line's end. A repetition does not reach back over the last one in
//! the text, and a breaker of one token never loses.

use std::collections::HashMap;

use super::candidates::Candidates;
use super::params::{DEFAULT_BREAKERS, MAX_BREAKER, SamplerParams};
use crate::error::{Error, Result, try_vec};

/// The most tokens behind the first one of a breaker's text.
const LONGEST_TAIL: usize = 20;

/// Sequences of tokens that end a repetition: the first token, and those that follow it.
#[derive(Debug, Default)]
pub(super) struct Breakers(HashMap<i32, Vec<Vec<i32>>>);

impl Breakers {
    /// # Errors
    /// `InvalidArgument` if a sequence is empty or a text is empty or too long; those of the tokeniser.
    pub fn new(p: &SamplerParams) -> Result<Breakers> {
        let mut breakers = Breakers::default();
        if !p.dry() {
            return Ok(breakers);
        }
        for sequence in &p.dry_breakers {
            let Some((head, tail)) = sequence.split_first() else {
                return Err(Error::invalid("a DRY breaker has no tokens").subject("dry_breaker_tokens"));
            };
            breakers.add(*head, tail.to_vec());
        }
        if let Some(vocab) = &p.vocab {
            let given: Vec<&str> = p.dry_breaker_texts.iter().map(String::as_str).collect();
            let texts = if given.is_empty() && p.dry_breakers.is_empty() { &DEFAULT_BREAKERS[..] } else { &given };
            for text in texts {
                if !(1..=MAX_BREAKER).contains(&text.len()) {
                    let text = format!("a DRY breaker has {} bytes, expected 1 to {MAX_BREAKER}", text.len());
                    return Err(Error::invalid(text).subject("dry_breakers"));
                }
                for (head, tail) in vocab.spellings(text, LONGEST_TAIL)? {
                    breakers.add(head, tail);
                }
            }
        }
        Ok(breakers)
    }

    fn add(&mut self, head: i32, tail: Vec<i32>) {
        let tails = self.0.entry(head).or_default();
        if !tails.contains(&tail) {
            tails.push(tail);
        }
    }

    /// The number of tokens behind the last breaker in `tokens`.
    fn behind_last(&self, tokens: &[i32]) -> usize {
        for (place, token) in tokens.iter().enumerate().rev() {
            let after = &tokens[place + 1..];
            let whole = |tail: &&Vec<i32>| after.starts_with(tail);
            let longest = self.0.get(token).and_then(|t| t.iter().filter(whole).map(Vec::len).max());
            if let Some(longest) = longest {
                return after.len() - longest;
            }
        }
        tokens.len()
    }

    fn is_single(&self, token: i32) -> bool {
        self.0.get(&token).is_some_and(|tails| tails.iter().any(Vec::is_empty))
    }
}

/// # Errors
/// `OutOfMemory`.
pub(super) fn apply(candidates: &mut Candidates, p: &SamplerParams, breakers: &Breakers, recent: &[i32]) -> Result<()> {
    let allowed = p.dry_allowed_length();
    if recent.len() <= allowed {
        return Ok(());
    }
    let limit = breakers.behind_last(recent);
    if limit < allowed {
        return Ok(());
    }
    let repeated = repetitions(recent)?;
    let mut longest: Vec<(i32, usize)> = try_vec("repetitions", recent.len(), (0, 0))?;
    longest.clear();
    let long = |i: &usize| repeated[*i].min(limit) >= allowed;
    longest.extend((1..recent.len()).filter(long).map(|i| (recent[recent.len() - i], repeated[i].min(limit))));
    longest.sort_unstable();
    candidates.settle();
    // The power stays within the range of f32.
    let most = (f64::from(f32::MAX).ln() / f64::from(p.dry_base()).ln()) as usize;
    let most = if p.dry_base() > 1.000001 { most } else { usize::MAX };
    for same in longest.chunk_by(|a, b| a.0 == b.0) {
        // Ascending, so the last one is the longest.
        let (token, n) = same[same.len() - 1];
        if !breakers.is_single(token) {
            let power = f64::from(p.dry_base()).powf((n - allowed).min(most) as f64);
            let penalty = (f64::from(p.dry_multiplier) * power) as f32;
            candidates.change(token, |logit| logit - penalty);
        }
    }
    candidates.prune();
    Ok(())
}

/// For each i: the number of tokens that are the same before the last i tokens as at the end.
fn repetitions(tokens: &[i32]) -> Result<Vec<usize>> {
    let n = tokens.len();
    let back = |i: usize| tokens[n - 1 - i];
    let mut z: Vec<usize> = try_vec("repetitions", n, 0)?;
    // Places [left, right) are the same as [0, right - left), and no place known to be the same goes further.
    let (mut left, mut right) = (0, 0);
    for i in 1..n {
        let mut len = if i < right { z[i - left].min(right - i) } else { 0 };
        while i + len < n && back(len) == back(i + len) {
            len += 1;
        }
        if i + len > right {
            (left, right) = (i, i + len);
        }
        z[i] = len;
    }
    Ok(z)
}
