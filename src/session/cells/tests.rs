use super::*;

/// The same bookkeeping written plainly: the position and sequences of each cell, and a look at all cells for every
/// question.
struct Plain {
    pos: Vec<i32>,
    seqs: Vec<Vec<u32>>,
}

impl Plain {
    fn of(&self, seq: u32, p0: i32, p1: i32) -> Vec<(i32, u32)> {
        let has = |c: &usize| self.seqs[*c].contains(&seq) && (p0..p1).contains(&self.pos[*c]);
        let mut of: Vec<_> = (0..self.pos.len()).filter(has).map(|c| (self.pos[c], c as u32)).collect();
        of.sort();
        of
    }

    fn n_free(&self) -> usize {
        self.seqs.iter().filter(|s| s.is_empty()).count()
    }

    fn find_free(&self, n: usize) -> Option<Vec<u32>> {
        let free: Vec<u32> = (0..self.pos.len() as u32).filter(|c| self.seqs[*c as usize].is_empty()).collect();
        let row = free.windows(n).find(|w| w[n - 1] - w[0] == n as u32 - 1);
        (free.len() >= n).then(|| row.unwrap_or(&free[..n]).to_vec())
    }

    fn fill(&mut self, cell: u32, pos: i32, seq: u32) {
        self.pos[cell as usize] = pos;
        self.seqs[cell as usize].push(seq);
    }

    fn remove(&mut self, seq: u32, p0: i32, p1: i32) {
        for (_, c) in self.of(seq, p0, p1) {
            self.seqs[c as usize].retain(|s| *s != seq);
        }
    }

    fn copy(&mut self, src: u32, dst: u32, p0: i32, p1: i32) {
        self.remove(dst, 0, i32::MAX);
        self.of(src, p0, p1).iter().for_each(|(_, c)| self.seqs[*c as usize].push(dst));
    }

    /// Shifts positions; false if there were too few free cells for copies of those that others see too.
    fn shift(&mut self, seq: u32, p0: i32, p1: i32, delta: i32) -> bool {
        let of = self.of(seq, p0, p1);
        let shared = |c: &u32| self.seqs[*c as usize].len() > 1;
        let n = of.iter().filter(|(_, c)| shared(c)).count();
        let Some(mut free) = (if n == 0 { Some(Vec::new()) } else { self.find_free(n) }) else { return false };
        let to: Vec<u32> = of.iter().map(|(_, c)| if shared(c) { free.remove(0) } else { *c }).collect();
        self.remove(seq, p0, p1);
        of.iter().zip(to).for_each(|((pos, _), c)| self.fill(c, pos + delta, seq));
        true
    }

    fn spans(&self, seq: u32) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for (pos, cell) in self.of(seq, 0, i32::MAX) {
            match spans.last_mut() {
                Some(s) if s.cell + s.len == cell && s.pos + s.len as i32 == pos => s.len += 1,
                _ => spans.push(Span { cell, pos, len: 1 }),
            }
        }
        spans
    }
}

/// A number below `n`, by a linear congruential generator.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

fn spans(cells: &Cells, seq: u32) -> Vec<Span> {
    let mut spans = Vec::new();
    assert_eq!(cells.spans(seq, &mut spans), spans.len());
    spans
}

