//! Hosts in C++ and Go, and one that opens the library at run time, with the library only in a build folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn model() -> PathBuf {
    root().join("models/bible-5M-Q8_0.gguf")
}

/// A folder with librekindle.so and librekindle.so.1 of this very build.
fn library(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let deps = exe.parent().unwrap();
    let built = [deps.parent().unwrap(), deps].map(|d| d.join("librekindle.so"));
    let built = built.iter().find(|p| p.exists()).expect("cargo builds the shared library before its tests");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    for link in ["librekindle.so", "librekindle.so.1"] {
        std::os::unix::fs::symlink(built, dir.join(link)).unwrap();
    }
    dir
}

/// Whether a tool is there; automatic runs must have it.
fn has(tool: &str, flag: &str) -> bool {
    let found = Command::new(tool).arg(flag).output().is_ok_and(|o| o.status.success());
    if !found {
        println!("SKIPPED: {tool} is not installed");
        assert!(std::env::var_os("CI").is_none(), "{tool} is needed where CI is set");
    }
    found
}

fn output(c: &mut Command) -> Output {
    c.output().unwrap_or_else(|e| panic!("{c:?}: {e}"))
}

fn succeed(c: &mut Command) -> String {
    let out = output(c);
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{c:?}: {}\n{text}", out.status);
    text
}

const WARNINGS: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"];

#[test]
fn cpp() {
    let dir = library("hosts-cpp");
    let compilers: Vec<&str> =
        ["g++", "clang++"].into_iter().filter(|c| Command::new(c).arg("--version").output().is_ok()).collect();
    if compilers.is_empty() {
        has("g++", "--version");
        return;
    }
    for compiler in compilers {
        for standard in ["-std=c++17", "-std=c++20"] {
            for (source, args) in [("tests/hosts/test.cpp", "checks passed"), ("bindings/cpp/minimal.cpp", "n_ctx")] {
                let exe = dir.join("host");
                succeed(
                    Command::new(compiler)
                        .args([standard, "-g", "-I"])
                        .arg(root().join("include"))
                        .args(WARNINGS)
                        .arg(root().join(source))
                        .arg("-o")
                        .arg(&exe)
                        .arg("-L")
                        .arg(&dir)
                        .args(["-lrekindle", "-lpthread"]),
                );
                let text = succeed(Command::new(&exe).arg(model()).env("LD_LIBRARY_PATH", &dir));
                assert!(text.contains(args), "{text}");
                println!("{compiler} {standard} {source}: ok");
            }
        }
    }
}

#[test]
fn loader() {
    let dir = library("hosts-loader");
    for (compiler, language, standard) in [("cc", "c", "-std=c99"), ("c++", "c++", "-std=c++11")] {
        if !has(compiler, "--version") {
            continue;
        }
        let exe = dir.join("loader");
        succeed(
            Command::new(compiler)
                .args(["-x", language, standard, "-I"])
                .arg(root().join("include"))
                .args(WARNINGS)
                .arg(root().join("tests/hosts/loader.c"))
                .arg("-o")
                .arg(&exe)
                .arg("-ldl"),
        );
        let needed = succeed(Command::new("readelf").arg("-d").arg(&exe));
        assert!(needed.contains("NEEDED") && !needed.contains("rekindle"), "{needed}");

        let text = succeed(Command::new(&exe).arg(model()).env("LD_LIBRARY_PATH", &dir));
        assert!(text.len() > 10, "{text}");
        // Absent, something else, a wrong path: each is said.
        let complaint = |path: Option<&str>| {
            let out = output(Command::new(&exe).arg(model()).args(path).env_remove("LD_LIBRARY_PATH"));
            assert_eq!(out.status.code(), Some(3));
            String::from_utf8_lossy(&out.stderr).into_owned()
        };
        assert!(complaint(None).contains("librekindle.so.1"));
        assert!(complaint(Some("/no/such/librekindle.so")).contains("/no/such/librekindle.so"));
        assert!(complaint(Some("libm.so.6")).contains("is not rekindle"));
        println!("{language} host with the run-time loader: ok");
    }
}

#[test]
fn go() {
    if !has("go", "version") {
        return;
    }
    let dir = library("hosts-go");
    let go = |args: &[&str]| {
        succeed(
            Command::new("go")
                .args(args)
                .current_dir(root().join("bindings/go"))
                .env("CGO_ENABLED", "1")
                .env("GOFLAGS", "-mod=mod")
                .env("CGO_CFLAGS", format!("-O1 -I{}", root().join("include").display()))
                .env("CGO_LDFLAGS", format!("-L{}", dir.display()))
                .env("LD_LIBRARY_PATH", &dir)
                .env("REKINDLE_MODEL", model()),
        )
    };
    go(&["vet", "./..."]);
    println!("{}", go(&["test", "-count=1", "-race", "./..."]));
    let text = go(&["run", "./example", model().to_str().unwrap()]);
    assert!(text.contains("n_ctx") && text.contains("fits"), "{text}");
}
