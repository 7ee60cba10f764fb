//! The shared library of this very build, for programs that link with it, and the command-line tool.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The warnings that hosts are built with; none is let pass.
pub const WARNINGS: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"];

/// A new folder of that name with librekindle.so, librekindle.so.1, and a rekindle.pc for pkg-config.
pub fn library(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let deps = exe.parent().unwrap();
    // `cargo build` puts one above, which may be older than this test.
    let built = [deps, deps.parent().unwrap()].map(|d| d.join("librekindle.so"));
    let built = built.iter().find(|p| p.exists()).expect("cargo builds the shared library before its tests");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    for link in ["librekindle.so", "librekindle.so.1"] {
        std::os::unix::fs::symlink(built, dir.join(link)).unwrap();
    }
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let flags = format!("Libs: -L{} -lrekindle\nCflags: -I{}\n", dir.display(), include.display());
    let about = "Name: rekindle\nDescription: not installed\nVersion: 0\n";
    std::fs::write(dir.join("rekindle.pc"), format!("{about}{flags}")).unwrap();
    dir
}

/// The tool, built into a folder that has the library.
pub fn tool(dir: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let exe = dir.join("rekindle");
    let out = Command::new("cc")
        .args(["-std=c11", "-g", "-I"])
        .arg(root.join("include"))
        .args(WARNINGS)
        .arg(root.join("bindings/c/rekindle.c"))
        .arg("-o")
        .arg(&exe)
        .arg("-L")
        .arg(dir)
        .arg(format!("-Wl,-rpath,{}", dir.display()))
        .args(["-lrekindle", "-lpthread", "-lm"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    exe
}
