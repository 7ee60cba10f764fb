//! The README is held to the truth: its programs are the files it names, its plan is what the library prints.

use std::path::PathBuf;

use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::plan::{Params, Plan};

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
    for (language, file) in
        [("c", "bindings/c/minimal.c"), ("cpp", "bindings/cpp/minimal.cpp"), ("go", "bindings/go/example/main.go")]
    {
        let (shown, real) = (block(language), read(file));
        // A file may begin with a comment that the README says in its own words.
        assert!(
            real.ends_with(&shown) && shown.lines().count() + 3 >= real.lines().count(),
            "README's {language} differs from {file}"
        );
    }
}

/// Lines that do not depend on the machine.
fn portable(plan: &str) -> Vec<String> {
    let machine = ["device 0:", "[", "free after", "predicted", "- no GPU is used"];
    let lines = plan.lines().filter(|l| !machine.iter().any(|m| l.trim_start().starts_with(m)));
    // The compute arena has a workspace per thread.
    lines
        .filter(|l| !l.trim_start().starts_with("compute "))
        .map(|l| l.split(", threads").next().unwrap().to_owned())
        .collect()
}

#[test]
fn plan_is_what_is_printed() {
    let context = Context::new("cpu", 2, None, LogLevel::Error).unwrap();
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf");
    let file = std::sync::Arc::new(Gguf::open(&model).unwrap());
    let plan = Plan::new(&context, &file, &Params::default()).unwrap();
    assert_eq!(portable(&block("text")), portable(&plan.text()));
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
    assert_eq!(lengths.len(), 8);
    let median = (lengths[3] + lengths[4]) / 2;
    assert!(text.contains(&format!("Median: {median} lines")) && median <= 120, "{median}");
}
