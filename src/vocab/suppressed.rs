//! Tokens that a file says must never be generated, as those that stand for images in the input.

use super::Vocab;
use crate::error::{Error, Result};
use crate::gguf::Gguf;

const KEY: &str = "tokenizer.ggml.suppress_tokens";

impl Vocab {
    /// The tokens that the file suppresses, ascending; those of `n_vocab` and above are left out. They are there for
    /// files with an unknown tokeniser, too.
    ///
    /// # Errors
    /// `BadFile` if the key is no array of integers.
    pub fn suppressed_in(gguf: &Gguf, n_vocab: usize) -> Result<Vec<i32>> {
        let Some(array) = gguf.get_array(KEY)? else { return Ok(Vec::new()) };
        let bad = |e: Error| e.at(&format!("key '{KEY}'")).at(gguf.path()).subject(KEY);
        let mut ids = array.i32s().map_err(bad)?;
        ids.retain(|id| usize::try_from(*id).is_ok_and(|id| id < n_vocab));
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// The tokens that the file suppresses, ascending.
    pub fn suppressed(&self) -> &[i32] {
        &self.suppressed
    }
}
