//! The rows that a graph leaves in place of logits: the kinds of pooling, and the tokens whose rows they need.

/// The ways from the rows of a text's tokens to what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The row of each token that is asked for.
    None,
    /// The mean of all rows.
    Mean,
    /// The first token's row.
    Cls,
    /// The last token's row.
    Last,
    /// The scores that a head (`cls`) makes of one row.
    Rank,
}

/// The tokens whose rows a micro-batch leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// Those that the caller asks for.
    Asked,
    /// The first of each text.
    First,
    /// The last of each text.
    Last,
    /// All of a text together.
    Mean,
}

/// The head that scores texts.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// The row that it reads.
    pub pick: Pick,
    /// True if its middle is GELU, else tanh.
    pub gelu: bool,
    /// True if scores are a softmax over its outputs.
    pub softmax: bool,
}

impl Pooling {
    pub fn name(self) -> &'static str {
        match self {
            Pooling::None => "none",
            Pooling::Mean => "mean",
            Pooling::Cls => "cls",
            Pooling::Last => "last",
            Pooling::Rank => "rank",
        }
    }

    /// The tokens whose rows it needs.
    pub fn pick(self, head: Head) -> Pick {
        match self {
            Pooling::None => Pick::Asked,
            Pooling::Mean => Pick::Mean,
            Pooling::Cls => Pick::First,
            Pooling::Last => Pick::Last,
            Pooling::Rank => head.pick,
        }
    }
}
