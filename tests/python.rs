//! Python: the declarations are those of the header, and the package's own tests pass, from its sources and from a
//! wheel in a fresh environment. It says SKIPPED where Python is not there; mypy and numpy are used if they are installed.

#[allow(dead_code, reason = "the command-line tool is not needed here")]
#[path = "support/built.rs"]
mod built;

use std::path::{Path, PathBuf};
use std::process::Command;

use built::library;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command in the package's folder, and gives what it wrote or what is wrong with it.
fn run(c: &mut Command) -> Result<String, String> {
    // The sources stay as they are, and nothing of the caller's environment is taken for the package.
    c.current_dir(root().join("bindings/python")).env("PYTHONDONTWRITEBYTECODE", "1").env_remove("PYTHONHOME");
    let out = c.output().map_err(|e| format!("{c:?}: {e}"))?;
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if out.status.success() { Ok(text) } else { Err(format!("{c:?}: {}\n{text}", out.status)) }
}

/// True if Python can do this. Automatic runs must have Python itself.
fn has(python: &Path, script: &str, needed: bool) -> bool {
    let found = run(Command::new(python).args(["-c", script]));
    if let Err(e) = &found {
        println!("SKIPPED: {script}: {}", e.lines().last().unwrap_or_default());
        assert!(!needed || std::env::var_os("CI").is_none(), "Python 3.8 is needed where CI is set: {e}");
    }
    found.is_ok()
}

/// Python 3.8 or newer.
fn python() -> Option<PathBuf> {
    let python = PathBuf::from("python3");
    has(&python, "import sys; sys.exit(sys.version_info < (3, 8))", true).then_some(python)
}

/// The package's tests, every warning an error. They find the package and the library by `set`.
fn package_tests(python: &Path, set: impl Fn(&mut Command)) {
    has(python, "import numpy", false);
    let mut tests = Command::new(python);
    tests.args(["-X", "dev", "-W", "error", "-m", "unittest", "-v"]).env("REKINDLE_ROOT", root());
    set(&mut tests);
    println!("{}", run(&mut tests).unwrap_or_else(|e| panic!("{e}")));
}

#[test]
fn declarations_are_those_of_the_header() {
    let Some(python) = python() else { return };
    run(Command::new(python).args(["../generate.py", "--check"])).unwrap();
}

#[test]
fn package() {
    let Some(python) = python() else { return };
    let dir = library("python");
    package_tests(&python, |tests| {
        tests.env("PYTHONPATH", root().join("bindings/python/src")).env("REKINDLE_LIBRARY", dir.join("librekindle.so"));
    });
}

#[test]
fn types() {
    let Some(python) = python() else { return };
    if has(&python, "import mypy, numpy", false) {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mypy");
        println!("{}", run(Command::new(python).args(["-m", "mypy", "--cache-dir"]).arg(cache)).unwrap());
    }
}

#[test]
fn wheel() {
    let Some(python) = python() else { return };
    if !has(
        &python,
        "import venv, ensurepip, shutil as s, sys; sys.exit(not (s.which('objdump') and s.which('strip')))",
        false,
    ) {
        return;
    }
    let dir = library("python-wheel");
    let made = run(Command::new(&python)
        .arg(root().join("packaging/wheel.py"))
        .arg(std::fs::canonicalize(dir.join("librekindle.so")).unwrap())
        .arg(&dir))
    .unwrap();
    let wheel = made.trim();
    assert!(wheel.contains("-py3-none-manylinux_2_"), "{wheel}");
    let home = dir.join("venv");
    run(Command::new(&python).args(["-m", "venv"]).arg(&home)).unwrap();
    let python = home.join("bin/python");
    run(Command::new(&python).args(["-m", "pip", "install", "--no-index", "--no-deps", "--quiet", wheel])).unwrap();
    // Neither cargo nor a library outside the wheel.
    package_tests(&python, |tests| {
        tests
            .env_remove("PYTHONPATH")
            .env_remove("REKINDLE_LIBRARY")
            .env_remove("LD_LIBRARY_PATH")
            .env("PATH", "/usr/bin:/bin");
    });
    let place = run(Command::new(&python).args(["-c", "import rekindle; print(rekindle.__file__)"])).unwrap();
    assert!(Path::new(place.trim()).starts_with(&home), "{place}");
}
