//! One file per model family: how its graph is described.
//!
//! `general.architecture` picks the family. To add one: a file with a `build` function in the words of `graph::Builder`,
//! and a line in `FAMILIES`.

mod batch;
mod hparams;
mod llama;
mod qwen2;

pub use batch::{BatchDefaults, GLOBAL_BATCH, batch_defaults};
pub use hparams::Hparams;

use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::graph::Graph;

struct Family {
    name: &'static str,
    build: fn(&Gguf, &Hparams) -> Result<Graph>,
}

const FAMILIES: &[Family] = &[Family { name: "llama", build: llama::build }, Family { name: "qwen2", build: qwen2::build }];

/// The architectures that can be planned exactly, loaded and decoded.
pub fn supported() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|f| f.name)
}

/// Reads a file's hyper-parameters and builds its graph.
///
/// # Errors
/// `Unsupported` for an architecture without a graph, `BadFile` for missing or contradicting keys and tensors.
pub fn build(file: &Gguf) -> Result<(Hparams, Graph)> {
    let place = file.path();
    let name = architecture(file)?;
    let family = FAMILIES.iter().find(|f| f.name == name).ok_or_else(|| {
        let known: Vec<_> = supported().collect();
        Error::unsupported(format!("{place}: architecture '{name}' is not supported, expected one of: {}", known.join(", ")))
            .subject("general.architecture")
    })?;
    let h = Hparams::read(file, name).map_err(|e| e.at(place))?;
    let graph = (family.build)(file, &h).map_err(|e| e.at(place))?;
    Ok((h, graph))
}

/// The file's `general.architecture`.
pub fn architecture(file: &Gguf) -> Result<&str> {
    let key = "general.architecture";
    file.get_str(key)
        .and_then(|name| name.ok_or_else(|| Error::bad_file(format!("key '{key}' is missing")).subject(key)))
        .map_err(|e| e.at(file.path()))
}

/// Assumed where a file does not say what context it was trained for.
const CTX_TRAIN: u32 = 4096;

/// The file's `{architecture}.context_length`, in tokens.
pub fn n_ctx_train(file: &Gguf) -> Result<u32> {
    let key = format!("{}.context_length", architecture(file)?);
    Ok(file.get_u32(&key).map_err(|e| e.at(file.path()))?.filter(|n| *n > 0).unwrap_or(CTX_TRAIN))
}
