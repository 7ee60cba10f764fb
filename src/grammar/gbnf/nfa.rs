//! Regular expressions as automata, two of which read one text side by side.
//!
//! An automaton has a state for each place in the expression where a character stands: the state in which that
//! character was read last. (Glushkov, "The abstract theory of automata", 1961.) Repetitions by number count as if they
//! had no end. So an automaton reads more than its expression, which errs on the safe side: [`super::split`] looks for
//! texts that must not be there.

use super::chars::{Bytes, Chars};
use super::read::Node;

pub(super) struct Nfa {
    chars: Vec<Chars>,
    first: Vec<u32>,
    /// States in which the text may end.
    last: Vec<bool>,
    next: Vec<Vec<u32>>,
}

/// The states that a part of an expression adds.
struct Ends {
    empty: bool,
    first: Vec<u32>,
    last: Vec<u32>,
}

/// The texts that two automata have in common.
#[derive(Clone, Copy, Default)]
pub(super) struct Meeting {
    /// Bytes with which the second can go on behind a whole text of the first.
    pub beyond: Bytes,
    /// There is a text that both read to the end.
    pub same: bool,
}

impl Nfa {
    /// `None` if it takes more than `budget` steps, which it takes off.
    pub fn new(node: &Node, budget: &mut usize) -> Option<Nfa> {
        let mut nfa = Nfa { chars: Vec::new(), first: Vec::new(), last: Vec::new(), next: Vec::new() };
        let ends = nfa.add(node, budget)?;
        nfa.last = vec![false; nfa.chars.len()];
        ends.last.iter().for_each(|s| nfa.last[*s as usize] = true);
        nfa.first = ends.first;
        Some(nfa)
    }

    fn add(&mut self, node: &Node, budget: &mut usize) -> Option<Ends> {
        Some(match node {
            Node::Chars(chars) => {
                let state = self.chars.len() as u32;
                self.chars.push(chars.clone());
                self.next.push(Vec::new());
                Ends { empty: false, first: vec![state], last: vec![state] }
            }
            // Neither stands in a lexeme.
            Node::Rule(_) | Node::Token(..) => Ends { empty: true, first: vec![], last: vec![] },
            Node::Either(items) => {
                let mut all = Ends { empty: false, first: vec![], last: vec![] };
                for item in items {
                    let item = self.add(item, budget)?;
                    all.empty |= item.empty;
                    all.first.extend(item.first);
                    all.last.extend(item.last);
                }
                all
            }
            Node::Row(items) => {
                let mut all = Ends { empty: true, first: vec![], last: vec![] };
                for item in items {
                    let item = self.add(item, budget)?;
                    self.join(&all.last, &item.first, budget)?;
                    if all.empty {
                        all.first.extend(&item.first);
                    }
                    if !item.empty {
                        all.last.clear();
                    }
                    all.last.extend(item.last);
                    all.empty &= item.empty;
                    *budget = budget.checked_sub(all.last.len())?;
                }
                all
            }
            Node::Repeat(inner, min, max) => {
                let mut inner = self.add(inner, budget)?;
                if *max != Some(1) {
                    self.join(&inner.last, &inner.first, budget)?;
                }
                inner.empty |= *min == 0;
                inner
            }
        })
    }

    fn join(&mut self, from: &[u32], to: &[u32], budget: &mut usize) -> Option<()> {
        *budget = budget.checked_sub(from.len() * to.len())?;
        from.iter().for_each(|s| self.next[*s as usize].extend(to));
        Some(())
    }

    /// The bytes that its texts begin with.
    pub fn first_bytes(&self) -> Bytes {
        let mut bytes = Bytes::default();
        self.first.iter().for_each(|s| bytes.add(self.chars[*s as usize].first_bytes()));
        bytes
    }

    /// Lets both read the same texts. `None` if that takes more than `budget` steps, which it takes off.
    pub fn meet(&self, other: &Nfa, budget: &mut usize) -> Option<Meeting> {
        let mut meeting = Meeting::default();
        let width = other.chars.len();
        let mut seen = vec![false; self.chars.len() * width];
        *budget = budget.checked_sub(seen.len() / 64)?;
        let mut waiting = Vec::new();
        let mut step = |a: &[u32], b: &[u32], waiting: &mut Vec<(u32, u32)>| {
            *budget = budget.checked_sub(a.len() * b.len())?;
            for (p, q) in a.iter().flat_map(|p| b.iter().map(move |q| (*p, *q))) {
                let place = p as usize * width + q as usize;
                if !seen[place] && self.chars[p as usize].meets(&other.chars[q as usize]) {
                    seen[place] = true;
                    waiting.push((p, q));
                }
            }
            Some(())
        };
        step(&self.first, &other.first, &mut waiting)?;
        while let Some((p, q)) = waiting.pop() {
            let (p, q) = (p as usize, q as usize);
            if self.last[p] {
                meeting.same |= other.last[q];
                other.next[q].iter().for_each(|s| meeting.beyond.add(other.chars[*s as usize].first_bytes()));
            }
            step(&self.next[p], &other.next[q], &mut waiting)?;
        }
        Some(meeting)
    }
}
