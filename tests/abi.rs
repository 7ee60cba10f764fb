//! The C ABI as C hosts meet it: programs of C, built against the header and the shared library, under AddressSanitizer
//! and, where it is installed, valgrind.

#[path = "abi/generate.rs"]
mod generate;
#[path = "abi/prototypes.rs"]
mod prototypes;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use prototypes::Header;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The shared library that belongs to this test, which Cargo puts beside it, under the name that hosts look for.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let file = std::env::current_exe().unwrap().with_file_name("librekindle.so");
        assert!(file.exists(), "{} is missing", file.display());
        let link = scratch("librekindle.so.1");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&file, &link).unwrap();
        link
    })
}

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi");
    std::fs::create_dir_all(&dir).unwrap();
    dir.join(name)
}

fn has(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok_and(|o| o.status.success())
}

fn build(source: &Path, name: &str, flags: &[&str]) -> PathBuf {
    build_with(&root().join("include"), source, name, flags)
}

/// Against the header in a folder.
fn build_with(header: &Path, source: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let program = scratch(name);
    let library = library();
    let out = Command::new("cc")
        .args(["-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Wno-unused-function", "-Werror", "-pthread"])
        .args(flags)
        .arg("-I")
        .arg(header)
        .arg("-I")
        .arg(root().join("tests/abi"))
        .arg(source)
        .arg(library)
        .arg(format!("-Wl,-rpath,{}", library.parent().unwrap().display()))
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap();
    assert!(out.status.success(), "cc {}:\n{}", source.display(), text(&out));
    program
}

fn run(mut command: Command) -> String {
    command.env("REKINDLE_TEST_MODEL", root().join("models/bible-5M-Q8_0.gguf"));
    command.env("REKINDLE_TEST_MIXTURE", root().join("tests/fixtures/models/qwen3moe-8x2.gguf"));
    command.env("REKINDLE_TEST_ADAPTER", root().join("tests/fixtures/adapters/bible-steer.gguf"));
    command.env("REKINDLE_TEST_CHAT", root().join("tests/fixtures/chat/model.gguf"));
    // A file of each program's own.
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    command.env("REKINDLE_TEST_SCRATCH", scratch(&format!("{program}-{}.saved", command.get_args().count())));
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}\n{}", out.status, text(&out));
    text(&out)
}

/// With AddressSanitizer (and its search for leaks). It sees what the library does to the host's memory where the
/// host's allocator or libc's copies are in play.
fn under_asan(source: &Path, name: &str) -> String {
    let program =
        build(source, &format!("{name}-asan"), &["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
    let mut command = Command::new(program);
    command.env("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0").env("LSAN_OPTIONS", "report_objects=1");
    run(command)
}

/// Valgrind sees every access, of the library as well; it does not know AVX-512.
fn under_valgrind(source: &Path, name: &str, args: &[&str]) {
    if !has("valgrind") {
        println!("SKIPPED: {name} under valgrind, which is not installed");
        return;
    }
    let program = build(source, name, &[]);
    let mut command = Command::new("valgrind");
    command
        .args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"])
        .arg(program)
        .args(args);
    command.env("REKINDLE_CPU", "portable").env("REKINDLE_TEST_SHORT", "1");
    run(command);
}

/// NULL, wrong handles, other struct sizes, small buffers, in every function of the header.
#[test]
fn every_function_withstands_wrong_arguments() {
    let source = scratch("functions.c");
    std::fs::write(&source, generate::program(&Header::read())).unwrap();
    assert!(under_asan(&source, "functions").contains("all functions"));
    under_valgrind(&source, "functions", &[]);
}

/// Hosts of version 1: built against that version's header, they print what they printed with a library of that
/// version. (The portable kernels give the same bits everywhere.)
#[test]
fn hosts_of_version_1_run_unchanged() {
    let v1 = root().join("tests/abi/v1");
    for name in ["minimal", "host"] {
        let source = v1.join(format!("{name}.c"));
        let program = build_with(&v1, &source, &format!("v1-{name}"), &[]);
        let model = root().join("models/bible-5M-Q8_0.gguf");
        let out = Command::new(program).arg(model).env("REKINDLE_CPU", "portable").output().unwrap();
        assert!(out.status.success(), "{name}: {}", text(&out));
        let expected = std::fs::read(v1.join(format!("{name}.txt"))).unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&expected), "{name}");
    }
}

/// Lifetimes, callbacks, threads, errors: what only makes sense by hand.
#[test]
fn objects_live_and_die_in_any_order() {
    let source = root().join("tests/abi/objects.c");
    assert!(under_asan(&source, "objects").contains("objects: fine"));
    under_valgrind(&source, "objects", &[]);
}

/// Steps, a step of the host's own, copies, log-probabilities.
#[test]
fn samplers_take_steps_and_refuse_what_is_wrong() {
    let source = root().join("tests/abi/samplers.c");
    assert!(under_asan(&source, "samplers").contains("samplers: fine"));
    under_valgrind(&source, "samplers", &[]);
}

/// Cut files and changed headers: 24,000 of them at full speed, a sample under valgrind, whose search for leaks sees
/// the library too.
#[test]
fn hostile_files_get_a_status() {
    let source = root().join("tests/abi/hostile.c");
    let small = root().join("tests/fixtures/models/llama-Q4_0.gguf");
    let shipped = root().join("models/bible-5M-Q8_0.gguf");
    let (small, shipped) = (small.to_str().unwrap(), shipped.to_str().unwrap());
    let program = build(&source, "hostile-native", &[]);
    // The small one at every 64 bytes; the one with a vocabulary mostly for its keys.
    for args in [["16000", "0", small], ["8000", "200", shipped]] {
        let mut command = Command::new(&program);
        command.args(args);
        println!("{}", run(command));
    }
    under_valgrind(&source, "hostile", &["60", "40", small]);
    under_valgrind(&source, "hostile", &["12", "8", shipped]);
}

