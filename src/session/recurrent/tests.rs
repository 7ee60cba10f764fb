//! Random operations on sequences with recurrent states, against a plain model: each cell holds the tokens that its
//! state has seen, and each sequence is a list of tokens.

use super::super::caches::Caches;
use crate::error::Status;
use crate::graph::{Cache, CacheKind, NO_CELL};

const N_SEQ: u32 = 3;
const N_CELLS: usize = 400;

/// xorshift64* (Vigna 2016), enough to choose operations.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

struct World {
    caches: Caches,
    /// By cell: the tokens that its state has seen.
    states: Vec<Vec<u32>>,
    /// By sequence: its tokens.
    seqs: Vec<Vec<u32>>,
    /// By sequence: true if it can go on at its end.
    live: Vec<bool>,
    next_token: u32,
}

impl World {
    fn new(n_checkpoints: usize) -> World {
        let n_cells = 2 * N_SEQ as usize + n_checkpoints;
        let caches =
            [Cache { kind: CacheKind::Context, n_cells: N_CELLS }, Cache { kind: CacheKind::Recurrent, n_cells }];
        World {
            caches: Caches::new(&caches, N_SEQ, 0, None, 0).unwrap(),
            states: vec![Vec::new(); n_cells],
            seqs: vec![Vec::new(); N_SEQ as usize],
            live: vec![true; N_SEQ as usize],
            next_token: 0,
        }
    }

    /// Decodes a batch in micro-batches as an executor would; `fails` says in which it stops.
    fn decode(&mut self, of: &[u32], n_ubatch: usize, fails: Option<usize>) {
        let mut ends: Vec<i32> = self.seqs.iter().map(|s| s.len() as i32).collect();
        let positions: Vec<i32> = of
            .iter()
            .map(|s| {
                ends[*s as usize] += 1;
                ends[*s as usize] - 1
            })
            .collect();
        let mut cells = match self.caches.take(&positions, of) {
            Ok(cells) => cells,
            Err(e) => {
                let dead = of.iter().any(|s| !self.live[*s as usize]);
                assert!(dead && e.status == Status::InvalidArgument || e.status == Status::ContextFull, "{e}");
                return;
            }
        };
        assert!(of.iter().all(|s| self.live[*s as usize]), "a sequence that was cut went on");
        let tokens: Vec<u32> = (0..of.len() as u32).map(|i| self.next_token + i).collect();
        self.next_token += of.len() as u32;
        for (i, first) in (0..of.len()).step_by(n_ubatch).enumerate() {
            if fails == Some(i) {
                self.caches.give_back(of, cells);
                return;
            }
            let part = first..of.len().min(first + n_ubatch);
            let taken = cells.recurrent.as_mut().unwrap();
            let (mut kept, mut runs, mut spans) = Default::default();
            let now = taken.part(first, &of[part.clone()], &mut kept, &mut runs, &mut spans);
            for run in &runs {
                let from = (run.n_spans > 0).then(|| spans[run.first_span as usize].cell);
                let mut seen = from.map_or(Vec::new(), |c| self.states[c as usize].clone());
                for t in run.first as usize..(run.first + run.n) as usize {
                    seen.push(tokens[first + t]);
                    if kept[t] != NO_CELL {
                        self.states[kept[t] as usize] = seen.clone();
                    }
                }
            }
            taken.went_on(now);
        }
        self.caches.commit(cells, &[], &[], &[]);
        for (s, t) in of.iter().zip(&tokens) {
            self.seqs[*s as usize].push(*t);
        }
    }

    /// Every sequence that can go on has a state that has seen its tokens, and so has every checkpoint.
    fn check(&self) {
        let r = self.caches.recurrent.as_ref().unwrap();
        let mut holders = vec![0; self.states.len()];
        for (s, tokens) in self.seqs.iter().enumerate() {
            assert_eq!(self.caches.length(s as u32), tokens.len() as i32);
            assert_eq!(self.caches.can_go_on(s as u32), self.live[s], "sequence {s}");
            let own = r.seqs[s];
            own.cell.inspect(|c| holders[*c as usize] += 1);
            if self.live[s] {
                let seen = own.cell.map_or(&[][..], |c| &self.states[c as usize]);
                assert_eq!(seen, tokens, "sequence {s}");
            }
        }
        assert!(r.checkpoints.len() <= r.n_checkpoints);
        for c in &r.checkpoints {
            holders[c.cell as usize] += 1;
            for s in &c.seqs {
                assert_eq!(self.states[c.cell as usize], self.seqs[*s as usize][..c.pos as usize], "{c:?}");
            }
        }
        assert_eq!(r.holders, holders);
    }
}

