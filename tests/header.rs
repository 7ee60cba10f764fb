//! The checked-in header is what the sources say, in their order, and compiles everywhere without a warning.
//!
//! cbindgen writes all constants, then all structs, then all functions. A host reads by subject, so `generate` takes
//! cbindgen's text apart again and puts each declaration where the sources have it: one section for each file of
//! `src/ffi`, opened by the first line of that file, and inside it the file's own order.

#[path = "support/tools.rs"]
mod tools;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

/// The files of `src/ffi` that declare something, in the order in which a host needs them.
const SECTIONS: [&str; 19] = [
    "error",
    "context",
    "file",
    "inspect",
    "plan",
    "planned",
    "model",
    "decode",
    "sequence",
    "adapters",
    "saved",
    "vocab",
    "steps",
    "sampler",
    "grammar",
    "generate",
    "generation",
    "chat",
    "reply",
];

/// Behind them all: it mentions every function.
const LAST: &str = "api";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn source(section: &str) -> PathBuf {
    root().join(format!("src/ffi/{section}.rs"))
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// The name that a declaration of C declares.
fn name(declaration: &str) -> &str {
    let pattern = match declaration {
        d if d.starts_with("#define") => r"^#define (\w+)",
        d if d.starts_with("typedef") => r"^typedef [^{]*\(\*(\w+)\)|(\w+);$",
        _ => r"(\w+)\(",
    };
    let found = regex(pattern).captures(declaration);
    let found = found.and_then(|c| c.iter().skip(1).flatten().next());
    found.unwrap_or_else(|| panic!("no name in {declaration}")).as_str()
}

/// The declarations that cbindgen wrote, by name, each with the comment above it. A comment of one line stays on one.
fn declarations(text: &str) -> HashMap<&str, String> {
    let one_line = regex(r"(?m)^( *)/\*\*\n *\* (.*)\n *\*/$");
    let mut found = HashMap::new();
    let item = regex(r"(?m)^(/\*\*\n(?: \*.*\n)*? \*/\n)?(#define .*|[a-zA-Z](?:[^;{]|\{(?s:.*?)\n\})*;)$");
    for c in item.captures_iter(text) {
        found.insert(name(c.get(2).unwrap().as_str()), one_line.replace_all(&c[0], "$1/** $2 */").into_owned());
    }
    found
}

/// The sections as cbindgen translates them, below the top that cbindgen.toml has.
fn translated(sections: &[&str]) -> String {
    let files: Vec<PathBuf> =
        [root().join("cbindgen.toml")].into_iter().chain(sections.iter().map(|s| source(s))).collect();
    tools::tool("header", &files.iter().map(PathBuf::as_path).collect::<Vec<_>>(), "")
}

/// The table of functions: a member for each name that `src/ffi/api.rs` lists, with the type of its prototype.
fn table(comment: &str, declared_so_far: &str, code: &str) -> String {
    let mut out = format!("{comment}typedef struct {{\n  uint32_t struct_size;\n");
    out += "  /** The library's REKINDLE_ABI_VERSION. */\n  uint32_t version_of_abi;\n";
    for c in regex(r"(?m)^    rekindle_(\w+),$").captures_iter(code) {
        let member = &c[1];
        let prototype = regex(&format!(r"(?m)^(?:REKINDLE_MUST_USE\s)?([a-z][\w \*]*?)rekindle_{member}\(([^;]*)\);$"));
        let found = prototype.captures(declared_so_far).unwrap_or_else(|| panic!("no prototype of rekindle_{member}"));
        let arguments: Vec<&str> = found[2].split(',').map(str::trim).collect();
        let line = format!("  {}(*{member})({});\n", &found[1], arguments.join(", "));
        let indent = " ".repeat(line.find(")(").expect("just written") + 2);
        out += &if line.len() <= 121 { line } else { line.replace(", ", &format!(",\n{indent}")) };
    }
    out + "} rekindle_api_table;"
}

/// The header: cbindgen's declarations in the sources' order.
fn generate() -> String {
    let sections: Vec<&str> = SECTIONS.into_iter().chain([LAST]).collect();
    let text = translated(&sections);
    let (top, text) = text.split_at(text.find("/**").expect("the first declaration has a comment"));
    let mut declared = declarations(text);

    let public = regex(r#"(?m)^pub (?:const|struct|type|(?:unsafe )?extern "C" fn) (\w+)"#);
    let mut out = top.trim_end().to_owned() + "\n";
    for section in sections {
        let code = std::fs::read_to_string(source(section)).unwrap();
        let heading = code.lines().next().and_then(|l| l.strip_prefix("//! ")).expect("a file says what it is about");
        let rule = "-".repeat(heading.len().max(60));
        out += &format!("\n/* {rule}\n * {heading}\n * {rule} */\n");
        let mut end_of_constant = usize::MAX;
        for c in public.captures_iter(&code) {
            let item = declared.remove(&c[1]).unwrap_or_else(|| panic!("{section}.rs: {} is not in the header", &c[1]));
            let item = match &c[1] {
                "rekindle_api_table" => table(item.split("typedef").next().unwrap_or(""), &out, &code),
                _ => item,
            };
            // Constants that stand together in the source stand together here.
            let start = c.get(0).unwrap().start();
            let together = code.get(end_of_constant..start).is_some_and(|between| !between.contains("\n\n"));
            out += if together { "" } else { "\n" };
            out += &item;
            out += "\n";
            end_of_constant = if item.contains("#define") { start } else { usize::MAX };
        }
    }
    assert!(declared.is_empty(), "not declared at the start of a line of src/ffi: {:?}", declared.keys());
    out + "\n#ifdef __cplusplus\n} // extern \"C\"\n#endif\n\n#endif /* REKINDLE_H */\n"
}

/// `REKINDLE_BLESS=1` writes the header instead of comparing it.
#[test]
fn header_is_generated_from_the_sources() {
    let text = generate();
    let path = root().join("include/rekindle.h");
    if std::env::var_os("REKINDLE_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap();
    assert!(
        checked_in == text,
        "include/rekindle.h is out of date; REKINDLE_BLESS=1 cargo test --test header writes it"
    );
    for (n, line) in text.lines().enumerate() {
        assert!(line.chars().count() <= 120, "line {} of the header has more than 120 columns: {line}", n + 1);
    }
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
    let main = "int main(void) { return (int)rekindle_abi_version() - REKINDLE_ABI_VERSION; }\n";
    std::fs::write(&source, "#include \"rekindle.h\"\n".repeat(2) + main).unwrap();
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