/// Sizes and offsets are what hosts were built with.
#[test]
fn struct_layouts_are_pinned() {
    let source = root().join("tests/abi/layout.c");
    let pinned = std::fs::read_to_string(&source).unwrap();
    for name in Header::read().structs {
        assert!(pinned.contains(&format!("SIZE({name},")), "tests/abi/layout.c does not pin {name}");
    }
    if cfg!(target_pointer_width = "64") {
        build(&source, "layout", &[]);
    }
}

/// Functions are only ever appended to the table: tests/abi/table.txt lists them in their order and grows at its end.
#[test]
fn table_only_grows_at_its_end() {
    let header = Header::read();
    let path = root().join("tests/abi/table.txt");
    let pinned = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        header.table,
        pinned.lines().collect::<Vec<_>>(),
        "a new function belongs at the end of the table and of table.txt"
    );
    let mut in_table: Vec<String> = header.table.iter().map(|n| format!("rekindle_{n}")).collect();
    let mut declared: Vec<String> =
        header.functions.iter().map(|f| f.name.clone()).filter(|n| n != "rekindle_api").collect();
    in_table.sort_unstable();
    declared.sort_unstable();
    assert_eq!(in_table, declared, "the table has every function of the header");
}

/// A shared library with every function of a header, for tools that compare binary interfaces. Its functions do nothing.
fn stub(header: &str, dir: &Path) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("rekindle.h"), header).unwrap();
    let mut source = "#include \"rekindle.h\"\n".to_owned();
    for f in Header::parse(header).functions {
        let arguments: Vec<String> = f.arguments.iter().map(|a| format!("{} {}", a.ty, a.name)).collect();
        let list = if arguments.is_empty() { "void".to_owned() } else { arguments.join(", ") };
        source += &format!("{} {}({list}) {{ __builtin_trap(); }}\n", f.returns, f.name);
    }
    std::fs::write(dir.join("stub.c"), source).unwrap();
    let to = dir.join("libstub.so");
    let out = Command::new("cc")
        .args(["-g", "-O0", "-shared", "-fPIC", "-I"])
        .arg(dir)
        .arg(dir.join("stub.c"))
        .arg("-o")
        .arg(&to)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", text(&out));
    to
}

/// abidiff's report about two interfaces; `None` if nothing is wrong. Functions may be added, and where `may_grow` says
/// so, structs with a size may grow at their end.
fn abidiff(old: &Path, new: &Path, may_grow: bool) -> Option<String> {
    let rules = scratch("abidiff.rules");
    let grown = "[suppress_type]\n  type_kind = struct\n  has_data_member_inserted_at = end\n";
    std::fs::write(&rules, grown).unwrap();
    let mut command = Command::new("abidiff");
    command.arg("--no-added-syms").arg(old).arg(new);
    if may_grow {
        command.arg("--suppressions").arg(&rules);
    }
    let out = command.output().unwrap();
    (!out.status.success()).then(|| text(&out))
}

/// The functions of version 1 have the same types still, and the comparison would see another one.
#[test]
fn the_interface_of_version_1_holds() {
    if !has("abidiff") {
        println!("SKIPPED: abidiff (Debian's abigail-tools) is not installed");
        return;
    }
    let dir = scratch("abidiff");
    let kept = std::fs::read_to_string(root().join("tests/abi/v1/rekindle.h")).unwrap();
    let now = std::fs::read_to_string(root().join("include/rekindle.h")).unwrap();
    let old = stub(&kept, &dir.join("old"));
    let new = stub(&now, &dir.join("new"));
    let report = abidiff(&old, &new, true);
    assert!(report.is_none(), "{}", report.unwrap());
    // A struct that has grown since version 1 is held by tests/abi/layout.c.
    for (from, to) in [("size_t text_len", "int text_len"), ("uint32_t n_ctx;", "uint64_t n_ctx;")] {
        assert!(now.contains(from));
        let report = abidiff(&new, &stub(&now.replace(from, to), &dir.join("changed")), false);
        println!("{}", report.expect("a changed type is seen"));
    }
}

/// The library exports the header's functions and nothing else, and the header declares nothing under foreign names.
#[test]
fn exported_symbols_are_those_of_the_header() {
    let header = Header::read();
    let out = Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(library()).output().unwrap();
    assert!(out.status.success(), "nm: {}", text(&out));
    let listing = String::from_utf8(out.stdout).unwrap();
    let mut exported: Vec<&str> = listing.lines().filter_map(|l| l.split_whitespace().next()).collect();
    let mut declared: Vec<&str> = header.functions.iter().map(|f| f.name.as_str()).collect();
    exported.sort_unstable();
    declared.sort_unstable();
    assert_eq!(exported, declared);
    for name in header.handles.iter().chain(&header.structs) {
        assert!(name.starts_with("rekindle_"), "{name}");
    }
    let source = std::fs::read_to_string(root().join("include/rekindle.h")).unwrap();
    let names = regex::Regex::new(r"(?m)^(?:typedef\s+struct\s+(\w+)|\}\s*(\w+)\s*;|#define\s+(\w+))").unwrap();
    for c in names.captures_iter(&source) {
        let name = c.iter().skip(1).flatten().next().unwrap().as_str();
        assert!(name.starts_with("rekindle_") || name.starts_with("REKINDLE_"), "{name} is not a name of this library");
    }
}
