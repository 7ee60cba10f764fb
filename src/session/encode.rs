//! Encoding: whole texts go through a graph that caches nothing.
//!
//! In an encoder every token sees its whole text, so a text cannot be cut: it goes through the layers in one
//! micro-batch. As many whole texts as fit go together. Nothing is kept, so every batch begins with empty sequences.
//!
//! Attention reads the keys and values of the micro-batch itself. It is told of them as of a cache whose cells are the
//! micro-batch's tokens: a text is a run, and its spans are stretches of neighbouring positions.

use super::batch::Checked;
use super::model::{Model, State};
use crate::error::{Error, Result};
use crate::graph::{CacheView, Micro, Run, Span};

impl Model {
    /// Computes the texts of a batch, whose numbers were checked.
    ///
    /// # Errors
    /// `InvalidArgument` for a text that is longer than a micro-batch, or whose tokens do not stand together;
    /// `Cancelled`; those of the devices.
    pub(super) fn encode(&self, state: &mut State, tokens: &[i32], b: &Checked) -> Result<()> {
        let texts = self.texts(&b.seqs)?;
        state.n_outputs = 0;
        let (mut runs, mut spans) = (Vec::new(), Vec::new());
        let cells: Vec<u32> = (0..self.n_ubatch.min(tokens.len()) as u32).collect();
        let (mut first, mut first_output, mut rest) = (0, 0, &texts[..]);
        while !rest.is_empty() {
            let n_texts = rest.iter().take_while(|end| **end - first <= self.n_ubatch).count();
            let (now, later) = rest.split_at(n_texts);
            let end = now[n_texts - 1];
            lay_out(&b.positions[first..end], now.iter().map(|end| end - first), &mut runs, &mut spans);
            let outputs: Vec<u32> =
                b.outputs.iter().filter(|i| (first..end).contains(&(**i as usize))).map(|i| i - first as u32).collect();
            let adapters = state.caches.scales.rows(&b.seqs[first..end]);
            let micro = Micro {
                tokens: &tokens[first..end],
                positions: &b.positions[first..end],
                caches: &[CacheView { cells: &cells[..end - first], runs: &runs, spans: &spans }],
                outputs: &outputs,
                first_output,
                adapters: &adapters,
                n_before: 0,
            };
            state.machine.run(&micro, &self.cancelled)?;
            first_output += outputs.len();
            (first, rest) = (end, later);
        }
        Ok(())
    }

    /// The end of each text, as an index into the batch.
    fn texts(&self, seqs: &[u32]) -> Result<Vec<usize>> {
        let mut seen = vec![false; self.info.n_seq_max as usize];
        let (mut ends, mut first) = (Vec::new(), 0);
        for end in (1..=seqs.len()).filter(|i| seqs.get(*i) != Some(&seqs[*i - 1])) {
            let seq = seqs[first];
            if std::mem::replace(&mut seen[seq as usize], true) {
                return Err(Error::invalid(format!(
                    "seq_ids[{first}] is {seq}, whose text has ended before; the tokens of a text stand together"
                ))
                .subject("seq_ids"));
            }
            let (n, most) = (end - first, self.n_ubatch);
            if n > most {
                return Err(Error::invalid(format!(
                    "the text of sequence {seq} has {n} tokens; an encoder takes a text in one pass, expected at most \
                     n_ubatch = {most}"
                ))
                .subject("n_ubatch")
                .amounts(n as u64, most as u64));
            }
            ends.push(end);
            first = end;
        }
        Ok(ends)
    }
}

/// Writes the runs and spans of texts that end at `ends`: a run each, with a span for each stretch of neighbouring
/// positions.
fn lay_out(positions: &[i32], ends: impl Iterator<Item = usize>, runs: &mut Vec<Run>, spans: &mut Vec<Span>) {
    runs.clear();
    spans.clear();
    let mut first = 0;
    for end in ends {
        let first_span = spans.len() as u32;
        for i in first..end {
            match spans.last_mut().filter(|_| i > first && positions[i] == positions[i - 1] + 1) {
                Some(span) => span.len += 1,
                None => spans.push(Span { cell: i as u32, pos: positions[i], len: 1 }),
            }
        }
        let n_spans = spans.len() as u32 - first_span;
        runs.push(Run { first: first as u32, n: (end - first) as u32, first_span, n_spans });
        first = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_runs_of_neighbouring_positions() {
        let (mut runs, mut spans) = (Vec::new(), Vec::new());
        lay_out(&[0, 1, 2, 3, 4, 7, 8], [3, 7].into_iter(), &mut runs, &mut spans);
        let run = |r: &Run| (r.first, r.n, r.first_span, r.n_spans);
        assert_eq!(runs.iter().map(run).collect::<Vec<_>>(), [(0, 3, 0, 1), (3, 4, 1, 2)]);
        let span = |cell, pos, len| Span { cell, pos, len };
        assert_eq!(spans, [span(0, 0, 3), span(3, 3, 2), span(5, 7, 2)]);
    }
}
