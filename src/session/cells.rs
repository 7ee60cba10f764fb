//! Which cell of the KV cache holds which position of which sequences. Bookkeeping only; the keys and values lie
//! elsewhere.

use crate::error::{Error, Result, Status, try_vec};
use crate::graph::Span;

const FREE: i32 = -1;

pub(super) struct Cells {
    /// Position of each cell, `FREE` where it holds none.
    pos: Vec<i32>,
    /// A bit per sequence, `words` words a cell.
    seqs: Vec<u64>,
    words: usize,
    n_seq_max: u32,
    n_free: usize,
}

fn bit(seq: u32) -> (usize, u64) {
    (seq as usize / 64, 1 << (seq % 64))
}

impl Cells {
    pub fn new(n_cells: usize, n_seq_max: u32) -> Result<Cells> {
        let words = n_seq_max.div_ceil(64) as usize;
        Ok(Cells {
            pos: try_vec("positions of the KV cache", n_cells, FREE)?,
            seqs: try_vec("sequences of the KV cache", n_cells * words, 0)?,
            words,
            n_seq_max,
            n_free: n_cells,
        })
    }

    pub fn n_cells(&self) -> usize {
        self.pos.len()
    }
    pub fn n_seq_max(&self) -> u32 {
        self.n_seq_max
    }
    pub fn n_free(&self) -> usize {
        self.n_free
    }

    /// # Errors
    /// `InvalidArgument` for a sequence id out of range.
    pub fn check_seq(&self, seq: i32) -> Result<u32> {
        u32::try_from(seq).ok().filter(|s| *s < self.n_seq_max).ok_or_else(|| {
            Error::invalid(format!("sequence id {seq} is out of range, expected 0 to {}", self.n_seq_max - 1))
                .subject("seq_id")
        })
    }

    pub fn has(&self, cell: usize, seq: u32) -> bool {
        let (word, mask) = bit(seq);
        self.seqs[cell * self.words + word] & mask != 0
    }

    fn is_shared(&self, cell: usize, seq: u32) -> bool {
        (0..self.n_seq_max).any(|s| s != seq && self.has(cell, s))
    }