#[test]
fn random_operations_keep_states_and_tokens_together() {
    for (seed, n_checkpoints) in [(1, 0), (2, 1), (3, 4), (4, 12)] {
        let (mut w, mut random) = (World::new(n_checkpoints), Random(seed));
        let (mut cut_to_checkpoints, mut kept) = (0, 0);
        for _ in 0..2500 {
            let s = random.below(N_SEQ as usize) as u32;
            let length = w.seqs[s as usize].len();
            match random.below(10) {
                // A prompt, single tokens, tokens of sequences that take turns.
                kind @ 0..4 => {
                    let n = [40, 3, 12, 30][kind];
                    let n = 1 + random.below(n);
                    let of: Vec<u32> =
                        (0..n).map(|i| if kind < 2 { s } else { (s + (i / (1 + kind)) as u32) % N_SEQ }).collect();
                    let fails = (random.below(4) == 0).then(|| random.below(3));
                    w.decode(&of, 1 + random.below(20), fails);
                }
                4 | 5 => {
                    let to = random.below(length + 2);
                    let reached = w.caches.cut(s, to as i32).unwrap() as usize;
                    assert!(reached <= to.min(length));
                    w.seqs[s as usize].truncate(reached);
                    w.live[s as usize] = true;
                    cut_to_checkpoints += usize::from(0 < reached && reached < length);
                }
                6 => {
                    let to = random.below(length + 1);
                    w.caches.remove(s, to as i32, i32::MAX).unwrap();
                    w.seqs[s as usize].truncate(to);
                    w.live[s as usize] = w.caches.can_go_on(s);
                    kept += usize::from(to < length && w.live[s as usize] && to > 0);
                }
                7 => {
                    let dst = random.below(N_SEQ as usize) as u32;
                    let p1 = if random.below(2) == 0 { length } else { random.below(length + 1) };
                    if dst != s {
                        w.caches.copy(s, dst, 0, p1 as i32).unwrap();
                        w.seqs[dst as usize] = w.seqs[s as usize][..p1].to_vec();
                        w.live[dst as usize] = w.caches.can_go_on(dst);
                        assert!(p1 < length || w.live[dst as usize] == w.live[s as usize]);
                    }
                }
                8 => {
                    let outcome = w.caches.checkpoint(s);
                    assert_eq!(outcome.is_ok(), n_checkpoints > 0 && w.live[s as usize]);
                }
                _ => {
                    if length > 2 {
                        let e = w.caches.remove(s, 0, 1).unwrap_err();
                        assert_eq!(e.status, Status::Unsupported);
                    }
                    if random.below(6) == 0 {
                        w.caches.clear(s);
                        w.seqs[s as usize].clear();
                        w.live[s as usize] = true;
                    }
                }
            }
            w.check();
        }
        assert_eq!(cut_to_checkpoints > 0, n_checkpoints > 0, "cuts that ended at checkpoints: {cut_to_checkpoints}");
        assert!(n_checkpoints < 4 || kept > 0);
    }
}

/// A chat whose every turn cuts the last reply and asks something else: each costs the new tokens and a few more.
#[test]
fn a_turn_of_a_chat_goes_on_where_the_prompt_ended() {
    let mut w = World::new(4);
    let mut computed = 0;
    for turn in 0..5 {
        w.decode(&[0; 30], 20, None);
        let prompt = w.seqs[0].len();
        for _ in 0..6 {
            w.decode(&[0], 20, None);
        }
        // The template writes the reply in another way: the last three tokens of the prompt differ.
        let reached = w.caches.cut(0, prompt as i32 - 3).unwrap() as usize;
        assert_eq!(reached, prompt - 16, "turn {turn}");
        w.seqs[0].truncate(reached);
        w.check();
        computed += prompt - reached;
    }
    assert_eq!(computed, 5 * 16);
}
