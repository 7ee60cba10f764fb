//! A look at a Lark text before it is parsed: is it nested or long beyond reason? The parser that follows calls itself
//! for each bracket, and the compiler for each rule that refers to another.

use super::limits::{DEEPEST, MOST_RULES};
use crate::error::{Error, Result};

/// # Errors
/// `InvalidArgument` with line and column of a bracket that stands too deep, or of a rule too many.
pub(super) fn lark(text: &str) -> Result<()> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut rules) = (0, 0usize, 0usize);
    while at < bytes.len() {
        let before = at.checked_sub(1).map(|i| bytes[i]);
        match bytes[at] {
            b'#' => at = skip_line(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'/') => at = skip_line(bytes, at),
            // An expression begins where no value has just ended; that of a text of bytes begins nowhere else.
            b'"' | b'/' => at = skip_quoted(bytes, at),
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b':' if before != Some(b':') => rules += 1,
            _ => (),
        }
        let problem = match (depth > DEEPEST, rules > MOST_RULES) {
            (true, _) => format!("more than {DEEPEST} brackets stand in each other"),
            (_, true) => format!("there are more than {MOST_RULES} rules"),
            _ => String::new(),
        };
        if !problem.is_empty() {
            return Err(mistake(text, at, &problem));
        }
        at += 1;
    }
    Ok(())
}

/// The end of the line that `at` stands in.
fn skip_line(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n)
}

/// The closing mark of what begins at `at`, or the end of its line.
fn skip_quoted(bytes: &[u8], at: usize) -> usize {
    let mark = bytes[at];
    let mut i = at + 1;
    while i < bytes.len() && bytes[i] != mark && bytes[i] != b'\n' {
        i += 1 + usize::from(bytes[i] == b'\\');
    }
    i
}

/// Line and column of a byte, both counted from 1, the column in characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let at = (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    let before = &text[..at];
    let line = before.rfind('\n').map_or(before, |n| &before[n + 1..]);
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// A mistake in the text at byte `at`.
pub(super) fn mistake(text: &str, at: usize, what: &str) -> Error {
    let (line, column) = place(text, at);
    Error::invalid(format!("line {line}, column {column}: {what}")).subject("text")
}
