//! Text from tokens as they come, without ever cutting a character.

use super::Vocab;
use crate::error::{Error, Result};

/// Joins the pieces of a run of tokens. A token may end inside a character; its bytes wait here for the next one.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    pending: Vec<u8>,
    special: bool,
}

impl Stream {
    /// `special`: control tokens show as their text instead of as nothing.
    pub fn new(special: bool) -> Stream {
        Stream { pending: Vec::new(), special }
    }

    /// Adds a token and returns the characters that are complete by now, often none or several.
    /// Bytes that can no longer become a character come as U+FFFD.
    ///
    /// # Errors
    /// `InvalidArgument` if `vocab` has no such token, `OutOfMemory`; the waiting bytes stay.
    pub fn push(&mut self, vocab: &Vocab, id: i32) -> Result<String> {
        let waiting = self.pending.len();
        vocab.append_piece(id, self.special, &mut self.pending)?;
        let mut out = String::new();
        // At worst each byte is no character.
        let most = self.pending.len() * char::REPLACEMENT_CHARACTER.len_utf8();
        if out.try_reserve(most).is_err() {
            self.pending.truncate(waiting);
            return Err(Error::out_of_memory("the text of a token", most as u64));
        }
        let mut rest: &[u8] = &self.pending;
        loop {
            match std::str::from_utf8(rest) {
                Ok(s) => {
                    out.push_str(s);
                    rest = &[];
                    break;
                }
                Err(e) => {
                    let (valid, after) = rest.split_at(e.valid_up_to());
                    out.push_str(std::str::from_utf8(valid).unwrap_or_default());
                    rest = after;
                    let Some(bad) = e.error_len() else { break };
                    out.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[bad..];
                }
            }
        }
        let done = self.pending.len() - rest.len();
        self.pending.drain(..done);
        Ok(out)
    }

    /// Gives the rest: nothing, or U+FFFD for a character that never came to its end.
    pub fn flush(&mut self) -> String {
        let left = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        left
    }
}
