//! The bookkeeping of all KV caches: that of the whole context, and one for each window that some layers see.
//!
//! A cache of a window has fewer cells than the context. So positions that a window has moved past are forgotten, batch
//! by batch, and their cells used again. A sequence that is then cut may lack positions that its next token sees; it
//! cannot go on there.

use super::cells::Cells;
use crate::error::{Error, Result};
use crate::graph::Cache;

pub(super) struct Caches {
    /// (window, cells), as the plan lists them; the first is that of the whole context.
    all: Vec<(Option<u32>, Cells)>,
}

impl Caches {
    pub fn new(caches: &[Cache], n_seq_max: u32) -> Result<Caches> {
        let all =
            caches.iter().map(|c| Ok((c.window, Cells::new(c.n_cells, n_seq_max)?))).collect::<Result<Vec<_>>>()?;
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

    /// A window that lacks some of the positions that a token of `seq` at `next` sees, if there is one.
    fn lacking(&self, seq: u32, next: i32) -> Option<u32> {
        let windows = self.all.iter().filter_map(|(w, c)| Some(((*w)?, c)));
        let lacks = |(window, windowed): &(u32, &Cells)| {
            let first = next.saturating_sub(*window as i32 - 1).max(0);
            windowed.count(seq, first, next) < self.whole().count(seq, first, next)
        };
        windows.into_iter().find(lacks).map(|(window, _)| window)
    }

    /// True if a sequence can go on at its end.
    pub fn can_go_on(&self, seq: u32) -> bool {
        self.lacking(seq, self.whole().last(seq).map_or(0, |p| p.saturating_add(1))).is_none()
    }

    /// Forgets all positions that windows have moved past. Sequences still can go on at their ends.
    ///
    /// # Errors
    /// `OutOfMemory`, as `Cells::remove`.
    pub fn forget_passed(&mut self) -> Result<()> {
        let ends: Vec<i32> =
            (0..self.whole().n_seq_max()).map(|s| self.whole().last(s).map_or(0, |p| p.saturating_add(1))).collect();
        for (window, windowed) in self.all.iter_mut().filter_map(|(w, c)| Some(((*w)?, c))) {
            for (seq, end) in ends.iter().enumerate() {
                windowed.remove(seq as u32, 0, end.saturating_sub(window as i32 - 1))?;
            }
        }
        Ok(())
    }

    /// Gives each token of a batch a cell in every cache. Positions that windows have moved past are forgotten first.
    ///
    /// # Errors
    /// `ContextFull`; `InvalidArgument` if a window lacks positions before a token; `OutOfMemory`. No sequence loses
    /// anything that it could still use.
    pub fn take(&mut self, positions: &[i32], seqs: &[u32]) -> Result<Vec<Vec<u32>>> {
        let mut cells = vec![self.whole().find_free(positions.len())?];
        if self.all.len() > 1 {
            let mut seen = vec![false; self.whole().n_seq_max() as usize];
            for (seq, next) in seqs.iter().zip(positions) {
                if std::mem::replace(&mut seen[*seq as usize], true) {
                    continue;
                }
                if let Some(window) = self.lacking(*seq, *next) {
                    return Err(Error::invalid(format!(
                        "sequence {seq} cannot go on at position {next}: of the {window} positions in the window of \
                         some layers, some were forgotten when the sequence was longer; remove the whole sequence and \
                         decode it again"
                    ))
                    .subject("positions"));
                }
            }
            self.forget_passed()?;
            for windowed in self.iter().skip(1) {
                cells.push(windowed.find_free(positions.len())?);
            }
        }
        self.iter_mut().try_for_each(|cache| cache.reserve(seqs))?;
        for ((_, cache), cells) in self.all.iter_mut().zip(&cells) {
            for ((cell, pos), seq) in cells.iter().zip(positions).zip(seqs) {
                cache.fill(*cell, *pos, *seq);
            }
        }
        Ok(cells)
    }

    /// Takes a failed batch's cells back: its tokens are the last of their sequences.
    pub fn give_back(&mut self, seqs: &[u32]) {
        for cache in self.iter_mut() {
            seqs.iter().for_each(|seq| cache.pop(*seq));
        }
    }
}
