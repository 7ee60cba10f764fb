//! Prints docs/plans.md: `cargo run --release --example plan_table > docs/plans.md`. An argument or REKINDLE_SHARED
//! names the shared folder, if it is not `../shared`.

#[path = "../tests/support/plan_table/mod.rs"]
mod plan_table;

use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let given = std::env::args_os().nth(1).or_else(|| std::env::var_os("REKINDLE_SHARED"));
    let shared = given.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    if !shared.join("tensors").is_dir() {
        // Not half a document: its place may be that of a whole one.
        return Err(io::Error::other(format!("no {}: its models would be missing", shared.join("tensors").display())));
    }
    let folder = std::env::temp_dir().join(format!("rekindle-plan-table-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let text = plan_table::document(&shared, &folder);
    std::fs::remove_dir_all(&folder)?;
    print!("{}", text?);
    Ok(())
}
