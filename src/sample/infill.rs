//! For text that goes between two others: it should end as soon as it meets what follows (the rule of
//! github.com/ggml-org/llama.cpp/pull/9896). It goes behind top-k or top-p.
//!
//! 1. If tokens that end a text are likely (three times their probability, times the number of candidates, is more
//!    than the probability of the others), only they are left.
//! 2. Of two tokens, one of which begins with the other's text, the likelier one gets both probabilities.
//! 3. Of the others, those with a probability below 0.2 are cut off, then those below the mean of what is left with one
//!    more. Tokens that end a text stay.
//! 4. If none is left but such that end a text, the text ends.

use super::candidates::{Candidate, Candidates, weight};
use crate::error::Result;
use crate::vocab::Vocab;

/// The most likely candidates that are looked at; each is compared with each.
const MOST: usize = 1000;
const UNLIKELY: f64 = 0.2;

struct Word {
    candidate: Candidate,
    p: f64,
    ends: bool,
    text: Vec<u8>,
    merged: bool,
}

/// `may` says if a token that is no candidate may be taken nevertheless.
///
/// # Errors
/// `OutOfMemory`, for the texts of tokens.
pub(super) fn apply(candidates: &mut Candidates, vocab: &Vocab, may: impl Fn(i32) -> bool) -> Result<()> {
    candidates.keep_first(MOST);
    candidates.sort_to(MOST);
    let (highest, temperature) = (candidates.highest(), candidates.temperature());
    let sum = candidates.sum(highest);
    let n = candidates.len() as f64;
    let mut words = Vec::new();
    for c in candidates.list() {
        let text = if (c.token as usize) < vocab.n_tokens() { vocab.piece(c.token, false)? } else { Vec::new() };
        let p = weight(c.logit, highest, temperature) / sum;
        words.push(Word { candidate: *c, p, ends: vocab.is_eog(c.token), text, merged: false });
    }
    let p_ends: f64 = words.iter().filter(|w| w.ends).map(|w| w.p).sum();
    let p_goes_on: f64 = words.iter().filter(|w| !w.ends).map(|w| w.p).sum();
    if 3.0 * p_ends * n > p_goes_on {
        candidates.replace(words.iter().filter(|w| w.ends).map(|w| w.candidate));
        return Ok(());
    }
    merge(&mut words);
    words.retain(|w| w.ends || w.p >= UNLIKELY);
    let goes_on = words.iter().filter(|w| !w.ends).count();
    if goes_on == 0 {
        let end = vocab.special().eot.or(vocab.eos()).filter(|t| may(*t));
        match end {
            Some(token) => candidates.keep_only(Candidate { token, logit: highest }),
            // The text may not end here. Then it goes on with what is most likely.
            None => candidates.keep_first(1),
        }
        return Ok(());
    }
    let left: f64 = words.iter().map(|w| w.p).sum();
    words.retain(|w| w.ends || w.p / left >= 1.0 / (goes_on + 1) as f64);
    candidates.replace(words.iter().map(|w| w.candidate));
    Ok(())
}

/// Gives the probability of a token to one that begins with its text, or the other way round, whichever is likelier.
fn merge(words: &mut [Word]) {
    for i in 0..words.len() {
        for j in 0..words.len() {
            if words[i].merged {
                break;
            }
            let begins = !words[i].text.is_empty() && words[j].text.starts_with(&words[i].text);
            if i == j || words[j].merged || !begins {
                continue;
            }
            let (to, from) = if words[j].p > words[i].p { (j, i) } else { (i, j) };
            words[to].p += words[from].p;
            words[from].p = 0.0;
            words[from].merged = true;
        }
    }
}
