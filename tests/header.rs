//! The checked-in header is what cbindgen makes of the sources, and compiles everywhere without a warning.

#[path = "support/tools.rs"]
mod tools;

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `REKINDLE_BLESS=1` writes the header instead of comparing it.
#[test]
fn header_is_generated_from_the_sources() {
    let text = tools::tool("header", &[&root()], "");
    let path = root().join("include/rekindle.h");
    if std::env::var_os("REKINDLE_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap();
    assert!(
        checked_in == text,
        "include/rekindle.h is out of date; REKINDLE_BLESS=1 cargo test --test header writes it"
    );
}

fn has(compiler: &str) -> bool {
    Command::new(compiler).arg("--version").output().is_ok_and(|o| o.status.success())
}

fn compile(compiler: &str, standard: &str, language: &str, source: &Path) {
    let out = Command::new(compiler)
        .args([
            standard,
            "-x",
            language,
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Wconversion",
            "-Werror",
            "-fsyntax-only",
            "-I",
        ])
        .arg(root().join("include"))
        .arg(source)
        .output()
        .unwrap();
    assert!(out.status.success(), "{compiler} {standard} {language}:\n{}", String::from_utf8_lossy(&out.stderr));
}

/// Alone and included twice.
#[test]
fn header_compiles_in_every_language() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("header");
    std::fs::create_dir_all(&dir).unwrap();
    let source = dir.join("twice.c");
    std::fs::write(&source, "#include \"rekindle.h\"\n#include \"rekindle.h\"\nint main(void) { return (int)rekindle_abi_version() - REKINDLE_ABI_VERSION; }\n").unwrap();
    let mut seen = Vec::new();
    for (c, cpp) in [("gcc", "g++"), ("clang", "clang++")] {
        if has(c) {
            ["-std=c99", "-std=c11", "-std=c17"].iter().for_each(|s| compile(c, s, "c", &source));
            seen.push(c);
        }
        if has(cpp) {
            ["-std=c++11", "-std=c++14", "-std=c++17", "-std=c++20"]
                .iter()
                .for_each(|s| compile(cpp, s, "c++", &source));
            seen.push(cpp);
        }
    }
    println!("header: compiled by {}", seen.join(", "));
    assert!(seen.contains(&"gcc") || seen.contains(&"clang"), "a C compiler is needed");
}
