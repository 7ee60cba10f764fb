//! Makes docs/plans.md: plans for real models on K80 dies, measured and by the family's formulas.

mod cells;
mod design;
#[path = "../headers/mod.rs"]
mod headers;
mod models;

use std::fmt::{self, Write};
use std::io;
use std::path::Path;

use cells::{family, measured};
use models::{Model, Models};
use rekindle::quant::Type;

const CONTEXTS: [u32; 3] = [4096, 16384, 32768];
const DIES: [usize; 3] = [1, 2, 4];

const INTRODUCTION: &str = "\
# Plans for real models on K80 dies

These are plans for one, two and four dies of a Tesla K80 (11434 MiB free each): as `measured` from a model's graph, and
by the formulas of the `family` estimator with its margin of 3.5, for comparison. The cache is F16 unless a table says
otherwise; n_batch and n_ubatch are 512. The output counts as one more layer. The token embedding stays in the file that
the host maps and is on no die. Nothing was loaded for this, and no K80 was at hand: speeds are predicted, and the
driver's share is the one that others measured.

Made by `cargo run --release --example plan_table > docs/plans.md`; a test compares.
";

const VARIED_LAYERS: &str = "
### Layers of several kinds, in Q4_K_M by the usual rule

A model that dies have no kernels for yet has its layers on the CPU, and a line here that says so.

Recurrent layers keep a state per sequence, however long it is. The states here are those of one sequence, a second one
that is swapped in once a step has succeeded, and 4 checkpoints. The second embedding of gemma4:e4b stays in the mapped
file, too. Prediction layers are not in these files.

The shapes are those of the models' configurations and of files that others listed. Four numbers of granite4:h-small
are inferred: 128 recurrent heads with states of 128, shared experts of 1536 and a tied output are what gives its
published weights of 59.99 GiB. Files of it and of nemotron-3-nano name 1048576 tokens, whatever was trained.
";

/// The document, of the models in `shared`'s `tensors` folder and of others; header-only files are written to `folder`
/// and removed again.
pub fn document(shared: &Path, folder: &Path) -> io::Result<String> {
    let directories = Models::of_directories(shared, folder)?;
    let rows = Models::of_rows(headers::ROWS, folder)?;
    let varied = Models::of_rows(headers::VARIED, folder)?;
    let mut out = INTRODUCTION.to_owned();
    // Writing to a String cannot fail.
    let _ = design::highlight(&mut out, rows.named("deepseek-r1:14b"));
    let _ = design::compute(&mut out, rows.named("deepseek-r1:14b"));
    let _ = design::q8_0(&mut out, rows.named("deepseek-r1:14b"), rows.named("deepseek-r1:32b"));
    let _ = design::experts(&mut out, &[rows.named("qwen3:30b-a3b"), rows.named("gpt-oss:20b")]);
    let grouped = ["llama3.1:8b", "deepseek-r1:14b", "deepseek-r1:32b", "gpt-oss:20b"].map(|name| rows.named(name));
    let recurrent = ["qwen3.6:27b", "qwen3.6:35b-a3b"].map(|name| varied.named(name));
    let _ = design::groups(&mut out, &[&grouped[..], &recurrent[..]].concat());
    out.push_str(
        "
## Model by model

`dies` are the dies that there are; if more of them change nothing, one line stands for all. The MiB per die are those
of weights + KV cache + compute + driver; for models with recurrent layers, of weights + KV cache + states + compute +
driver. Tokens per second are those at an empty … at a full context. GiB are those of all dies together; those of the
family do not count layers that it leaves to the CPU.

### Tensor directories of real files
",
    );
    let _ = tables(&mut out, &directories.measured);
    out.push_str("\n### Public configurations, in Q4_K_M by the usual rule\n");
    let _ = tables(&mut out, &rows.measured);
    out.push_str(VARIED_LAYERS);
    let _ = tables(&mut out, &varied.measured);
    let _ = design::beside_cpu(&mut out, &varied.measured);
    let mut others: Vec<String> = directories.estimate_only;
    others.extend(rows.estimate_only);
    others.extend(varied.estimate_only);
    let _ = write!(
        out,
        "\nEstimate only, by the family's formulas, since their graphs do not exist yet:\n{}.\n",
        others.join(", ")
    );
    Ok(out)
}

/// A table per model; models of the same figures share one.
fn tables(out: &mut String, models: &[Model]) -> fmt::Result {
    let mut all: Vec<(Vec<&str>, String)> = Vec::new();
    for model in models {
        let table = table(model)?;
        match all.iter_mut().find(|(_, text)| *text == table) {
            Some((names, _)) => names.push(&model.name),
            None => all.push((vec![&model.name], table)),
        }
    }
    all.iter().try_for_each(|(names, table)| write!(out, "\n**{}** {table}", names.join(", ")))
}

fn table(model: &Model) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let trained = rekindle::arch::n_ctx_train(&model.file).expect("a context length");
    let first = cells::plan(1, &model.file, &measured(CONTEXTS[0], Type::F16));
    writeln!(out, "({}, {} layers, trained for {trained})\n", first.architecture, first.n_layer)?;
    if !cells::dies_compute(&model.file) {
        writeln!(out, "Dies have no kernels for some operations of its layers yet.")?;
        return Ok(out);
    }
    writeln!(out, "| context | dies | layers | MiB per die | GiB | tokens/s | family: layers | GiB | fits |")?;
    writeln!(out, "|--:|---|---|---|--:|---|---|--:|---|")?;
    for n_ctx in CONTEXTS.into_iter().filter(|n| *n <= trained) {
        let mut lines: Vec<(Vec<String>, String)> = Vec::new();
        for n in DIES {
            let line = line(n, model, n_ctx);
            match lines.iter_mut().find(|(_, text)| *text == line) {
                Some((dies, _)) => dies.push(n.to_string()),
                None => lines.push((vec![n.to_string()], line)),
            }
        }
        for (dies, line) in lines {
            writeln!(out, "| {n_ctx} | {} | {line} |", dies.join(", "))?;
        }
    }
    Ok(out)
}

/// The figures of both estimators, in cells.
fn line(n_dies: usize, model: &Model, n_ctx: u32) -> String {
    let plan = |params| cells::plan(n_dies, &model.file, &params);
    let q8_0_fits = || cells::fits(&plan(measured(n_ctx, Type::Q8_0)));
    let exact = plan(measured(n_ctx, Type::F16));
    let otherwise = if !cells::fits(&exact) && q8_0_fits() { "fits with a Q8_0 cache" } else { "does not fit" };
    format!("{} | {}", cells::of_measured(&exact, otherwise), cells::of_family(&plan(family(n_ctx, Type::F16))))
}
