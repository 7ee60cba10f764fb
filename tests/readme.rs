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

/// docs/architectures.md counts lines: its table and median are those of the files, and no median passes 120.
#[test]
fn architectures_are_as_long_as_is_said() {
    let text = read("docs/architectures.md");
    let rows = text.lines().filter_map(|l| l.strip_prefix("| `")?.split_once(".rs` |"));
    let mut lengths: Vec<usize> = rows
        .map(|(file, rest)| {
            let said: usize = rest.trim_end_matches(" |").rsplit(' ').next().unwrap().parse().unwrap();
            let real = read(&format!("src/arch/{file}.rs")).lines().count();
            assert_eq!(said, real, "{file}.rs");
            real
        })
        .collect();
    lengths.sort_unstable();
    assert!(lengths.len() >= 28, "{} files", lengths.len());
    let median = (lengths[(lengths.len() - 1) / 2] + lengths[lengths.len() / 2]) / 2;
    assert!(text.contains(&format!("Median: {median} lines")) && median <= 120, "{median}");
}
