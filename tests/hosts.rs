//! Hosts in C, C++, Go (with cgo and without) and Python, and one that opens the library at run time, with the library
//! only in a build folder.

#[path = "support/built.rs"]
mod built;
#[path = "support/headers/mod.rs"]
mod headers;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use built::{WARNINGS, library};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn model() -> PathBuf {
    root().join("models/bible-5M-Q8_0.gguf")
}

/// A file that is only a header, of a model for several dies, in that folder.
fn header(dir: &Path) -> PathBuf {
    let path = dir.join("header.gguf");
    headers::from_row(headers::row("deepseek-r1:14b"), &path).unwrap();
    path
}

/// True if a tool is there. Automatic runs must have it.
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

/// Builds a host of C or C++ and links it with the library in `dir`.
fn build(compiler: &str, standard: &str, source: &str, dir: &Path, name: &str) -> PathBuf {
    let exe = dir.join(name);
    succeed(
        Command::new(compiler)
            .args([standard, "-g", "-I"])
            .arg(root().join("include"))
            .args(WARNINGS)
            .arg(root().join(source))
            .arg("-o")
            .arg(&exe)
            .arg("-L")
            .arg(dir)
            .args(["-lrekindle", "-lpthread"]),
    );
    exe
}

/// The ways in which Go reaches the library: linked by cgo, or opened by a program that no C compiler has seen.
const GO_WAYS: [(&str, &str); 2] = [("cgo", "1"), ("purego", "0")];

/// Go's tool in the bindings' folder, told of the library in `dir`. `way` is CGO_ENABLED.
fn go_tool(dir: &Path, way: &str, args: &[&str]) -> Command {
    let mut go = Command::new("go");
    let found = Command::new("pkg-config").arg("--version").output().is_ok_and(|o| o.status.success());
    let tags = if found { "" } else { "nopkgconfig" };
    go.arg(args[0])
        .args(["-tags", tags])
        .args(&args[1..])
        .current_dir(root().join("bindings/go"))
        .env("CGO_ENABLED", way)
        .env("GOFLAGS", "-mod=readonly")
        .env("PKG_CONFIG_PATH", dir)
        .env("CGO_CFLAGS", format!("-O1 -I{}", root().join("include").display()))
        .env("CGO_LDFLAGS", format!("-L{}", dir.display()))
        .env("LD_LIBRARY_PATH", dir)
        .env("REKINDLE_MODEL", model());
    go
}

/// True if Go is there, and the one module that the package needs.
fn has_go() -> bool {
    let fetch = || output(Command::new("go").args(["mod", "download"]).current_dir(root().join("bindings/go")));
    has("go", "version") && {
        let fetched = fetch().status.success();
        if !fetched {
            println!("SKIPPED: the modules that the Go package needs cannot be fetched");
            assert!(std::env::var_os("CI").is_none(), "they are needed where CI is set");
        }
        fetched
    }
}

#[test]
fn cpp() {
    let dir = library("hosts-cpp");
    let compilers: Vec<&str> =
        ["g++", "clang++"].into_iter().filter(|c| Command::new(c).arg("--version").output().is_ok()).collect();
    if compilers.is_empty() {
        has("g++", "--version");
        return;
    }
    let header = header(&dir);
    for compiler in compilers {
        for standard in ["-std=c++17", "-std=c++20"] {
            for (source, expected) in [
                ("tests/hosts/test.cpp", "checks passed"),
                ("tests/hosts/whole.cpp", "checks passed"),
                ("bindings/cpp/minimal.cpp", "n_ctx"),
            ] {
                let exe = build(compiler, standard, source, &dir, "host");
                let text = succeed(Command::new(&exe).arg(model()).arg(&header).env("LD_LIBRARY_PATH", &dir));
                assert!(text.contains(expected), "{text}");
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
    if !has_go() {
        return;
    }
    let dir = library("hosts-go");
    let header = header(&dir);
    for (name, way) in GO_WAYS {
        let go = |args: &[&str]| succeed(go_tool(&dir, way, args).env("REKINDLE_HEADER", &header));
        go(&["vet", "./..."]);
        println!("{name}: {}", go(&["test", "-count=1", if way == "1" { "-race" } else { "-v=false" }, "./..."]));
        let text = go(&["run", "./example", model().to_str().unwrap()]);
        assert!(text.contains("n_ctx") && text.contains("fits"), "{text}");
    }
    // Absent, and something else: each is said.
    let exe = dir.join("example-purego");
    succeed(&mut go_tool(&dir, "0", &["build", "-o", exe.to_str().unwrap(), "./example"]));
    for (path, complaint) in [("/no/such/librekindle.so", "set REKINDLE_LIBRARY"), ("libm.so.6", "is not rekindle")] {
        let out = output(Command::new(&exe).arg(model()).env("REKINDLE_LIBRARY", path));
        let text = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && text.contains(path) && text.contains(complaint), "{text}");
    }
    let formatted = succeed(Command::new("gofmt").args(["-l", "."]).current_dir(root().join("bindings/go")));
    assert!(formatted.is_empty(), "gofmt would write these otherwise:\n{formatted}");
}

/// The same scenario in several languages prints the same bytes.
#[test]
fn scenario() {
    if !has("cc", "--version") {
        return;
    }
    let dir = library("hosts-scenario");
    let exe = build("cc", "-std=c11", "tests/hosts/scenario.c", &dir, "scenario-c");
    let first = succeed(Command::new(exe).arg(model()).env("LD_LIBRARY_PATH", &dir));
    for part in ["fits 1", "saved: ", "stop 5", "stop 6", "REKINDLE_CANCELLED", "REKINDLE_CONTEXT_FULL"] {
        assert!(first.contains(part), "{part} is missing in:\n{first}");
    }
    let mut hosts = Vec::new();
    if has("g++", "--version") {
        let exe = build("g++", "-std=c++17", "tests/hosts/scenario.cpp", &dir, "scenario-cpp");
        hosts.push(("C++", Command::new(exe)));
    }
    if has_go() {
        for (name, way) in GO_WAYS {
            let exe = dir.join(format!("scenario-{name}"));
            succeed(&mut go_tool(&dir, way, &["build", "-o", exe.to_str().unwrap(), "./example/scenario"]));
            hosts.push((name, Command::new(exe)));
        }
    }
    if has("python3", "--version") {
        let mut python = Command::new("python3");
        python
            .args(["-X", "dev", "-W", "error"])
            .arg(root().join("tests/hosts/scenario.py"))
            .env("PYTHONPATH", root().join("bindings/python/src"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        hosts.push(("Python", python));
    }
    for (name, mut host) in hosts {
        let text = succeed(host.arg(model()).env("LD_LIBRARY_PATH", &dir));
        assert!(text == first, "{name} differs from C:\n{text}\n{first}");
        println!("{} lines are the same from C and {name}", first.lines().count());
    }
}

/// Nothing in these depends on the machine or on the moment.
const DESCRIBED: [(&str, &str); 3] = [
    (
        "three dies and a host that computes",
        r#"{"devices": [{"profile": "k80", "count": 3},
            {"kind": "cpu", "name": "host", "total_bytes": 68719476736, "free_bytes": 60000000000,
             "read_bandwidth": 4e10, "flops": 5e11}],
           "links": [{"between": [0, 1], "bandwidth": 9e9}]}"#,
    ),
    (
        "cards of two kinds",
        r#"[{"profile": "k80", "free_bytes": 9000000000},
            {"kind": "cuda", "name": "another card", "total_bytes": 8589934592, "driver_bytes": 200000000,
             "read_bandwidth": 1.9e11, "flops": 4e12, "host_bandwidth": 1.2e10, "board": 7},
            {"kind": "cpu", "name": "host", "total_bytes": 68719476736, "free_bytes": 60000000000}]"#,
    ),
    (
        "does not fit",
        r#"[{"profile": "k80", "free_bytes": 3000000000},
            {"kind": "cpu", "name": "host", "total_bytes": 4294967296, "free_bytes": 2000000000}]"#,
    ),
];

