//! Text becomes tokens, and tokens become text.

use super::bpe::{Scratch, Symbols};
use super::partition::Fragment;
use super::tokens::TokenType;
use super::{Algorithm, Vocab, bytelevel, spm};
use crate::error::{Error, Result};

/// The most bytes of a text, either way.
const LONGEST: usize = 1 << 30;

/// Bytes of memory that each byte of a text may take: two copies, a symbol, two entries of a heap and a token, in
/// vectors that double.
const WORK: usize = 96;

impl Vocab {
    /// The tokens of a text.
    ///
    /// `add_special` puts BOS before the text and EOS or a separator behind it, if the file wants them. `parse_special`
    /// takes the texts of control tokens for these tokens; without it they are text like any other.
    ///
    /// # Errors
    /// `InvalidArgument` if the text is no UTF-8 (the message names the byte), is longer than 1 GiB, or holds a byte
    /// for which the vocabulary has no token. `OutOfMemory` if there are not some 100 bytes of memory for each byte of
    /// the text.
    pub fn tokenize(&self, text: &[u8], add_special: bool, parse_special: bool) -> Result<Vec<i32>> {
        let text = std::str::from_utf8(text).map_err(|e| {
            Error::invalid(format!("the text is no valid UTF-8 at byte {}", e.valid_up_to())).subject("text")
        })?;
        if text.len() > LONGEST {
            return Err(too_long(text.len(), "text"));
        }
        // This is asked here, because nothing below could say that memory is short.
        let needed = text.len() * WORK;
        Vec::<u8>::new().try_reserve_exact(needed).map_err(|_| Error::out_of_memory("tokenising", needed as u64))?;
        let mut out = Vec::new();
        if add_special && self.add_bos {
            out.extend(self.special.bos);
        }
        // The beginning counts as special: the text behind it gets a space.
        self.append_tokens(text, parse_special, true, &mut out)?;
        if add_special && self.add_eos {
            out.extend(self.special.eos);
        }
        if add_special && self.add_sep {
            out.extend(self.special.sep);
        }
        Ok(out)
    }

    /// The tokens of a text that goes on from another one: without BOS, EOS and a space before it. Texts of control
    /// tokens are text.
    ///
    /// # Errors
    /// As [`Vocab::tokenize`].
    pub fn tokenize_inside(&self, text: &str) -> Result<Vec<i32>> {
        let mut out = Vec::new();
        self.append_tokens(text, false, false, &mut out)?;
        Ok(out)
    }

    fn append_tokens(&self, text: &str, parse_special: bool, special_before: bool, out: &mut Vec<i32>) -> Result<()> {
        let mut scratch = Scratch::default();
        let mut behind_special = special_before;
        for fragment in self.partition.cut(&self.tokens, text, parse_special) {
            match fragment {
                Fragment::Token(id) => {
                    out.push(id as i32);
                    behind_special = true;
                }
                Fragment::Text(range) => {
                    self.fragment(&text[range], behind_special, &mut scratch, out)?;
                    behind_special = false;
                }
            }
        }
        Ok(())
    }

    fn fragment(&self, text: &str, behind_special: bool, scratch: &mut Scratch, out: &mut Vec<i32>) -> Result<()> {
        let unk = self.special.unk.map(|id| id as u32);
        match &self.algorithm {
            Algorithm::Spm(spm) => {
                let mut escaped =
                    if self.add_space_prefix && behind_special { spm::SPACE.to_owned() } else { String::new() };
                escaped.push_str(&text.replace(' ', spm::SPACE));
                spm.tokenize(&self.tokens, unk, &escaped, out)
            }
            Algorithm::Bpe(bpe, words) => words.tokenize(bpe, &self.tokens, unk, text, scratch, out),
            Algorithm::WordPiece(words) => words.tokenize(&self.tokens, unk, text, out),
            Algorithm::Unigram(unigram) => unigram.tokenize(&self.tokens, unk, text, out),
            Algorithm::Rwkv(rwkv) => rwkv.tokenize(unk, text, out),
            Algorithm::Plamo(plamo) => plamo.tokenize(&self.tokens, unk, text, out),
        }
    }

