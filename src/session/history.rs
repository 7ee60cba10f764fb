//! The tokens of each sequence, so that a new generation finds the longest beginning that another one has already.

use crate::error::{Error, Result, try_vec};

/// The tokens of all sequences.
pub(super) struct History {
    /// By sequence, from position 0 on. `None`: they are not known, since positions have gaps or were shifted.
    seqs: Vec<Option<Vec<i32>>>,
}

impl History {
    pub fn new(n_seq_max: u32) -> Result<History> {
        Ok(History { seqs: try_vec("tokens of sequences", n_seq_max as usize, Some(Vec::new()))? })
    }

    /// The tokens of a sequence, if they are known.
    pub fn of(&self, seq: u32) -> Option<&[i32]> {
        self.seqs[seq as usize].as_deref()
    }

    /// Lets a sequence have these tokens; `None`: they are not known.
    pub fn set(&mut self, seq: u32, tokens: Option<Vec<i32>>) {
        self.seqs[seq as usize] = tokens;
    }

    /// The length of the longest common beginning of a sequence and `tokens`.
    pub fn common(&self, seq: u32, tokens: &[i32]) -> usize {
        let own = self.seqs[seq as usize].as_deref().unwrap_or_default();
        own.iter().zip(tokens).take_while(|(a, b)| a == b).count()
    }

    /// Makes room for the tokens of a batch, so that `add` cannot fail.
    ///
    /// # Errors
    /// `OutOfMemory`; nothing changes.
    pub fn reserve(&mut self, seqs: &[u32]) -> Result<()> {
        let mut counts = vec![0; self.seqs.len()];
        seqs.iter().for_each(|s| counts[*s as usize] += 1);
        for (own, n) in self.seqs.iter_mut().zip(counts).filter(|(_, n)| *n > 0) {
            if let Some(own) = own {
                own.try_reserve(n).map_err(|_| Error::out_of_memory("tokens of a sequence", 4 * n as u64))?;
            }
        }
        Ok(())
    }

    /// Adds a token, for which there is room.
    pub fn add(&mut self, seq: u32, pos: i32, token: i32) {
        let own = &mut self.seqs[seq as usize];
        match own {
            Some(tokens) if tokens.len() == pos as usize => tokens.push(token),
            _ => *own = None,
        }
    }

    /// Forgets positions p0..p1 of a sequence, which then has `length` positions.
    pub fn remove(&mut self, seq: u32, p0: i32, p1: i32, length: i32) {
        let own = &mut self.seqs[seq as usize];
        match own {
            _ if length == 0 => *own = Some(Vec::new()),
            // Nothing was there.
            Some(tokens) if p0 as usize >= tokens.len() || p0 >= p1 => {}
            Some(tokens) if p1 as usize >= tokens.len() => tokens.truncate(p0 as usize),
            _ => *own = None,
        }
    }

    /// Lets `dst` have positions p0..p1 of `src`.
    ///
    /// # Errors
    /// `OutOfMemory`; nothing changes.
    pub fn copy(&mut self, src: u32, dst: u32, p0: i32, p1: i32) -> Result<()> {
        let own = match &self.seqs[src as usize] {
            Some(tokens) if p0 <= 0 => {
                let tokens = &tokens[..tokens.len().min(p1.max(0) as usize)];
                let mut own = Vec::new();
                let out = || Error::out_of_memory("tokens of a sequence", size_of_val(tokens) as u64);
                own.try_reserve_exact(tokens.len()).map_err(|_| out())?;
                own.extend_from_slice(tokens);
                Some(own)
            }
            _ => None,
        };
        self.seqs[dst as usize] = own;
        Ok(())
    }

    /// Nobody knows any more which token has which position in a sequence.
    pub fn lose(&mut self, seq: u32) {
        self.seqs[seq as usize] = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(tokens: &[i32]) -> History {
        let mut h = History::new(3).unwrap();
        tokens.iter().enumerate().for_each(|(pos, t)| h.add(0, pos as i32, *t));
        h
    }

    #[test]
    fn tokens_follow_cuts_and_copies() {
        let mut h = with(&[5, 6, 7, 8]);
        assert_eq!((h.common(0, &[5, 6, 9]), h.common(0, &[5, 6, 7, 8, 9]), h.common(1, &[5])), (2, 4, 0));
        h.copy(0, 1, 0, 3).unwrap();
        h.remove(0, 2, i32::MAX, 2);
        assert_eq!((h.common(0, &[5, 6, 7, 8]), h.common(1, &[5, 6, 7, 8])), (2, 3));
        h.add(0, 2, 9);
        assert_eq!(h.common(0, &[5, 6, 9]), 3);
    }

    #[test]
    fn gaps_and_shifts_make_them_unknown() {
        let mut h = with(&[5, 6, 7]);
        // Nothing is there.
        h.remove(0, 7, 9, 3);
        assert_eq!(h.common(0, &[5, 6, 7]), 3);
        h.remove(0, 0, 1, 3);
        assert_eq!(h.common(0, &[6, 7]), 0);
        h.add(0, 3, 1);
        h.remove(0, 0, i32::MAX, 0);
        h.add(0, 0, 4);
        assert_eq!(h.common(0, &[4]), 1);
        h.lose(0);
        assert_eq!(h.common(0, &[4]), 0);
        let mut h = with(&[5]);
        h.add(0, 2, 6);
        assert_eq!(h.common(0, &[5]), 0);
        let mut h = with(&[5, 6]);
        h.copy(0, 1, 1, 2).unwrap();
        assert_eq!(h.common(1, &[6]), 0);
    }
}