/// The tool in C, a host in C++, one in Go and the Python package's program print the same bytes.
#[test]
fn plans_are_the_same_everywhere() {
    if !has("cc", "--version") {
        return;
    }
    let dir = library("hosts-same");
    let file = header(&dir);
    let mut hosts = vec![("C", built::tool(&dir))];
    if has("g++", "--version") {
        hosts.push(("C++", build("g++", "-std=c++17", "tests/hosts/plan.cpp", &dir, "plan-cpp")));
    }
    if has_go() {
        let exe = dir.join("plan-go");
        succeed(&mut go_tool(&dir, "1", &["build", "-o", exe.to_str().unwrap(), "./example/plan"]));
        hosts.push(("Go", exe));
    }
    if has("python3", "--version") {
        hosts.push(("Python", PathBuf::from("python3")));
    }
    for (what, spec) in DESCRIBED {
        for form in ["text", "json"] {
            let printed = |(language, exe): &(&str, PathBuf)| {
                let mut c = Command::new(exe);
                match *language {
                    "C" | "Python" => {
                        if *language == "Python" {
                            c.args(["-m", "rekindle"]);
                        }
                        c.arg("plan").arg(&file).args(["--threads", "2", "--devices", spec]);
                        c.args((form == "json").then_some("--json"))
                    }
                    _ => c.arg(&file).args([spec, form]),
                };
                c.env("PYTHONPATH", root().join("bindings/python/src")).env("PYTHONDONTWRITEBYTECODE", "1");
                let out = output(c.env("LD_LIBRARY_PATH", &dir));
                // The tool ends with 1 after a plan that does not fit.
                let complaint = String::from_utf8_lossy(&out.stderr);
                let fits_not = what == "does not fit" && out.status.code() == Some(1);
                assert!(out.status.success() || fits_not, "{what}, {language}: {complaint}");
                String::from_utf8(out.stdout).unwrap()
            };
            // The tool makes whole commands of the options that a plan's text names at its end.
            let is_option = |line: &&str| line.starts_with("  --") || line.starts_with("  rekindle ");
            let head = |text: &str| text.lines().take_while(|l| !is_option(l)).map(str::to_owned).collect::<Vec<_>>();
            let first = printed(&hosts[0]);
            let fits = what != "does not fit";
            let says = if form == "json" { first.contains("\"fits\": true") } else { first.starts_with("fits") };
            assert_eq!(says, fits, "{what}: {first}");
            let others: Vec<String> = hosts[1..].iter().map(printed).collect();
            for ((language, _), other) in hosts[1..].iter().zip(&others) {
                let same = if form == "json" { *other == first } else { head(other) == head(&first) };
                assert!(same, "{what}, {form}: {language} differs from C:\n{other}\n{first}");
                assert!(*other == others[0], "{what}, {form}: {language} differs from C++:\n{other}\n{}", others[0]);
            }
        }
        println!("{what}: the same from {}", hosts.iter().map(|h| h.0).collect::<Vec<_>>().join(", "));
    }
}
