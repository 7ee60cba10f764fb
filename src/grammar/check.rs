//! A text held against a grammar without a model.

use llguidance::TokenParser;
use llguidance::toktrie::Recognizer;

/// The verdict of a grammar on a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The text is one of the grammar's.
    Complete,
    /// It is none yet; one of the grammar's texts begins with it, as far as the grammar can tell.
    Prefix,
    /// No text of the grammar begins so: this byte, counted from 0, is the first that does not fit.
    Refused(usize),
}

/// So many bytes are taken at a time: what they leave behind is freed before the next ones.
const STEP: usize = 4096;

/// Follows a text, byte by byte, with a parser that stands before its first token and is used up.
pub(super) fn check(parser: &mut TokenParser, text: &[u8]) -> Result<Verdict, String> {
    let parser = &mut parser.parser;
    let mut done = 0;
    for piece in text.chunks(STEP) {
        let fits = fitting(parser, piece);
        if let Some(e) = parser.get_error() {
            return Err(e.message());
        }
        if fits < piece.len() {
            return Ok(Verdict::Refused(done + fits));
        }
        // No token has this number, so these are bytes and nothing else.
        parser.apply_token(piece, u32::MAX).map_err(|e| e.to_string())?;
        if let Some(e) = parser.get_error() {
            return Err(e.message());
        }
        done += piece.len();
    }
    let complete = parser.is_accepting();
    match parser.get_error() {
        Some(e) => Err(e.message()),
        None if complete => Ok(Verdict::Complete),
        None => Ok(Verdict::Prefix),
    }
}

/// The number of bytes that the parser could take, which it does not take.
pub(super) fn fitting(parser: &mut llguidance::earley::Parser, bytes: &[u8]) -> usize {
    parser.with_recognizer(|r| {
        r.trie_started("check");
        // The mark of special tokens is no text.
        let fits = bytes.iter().position(|b| *b == 0xff || !r.try_push_byte(*b)).unwrap_or(bytes.len());
        r.trie_finished();
        fits
    })
}
