//! Graphs that leave no logits: rows of tokens, or of whole texts, in the words of the builder.
//!
//! ```text
//! rows = output_norm(x)                  of the tokens that count, see `Pick`
//! text = the first row, the last one, or the mean of all
//! left = text; or scores: cls_output(f(cls(text)))
//! ```
//!
//! The output matrix is not part of such a graph. So a plan has no bytes for it, and no step reads it.

use super::build::{Builder, Norms};
use super::graph::Outcome;
use super::op::{Activation, NormKind, Op, SoftCap};
use super::pooling::{Head, Pick, Pooling};
use super::value::{Rows, ValueId};
use crate::error::{Error, Result};

impl Builder<'_> {
    /// The output of a graph that leaves no logits: the norm, if there is one, the pooled row, and what follows.
    /// Without `Pick::Mean` x has the picked rows alone.
    ///
    /// # Errors
    /// `InvalidArgument` if scores are asked for and the file has no head.
    pub fn pooled_output(
        &mut self,
        x: ValueId,
        norm: Option<&'static str>,
        pooling: Pooling,
        head: Head,
    ) -> Result<()> {
        self.layer(self.n_layer);
        (self.pooling, self.pick) = (Some(pooling), pooling.pick(head));
        let mut x = if let Some(norm) = norm { self.norm(x, norm)? } else { x };
        if self.pick == Pick::Mean {
            let (_, cols) = self.shape(x);
            x = self.node(Op::Mean, &[x], "mean", Rows::Outputs, cols);
        }
        let pooled = x;
        if pooling == Pooling::Rank {
            x = self.scores(x, head)?;
        }
        // Some models have two more matrices behind the text's row.
        for role in ["dense_2", "dense_3"] {
            if let Some(n) = self.rows_of(role) {
                x = self.linear(x, role, n)?;
            }
        }
        if self.pick == Pick::Mean && x != pooled {
            // It grows from micro-batch to micro-batch, so its rows must stay.
            self.results.push((Outcome::Means, pooled));
        }
        self.results.push((Outcome::Embeddings, x));
        self.unread.extend(["output.weight", "output.bias"].map(str::to_owned));
        Ok(())
    }

    /// The scores of texts: `cls` with its middle and norm, then `cls.output`; a file may lack either.
    fn scores(&mut self, x: ValueId, head: Head) -> Result<ValueId> {
        let (first, last) = (self.rows_of("cls"), self.rows_of("cls.output"));
        if first.is_none() && last.is_none() {
            return Err(Error::invalid(
                "pooling is rank, but the file has no head that scores texts: neither 'cls.weight' nor \
                 'cls.output.weight'",
            )
            .subject("pooling"));
        }
        let mut x = x;
        if let Some(n) = first {
            x = self.linear(x, "cls", n)?;
            let middle = if head.gelu { Op::Activation(Activation::Gelu) } else { Op::SoftCap(SoftCap { cap: 1.0 }) };
            x = self.like(middle, &[x], "cls_act", n);
            if self.has("cls.norm") {
                x = self.norm_by(x, "cls.norm", Norms { kind: NormKind::Layer, ..self.norms })?;
            }
        }
        if let Some(n) = last {
            x = self.linear(x, "cls.output", n)?;
            if head.softmax {
                x = self.like(Op::Softmax, &[x], "scores", n);
            }
        }
        Ok(x)
    }

    /// Rows of the matrix `{role}.weight` of no layer, if the file has it.
    fn rows_of(&self, role: &str) -> Option<usize> {
        self.file.tensor(&self.name(role, "weight")).map(|t| t.ne[1] as usize)
    }
}
