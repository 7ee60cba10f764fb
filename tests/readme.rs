//! The README is held to the truth: its programs are the files it names, its plan is what the library prints, its
//! picture is drawn from a plan.

#[path = "support/headers/mod.rs"]
mod headers;

use std::path::PathBuf;
use std::sync::Arc;

use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::plan::{Params, Plan};
use rekindle::quant::Type;

fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The fenced block of `language` in the README.
fn block(language: &str) -> String {
    let text = read("README.md");
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap_or_else(|| panic!("no {language} block"));
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn programs_are_the_files() {
    for (language, file) in [
        ("c", "bindings/c/minimal.c"),
        ("cpp", "bindings/cpp/minimal.cpp"),
        ("go", "bindings/go/example/main.go"),
        ("python", "bindings/python/minimal.py"),
    ] {
        let (shown, real) = (block(language), read(file));
        // A file may begin with a comment that the README says in its own words.
        assert!(
            real.ends_with(&shown) && shown.lines().count() + 3 >= real.lines().count(),
            "README's {language} differs from {file}"
        );
    }
}

/// The pieces of programs on the pages for hosts stand, word for word, in programs that tests run.
#[test]
fn pages_show_what_is_run() {
    let mut pieces = 0;
    for (page, language, sources) in [
        ("c.md", "c", &["tests/hosts/scenario.c"][..]),
        ("cpp.md", "cpp", &["tests/hosts/scenario.cpp"]),
        ("go.md", "go", &["bindings/go/example_test.go"]),
        ("python.md", "python", &["tests/hosts/scenario.py"]),
    ] {
        let text = read(&format!("docs/hosts/{page}"));
        for piece in text.split(&format!("```{language}\n")).skip(1) {
            let piece = piece.split("```").next().unwrap();
            assert!(
                sources.iter().any(|s| read(s).contains(piece)),
                "docs/hosts/{page} shows what nobody runs:\n{piece}"
            );
            pieces += 1;
        }
        assert!(text.matches("```").count().is_multiple_of(2), "docs/hosts/{page}: a block has no end");
    }
    assert!(pieces > 12, "{pieces}");
}

/// Lines that do not depend on the machine.
fn portable(plan: &str) -> Vec<String> {
    // The compute arena has a workspace per thread.
    let machine = ["fits; ", "0 [", "C compute", "· others", "free", "predicted", "- no GPU is used"];
    let lines = plan.lines().filter(|l| !machine.iter().any(|m| l.trim_start().starts_with(m)));
    lines.map(|l| l.split(", threads").next().unwrap().to_owned()).collect()
}

#[test]
fn plan_is_what_is_printed() {
    let context = Context::new("cpu", 2, None, LogLevel::Error).unwrap();
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf");
    let file = Arc::new(Gguf::open(&model).unwrap());
    let plan = Plan::new(&context, &file, &Params::default()).unwrap();
    assert_eq!(portable(&block("text")), portable(&plan.text()));
}

/// A mixture of experts that one die of a K80 cannot hold, beside a CPU that reads 40 GB/s. `REKINDLE_BLESS=1` draws
/// the picture anew.
#[test]
fn picture_is_drawn_from_a_plan() {
    let cpu = r#"{"kind": "cpu", "name": "a CPU that reads 40 GB/s", "total_bytes": 34359738368, "read_bandwidth": 4e10, "host_bandwidth": 4e10, "flops": 4e11}"#;
    let context = Context::new(&format!(r#"[{{"profile": "k80"}}, {cpu}]"#), 2, None, LogLevel::Error).unwrap();
    let model = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("picture.gguf");
    headers::from_row(headers::row("qwen3:30b-a3b"), &model).unwrap();
    let file = Arc::new(Gguf::open(&model).unwrap());
    std::fs::remove_file(&model).unwrap();
    let params = Params { n_ctx: 16384, type_k: Some(Type::F16), type_v: Some(Type::F16), ..Params::default() };
    let plan = Plan::new(&context, &file, &params).unwrap();
    let drawn = plan.svg();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/plan.svg");
    if std::env::var_os("REKINDLE_BLESS").is_some() {
        std::fs::write(&path, &drawn).unwrap();
    }
    let again = "docs/plan.svg is not the plan; REKINDLE_BLESS=1 cargo test --test readme draws it";
    assert!(read("docs/plan.svg") == drawn, "{again}");
}

/// The table of docs/architectures.md and its median, made from the lists of families in src/arch/mod.rs and their
/// files.
fn table_of_architectures() -> String {
    let mut files: Vec<(String, Vec<String>)> = Vec::new();
    let mut kind = "";
    for line in read("src/arch/mod.rs").lines() {
        kind = match line {
            "const FAMILIES: &[Family] = &[" => "",
            "const BY_STEPS: &[Family] = &[" => " (by steps)",
            "const ENCODERS: &[Family] = &[" => " (encoder)",
            _ => kind,
        };
        let Some((name, build)) =
            line.trim().strip_prefix("Family { name: \"").and_then(|l| l.split_once("\", build: "))
        else {
            continue;
        };
        let file = build.split("::").next().unwrap().to_owned();
        let name = format!("{name}{kind}");
        match files.iter_mut().find(|(f, _)| *f == file) {
            Some((_, names)) => names.push(name),
            None => files.push((file, vec![name])),
        }
    }
    let mut rows: Vec<(usize, String, String)> = files
        .into_iter()
        .map(|(file, names)| (read(&format!("src/arch/{file}.rs")).lines().count(), file, names.join(", ")))
        .collect();
    rows.sort();
    let median = (rows[(rows.len() - 1) / 2].0 + rows[rows.len() / 2].0) / 2;
    let mut text = "| file | `general.architecture` | lines |\n|---|---|--:|\n".to_owned();
    for (lines, file, names) in &rows {
        text += &format!("| `{file}.rs` | {names} | {lines} |\n");
    }
    text + &format!("\nMedian: {median} lines.")
}

/// docs/architectures.md has the table that the code makes. `REKINDLE_BLESS=1` writes it.
#[test]
fn architectures_are_those_of_the_code() {
    let (text, table) = (read("docs/architectures.md"), table_of_architectures());
    let from = text.find("| file |").unwrap();
    let to = from + text[from..].find(" lines.").unwrap() + " lines.".len();
    if std::env::var_os("REKINDLE_BLESS").is_some() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/architectures.md");
        std::fs::write(path, format!("{}{table}{}", &text[..from], &text[to..])).unwrap();
        return;
    }
    let again = "docs/architectures.md is out of date; REKINDLE_BLESS=1 cargo test --test readme writes it";
    assert!(text[from..to] == table, "{again}");
    let median: usize = table.rsplit_once("Median: ").unwrap().1.trim_end_matches(" lines.").parse().unwrap();
    assert!(median <= 25, "{median}");
}
