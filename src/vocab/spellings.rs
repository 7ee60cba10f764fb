//! Ways to spell a text with tokens.
//!
//! A text may begin in the middle of a token and end in the middle of another: "\n" is part of " {\n". So for each
//! token this asks if it has the text in it, or ends with a beginning of it; then the rest, as the tokeniser cuts it,
//! must follow.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::Vocab;
use crate::error::{Error, Result};

impl Vocab {
    /// The sequences of tokens that spell `text`: a first token that has it whole, with nothing behind it, or one that
    /// ends with its beginning, with the tokens of the rest (the first `longest` of them).
    ///
    /// # Errors
    /// `InvalidArgument` if the text is empty, those of `tokenize`, `OutOfMemory`.
    pub fn spellings(&self, text: &str, longest: usize) -> Result<Vec<(i32, Vec<i32>)>> {
        let text = text.as_bytes();
        let Some(first) = text.first() else {
            return Err(Error::invalid("the text is empty").subject("text"));
        };
        let mut rests: HashMap<usize, Option<Vec<i32>>> = HashMap::new();
        let mut found = Vec::new();
        for id in 0..self.n_tokens() as i32 {
            let word = self.detokenize(&[id], false, true)?;
            if word.windows(text.len()).any(|w| w == text) {
                found.push((id, Vec::new()));
                continue;
            }
            for (at, _) in word.iter().enumerate().filter(|(_, b)| *b == first) {
                let n = word.len() - at;
                if !text.starts_with(&word[at..]) {
                    continue;
                }
                let rest = match rests.entry(n) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(self.rest(&text[n..])?),
                };
                // Without a token for a byte nothing goes on from here.
                let Some(rest) = rest else { continue };
                rest.truncate(longest);
                let way = (id, rest.clone());
                if !found.ends_with(std::slice::from_ref(&way)) {
                    found.push(way);
                }
            }
        }
        Ok(found)
    }

    /// The tokens of the rest of a text, which may begin within a character: then with those of single bytes.
    fn rest(&self, text: &[u8]) -> Result<Option<Vec<i32>>> {
        let within = text.iter().take_while(|b| **b & 0xc0 == 0x80).count();
        let mut tokens = Vec::new();
        for byte in &text[..within] {
            let is_byte = |id: &i32| self.detokenize(&[*id], false, true).is_ok_and(|word| word == [*byte]);
            match (0..self.n_tokens() as i32).find(is_byte) {
                Some(id) => tokens.push(id),
                None => return Ok(None),
            }
        }
        tokens.extend(self.tokenize(&text[within..], false, false)?);
        Ok(Some(tokens))
    }
}
