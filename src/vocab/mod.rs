//! Tokenisers: text becomes token ids and ids become text, as the model's file describes it.
//!
//! A model reads numbers, each of which stands for a piece of text, its token. Two kinds of tokeniser here start from
//! small symbols and merge neighbours into larger ones until no merge is left. They differ in the rule that decides
//! which neighbours merge first. The others look for tokens in the text as it stands.
//!
//! **SentencePiece style** (`tokenizer.ggml.model` = `llama`). Spaces become '▁' (U+2581), and one is put before the
//! text. The symbols are the characters. Any two neighbours whose text together is a token may merge, the token with
//! the best score first. "▁he l lo" becomes "▁hello" if all on the way are tokens. A character that is no token at the
//! end becomes one token for each of its bytes, `<0xE2>` and so on.
//!
//! **Byte-level BPE** (`gpt2`). A pre-tokeniser, named by `tokenizer.ggml.pre`, first cuts the text into words, which
//! merges never cross; a word owns the space before it. The symbols are bytes, each written as a visible character (a
//! space is 'Ġ'). The file lists the merges in the order in which training learnt them, and the earliest one that
//! applies goes first.
//!
//! **WordPiece** (`bert`) cuts the text into words, and each into the longest tokens from its beginning on.
//!
//! **Unigram** (`t5`) finds the tokens whose scores have the largest sum. So does **PLaMo 2** (`plamo2`), from the end
//! on.
//!
//! **RWKV** (`rwkv`) takes the longest token that the rest of the text begins with.
//!
//! Two kinds are byte-level BPE with something before it: `whitespace` leaves white space away, `hybriddna` cuts
//! sequences of DNA into words of six letters.
//!
//! Before each, texts of special tokens ("<|im_end|>") are cut out: user-defined ones always, control tokens if the
//! caller asks for it. Never ask for it with text from a stranger: it could end its own turn.
//!
//! Merging takes a heap, in O(n log n) of the text's length. The rules of pre-tokenisers, words and sums take linear
//! time.

mod attached;
mod bpe;
mod bytelevel;
mod charsmap;
mod dna;
mod load;
mod partition;
mod patterns;
mod plamo;
mod rules;
mod rwkv;
mod special;
mod spellings;
mod split;
mod spm;
mod stream;
mod suppressed;
mod text;
mod texts;
mod tokens;
mod unigram;
mod wordpiece;
mod words;

#[cfg(test)]
mod tests;

pub use special::SpecialIds;
pub use stream::Stream;
pub use tokens::TokenType;

use crate::error::{Error, Result};

/// The vocabulary of a model with its tokeniser. Reading it is thread-safe.
pub struct Vocab {
    model: String,
    pre: String,
    tokens: tokens::Tokens,
    algorithm: Algorithm,
    special: SpecialIds,
    suppressed: Vec<i32>,
    partition: partition::Partition,
    add_bos: bool,
    add_eos: bool,
    /// A text ends with the separator.
    add_sep: bool,
    add_space_prefix: bool,
    attached: attached::Attached,
}

enum Algorithm {
    Spm(spm::Spm),
    Bpe(bpe::Bpe, words::Words),
    WordPiece(wordpiece::WordPiece),
    Unigram(unigram::Unigram),
    Rwkv(rwkv::Rwkv),
    Plamo(plamo::Plamo),
}

impl Vocab {
    /// `tokenizer.ggml.model`: `llama`, `gpt2`, `gemma4`, `whitespace`, `hybriddna`, `bert`, `t5`, `rwkv` or `plamo2`.
    pub fn model(&self) -> &str {
        &self.model
    }
    /// `tokenizer.ggml.pre`, or `default` if the file names none.
    pub fn pre(&self) -> &str {
        &self.pre
    }
    pub fn n_tokens(&self) -> usize {
        self.tokens.len()
    }
    /// The text of a token as the file has it: with '▁' or 'Ġ' for a space. [`Vocab::piece`] gives plain text.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no such token, here and below.
    pub fn token_text(&self, id: i32) -> Result<&[u8]> {
        Ok(self.tokens.text(self.checked(id)?))
    }
    /// A token's score, 0 if the file has none. Tokens with higher scores merge first.
    pub fn token_score(&self, id: i32) -> Result<f32> {
        Ok(self.tokens.score(self.checked(id)?))
    }
    pub fn token_type(&self, id: i32) -> Result<TokenType> {
        Ok(self.tokens.ty(self.checked(id)?))
    }
    /// The token with exactly this text (as [`Vocab::token_text`] gives it).
    pub fn find(&self, text: &[u8]) -> Option<i32> {
        self.tokens.find(text).map(|id| id as i32)
    }
    pub fn special(&self) -> &SpecialIds {
        &self.special
    }
    pub fn bos(&self) -> Option<i32> {
        self.special.bos
    }
    pub fn eos(&self) -> Option<i32> {
        self.special.eos
    }
    /// True if this token ends a generation.
    pub fn is_eog(&self, id: i32) -> bool {
        self.special.eog.binary_search(&id).is_ok()
    }
    /// True if a text begins with the BOS token when special tokens are added.
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }
    /// True if a text ends with the EOS token when special tokens are added.
    pub fn add_eos(&self) -> bool {
        self.add_eos
    }
    /// True if tokenising puts a space before the text and behind each special token (SentencePiece style only).
    pub fn add_space_prefix(&self) -> bool {
        self.add_space_prefix
    }

    fn checked(&self, id: i32) -> Result<u32> {
        let n = self.n_tokens();
        u32::try_from(id).ok().filter(|i| (*i as usize) < n).ok_or_else(|| {
            Error::invalid(format!("token id {id} is out of range: the vocabulary has {n} tokens")).subject("token")
        })
    }
}
