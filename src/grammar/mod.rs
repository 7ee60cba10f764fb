//! Grammars: which texts a generation may write, told token by token.
//!
//! A grammar is a text of one of four kinds: a JSON schema, a regular expression, Lark, or GBNF. The crate
//! `llguidance` compiles the first three and follows a text through them; GBNF becomes Lark first (`gbnf`). Before
//! each token a grammar gives a mask with a bit for every token of the vocabulary, 1 where the text may go on with it,
//! and it is told the token that was chosen. The tokens that end a generation are allowed only where the text is
//! complete.
//!
//! The lexer of the parser walks the vocabulary as a trie (`lexicon`), so a mask takes much less than a look at
//! every token. Where the grammar leaves one way to go on, the mask has one token: the one with which the vocabulary
//! itself would write that text. So a forced stretch of text costs no choice, and a model sees the tokens that it was
//! trained with.
//!
//! Grammars come from strangers as often as from hosts. `limits` bounds what one may take.

mod check;
mod compile;
mod endless;
mod forced;
mod gbnf;
mod grammar;
mod lexicon;
mod limits;
mod scan;
mod schema;
mod trigger;

#[cfg(test)]
mod tests;

pub use check::Verdict;
pub use compile::{Apart, Kind, Params};
pub use gbnf::translate as gbnf_to_lark;
pub use grammar::Grammar;
pub use schema::prepare as prepare_schema;
