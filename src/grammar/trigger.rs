//! The lazy start: a grammar that waits for a text or a token, and until then allows everything.
//!
//! Tokens do not end where a trigger does. A token may bring a trigger to its end and go on, and what goes on is the
//! grammar's first text. Where the grammar refuses it, that token must not come: it is struck out of the mask. Which
//! tokens these are depends only on how much of a trigger was written, so they are found when the grammar is made.

use std::collections::HashMap;

use llguidance::TokenParser;
use llguidance::toktrie::{TokTrie, TokenId, TrieNode};

use super::check::fitting;
use super::compile::{Apart, Params};
use super::limits::{LONGEST_TRIGGER, MOST_TRIGGERS};
use crate::error::{Error, Result};
use crate::vocab::Vocab;

pub(super) struct Trigger {
    texts: Vec<Vec<u8>>,
    tokens: Vec<i32>,
    from_trigger: bool,
    apart: Option<Apart>,
    /// Tokens that end a trigger and go on in a way that the grammar refuses: by what was written of that trigger.
    refused: Vec<(Vec<u8>, Vec<TokenId>)>,
}

/// A text in which no trigger was found yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting {
    /// The end of the text, long enough to hold the beginning of a trigger.
    tail: Vec<u8>,
    /// It is where no trigger counts.
    apart: bool,
}

/// A trigger that was found: the text behind it, with it if the grammar describes it, too.
pub(super) struct Found(pub Vec<u8>);

impl Trigger {
    /// `None` if there are no triggers. `parser` stands before its first token.
    pub fn new(params: &Params, vocab: &Vocab, trie: &TokTrie, parser: &mut TokenParser) -> Result<Option<Trigger>> {
        let n = params.trigger_texts.len() + params.trigger_tokens.len();
        if n > MOST_TRIGGERS {
            return Err(
                Error::invalid(format!("there are {n} triggers, the most is {MOST_TRIGGERS}")).subject("trigger_texts")
            );
        }
        if let Some(bad) = params.trigger_texts.iter().position(|t| t.is_empty() || t.len() > LONGEST_TRIGGER) {
            let len = params.trigger_texts[bad].len();
            return Err(Error::invalid(format!(
                "trigger_texts[{bad}] has {len} bytes, expected 1 to {LONGEST_TRIGGER}"
            ))
            .subject("trigger_texts"));
        }
        for token in &params.trigger_tokens {
            vocab.token_type(*token).map_err(|e| e.at("trigger_tokens").subject("trigger_tokens"))?;
        }
        if n == 0 {
            return Ok(None);
        }
        if params.from_trigger {
            check_beginnings(params, parser)?;
        }
        let mut t = Trigger {
            texts: params.trigger_texts.clone(),
            tokens: params.trigger_tokens.clone(),
            from_trigger: params.from_trigger,
            apart: params.apart.clone().filter(|a| !a.open.is_empty() && !a.close.is_empty()),
            refused: Vec::new(),
        };
        t.find_refused(trie, parser);
        Ok(Some(t))
    }

    pub fn is_token(&self, waiting: &Waiting, token: i32) -> bool {
        !waiting.apart && self.tokens.contains(&token)
    }
    /// The grammar describes the trigger, too.
    pub fn is_described(&self) -> bool {
        self.from_trigger
    }

    /// Before the first token.
    pub fn begin(&self) -> Waiting {
        Waiting { tail: Vec::new(), apart: self.apart.as_ref().is_some_and(|a| a.begins) }
    }

    /// Adds a token's text, and looks for the trigger that ends first.
    pub fn watch(&self, waiting: &mut Waiting, piece: &[u8]) -> Option<Found> {
        let Waiting { tail, apart } = waiting;
        // Behind this place something may begin that counts.
        let (old, mut from) = (tail.len(), 0);
        tail.extend_from_slice(piece);
        for end in old + 1..=tail.len() {
            let text = &tail[from..end];
            if let Some(a) = &self.apart
                && text.ends_with(if *apart { &a.close } else { &a.open })
            {
                (*apart, from) = (!*apart, end);
            } else if !*apart && let Some(trigger) = self.ending(text) {
                return Some(Found(self.behind(trigger, &tail[end..])));
            }
        }
        let apart = self.apart.iter().flat_map(|a| [&a.open, &a.close]);
        let longest = self.texts.iter().chain(apart).map(Vec::len).max().unwrap_or(0);
        tail.drain(..from.max(tail.len().saturating_sub(longest)));
        None
    }