    /// The bytes that a token adds to a text; they may end inside a character, see [`super::Stream`]. Control tokens
    /// and the unknown token give their text if `special` is set, else nothing. Unused tokens give nothing.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no such token; `OutOfMemory`: tokens may be of any length.
    pub fn piece(&self, id: i32, special: bool) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.append_piece(id, special, &mut out)?;
        Ok(out)
    }

    pub(super) fn append_piece(&self, id: i32, special: bool, out: &mut Vec<u8>) -> Result<()> {
        let id = self.checked(id)?;
        let text = self.tokens.text(id);
        // A piece is never longer than its token's text.
        out.try_reserve(text.len()).map_err(|_| no_memory(out.len() + text.len()))?;
        match self.tokens.ty(id) {
            TokenType::Control | TokenType::Unknown if !special => (),
            TokenType::Control | TokenType::Unknown | TokenType::UserDefined => out.extend_from_slice(text),
            TokenType::Normal => match &self.algorithm {
                Algorithm::Bpe(bpe, words) if bpe.symbols == Symbols::Bytes => {
                    bytelevel::decode(words.shown(id, text), out)
                }
                Algorithm::Bpe(bpe, _) if bpe.symbols == Symbols::Chars => out.extend_from_slice(text),
                Algorithm::Rwkv(rwkv) => out.extend_from_slice(rwkv.text(id)),
                Algorithm::Plamo(_) => out.extend_from_slice(text),
                _ => unescape_spaces(text, out),
            },
            TokenType::Byte => match hex_byte(text) {
                Some(b) => out.push(b),
                None => out.extend_from_slice(text),
            },
            TokenType::Unused | TokenType::Undefined => (),
        }
        Ok(())
    }

    /// The text of tokens. It is the inverse of [`Vocab::tokenize`], except that a '▁' of the text comes back as a
    /// space if the vocabulary writes spaces so.
    ///
    /// `remove_special` drops a BOS in front and an EOS at the end if tokenising would have put them there.
    /// `unparse_special` shows control tokens as their text. The space that tokenising put before the text is removed.
    ///
    /// # Errors
    /// `InvalidArgument` if an id is out of range, or the tokens' texts have more than 1 GiB together; `OutOfMemory`.
    pub fn detokenize(&self, ids: &[i32], remove_special: bool, unparse_special: bool) -> Result<Vec<u8>> {
        let mut ids = ids;
        if remove_special && self.add_bos && self.special.bos.is_some() && ids.first().copied() == self.special.bos {
            ids = &ids[1..];
        }
        if remove_special && self.add_eos && self.special.eos.is_some() && ids.last().copied() == self.special.eos {
            ids = &ids[..ids.len() - 1];
        }
        if remove_special && self.add_sep && self.special.sep.is_some() && ids.last().copied() == self.special.sep {
            ids = &ids[..ids.len() - 1];
        }
        let most = ids.iter().try_fold(0usize, |sum, id| Ok(sum.saturating_add(self.token_text(*id)?.len())))?;
        if most > LONGEST {
            return Err(too_long(most, "tokens"));
        }
        let mut out = Vec::new();
        out.try_reserve_exact(most).map_err(|_| no_memory(most))?;
        let mut prefixed = self.add_space_prefix;
        for id in ids {
            self.append_piece(*id, unparse_special, &mut out)?;
            if prefixed && !out.is_empty() {
                prefixed = false;
                if out[0] == b' ' {
                    out.remove(0);
                }
            }
        }
        Ok(out)
    }
}

fn too_long(bytes: usize, subject: &str) -> Error {
    Error::invalid(format!("a text of {bytes} bytes is too long, expected at most 2^30")).subject(subject)
}

fn no_memory(bytes: usize) -> Error {
    Error::out_of_memory("the text of tokens", bytes as u64)
}

fn unescape_spaces(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.windows(spm::SPACE.len()).position(|w| w == spm::SPACE.as_bytes()) {
        out.extend_from_slice(&rest[..at]);
        out.push(b' ');
        rest = &rest[at + spm::SPACE.len()..];
    }
    out.extend_from_slice(rest);
}

/// The byte of a text `<0xXX>`.
fn hex_byte(text: &[u8]) -> Option<u8> {
    let hex = std::str::from_utf8(text.strip_prefix(b"<0x")?.strip_suffix(b">")?).ok()?;
    if hex.len() == 2 { u8::from_str_radix(hex, 16).ok() } else { None }
}
