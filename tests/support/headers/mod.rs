//! Header-only GGUF files: all keys and the whole tensor directory of a real model, its data a hole in a sparse file.
//!
//! They open, list and plan like the real ones and take a few MiB of disk. Include with `#[path =
//! "support/headers/mod.rs"]`.

// Each program that includes this uses another part of it.
#![allow(dead_code, unused_imports)]

mod copy;
mod directory;
mod rows;
mod rows_varied;
mod shapes;
mod types;
mod varied;
mod vocabulary;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

pub use copy::of_file;
pub use directory::of_directory;
pub use rows::{Experts, Latent, ModelRow, ROWS, Yarn, all_rows, row};
pub use rows_varied::VARIED;
pub use shapes::of_row;
pub use writer::{Header, Tensor, Value, Written};

/// Writes the header of a file of shared's `tensors` folder.
pub fn from_directory(json: &Path, out: &Path) -> io::Result<Written> {
    let text = std::fs::read_to_string(json)?;
    of_directory(&serde_json::from_str(&text).map_err(io::Error::other)?)?.write(out)
}

/// Writes the header of a model known by its shape only.
pub fn from_row(row: &ModelRow, out: &Path) -> io::Result<Written> {
    of_row(row).write(out)
}

/// The files of shared's `tensors` folder, in order.
pub fn directories(shared: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(shared.join("tensors"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A file name for a tag: only the slash of a namespace cannot stay.
pub fn file_name(tag: &str) -> String {
    format!("{}.gguf", tag.replace('/', "-"))
}
