//! The bounds of what a grammar may take, and how it is said that one was met.
//!
//! A grammar is often a stranger's text. Its size, its nesting and its rules are limited before it is compiled, and
//! the parser counts what it does: so both compiling and a mask end within a time that is known beforehand.

use llguidance::api::ParserLimits;

use crate::error::{Error, Result, Status};

/// The most bytes of a grammar's text.
pub const LONGEST_TEXT: usize = 1 << 20;
/// The depth to which brackets may stand in each other.
pub const DEEPEST: usize = 200;
/// The most rules of a grammar, and references of a schema.
pub const MOST_RULES: usize = 10_000;
/// The most properties that one schema of an object may name: compiling takes time with their square.
pub const MOST_PROPERTIES: usize = 2_000;
/// The most bytes of a text that is checked in one call.
pub const LONGEST_CHECK: usize = 1 << 24;
/// The most trigger texts and trigger tokens, and the most bytes of a trigger text.
pub const MOST_TRIGGERS: usize = 64;
pub const LONGEST_TRIGGER: usize = 256;

/// The most characters of a message.
const LONGEST_MESSAGE: usize = 500;

/// The stack of the thread that compiles: a rule that refers to a rule takes some of it, so the deepest chain of
/// [`MOST_RULES`] fits. The system gives memory only for what is used.
pub const STACK: usize = 256 << 20;

/// The parser's own counters. At its speeds (50,000 units of the first fuel, 14,000 of the second and 20,000 items a
/// millisecond) compiling the expressions takes some 40 ms, a mask some 15 ms at worst.
pub(super) fn parser() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 2000,
        initial_lexer_fuel: 2_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        // Each takes one to two thousand bytes.
        max_lexer_states: 50_000,
        max_grammar_size: 500_000,
        precompute_large_lexemes: true,
        verbose_errors: false,
    }
}

pub(super) fn check_length(what: &str, len: usize, most: usize) -> Result<()> {
    if len > most {
        return Err(Error::invalid(format!("{what} has {len} bytes, the most is {most}"))
            .subject("text")
            .amounts(len as u64, most as u64));
    }
    Ok(())
}

/// The parser's refusal as an error of ours.
pub(super) fn refused(e: &impl std::fmt::Display, subject: &str) -> Error {
    let whole = e.to_string();
    // A trace of calls and the parser's state may follow, for its own authors.
    let cut = ["\n<backtrace>", "\n<state>", "\n<non-verbose/>"].iter().filter_map(|mark| whole.find(mark)).min();
    let text = whole[..cut.unwrap_or(whole.len())].trim();
    // It may have the whole grammar in it.
    let text = &text[..text.char_indices().nth(LONGEST_MESSAGE).map_or(text.len(), |(at, _)| at)];
    let status = match text {
        // The compiler numbers its symbols with 16 bits, and says so in this way.
        t if t.starts_with("panic: ") && t.contains("symbols.len()") => {
            return Error::unsupported("the grammar has too many symbols").subject(subject);
        }
        t if t.starts_with("panic: ") => Status::Internal,
        t if ["too big", "too large", "too complex", "limit"].iter().any(|w| t.contains(w)) => Status::Unsupported,
        t if t.contains("nimplemented") || t.contains("not supported") || t.contains("Unknown format") => {
            Status::Unsupported
        }
        _ => Status::InvalidArgument,
    };
    Error::new(status, text).subject(subject)
}
