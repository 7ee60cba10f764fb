//! The free cells of a cache.
//!
//! # Problem
//!
//! A batch of `n` tokens should get `n` neighbouring cells, the first that are free: a sequence then has few spans, and
//! attention reads its keys in a row. To look at every cell for each token is too slow for caches of 100,000 cells.
//!
//! # Idea
//!
//! Each cell has a bit that is set if the cell is free. Over the words of 64 bits stands a binary tree. Each of its
//! nodes knows three numbers about its cells: how many are free at their start, how many at their end, and how many in
//! the longest row. The numbers of a node follow from those of its halves, since the longest row lies in the left half,
//! in the right half, or across the middle:
//!
//! ```text
//! cells     1 1 0 1 | 1 1 0 1        1: free
//! left      at_start 2, at_end 1, longest 2
//! right     at_start 2, at_end 1, longest 2
//! both      at_start 2, at_end 1, longest 3 (across the middle)
//! ```
//!
//! The first row of `n` is found on the way down from the root: to the left half if its longest row is long enough,
//! else across the middle, else to the right. A cell that changes is told on the way up. Both take a step per level,
//! which are 11 for 100,000 cells.

use std::ops::Range;

use crate::error::{Result, try_vec};

const BITS: u32 = u64::BITS;

pub(super) struct FreeCells {
    words: Vec<u64>,
    /// The root is node 1, the halves of node i are nodes 2 i and 2 i + 1, and the words are the leaves.
    nodes: Vec<Row>,
    /// Number of free cells.
    n: usize,
}

/// The lengths of rows of free cells among a node's cells.
#[derive(Clone, Copy, Default)]
struct Row {
    at_start: u32,
    at_end: u32,
    longest: u32,
}

impl Row {
    fn of_word(word: u64) -> Row {
        let (mut longest, mut rest) = (0, word);
        while rest != 0 {
            rest &= rest << 1;
            longest += 1;
        }
        Row { at_start: word.trailing_ones(), at_end: word.leading_ones(), longest }
    }

    /// The lengths for two halves of `half` cells each.
    fn join(left: Row, right: Row, half: u32) -> Row {
        let across = left.at_end + right.at_start;
        Row {
            at_start: if left.at_start == half { across } else { left.at_start },
            at_end: if right.at_end == half { across } else { right.at_end },
            longest: left.longest.max(right.longest).max(across),
        }
    }
}

impl FreeCells {
    /// A cache of `n` cells, all free.
    pub fn new(n: usize) -> Result<FreeCells> {
        let n_leaves = n.div_ceil(BITS as usize).next_power_of_two();
        let mut free = FreeCells {
            words: try_vec("the free cells of the KV cache", n_leaves, 0)?,
            nodes: try_vec("the free cells of the KV cache", 2 * n_leaves, Row::default())?,
            n,
        };
        for (i, word) in free.words.iter_mut().enumerate() {
            let left = n.saturating_sub(i * BITS as usize);
            *word = if left >= BITS as usize { u64::MAX } else { (1 << left) - 1 };
            free.nodes[n_leaves + i] = Row::of_word(*word);
        }
        (1..n_leaves).rev().for_each(|node| free.join(node));
        Ok(free)
    }

    /// Number of free cells.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Cells in each half of a node.
    fn half(&self, node: usize) -> u32 {
        (self.words.len() as u32 * BITS / 2) >> node.ilog2()
    }

    fn join(&mut self, node: usize) {
        self.nodes[node] = Row::join(self.nodes[2 * node], self.nodes[2 * node + 1], self.half(node));
    }

    /// Frees a cell, or takes it. It must have been the other way before.
    pub fn set(&mut self, cell: u32, free: bool) {
        let word = (cell / BITS) as usize;
        self.words[word] ^= 1 << (cell % BITS);
        self.n = if free { self.n + 1 } else { self.n - 1 };
        let mut node = self.words.len() + word;
        self.nodes[node] = Row::of_word(self.words[word]);
        while node > 1 {
            node /= 2;
            self.join(node);
        }
    }

    /// The first `n` free cells in a row.
    pub fn neighbours(&self, n: usize) -> Option<Range<u32>> {
        let n = u32::try_from(n).ok().filter(|n| *n <= self.nodes[1].longest)?;
        let (mut node, mut first) = (1, 0);
        while node < self.words.len() {
            let (left, right) = (self.nodes[2 * node], self.nodes[2 * node + 1]);
            let middle = first + self.half(node);
            node *= 2;
            if left.longest < n {
                if left.at_end + right.at_start >= n {
                    return Some(middle - left.at_end..middle - left.at_end + n);
                }
                (node, first) = (node + 1, middle);
            }
        }
        // Within a word: after each pass, a bit is left if a row of `row` free cells begins there.
        let (mut word, mut row) = (self.words[node - self.words.len()], 1);
        while row < n {
            let more = row.min(n - row);
            word &= word >> more;
            row += more;
        }
        first += word.trailing_zeros();
        Some(first..first + n)
    }

    /// The first `n` free cells.
    pub fn first(&self, n: usize) -> Vec<u32> {
        let mut cells = Vec::with_capacity(n);
        let mut nodes = vec![1];
        while let Some(node) = nodes.pop() {
            if cells.len() == n || self.nodes[node].longest == 0 {
                continue;
            }
            let Some(leaf) = node.checked_sub(self.words.len()) else {
                nodes.extend([2 * node + 1, 2 * node]);
                continue;
            };
            let mut word = self.words[leaf];
            while word != 0 && cells.len() < n {
                cells.push(leaf as u32 * BITS + word.trailing_zeros());
                word &= word - 1;
            }
        }
        cells
    }
}
