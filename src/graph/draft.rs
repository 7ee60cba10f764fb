//! Prediction layers (MTP, "next-n") in the words of the builder: a layer behind the trunk that guesses the token after
//! the next one, at a small part of the trunk's cost.
//!
//! ```text
//! e = embedding of token k              h = hidden row of token k - 1, behind the output norm
//! x = nextn.eh_proj [nextn.enorm(e), nextn.hnorm(h)]
//! x = a layer of the trunk's kind, with a KV cache of its own
//! h' = nextn.shared_head_norm(x), or the output norm          the hidden row for a guess after this one
//! logits = nextn.shared_head_head h', or the output matrix    of token k + 1
//! ```
//!
//! These nodes stand behind the trunk's in the same graph, as a range of their own that a session runs by itself. They
//! belong to the output, so that the large matrices that both use are on a device once, and planner, loader and
//! executors treat them as they treat all nodes.

use super::attention::Table;
use super::build::{Builder, Names};
use super::graph::{Draft, INPUT, Input, Outcome};
use super::op::{Op, RopeTable};
use super::value::{Rows, ValueId};
use crate::error::Result;

impl Builder<'_> {
    /// Begins the prediction layer: from here on nodes are the draft's, and names are those of the layer behind the
    /// trunk. Gives the layer's input. `hidden` is the trunk's hidden row of every token.
    pub fn begin_draft(&mut self, hidden: ValueId, n_vocab: usize, embed_scale: f32) -> Result<ValueId> {
        let (_, n_embd) = self.shape(hidden);
        let first = self.n_nodes();
        let before = self.value("draft_hidden", Rows::Tokens, n_embd);
        self.inputs.push(Input::Rows(before));
        self.results.push((Outcome::Hidden, hidden));
        // These nodes run by themselves, so they may not read what the trunk's made.
        self.scaled.clear();
        self.names = Names::Behind;
        self.layer(INPUT);
        let own = self.has("nextn.embed_tokens");
        self.names = if own { Names::Behind } else { Names::Model };
        let e = self.embed(if own { "nextn.embed_tokens" } else { "token_embd" }, n_embd, n_vocab, embed_scale)?;
        // A step of the draft has positions of its own.
        for i in 0..self.tables.len() {
            if let Some(Table { rope, kind, .. }) = self.tables[i] {
                let op = Op::RopeTable(RopeTable { rope });
                let value = self.node(op, &[], "draft_rope", Rows::Tokens, self.ropes[rope].n_rot);
                self.tables[i] = Some(Table { value, rope, kind });
            }
        }
        self.names = Names::Behind;
        self.layer(self.n_layer);
        let e = self.norm(e, "nextn.enorm")?;
        let h = self.norm(before, "nextn.hnorm")?;
        let both = self.concat(e, h, 1, 2 * n_embd, "draft_both");
        let x = self.linear(both, "nextn.eh_proj", n_embd)?;
        self.draft = Some(Draft { nodes: first..first, hidden: before });
        Ok(x)
    }

    /// Ends it: hidden rows and logits of the rows that were asked for. `norm` is the trunk's output norm.
    pub fn end_draft(&mut self, x: ValueId, norm: Option<&'static str>, n_vocab: usize) -> Result<()> {
        let x = self.select_outputs(x);
        let own = self.has("nextn.shared_head_norm");
        self.names = if own { Names::Behind } else { Names::Model };
        let norm = if own { Some("nextn.shared_head_norm") } else { norm };
        let hidden = if let Some(norm) = norm { self.norm(x, norm)? } else { x };
        self.names = Names::Behind;
        let logits = if self.has("nextn.shared_head_head") {
            self.linear(hidden, "nextn.shared_head_head", n_vocab)?
        } else {
            self.names = Names::Model;
            self.output_matrix(hidden, n_vocab)?
        };
        self.names = Names::Model;
        self.results.extend([(Outcome::DraftHidden, hidden), (Outcome::DraftLogits, logits)]);
        let end = self.n_nodes();
        if let Some(draft) = &mut self.draft {
            draft.nodes.end = end;
        }
        Ok(())
    }
}
