//! Attacks from outside that once ended the host's process, each with a count of what it found. The hosts are in
//! `tests/attacks/`. Short forms run here; with REKINDLE_ATTACK=long (`make attack`) they try everything.

#[allow(dead_code, reason = "the command-line tool is not needed here")]
#[path = "support/built.rs"]
mod built;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use built::{WARNINGS, library};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn is_long() -> bool {
    std::env::var("REKINDLE_ATTACK").is_ok_and(|v| v == "long")
}

fn compile(dir: &Path, source: &str, more: &[&str]) -> PathBuf {
    let to = dir.join(source.replace(".c", if more.contains(&"-shared") { ".so" } else { "" }));
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-O1", "-g", "-I"]).arg(root().join("include"));
    cc.args(WARNINGS.iter().filter(|w| **w != "-Wpedantic")).arg(root().join("tests/attacks").join(source));
    cc.arg("-o").arg(&to).args(more);
    if !more.contains(&"-shared") {
        cc.arg("-L").arg(dir).arg(format!("-Wl,-rpath,{}", dir.display())).args(["-lrekindle", "-lpthread"]);
    }
    let out = cc.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    to
}

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

fn model(name: &str) -> PathBuf {
    root().join(format!("tests/fixtures/models/{name}.gguf"))
}

fn chat() -> PathBuf {
    root().join("tests/fixtures/chat/model.gguf")
}

fn shipped() -> PathBuf {
    root().join("models/bible-5M-Q8_0.gguf")
}

/// The last number behind a word in a program's output.
fn number(text: &str, word: &str) -> Option<i64> {
    let at = text.rfind(&format!("{word} "))? + word.len() + 1;
    text[at..].split_whitespace().next()?.parse().ok()
}

/// Runs the whole run for every `step`-th request of a kind. A process that ends goes on behind the request at fault.
fn refuse_each(dir: &Path, host: &Path, shim: &Path, model: &Path, kind: &str, step: i64) -> (i64, Vec<String>) {
    let (mut first, mut all, mut findings) = (1, 0, Vec::new());
    loop {
        let mut c = Command::new(host);
        c.arg(model).arg(chat()).arg(dir.join(format!("saved-{kind}")));
        c.args([kind, &first.to_string(), &step.to_string(), "0"]).env("LD_PRELOAD", shim);
        let out = c.output().unwrap();
        let printed = text(&out);
        all = number(&printed, "all").unwrap_or(all);
        if out.status.success() {
            let leaked = number(&printed, "leaked").unwrap_or(i64::MAX);
            if leaked > 64 {
                findings.push(format!("{leaked} blocks are leaked"));
            }
            return (all, findings);
        }
        let stdout = String::from_utf8_lossy(&out.stdout);
        let at = stdout.lines().rev().find_map(|l| l.parse::<i64>().ok());
        let Some(at) = at else { panic!("{printed}") };
        findings.push(format!("request {at}: {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim()));
        assert!(findings.len() < 50, "{findings:#?}");
        first = at + step;
    }
}

/// Memory, mappings, and other calls (open, read, threads) that are refused once each.
#[test]
fn whatever_the_system_refuses_is_a_status() {
    let dir = library("attacks-refused");
    let shim = compile(&dir, "refuse.c", &["-shared", "-fPIC", "-ldl"]);
    let host = compile(&dir, "whole_run.c", &["-ldl"]);
    let mut findings = Vec::new();
    let models = [(shipped(), [401, 3, 3]), (model("llama-moe"), [101, 3, 3]), (model("qwen35-nextn"), [101, 3, 3])];
    for (model, steps) in models {
        let name = model.file_stem().unwrap().to_string_lossy().into_owned();
        for (kind, step) in ["0", "1", "2"].into_iter().zip(steps) {
            let step = if is_long() { 1 } else { step };
            let (all, found) = refuse_each(&dir, &host, &shim, &model, kind, step);
            println!("{name}, kind {kind}: every {step}th of {all} requests refused, {} findings", found.len());
            assert!(all > 0, "{name}: the run asks the system for nothing of kind {kind}");
            findings.extend(found.into_iter().map(|f| format!("{name}, kind {kind}: {f}")));
        }
    }
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn little_address_space_kills_nobody() {
    let dir = library("attacks-space");
    let host = compile(&dir, "whole_run.c", &["-ldl"]);
    let step = if is_long() { "64" } else { "4096" };
    let mut c = Command::new(host);
    c.arg(shipped()).arg(chat()).arg(dir.join("saved")).args(["space", "0", step, "600000"]);
    let out = c.output().unwrap();
    println!("{}", text(&out));
    assert!(out.status.success(), "{}", text(&out));
    assert!(number(&text(&out), "refused").unwrap() > 3);
}

/// The header says 256 KiB.
#[test]
fn every_call_is_content_with_a_small_stack() {
    let dir = library("attacks-stack");
    let host = compile(&dir, "whole_run.c", &["-ldl"]);
    for model in [shipped(), model("qwen35-nextn"), model("gpt-oss-bare")] {
        let mut c = Command::new(&host);
        c.arg(model).arg(chat()).arg(dir.join("saved")).args(["stack", "128", "64", "256"]);
        let out = c.output().unwrap();
        assert!(out.status.success(), "{}", text(&out));
        assert_eq!(number(&text(&out), "limits"), Some(3), "{}", text(&out));
    }
}

#[test]
fn children_of_a_busy_host_do_not_hang() {
    let dir = library("attacks-fork");
    let host = compile(&dir, "fork.c", &[]);
    let children = if is_long() { "1000" } else { "25" };
    let out = Command::new(host).arg(model("llama-Q4_K")).arg(children).output().unwrap();
    println!("{}", text(&out));
    assert!(text(&out).contains(&format!("{children} children, 0 hung, 0 failed")), "{}", text(&out));
}

#[test]
fn a_file_that_is_cut_kills_nobody_with_copied_weights() {
    let dir = library("attacks-cut");
    let host = compile(&dir, "cut.c", &[]);
    let times = if is_long() { "1000" } else { "60" };
    let out = Command::new(host).arg(shipped()).arg(dir.join("copy.gguf")).arg(times).output().unwrap();
    println!("{}", text(&out));
    assert!(out.status.success(), "{}", text(&out));
    // Every fifth cut comes when the file was used up.
    let (failed, times) = (number(&text(&out), "cuts,").unwrap(), times.parse::<i64>().unwrap());
    assert!(0 < failed && failed <= times - times / 5, "{failed} of {times} cuts made a call fail");
}

#[test]
fn templates_stay_within_their_memory() {
    let dir = library("attacks-templates");
    let host = compile(&dir, "templates.c", &[]);
    let out = Command::new(host).arg(chat()).output().unwrap();
    println!("{}", text(&out));
    assert!(out.status.success(), "{}", text(&out));
}
