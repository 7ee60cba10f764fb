//! GBNF, llama.cpp's language for grammars, becomes Lark.
//!
//! A GBNF grammar is one of characters: its rules say which character may follow which. A parser that took a step of
//! the grammar for each character would be slow on the thousands of tokens that a mask looks at, so llguidance's takes
//! lexemes: longer stretches that regular expressions describe. Its lexer reads the longest stretch that any lexeme
//! allowed at that place can be, and never goes back. So lexemes must be chosen such that this is always right.
//!
//! 1. [`read`] parses the text into rules.
//! 2. [`regular`] finds the rules that are not recursive. They are regular expressions.
//! 3. [`parts`] cuts what remains into lexemes, the longest stretches without a recursive rule.
//! 4. [`split`] looks for lexemes behind which the longest stretch could be the wrong one, and takes them apart, if
//!    need be down to single characters, with which the lexer cannot go wrong.
//! 5. `write` writes the result.

mod chars;
mod nfa;
mod parts;
mod read;
mod regular;
mod split;
mod write;

use crate::error::{Error, Result};

/// GBNF as Lark, whose rule `start` is GBNF's rule `start`. `find` gives the token whose text is just this (for
/// `<text>`), and token numbers (`<[5]>`) must be below `n_tokens`.
///
/// # Errors
/// `InvalidArgument` with line and column: of what is no GBNF, of a rule that is not there or there twice, of a rule
/// that no text can satisfy.
pub fn translate(text: &str, start: &str, n_tokens: u32, find: &dyn Fn(&str) -> Option<u32>) -> Result<String> {
    let rules = read::read(text, n_tokens, find)?;
    let Some(root) = rules.iter().position(|r| r.name == start) else {
        return Err(Error::invalid(format!("the grammar has no rule '{start}' to begin with")).subject("start"));
    };
    regular::check_endings(text, &rules)?;
    let regular = regular::regular(&rules);
    let mut parts = parts::cut(&rules, &regular, root);
    split::split(&mut parts);
    Ok(write::write(&parts))
}
