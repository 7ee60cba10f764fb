//! The tokens of a vocabulary as a trie of bytes: what a grammar walks to find the tokens that it allows.
//!
//! It is built once for a vocabulary (`Vocab::attached`), at the first grammar. Control tokens and those that end a
//! generation stand in it under a mark that no text has (the byte 0xFF), so that a grammar cannot spell them: it names
//! them or does without.

use std::sync::{Arc, Weak};

use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use llguidance::{ParserFactory, earley, panic_utils};

use super::limits;
use crate::error::{Error, Result};
use crate::vocab::{TokenType, Vocab};

/// Stands for an end token where a vocabulary has none.
const NO_TOKEN: TokenId = u32::MAX;

/// The trie can hold tokens of this many bytes. A grammar never allows longer ones.
const LONGEST_TOKEN: usize = 1000;
/// The bytes of all tokens together that the trie can hold.
const MOST_BYTES: usize = (1 << 22) - 2;

pub(super) struct Lexicon {
    factory: ParserFactory,
    /// The tokens that end a generation, ascending.
    ends: Vec<TokenId>,
    n_tokens: usize,
}

impl Lexicon {
    /// That of a vocabulary, made now or found.
    ///
    /// # Errors
    /// `Unsupported` if the tokens are more than a trie can hold.
    pub fn of(vocab: &Arc<Vocab>) -> Result<Arc<Lexicon>> {
        vocab.attached(|| Lexicon::new(vocab))
    }

    fn new(vocab: &Arc<Vocab>) -> Result<Lexicon> {
        let words: Vec<Vec<u8>> = (0..vocab.n_tokens() as i32).map(|id| word(vocab, id)).collect::<Result<_>>()?;
        let bytes: usize = words.iter().map(Vec::len).sum();
        if bytes > MOST_BYTES {
            return Err(Error::unsupported(format!(
                "the vocabulary's tokens have {bytes} bytes together, a grammar can walk {MOST_BYTES}"
            ))
            .subject("vocab")
            .amounts(bytes as u64, MOST_BYTES as u64));
        }
        let ends: Vec<TokenId> = vocab.special().eog.iter().map(|id| *id as u32).collect();
        let info = TokRxInfo::new(words.len() as u32, ends.first().copied().unwrap_or(NO_TOKEN));
        let n_tokens = words.len();
        let made = panic_utils::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut trie = TokTrie::from(&info, &words);
            if !ends.is_empty() {
                trie = trie.with_eos_tokens(&ends);
            }
            let tokens: TokEnv = Arc::new(Tokens { trie, vocab: Arc::downgrade(vocab) });
            let slices = earley::SlicedBiasComputer::general_slices();
            ParserFactory::new(&tokens, InferenceCapabilities::default(), &slices)
        }));
        let mut factory = made.map_err(|e| limits::refused(&e, "vocab"))?;
        factory.quiet();
        *factory.limits_mut() = limits::parser();
        Ok(Lexicon { factory, ends, n_tokens })
    }

    pub fn factory(&self) -> &ParserFactory {
        &self.factory
    }
    pub fn trie(&self) -> &TokTrie {
        self.factory.tok_env().tok_trie()
    }
    pub fn ends(&self) -> &[TokenId] {
        &self.ends
    }
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }
    pub fn is_end(&self, token: TokenId) -> bool {
        self.ends.binary_search(&token).is_ok()
    }
}

/// The bytes of a token in the trie; empty if no grammar shall ever allow it.
fn word(vocab: &Vocab, id: i32) -> Result<Vec<u8>> {
    let mut word = match vocab.token_type(id)? {
        TokenType::Unused | TokenType::Undefined => Vec::new(),
        TokenType::Control | TokenType::Unknown => marked(vocab.token_text(id)?),
        _ if vocab.is_eog(id) => marked(vocab.token_text(id)?),
        _ => vocab.piece(id, false)?,
    };
    if word.len() > LONGEST_TOKEN {
        word.clear();
    }
    Ok(word)
}

fn marked(text: &[u8]) -> Vec<u8> {
    let mut word = vec![TokTrie::SPECIAL_TOKEN_MARKER];
    word.extend_from_slice(text);
    word
}

/// The tokeniser that the parser asks.
struct Tokens {
    trie: TokTrie,
    /// Weak, because the vocabulary owns this.
    vocab: Weak<Vocab>,
}

impl TokenizerEnv for Tokens {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// The vocabulary's own tokens for these bytes, where they are whole characters and come back as they were. Bytes
    /// of a character that is not complete, and texts that the vocabulary normalises, get the longest tokens that fit.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let whole = std::str::from_utf8(bytes).map_or_else(|e| e.valid_up_to(), str::len);
        let (text, rest) = bytes.split_at(whole);
        let text = std::str::from_utf8(text).unwrap_or_default();
        let own = self.vocab.upgrade().and_then(|v| v.tokenize_inside(text).ok());
        let own: Option<Vec<TokenId>> = own.map(|ids| ids.into_iter().map(|id| id as u32).collect());
        let mut tokens = own
            .filter(|ids| ids.iter().flat_map(|id| self.trie.token(*id)).eq(text.as_bytes()))
            .unwrap_or_else(|| self.trie.greedy_tokenize(text.as_bytes()));
        tokens.extend(self.trie.greedy_tokenize(rest));
        tokens
    }

    /// The parser shall force nothing by itself: [`super::forced`] does that.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}