    /// Cells of `seq` with positions in p0..p1, by cell.
    pub fn of(&self, seq: u32, p0: i32, p1: i32) -> impl Iterator<Item = usize> + '_ {
        (0..self.pos.len()).filter(move |c| (p0..p1).contains(&self.pos[*c]) && self.has(*c, seq))
    }

    /// The last position of a sequence.
    pub fn last(&self, seq: u32) -> Option<i32> {
        self.of(seq, 0, i32::MAX).map(|c| self.pos[c]).max()
    }

    /// Free cells: neighbours if there are enough anywhere, else the first ones.
    ///
    /// # Errors
    /// `ContextFull` with the tokens needed and free; nothing changes.
    pub fn find_free(&self, n: usize) -> Result<Vec<u32>> {
        if n > self.n_free {
            return Err(Error::new(
                Status::ContextFull,
                format!(
                    "the context is full: {n} more tokens were to be cached, {} of {} cells are free",
                    self.n_free,
                    self.n_cells()
                ),
            )
            .amounts(n as u64, self.n_free as u64));
        }
        let mut start = 0;
        for c in 0..self.pos.len() {
            if self.pos[c] != FREE {
                start = c + 1;
            } else if c + 1 - start == n {
                return Ok((start as u32..=c as u32).collect());
            }
        }
        Ok((0..self.pos.len()).filter(|c| self.pos[*c] == FREE).take(n).map(|c| c as u32).collect())
    }

    /// Gives a free cell to a sequence.
    pub fn fill(&mut self, cell: u32, pos: i32, seq: u32) {
        self.pos[cell as usize] = pos;
        self.n_free -= 1;
        self.add(cell as usize, seq);
    }

    pub fn add(&mut self, cell: usize, seq: u32) {
        let (word, mask) = bit(seq);
        self.seqs[cell * self.words + word] |= mask;
    }

    /// Takes a cell from a sequence; it is free when no other has it.
    pub fn drop_from(&mut self, cell: usize, seq: u32) {
        let (word, mask) = bit(seq);
        let words = &mut self.seqs[cell * self.words..(cell + 1) * self.words];
        words[word] &= !mask;
        if self.pos[cell] != FREE && words.iter().all(|w| *w == 0) {
            self.pos[cell] = FREE;
            self.n_free += 1;
        }
    }

    pub fn remove(&mut self, seq: u32, p0: i32, p1: i32) {
        for c in 0..self.pos.len() {
            if (p0..p1).contains(&self.pos[c]) && self.has(c, seq) {
                self.drop_from(c, seq);
            }
        }
    }

    pub fn keep(&mut self, seq: u32) {
        for c in 0..self.pos.len() {
            if self.pos[c] != FREE {
                for s in (0..self.n_seq_max).filter(|s| *s != seq) {
                    self.drop_from(c, s);
                }
            }
        }
    }

    /// What a shift of p0..p1 by `delta` needs: cells that `seq` has alone, and cells that others see too and that must
    /// be copied first.
    pub fn plan_shift(&self, seq: u32, p0: i32, p1: i32) -> (Vec<usize>, Vec<usize>) {
        self.of(seq, p0, p1).partition(|c| !self.is_shared(*c, seq))
    }

    pub fn shift(&mut self, cell: usize, delta: i32) {
        self.pos[cell] += delta;
    }

    pub fn pos(&self, cell: usize) -> i32 {
        self.pos[cell]
    }

    /// Appends the spans of a sequence, by position, and returns how many.
    pub fn spans(&self, seq: u32, into: &mut Vec<Span>) -> usize {
        let first = into.len();
        for c in self.of(seq, 0, i32::MAX) {
            let pos = self.pos[c];
            match into[first..].last_mut() {
                Some(s) if s.cell + s.len == c as u32 && i64::from(s.pos) + i64::from(s.len) == i64::from(pos) => {
                    s.len += 1
                }
                _ => into.push(Span { cell: c as u32, pos, len: 1 }),
            }
        }
        into[first..].sort_unstable_by_key(|s| s.pos);
        into.len() - first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_back_when_the_last_sequence_leaves() {
        let mut c = Cells::new(8, 70).unwrap();
        for (i, cell) in c.find_free(3).unwrap().into_iter().enumerate() {
            c.fill(cell, i as i32, 0);
            c.add(cell as usize, 69);
        }
        assert_eq!((c.n_free(), c.last(0), c.last(69), c.last(1)), (5, Some(2), Some(2), None));
        c.remove(0, 1, i32::MAX);
        assert_eq!((c.n_free(), c.last(0), c.last(69)), (5, Some(0), Some(2)));
        c.remove(69, 0, 2);
        assert_eq!((c.n_free(), c.last(69)), (6, Some(2)));
        // Cell 1 is free and alone: three neighbours are found behind, seven cells are not there.
        assert_eq!(c.find_free(3).unwrap(), [3, 4, 5]);
        let e = c.find_free(7).unwrap_err();
        assert_eq!((e.status, e.detail.needed, e.detail.available), (Status::ContextFull, 7, 6));
        c.keep(69);
        assert_eq!((c.n_free(), c.last(0)), (7, None));
    }

    #[test]
    fn spans_join_neighbours_and_are_sorted_by_position() {
        let mut c = Cells::new(8, 1).unwrap();
        for (cell, pos) in [(0, 5), (1, 6), (3, 0), (4, 1), (5, 3)] {
            c.fill(cell, pos, 0);
        }
        let mut spans = Vec::new();
        assert_eq!(c.spans(0, &mut spans), 3);
        let want = [(3, 0, 2), (5, 3, 1), (0, 5, 2)].map(|(cell, pos, len)| Span { cell, pos, len });
        assert_eq!(spans, want);
    }
}
