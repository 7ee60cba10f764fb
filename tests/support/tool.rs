//! The command-line tool, run by a test: what it was given, and what it said.
#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::built;
use crate::support::root;

pub fn model() -> String {
    root().join("models/bible-5M-Q8_0.gguf").display().to_string()
}

/// A folder with the tool, for this test's files, too.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let dir = built::library(env!("CARGO_CRATE_NAME"));
        built::tool(&dir);
        dir
    })
}

pub fn written(name: &str, text: &str) -> String {
    let path = folder().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs the tool: a command on the shipped model.
pub fn tool_with(input: &str, command: &str, args: &[&str]) -> Said {
    tool_on(&model(), input, command, args)
}

pub fn tool_on(model: &str, input: &str, command: &str, args: &[&str]) -> Said {
    let mut child = Command::new(folder().join("rekindle"))
        .args([command, model])
        // Other tests run beside these; a bench has a list of its own.
        .args(if command == "bench" { &[][..] } else { &["--threads", "1"] })
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Some commands do not read it, and have ended by now.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    said(child.wait_with_output().unwrap())
}

fn said(out: Output) -> Said {
    let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
    Said { code: out.status.code().unwrap(), out: text(out.stdout), err: text(out.stderr) }
}

pub fn tool(command: &str, args: &[&str]) -> Said {
    let said = tool_with("", command, args);
    assert_eq!(said.code, 0, "{command} {args:?}: {}", said.err);
    said
}

pub fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

pub fn alone(args: &[&str]) -> Said {
    said(Command::new(folder().join("rekindle")).args(args).stdin(Stdio::null()).output().unwrap())
}
