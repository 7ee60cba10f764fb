//! The KV caches' bookkeeping: that of the whole context, and one for each window that some layers see.

use super::cells::Cells;
use crate::error::{Error, Result};
use crate::plan::Cache;

pub(super) struct Caches {
    /// As the plan lists them; the first is that of the whole context.
    all: Vec<(Option<u32>, Cells)>,
}

impl Caches {
    pub fn new(caches: &[Cache], n_seq_max: u32) -> Result<Caches> {
        let all = caches.iter().map(|c| Ok((c.window, Cells::new(c.n_cells, n_seq_max)?))).collect::<Result<Vec<_>>>()?;
        Ok(Caches { all })
    }

    pub fn whole(&self) -> &Cells {
        &self.all[0].1
    }
    pub fn iter(&self) -> impl Iterator<Item = &Cells> {
        self.all.iter().map(|(_, cells)| cells)
    }
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Cells> {
        self.all.iter_mut().map(|(_, cells)| cells)
    }

    /// Gives each token of a batch a cell in every cache. What windows have moved past is forgotten first.
    ///
    /// # Errors
    /// `ContextFull`; `InvalidArgument` where a window lacks positions before a token. No sequence loses anything that it could still
    /// use.
    pub fn take(&mut self, positions: &[i32], seqs: &[u32]) -> Result<Vec<Vec<u32>>> {
        let whole = self.whole();
        let first = |seq: u32| seqs.iter().position(|s| *s == seq).map(|i| positions[i]);
        // The next position of every sequence, this batch's or the one that would follow.
        let windows = self.all.len() > 1;
        let next: Vec<i32> = (0..if windows { whole.n_seq_max() } else { 0 })
            .map(|s| first(s).unwrap_or_else(|| whole.last(s).map_or(0, |p| p.saturating_add(1))))
            .collect();
        let mut cells = vec![whole.find_free(positions.len())?];
        for (window, windowed) in self.all.iter().filter_map(|(w, c)| Some(((*w)?, c))) {
            for (seq, next) in next.iter().enumerate().filter(|(s, _)| seqs.contains(&(*s as u32))) {
                let seen = (next - 1).saturating_sub(window as i32 - 2).max(0)..*next;
                let kept = |c: &Cells| c.of(seq as u32, seen.start, seen.end).count();
                if kept(windowed) < kept(whole) {
                    return Err(Error::invalid(format!(
                        "sequence {seq} cannot go on at position {next}: of the {window} positions that some layers see, some were \
                         forgotten when the sequence was longer; remove the whole sequence and decode it again"
                    ))
                    .subject("positions"));
                }
            }
        }
        for (window, windowed) in self.all.iter_mut().filter_map(|(w, c)| Some(((*w)?, c))) {
            for (seq, next) in next.iter().enumerate() {
                windowed.remove(seq as u32, 0, next.saturating_sub(window as i32 - 1));
            }
            cells.push(windowed.find_free(positions.len())?);
        }
        for ((_, cache), cells) in self.all.iter_mut().zip(&cells) {
            for ((cell, pos), seq) in cells.iter().zip(positions).zip(seqs) {
                cache.fill(*cell, *pos, *seq);
            }
        }
        Ok(cells)
    }

    /// Takes a failed batch's cells back.
    pub fn give_back(&mut self, cells: &[Vec<u32>], seqs: &[u32]) {
        for ((_, cache), cells) in self.all.iter_mut().zip(cells) {
            cells.iter().zip(seqs).for_each(|(cell, seq)| cache.drop_from(*cell as usize, *seq));
        }
    }
}
