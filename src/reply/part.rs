//! The things that the inside of a call tells while it is read.

/// A thing that a body tells. The name comes before the arguments, an id before the name.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Id(String),
    Name(String),
    Arguments(String),
}

/// The state of a body.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Outcome {
    /// It goes on.
    More,
    /// It is whole.
    Whole,
    /// It is none: what follows does not belong to it.
    Bad,
}

/// So much of `text` may be added to `have` bytes without more than `most` of them; if not all of it, one character
/// more. So the place where a text is too long does not depend on its pieces.
pub(super) fn within(have: usize, text: &str, most: usize) -> usize {
    if have + text.len() <= most {
        return text.len();
    }
    let least = (most + 1).saturating_sub(have);
    (least..text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(text.len())
}
