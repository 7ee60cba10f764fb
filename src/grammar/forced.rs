//! Text that must come: where a grammar leaves one byte to go on with, and one behind that, and so on.
//!
//! The vocabulary's own tokens for that text are the ones that a model would write. The last of them may be wrong,
//! though: behind the forced text there is a choice, and with one of the choices the vocabulary would write a longer
//! token across the border. So tokens at the end that could grow with what may come are left away again.
//!
//! llguidance does this, too, but without a bound: a text of a few rules can force more bytes than there is memory.

use llguidance::earley::Parser;
use llguidance::toktrie::{Recognizer, TokTrie, TokenId};

use super::lexicon::Lexicon;

/// The most bytes that are looked ahead.
const LONGEST: usize = 128;

/// The tokens that must come next. `last` is the token before them, with which they may belong together.
///
/// # Errors
/// The parser's text if it met a limit.
pub(super) fn forced(parser: &mut Parser, lexicon: &Lexicon, last: Option<TokenId>) -> Result<Vec<TokenId>, String> {
    // Some of Lark's additions do not allow to go back.
    if parser.rollback(0).is_err() {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::new();
    while bytes.len() < LONGEST && !parser.is_accepting() {
        let Some(byte) = only_byte(parser) else { break };
        // No token has this number, so these are bytes and nothing else.
        parser.apply_token(&[byte], u32::MAX).map_err(|e| e.to_string())?;
        bytes.push(byte);
    }
    if let Some(e) = parser.get_error() {
        return Err(e.message());
    }
    let mut tokens = if bytes.is_empty() { Vec::new() } else { spelled(lexicon, last, &bytes) };
    if !tokens.is_empty() {
        let (grow, _) = parser.with_recognizer(|r| lexicon.trie().chop_tokens(r, &tokens));
        tokens.truncate(tokens.len() - grow);
    }
    parser.rollback(bytes.len()).map_err(|e| e.to_string())?;
    match parser.get_error() {
        Some(e) => Err(e.message()),
        None => Ok(tokens),
    }
}

/// The one byte that can come next, if it is one of a text.
fn only_byte(parser: &mut Parser) -> Option<u8> {
    parser.with_recognizer(|r| {
        r.trie_started("forced");
        let mut found = None;
        for byte in 0..=u8::MAX {
            if r.try_push_byte(byte) {
                r.pop_bytes(1);
                if found.replace(byte).is_some() {
                    found = None;
                    break;
                }
            }
        }
        r.trie_finished();
        found.filter(|b| *b != TokTrie::SPECIAL_TOKEN_MARKER)
    })
}

/// The tokens with which the vocabulary writes `bytes` behind the token `last`.
fn spelled(lexicon: &Lexicon, last: Option<TokenId>, bytes: &[u8]) -> Vec<TokenId> {
    let env = lexicon.factory().tok_env();
    if let Some(last) = last.filter(|t| !lexicon.trie().is_special_token(*t)) {
        let before = lexicon.trie().token(last);
        let mut tokens = env.tokenize_bytes(&[before, bytes].concat());
        if tokens.first() == Some(&last) {
            tokens.remove(0);
            return tokens;
        }
    }
    env.tokenize_bytes(bytes)
}
