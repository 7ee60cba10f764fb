//! A batch as the caller gives it, and the check of all its numbers.

use super::cells::Cells;
use crate::error::{Error, Result};
use crate::graph::Pick;

/// Tokens to decode. All slices are as long as `tokens`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Batch<'a> {
    pub tokens: &'a [i32],
    /// `None`: each sequence goes on where it ends.
    pub positions: Option<&'a [i32]>,
    /// `None`: all belong to sequence 0.
    pub seq_ids: Option<&'a [i32]>,
    /// Not 0 for tokens whose logits are wanted; `None`: the last token of each sequence.
    pub outputs: Option<&'a [u8]>,
}

/// Bounds of the loaded model.
pub(super) struct Bounds {
    pub n_vocab: u32,
    pub n_batch: u32,
    pub n_outputs_max: u32,
    /// Positions are below it.
    pub n_positions: i32,
    /// The tokens whose rows are left.
    pub pick: Pick,
}

/// A batch whose every number was checked.
#[derive(Default)]
pub(super) struct Checked {
    pub positions: Vec<i32>,
    pub seqs: Vec<u32>,
    /// Indices of the tokens whose rows are left, ascending; of a mean the last token of each text.
    pub outputs: Vec<u32>,
}

impl Batch<'_> {
    /// Checks every number.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field and index.
    pub(super) fn check(&self, cells: &Cells, bounds: &Bounds) -> Result<Checked> {
        let n = self.tokens.len();
        if n == 0 || n > bounds.n_batch as usize {
            return Err(Error::invalid(format!(
                "the batch has {n} tokens, expected 1 to n_batch = {}",
                bounds.n_batch
            ))
            .subject("n_tokens"));
        }
        let lengths = [
            ("positions", self.positions.map(<[i32]>::len)),
            ("seq_ids", self.seq_ids.map(<[i32]>::len)),
            ("outputs", self.outputs.map(<[u8]>::len)),
        ];
        for (field, len) in lengths {
            if let Some(len) = len.filter(|len| *len != n) {
                return Err(Error::invalid(format!("{field} has {len} entries for {n} tokens")).subject(field));
            }
        }
        if let Some((i, id)) = self
            .tokens
            .iter()
            .enumerate()
            .find(|(_, id)| u32::try_from(**id).is_ok_and(|t| t < bounds.n_vocab).eq(&false))
        {
            return Err(
                Error::invalid(format!("tokens[{i}] is {id}, expected 0 to {}", bounds.n_vocab - 1)).subject("tokens")
            );
        }
        let seqs = match self.seq_ids {
            None => vec![0; n],
            Some(ids) => ids.iter().map(|s| cells.check_seq(*s)).collect::<Result<Vec<u32>>>()?,
        };
        let positions = self.place(&seqs, cells, bounds.n_positions)?;
        let outputs: Vec<u32> = match self.outputs {
            _ if bounds.pick != Pick::Asked => self.texts(&seqs, cells.n_seq_max(), bounds.pick)?,
            Some(flags) => (0..n as u32).filter(|i| flags[*i as usize] != 0).collect(),
            None => {
                let mut seen = vec![false; cells.n_seq_max() as usize];
                let last = |i: &u32| !std::mem::replace(&mut seen[seqs[*i as usize] as usize], true);
                let mut outputs: Vec<u32> = (0..n as u32).rev().filter(last).collect();
                outputs.reverse();
                outputs
            }
        };
        if outputs.len() > bounds.n_outputs_max as usize {
            return Err(Error::invalid(format!(
                "{} rows are asked for, the plan allows n_outputs_max = {}",
                outputs.len(),
                bounds.n_outputs_max
            ))
            .subject("n_outputs_max")
            .amounts(outputs.len() as u64, u64::from(bounds.n_outputs_max)));
        }
        Ok(Checked { positions, seqs, outputs })
    }

    /// A token of each text: its first, or its last.
    ///
    /// # Errors
    /// `InvalidArgument` if rows are asked for, since those of texts are left; or if a text's tokens do not stand
    /// together.
    fn texts(&self, seqs: &[u32], n_seq_max: u32, pick: Pick) -> Result<Vec<u32>> {
        if self.outputs.is_some() {
            let text = "outputs is given, expected NULL: the plan's pooling leaves a row of each text, not of tokens";
            return Err(Error::invalid(text).subject("outputs"));
        }
        let begins = |i: &u32| *i == 0 || seqs[*i as usize - 1] != seqs[*i as usize];
        let ends = |i: &u32| seqs.get(*i as usize + 1) != Some(&seqs[*i as usize]);
        let mut seen = vec![false; n_seq_max as usize];
        for i in (0..seqs.len() as u32).filter(begins) {
            let seq = seqs[i as usize];
            if std::mem::replace(&mut seen[seq as usize], true) {
                return Err(Error::invalid(format!(
                    "seq_ids[{i}] is {seq}, whose text has ended before; the tokens of a pooled text stand together"
                ))
                .subject("seq_ids"));
            }
        }
        let all = 0..seqs.len() as u32;
        Ok(if pick == Pick::First { all.filter(begins).collect() } else { all.filter(ends).collect() })
    }

    /// Positions, which only go up within a sequence.
    fn place(&self, seqs: &[u32], cells: &Cells, n_positions: i32) -> Result<Vec<i32>> {
        // By sequence: its last position so far in this batch.
        let mut last: Vec<Option<i32>> = vec![None; cells.n_seq_max() as usize];
        let mut out = Vec::with_capacity(seqs.len());
        for (i, seq) in seqs.iter().enumerate() {
            let last = &mut last[*seq as usize];
            let before = last.or_else(|| cells.last(*seq)).unwrap_or(-1);
            let pos = match self.positions {
                Some(p) => p[i],
                None => before.saturating_add(1),
            };
            if pos <= before || pos >= n_positions {
                return Err(Error::invalid(format!(
                    "positions[{i}] is {pos} in sequence {seq}, expected more than its last position {before} and less \
                     than {n_positions}"
                ))
                .subject("positions"));
            }
            *last = Some(pos);
            out.push(pos);
        }
        Ok(out)
    }
}
