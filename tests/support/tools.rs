//! Runs a program of the package `tests/tools`, after building it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The output of the program.
pub fn tool(name: &str, arguments: &[&Path], input: &str) -> String {
    let mut child = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--profile", "tools", "--package", "rekindle-test-tools", "--bin", name, "--"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cargo can be run");
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{name}: {}", out.status);
    String::from_utf8(out.stdout).unwrap()
}
