//! What the inside of a call tells while it is read.

/// What a body tells. The name comes before the arguments, an id before the name.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Id(String),
    Name(String),
    Arguments(String),
}

/// How far a body has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Outcome {
    /// It goes on.
    More,
    /// It is whole.
    Whole,
    /// It is none: what follows does not belong to it.
    Bad,
}