    /// The longest trigger that a text ends with.
    fn ending(&self, text: &[u8]) -> Option<&[u8]> {
        self.texts.iter().filter(|t| text.ends_with(t)).max_by_key(|t| t.len()).map(Vec::as_slice)
    }

    /// The tokens that must not follow.
    pub fn refused<'a>(&'a self, waiting: &'a Waiting) -> impl Iterator<Item = TokenId> + 'a {
        let all = self.refused.iter().filter(|(begun, _)| !waiting.apart && waiting.tail.ends_with(begun));
        all.flat_map(|(_, tokens)| tokens).copied()
    }

    fn behind(&self, trigger: &[u8], rest: &[u8]) -> Vec<u8> {
        let mut text = if self.from_trigger { trigger.to_vec() } else { Vec::new() };
        text.extend_from_slice(rest);
        text
    }

    fn find_refused(&mut self, trie: &TokTrie, parser: &mut TokenParser) {
        // Many tokens go on in the same way.
        let mut known: HashMap<Vec<u8>, bool> = HashMap::new();
        let mut fits = |text: Vec<u8>| {
            let whole = text.len();
            *known.entry(text).or_insert_with_key(|text| fitting(&mut parser.parser, text) == whole)
        };
        let mut refused = Vec::new();
        for text in &self.texts {
            for begun in 1..text.len() {
                let mut tokens = Vec::new();
                each_longer(trie, &text[begun..], &mut |token, rest| {
                    if !fits(self.behind(text, rest)) {
                        tokens.push(token);
                    }
                });
                refused.push((text[..begun].to_vec(), tokens));
            }
        }
        // A token with a whole trigger in it, wherever that begins.
        let mut whole = Vec::new();
        for token in 0..trie.vocab_size() as TokenId {
            let bytes = trie.token(token);
            if bytes.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER) {
                continue;
            }
            if let Some(Found(text)) = self.watch(&mut Waiting::default(), bytes)
                && text.len() > self.behind(b"", b"").len()
                && !fits(text)
            {
                whole.push(token);
            }
        }
        refused.push((Vec::new(), whole));
        refused.retain(|(_, tokens)| !tokens.is_empty());
        self.refused = refused;
    }
}

/// A grammar that describes its triggers begins with each of them.
fn check_beginnings(params: &Params, parser: &mut TokenParser) -> Result<()> {
    if let Some(bad) = params.trigger_texts.iter().position(|t| fitting(&mut parser.parser, t) < t.len()) {
        return Err(
            Error::invalid(format!("no text of the grammar begins with trigger_texts[{bad}]")).subject("trigger_texts")
        );
    }
    for token in &params.trigger_tokens {
        if parser.parser.validate_tokens(&[*token as TokenId]) == 0 {
            return Err(Error::invalid(format!("no text of the grammar begins with trigger token {token}"))
                .subject("trigger_tokens"));
        }
    }
    Ok(())
}

/// Calls `found` with every token that begins with `start` and goes on, and the bytes with which it goes on.
fn each_longer(trie: &TokTrie, start: &[u8], found: &mut impl FnMut(TokenId, &[u8])) {
    fn below(trie: &TokTrie, node: &TrieNode, rest: &mut Vec<u8>, found: &mut impl FnMut(TokenId, &[u8])) {
        for child in trie.node_children(node) {
            rest.push(child.byte());
            if let Some(token) = child.token_id() {
                found(token, rest);
            }
            below(trie, child, rest, found);
            rest.pop();
        }
    }
    if let Some(node) = trie.child_at_bytes(trie.root(), start) {
        below(trie, node, &mut Vec::new(), found);
    }
}
