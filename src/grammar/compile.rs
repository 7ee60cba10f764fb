//! From a text to a parser before its first token.

use std::sync::Arc;

use llguidance::TokenParser;
use llguidance::api::TopLevelGrammar;

use super::lexicon::Lexicon;
use super::{endless, gbnf, limits, scan, schema};
use crate::error::{Error, Result};
use crate::vocab::Vocab;

/// The languages that a grammar may be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A JSON schema, draft 2020-12 or an older one that it names.
    JsonSchema,
    /// A regular expression that the whole text matches.
    Regex,
    /// Lark's language, with llguidance's additions.
    Lark,
    /// llama.cpp's GBNF.
    Gbnf,
}

/// A grammar's parameters besides its text. All may be left at their defaults.
#[derive(Debug, Clone, Default)]
pub struct Params {
    /// The rule to begin with, of Lark (`start` if absent) and GBNF (`root` if absent).
    pub start: Option<String>,
    /// With any of these the grammar waits, and allows everything, until one of them was written.
    pub trigger_texts: Vec<Vec<u8>>,
    pub trigger_tokens: Vec<i32>,
    /// The grammar describes the text from the trigger on, rather than the text behind it.
    pub from_trigger: bool,
    /// A part of the text in which no trigger counts.
    pub apart: Option<Apart>,
}

/// A part of a text between two markers, such as a model's reasoning. Neither may be empty.
#[derive(Debug, Clone)]
pub struct Apart {
    pub open: Vec<u8>,
    pub close: Vec<u8>,
    /// The text begins within it.
    pub begins: bool,
}

/// Compiles a text, on a thread with room for its recursion.
pub(super) fn compile(
    vocab: &Vocab,
    lexicon: &Arc<Lexicon>,
    kind: Kind,
    text: &str,
    start: Option<&str>,
) -> Result<TokenParser> {
    limits::check_length("the grammar's text", text.len(), limits::LONGEST_TEXT)?;
    let work = || {
        let grammar = grammar(vocab, kind, text, start)?;
        let factory = lexicon.factory();
        let parser = factory.create_parser(grammar.clone()).map_err(|e| limits::refused(&e, "text"))?;
        endless::check(parser.parser.grammar(), grammar, factory.tok_env(), factory.limits())?;
        Ok(parser)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("rekindle-grammar".into()).stack_size(limits::STACK);
        let thread = thread.spawn_scoped(scope, work);
        let thread = thread.map_err(|_| Error::out_of_memory("a grammar's compiler", limits::STACK as u64))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn grammar(vocab: &Vocab, kind: Kind, text: &str, start: Option<&str>) -> Result<TopLevelGrammar> {
    if let (Some(_), Kind::JsonSchema | Kind::Regex) = (start, kind) {
        return Err(Error::invalid("a start symbol is given, but only Lark and GBNF have rules").subject("start"));
    }
    match kind {
        Kind::JsonSchema => {
            let json = serde_json::from_str(text)
                .map_err(|e| Error::invalid(format!("the schema is no JSON: {e}")).subject("text"))?;
            Ok(TopLevelGrammar::from_json_schema(schema::prepare(json)?))
        }
        // Two slashes would begin a comment.
        Kind::Regex if text.is_empty() => Ok(TopLevelGrammar::from_lark("start: \"\"".into())),
        Kind::Regex => Ok(TopLevelGrammar::from_regex(text)),
        Kind::Lark => {
            scan::lark(text)?;
            let begin = start.filter(|s| *s != "start").map(begin).transpose()?.unwrap_or_default();
            Ok(TopLevelGrammar::from_lark(format!("{text}\n{begin}")))
        }
        Kind::Gbnf => {
            let find = |name: &str| vocab.find(name.as_bytes()).map(|id| id as u32);
            gbnf::translate(text, start.unwrap_or("root"), vocab.n_tokens() as u32, &find)
                .map(TopLevelGrammar::from_lark)
        }
    }
}

/// The rule that begins with another one.
fn begin(start: &str) -> Result<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if start.is_empty() || !start.chars().all(good) {
        return Err(Error::invalid(format!("start is {start:?}, expected the name of a rule")).subject("start"));
    }
    Ok(format!("start: {start}\n"))
}
