//! Stop texts: found across the borders of tokens, and never shown in part.
//!
//! # Problem
//!
//! A stop text may begin in one token's text and end in another's. Text that could be its beginning must not be given
//! out, and text that can no longer be must not wait.
//!
//! # Idea
//!
//! Knuth, Morris and Pratt (1977): for each stop text we keep how many of its first bytes the text so far ends with. A
//! new byte either makes that one more, or the next shorter beginning is tried that also fits, which a table knows. So
//! a byte costs constant time on average, however long the stop texts are. The longest of these beginnings is what has
//! to wait. All are whole characters, as a text is.

use crate::error::{Error, Result, try_vec};

/// Bytes of all stop texts together, at most.
pub const MOST_BYTES: usize = 1 << 20;
/// Stop texts at most: each costs some time for each byte.
pub const MOST_TEXTS: usize = 256;

/// Stop texts, and the text that waits because it may be the beginning of one.
#[derive(Debug, Clone, Default)]
pub(super) struct Stops {
    texts: Vec<Stop>,
    /// The end of the text so far, as long as the longest beginning of a stop text that it ends with.
    waiting: String,
}

#[derive(Debug, Clone)]
struct Stop {
    text: Vec<u8>,
    /// By number of bytes that fit: the length of the longest shorter beginning that fits there, too.
    shorter: Vec<u32>,
    /// Bytes of `text` that the text so far ends with.
    fits: usize,
}

impl Stop {
    fn new(text: &str) -> Result<Stop> {
        let text = text.as_bytes();
        let mut own = try_vec("a stop text", text.len(), 0)?;
        own.copy_from_slice(text);
        let mut stop = Stop { shorter: try_vec("a stop text", text.len() + 1, 0)?, text: own, fits: 0 };
        for n in 1..text.len() {
            // Behind the first byte the same fits as of a text without it.
            stop.push(text[n]);
            stop.shorter[n + 1] = stop.fits as u32;
        }
        stop.fits = 0;
        Ok(stop)
    }

    /// Takes a byte; true if it completes the stop text.
    fn push(&mut self, byte: u8) -> bool {
        while self.fits > 0 && (self.fits == self.text.len() || self.text[self.fits] != byte) {
            self.fits = self.shorter[self.fits] as usize;
        }
        self.fits += usize::from(self.text[self.fits] == byte);
        self.fits == self.text.len()
    }
}

impl Stops {
    /// # Errors
    /// `InvalidArgument` for an empty text or too many bytes, `OutOfMemory`.
    pub fn new(texts: &[&str]) -> Result<Stops> {
        let bytes: usize = texts.iter().map(|t| t.len()).sum();
        if bytes > MOST_BYTES || texts.len() > MOST_TEXTS || texts.iter().any(|t| t.is_empty()) {
            let text = format!(
                "{} stop_texts have {bytes} bytes, expected at most {MOST_TEXTS} of 1 to {MOST_BYTES} bytes in all",
                texts.len()
            );
            return Err(Error::invalid(text).subject("stop_texts"));
        }
        let mut own = Vec::new();
        own.try_reserve_exact(texts.len()).map_err(|_| Error::out_of_memory("stop texts", bytes as u64))?;
        for text in texts {
            own.push(Stop::new(text)?);
        }
        Ok(Stops { texts: own, waiting: String::new() })
    }

    /// Takes the text of a token. Gives the text that may be shown by now, and true if a stop text is complete: then
    /// the text is that before it.
    ///
    /// # Errors
    /// `OutOfMemory`, before anything has changed.
    pub fn push(&mut self, text: &str) -> Result<(String, bool)> {
        let n = self.waiting.len() + text.len();
        let mut out = String::new();
        out.try_reserve_exact(n).map_err(|_| Error::out_of_memory("the text of a token", n as u64))?;
        out.push_str(&self.waiting);
        for (i, byte) in text.bytes().enumerate() {
            let complete = |s: &mut Stop| s.push(byte).then_some(s.text.len());
            // All take the byte. If several are complete here, the longest begins first.
            if let Some(len) = self.texts.iter_mut().filter_map(complete).max() {
                out.push_str(&text[..i + 1]);
                out.truncate(out.len() - len);
                self.waiting.clear();
                return Ok((out, true));
            }
        }
        out.push_str(text);
        let waits = self.texts.iter().map(|s| s.fits).max().unwrap_or(0);
        self.waiting = out.split_off(out.len() - waits);
        Ok((out, false))
    }

    /// The text that waits, once nothing can follow.
    pub fn flush(&mut self) -> String {
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text shown piece by piece, and true if it was stopped.
    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut s = Stops::new(stops).unwrap();
        let mut shown = Vec::new();
        for piece in pieces {
            let (text, stop) = s.push(piece).unwrap();
            shown.push(text);
            if stop {
                return (shown, true);
            }
        }
        shown.push(s.flush());
        (shown, false)
    }

    #[test]
    fn a_stop_text_is_found_across_pieces_and_nothing_of_it_is_shown() {
        assert_eq!(run(&["END"], &["a E", "N", "D b"]), (vec!["a ".into(), "".into(), "".into()], true));
        assert_eq!(run(&["END"], &["EN", "Ex", "E"]), (vec!["".into(), "ENEx".into(), "".into(), "E".into()], false));
        // The text may end with a beginning of the stop text within another one.
        assert_eq!(run(&["aab"], &["aa", "aa", "b"]), (vec!["".into(), "aa".into(), "".into()], true));
        // The one that ends first counts, and of those the longest.
        assert_eq!(run(&["b", "abc", "ab"], &["x", "ab"]), (vec!["x".into(), "".into()], true));
        assert_eq!(run(&["ü!"], &["ü", "ö"]), (vec!["".into(), "üö".into(), "".into()], false));
    }

    #[test]
    fn bad_stop_texts_are_named() {
        for bad in [vec![""], vec!["a", ""]] {
            assert_eq!(Stops::new(&bad).unwrap_err().detail.subject, "stop_texts");
        }
        let long = "x".repeat(MOST_BYTES);
        assert!(Stops::new(&[&long]).is_ok() && Stops::new(&[&long, "y"]).is_err());
    }

    /// Against a plain search, over all texts of two letters, cut anywhere.
    #[test]
    fn what_is_shown_is_what_a_plain_search_shows() {
        let texts: Vec<String> =
            (0..1u32 << 11).map(|n| (0..10).map(|i| ['a', 'b'][(n >> i & 1) as usize]).collect()).collect();
        for stops in [vec!["abab"], vec!["aa", "bab"], vec!["bbbb", "abba", "a"]] {
            for (k, text) in texts.iter().enumerate() {
                let ends = |s: &&str| text.find(*s).map(|at| (at + s.len(), at));
                let first = stops.iter().filter_map(ends).min();
                let cut = 1 + k % 9;
                let (shown, stopped) = run(&stops, &[&text[..cut], &text[cut..]]);
                assert_eq!(
                    (shown.concat().as_str(), stopped),
                    first.map_or((text.as_str(), false), |(_, at)| (&text[..at], true))
                );
            }
        }
    }
}
