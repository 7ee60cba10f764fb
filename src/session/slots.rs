//! The users of sequences. A host uses sequences by their ids. Generations take those that are empty, from the last one
//! down, and leave them *idle*: the tokens stay, since another generation may begin with the same ones, until the room
//! is needed.

use crate::error::{Result, try_vec};

/// The user of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    /// The host, or nobody if it is empty.
    Host,
    /// A generation that goes on, or that has pinned it.
    Generation,
    /// Nobody any more. The number grows: the least was left first.
    Idle(u64),
}

pub(super) struct Slots {
    seqs: Vec<User>,
    clock: u64,
}

impl Slots {
    pub fn new(n_seq_max: u32) -> Result<Slots> {
        Ok(Slots { seqs: try_vec("users of sequences", n_seq_max as usize, User::Host)?, clock: 0 })
    }

    pub fn of(&self, seq: u32) -> User {
        self.seqs[seq as usize]
    }

    pub fn is_idle(&self, seq: u32) -> bool {
        matches!(self.of(seq), User::Idle(_))
    }

    pub fn give(&mut self, seq: u32, user: User) {
        self.seqs[seq as usize] = user;
    }

    /// Leaves a sequence idle.
    pub fn leave(&mut self, seq: u32) {
        self.clock += 1;
        self.give(seq, User::Idle(self.clock));
    }

    /// The idle sequence that was left first, but for `except`.
    pub fn oldest(&self, except: Option<u32>) -> Option<u32> {
        let idle = self.seqs.iter().zip(0..).filter_map(|(user, seq)| match user {
            User::Idle(at) if Some(seq) != except => Some((*at, seq)),
            _ => None,
        });
        idle.min().map(|(_, seq)| seq)
    }
}
