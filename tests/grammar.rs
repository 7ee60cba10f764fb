//! Grammars against what others say of the same texts, and against texts that mean harm.

#[path = "grammar/random.rs"]
mod random;
#[path = "grammar/reference.rs"]
mod reference;
#[path = "grammar/suite.rs"]
mod suite;
#[path = "support/tools.rs"]
mod tools;
#[path = "grammar/written.rs"]
mod written;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rekindle::gguf::Gguf;
use rekindle::grammar::{Grammar, Kind, Params, Verdict};
use rekindle::vocab::Vocab;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A vocabulary of 2048 tokens with all bytes.
fn vocab() -> &'static Arc<Vocab> {
    static VOCAB: OnceLock<Arc<Vocab>> = OnceLock::new();
    VOCAB.get_or_init(|| {
        let file = Gguf::open(&root().join("models/bible-5M-Q8_0.gguf")).unwrap();
        Arc::new(Vocab::from_gguf(&file).unwrap())
    })
}

fn grammar(kind: Kind, text: &str) -> rekindle::Result<Grammar> {
    Grammar::new(vocab(), kind, text, &Params::default())
}

/// A file that zlib packed.
fn unpacked(path: &Path) -> String {
    let packed = std::fs::read(path).unwrap();
    String::from_utf8(miniz_oxide::inflate::decompress_to_vec_zlib(&packed).unwrap()).unwrap()
}