/// Random batches, forgetting, sharing and shifting: every answer is that of the plain way, down to the cells that are
/// chosen.
#[test]
fn random_operations_agree_with_a_look_at_every_cell() {
    let mut r = Random(7);
    let (mut n_filled, mut n_full, mut n_shifts, mut n_copied) = (0, 0, 0, 0);
    for (n_cells, n_seq) in [(1, 1), (7, 2), (64, 3), (65, 5), (200, 9), (1000, 70)] {
        let mut cells = Cells::new(n_cells, n_seq).unwrap();
        let mut plain = Plain { pos: vec![-1; n_cells], seqs: vec![Vec::new(); n_cells] };
        for _ in 0..1500 {
            let (seq, other) = (r.below(n_seq as usize) as u32, r.below(n_seq as usize) as u32);
            let length = cells.last(seq).map_or(0, |p| p + 1);
            let p0 = r.below(length as usize + 2) as i32;
            let p1 = if r.below(3) == 0 { i32::MAX } else { p0 + r.below(length as usize + 2) as i32 };
            match r.below(9) {
                0..=3 => {
                    // A batch: of one sequence, or of several by turns; now and then with a gap before it.
                    let most = if r.below(2) == 0 { 4 } else { 80 };
                    let n = 1 + r.below(most);
                    let found = cells.find_free(n).ok();
                    assert_eq!(found, plain.find_free(n));
                    let Some(found) = found else {
                        n_full += 1;
                        cells.clear(seq);
                        plain.remove(seq, 0, i32::MAX);
                        continue;
                    };
                    let by_turns = r.below(2) == 0;
                    let gap = r.below(5) / 4;
                    let seqs: Vec<u32> =
                        (0..n as u32).map(|i| if by_turns { (seq + i) % n_seq } else { seq }).collect();
                    cells.reserve(&seqs).unwrap();
                    for (cell, seq) in found.iter().zip(&seqs) {
                        let pos = cells.last(*seq).map_or(0, |p| p + 1) + gap as i32;
                        cells.fill(*cell, pos, *seq);
                        plain.fill(*cell, pos, *seq);
                    }
                    n_filled += n;
                    if r.below(8) == 0 {
                        // The batch failed.
                        for (cell, seq) in found.iter().zip(&seqs).rev() {
                            cells.pop(*seq);
                            plain.seqs[*cell as usize].clear();
                        }
                    }
                }
                4 | 5 => {
                    cells.remove(seq, p0, p1).unwrap();
                    plain.remove(seq, p0, p1);
                }
                // A window moves on.
                6 => {
                    cells.remove(seq, 0, length - 10).unwrap();
                    plain.remove(seq, 0, length - 10);
                }
                7 if seq != other => {
                    cells.copy(seq, other, p0, p1).unwrap();
                    plain.copy(seq, other, p0, p1);
                    n_copied += 1;
                }
                _ => {
                    let delta = r.below(9) as i32 - 4;
                    let moved: Vec<i32> = plain.of(seq, p0, p1).iter().map(|(p, _)| p + delta).collect();
                    let stays = |p: i32| !(p0..p1).contains(&p) && plain.of(seq, p, p + 1).len() == 1;
                    if moved.iter().all(|p| *p >= 0 && !stays(*p)) {
                        let shift = cells.plan_shift(seq, p0, p1, delta);
                        assert_eq!(shift.is_ok(), plain.shift(seq, p0, p1, delta));
                        if let Ok(shift) = shift {
                            n_shifts += moved.len();
                            cells.shift(seq, shift);
                        }
                    }
                }
            }
            assert_eq!(cells.n_free(), plain.n_free());
            for seq in [seq, other, r.below(n_seq as usize) as u32] {
                assert_eq!(spans(&cells, seq), plain.spans(seq));
                assert_eq!(cells.last(seq), plain.of(seq, 0, i32::MAX).last().map(|(p, _)| *p));
                assert_eq!(cells.count(seq, p0, p1) as usize, plain.of(seq, p0, p1).len());
                let of = cells.of(seq, p0, p1).flat_map(|s| (0..s.len).map(move |i| (s.pos + i as i32, s.cell + i)));
                assert_eq!(of.collect::<Vec<_>>(), plain.of(seq, p0, p1));
            }
        }
    }
    println!("{n_filled} tokens, {n_full} full caches, {n_shifts} positions shifted, {n_copied} copies");
    assert!(n_filled > 20_000 && n_full > 100 && n_shifts > 500 && n_copied > 500);
}

#[test]
fn cells_come_back_when_the_last_sequence_leaves() {
    let mut c = Cells::new(8, 70).unwrap();
    c.reserve(&[0, 0, 0]).unwrap();
    for (i, cell) in c.find_free(3).unwrap().into_iter().enumerate() {
        c.fill(cell, i as i32, 0);
    }
    c.copy(0, 69, 0, i32::MAX).unwrap();
    assert_eq!((c.n_free(), c.last(0), c.last(69), c.last(1)), (5, Some(2), Some(2), None));
    c.remove(0, 1, i32::MAX).unwrap();
    assert_eq!((c.n_free(), c.last(0), c.last(69)), (5, Some(0), Some(2)));
    c.remove(69, 0, 2).unwrap();
    assert_eq!((c.n_free(), c.last(69)), (6, Some(2)));
    // Cell 1 is free and alone: three neighbours are found behind, seven cells are not there.
    assert_eq!(c.find_free(3).unwrap(), [3, 4, 5]);
    let e = c.find_free(7).unwrap_err();
    assert_eq!((e.status, e.detail.needed, e.detail.available), (Status::ContextFull, 7, 6));
    c.clear(0);
    assert_eq!((c.n_free(), c.last(0)), (7, None));
}

#[test]
fn spans_join_neighbours_and_are_sorted_by_position() {
    let mut c = Cells::new(8, 1).unwrap();
    c.reserve(&[0; 5]).unwrap();
    for (cell, pos) in [(3, 0), (4, 1), (5, 3), (0, 5), (1, 6)] {
        c.fill(cell, pos, 0);
    }
    assert_eq!(spans(&c, 0), [(3, 0, 2), (5, 3, 1), (0, 5, 2)].map(|(cell, pos, len)| Span { cell, pos, len }));
}
