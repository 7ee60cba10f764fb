//! Writes header-only files of real models, to look at plans for them: `cargo run --example headers -- OUT_DIR
//! [SHARED_DIR]`.

#[path = "../tests/support/headers/mod.rs"]
mod headers;

use std::io;
use std::path::{Path, PathBuf};

use headers::Written;

fn main() -> io::Result<()> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(out) = args.next() else {
        eprintln!("usage: headers OUT_DIR [SHARED_DIR]");
        std::process::exit(2);
    };
    let shared = args.next().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    std::fs::create_dir_all(&out)?;
    println!("{:44} {:>7} {:>15} {:>12}", "name", "tensors", "bytes claimed", "on disk");
    let print = |name: &str, w: Written| println!("{name:44} {:7} {:15} {:12}", w.tensors, w.claimed, w.on_disk);
    for row in headers::all_rows() {
        let name = headers::file_name(row.tag);
        print(&name, headers::from_row(row, &out.join(&name))?);
    }
    if !shared.join("tensors").is_dir() {
        println!("SKIPPED: no {}", shared.join("tensors").display());
        return Ok(());
    }
    // Named by the JSON's file, since two of them share a tag and others a tag with a row.
    for json in headers::directories(&shared)? {
        let name = format!("{}.gguf", json.file_stem().unwrap_or_default().display());
        print(&name, headers::from_directory(&json, &out.join(&name))?);
    }
    Ok(())
}
