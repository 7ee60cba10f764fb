//! The tokens that were accepted last, oldest first. They lie in one piece: the buffer has room for twice as many, and
//! the older half goes when it is full.

use crate::error::{Result, try_vec};

#[derive(Debug)]
pub(super) struct History {
    tokens: Vec<i32>,
    /// The number of tokens that are remembered.
    n: usize,
}

impl History {
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(n: usize) -> Result<History> {
        let mut tokens = try_vec("accepted tokens", 2 * n, 0)?;
        tokens.clear();
        Ok(History { tokens, n })
    }

    pub fn push(&mut self, token: i32) {
        if self.n == 0 {
            return;
        }
        if self.tokens.len() >= 2 * self.n {
            self.tokens.drain(..self.n + 1);
        }
        self.tokens.push(token);
    }

    /// The last `n` tokens, or as many as there are.
    pub fn last(&self, n: usize) -> &[i32] {
        &self.tokens[self.tokens.len().saturating_sub(n.min(self.n))..]
    }

    pub fn clear(&mut self) {
        self.tokens.clear();
    }

    /// # Errors
    /// `OutOfMemory`.
    pub fn copy(&self) -> Result<History> {
        let mut copy = History::new(self.n)?;
        copy.tokens.extend_from_slice(&self.tokens);
        Ok(copy)
    }
}
