//! Holds models against reference logits: `cargo run --release --example conformance -- [--tolerance X]
//! FILES_OR_DIRS...`
//!
//! A GGUF's reference lies beside it, as tests/reference/make_for.py writes it: MODEL.json and MODEL.logits.bin. An
//! `index.json` in the place of a file stands for the models and logits it lists (tests/fixtures/logits). Token ids
//! only: no tokeniser is needed. A model of an architecture without a graph passes when it is estimated and its load is
//! refused by name. Each file has a process of its own, so that a crash is one failure.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use rekindle::context::{Context, LogLevel};
use rekindle::error::Status;
use rekindle::gguf::Gguf;
use rekindle::plan::{Params, Plan};
use rekindle::quant::Type;
use rekindle::session::{Batch, LoadParams, Model};
use serde_json::{Value, json};

/// F32 against F32; what quantises activations is compared with what does so otherwise.
const TOLERANCE: f64 = 1e-6;
const TOLERANCE_QUANTISED: f64 = 1e-3;
/// The tokens that any family's batch takes.
const SHORT: u32 = 512;
const USAGE: &str = "usage: conformance [--tolerance X] FILES_OR_DIRS_OR_INDEX...";

type Outcome<T> = Result<T, String>;

struct Reference {
    tokens: Vec<i32>,
    rows: Vec<usize>,
    n_vocab: usize,
    n_ctx: u32,
    logits: Vec<f32>,
}

fn text(e: impl Display) -> String {
    e.to_string()
}

fn integers<T: TryFrom<i64>>(v: &Value, key: &str) -> Outcome<Vec<T>> {
    let numbers = v[key].as_array().into_iter().flatten().map(|n| n.as_i64().and_then(|n| T::try_from(n).ok()));
    numbers.collect::<Option<Vec<T>>>().filter(|n| !n.is_empty()).ok_or_else(|| format!("'{key}' is no list of ids"))
}

impl Reference {
    fn read(about: &Value, logits: &Path) -> Outcome<Reference> {
        let bytes = std::fs::read(logits).map_err(|e| format!("{}: {e}", logits.display()))?;
        let r = Reference {
            tokens: integers(about, "tokens")?,
            rows: integers(about, "rows")?,
            n_vocab: about["n_vocab"].as_u64().ok_or("'n_vocab' is missing")? as usize,
            n_ctx: about.get("n_ctx").and_then(Value::as_u64).unwrap_or(512) as u32,
            logits: bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        };
        if r.logits.len() != r.rows.len() * r.n_vocab || r.rows.iter().any(|row| *row >= r.tokens.len()) {
            return Err(format!("{} does not hold the rows that are listed", logits.display()));
        }
        Ok(r)
    }
}

/// The outcome of one file, with its NMSE if it was compared.
fn run(model: &Path, reference: Option<Reference>, tolerance: Option<f64>) -> (&'static str, f64, String) {
    let tried = check(model, reference, tolerance);
    tried.unwrap_or_else(|message| ("failed", f64::NAN, message))
}

fn check(path: &Path, reference: Option<Reference>, tolerance: Option<f64>) -> Outcome<(&'static str, f64, String)> {
    let file = Arc::new(Gguf::open(path).map_err(text)?);
    let architecture = rekindle::arch::architecture(&file).map_err(text)?.to_owned();
    let context = Context::new("cpu", 2, None, LogLevel::Error).map_err(text)?;
    let f32s = Params { type_k: Some(Type::F32), type_v: Some(Type::F32), ..Params::default() };
    let params = match &reference {
        Some(r) => {
            let n = r.tokens.len() as u32;
            // All of a long text is one batch, too.
            let (n_batch, n_ubatch) = if n > SHORT { (n, SHORT) } else { (0, 0) };
            Params { n_ctx: r.n_ctx, n_outputs_max: n, n_batch, n_ubatch, ..f32s }
        }
        None => Params { n_ctx: 64, ..f32s },
    };
    let plan = Arc::new(Plan::new(&context, &file, &params).map_err(|e| format!("no plan: {e}"))?);
    let loaded = Model::load(&context, &plan, LoadParams::default());
    if plan.estimator == "family" {
        return match loaded {
            Err(e) if e.status == Status::Unsupported && e.message.contains(&architecture) => {
                Ok(("refused", f64::NAN, text(e)))
            }
            Err(e) => Err(format!("refused, but not for its architecture: {e}")),
            Ok(_) => Err(format!("'{architecture}' was estimated by the family and loaded")),
        };
    }
    let model = loaded.map_err(text)?;
    let Some(r) = reference else { return Ok(("unchecked", f64::NAN, "no reference logits beside it".into())) };
    let outputs = vec![1u8; r.tokens.len()];
    model.decode(&Batch { tokens: &r.tokens, outputs: Some(&outputs), ..Batch::default() }).map_err(text)?;
    let (mut difference, mut square) = (0.0, 0.0);
    for (row, expected) in r.rows.iter().zip(r.logits.chunks_exact(r.n_vocab)) {
        let (at, n) = model.logits(*row as u32).map_err(text)?;
        if n as usize != r.n_vocab {
            return Err(format!("{n} logits, expected {}", r.n_vocab));
        }
        // SAFETY: good for n values until the next call that writes the model; there is none in this loop.
        let own = unsafe { std::slice::from_raw_parts(at, n as usize) };
        for (x, y) in own.iter().zip(expected) {
            difference += (f64::from(*x) - f64::from(*y)).powi(2);
            square += f64::from(*y).powi(2);
        }
    }
    let nmse = difference / square;
    let plain = file.tensors().iter().all(|t| t.ty == Type::F32);
    let most = tolerance.unwrap_or(if plain { TOLERANCE } else { TOLERANCE_QUANTISED });
    Ok((if nmse <= most { "passed" } else { "failed" }, nmse, architecture))
}

/// A model, and where its reference is described: a JSON file, and in an index the model's name.
struct Job {
    model: PathBuf,
    about: Option<PathBuf>,
    name: String,
}

fn jobs(argument: &Path, into: &mut Vec<Job>) -> Outcome<()> {
    if argument.is_dir() {
        let entries = std::fs::read_dir(argument).map_err(text)?.map(|e| e.map(|e| e.path()));
        let mut files = entries.collect::<Result<Vec<_>, _>>().map_err(text)?;
        files.retain(|p| p.extension().is_some_and(|e| e == "gguf"));
        files.sort();
        return files.iter().try_for_each(|f| jobs(f, into));
    }
    if argument.extension().is_some_and(|e| e == "json") {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for m in read_json(argument)?.as_array().into_iter().flatten() {
            let (name, path) = (m["model"].as_str().unwrap_or_default(), m["path"].as_str().unwrap_or_default());
            let model =
                path.strip_prefix("shared:").map_or_else(|| root.join(path), |p| root.join("../shared").join(p));
            into.push(Job { model, about: Some(argument.to_owned()), name: name.into() });
        }
        return Ok(());
    }
    let about = Some(argument.with_extension("json")).filter(|p| p.exists());
    let name = argument.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    into.push(Job { model: argument.to_owned(), about, name });
    Ok(())
}

fn read_json(path: &Path) -> Outcome<Value> {
    let all = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_str(&all).map_err(|e| format!("{}: {e}", path.display()))
}

fn reference(job: &Job) -> Outcome<Option<Reference>> {
    let Some(path) = &job.about else { return Ok(None) };
    let about = read_json(path)?;
    let (about, logits) = match about.as_array() {
        Some(all) => {
            let entry = all.iter().find(|m| m["model"] == job.name.as_str()).ok_or("not in the index")?;
            (entry, path.with_file_name(format!("{}.ref.bin", job.name)))
        }
        None => (&about, path.with_extension("logits.bin")),
    };
    Reference::read(about, &logits).map(Some)
}

/// The only line that a child prints.
fn child(job: &Job, tolerance: Option<f64>) {
    let (outcome, nmse, message) = match reference(job) {
        Ok(r) => run(&job.model, r, tolerance),
        Err(e) => ("failed", f64::NAN, e),
    };
    let nmse = if nmse.is_finite() { json!(nmse) } else { Value::Null };
    println!("{}", json!({ "outcome": outcome, "nmse": nmse, "message": message }));
}

fn in_child(job: &Job, tolerance: Option<f64>) -> Outcome<Value> {
    let mut command = Command::new(std::env::current_exe().map_err(text)?);
    command.arg("--one").arg(&job.model).arg(&job.name).arg(job.about.as_deref().unwrap_or(Path::new("")));
    let out = command.args(tolerance.map(|t| t.to_string())).output().map_err(text)?;
    let line = String::from_utf8_lossy(&out.stdout);
    let crash = || {
        let stderr = String::from_utf8_lossy(&out.stderr);
        format!("crash, {}: {}", out.status, stderr.lines().next().unwrap_or_default())
    };
    if !out.status.success() {
        return Err(crash());
    }
    line.lines().last().and_then(|l| serde_json::from_str(l).ok()).ok_or_else(crash)
}

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "--one") && args.len() >= 4 {
        let about = Some(PathBuf::from(&args[3])).filter(|p| !p.as_os_str().is_empty());
        let job = Job { model: PathBuf::from(&args[1]), about, name: args[2].clone() };
        child(&job, args.get(4).and_then(|t| t.parse().ok()));
        return ExitCode::SUCCESS;
    }
    let mut tolerance = None;
    if let Some(at) = args.iter().position(|a| a == "--tolerance") {
        tolerance = args.get(at + 1).and_then(|t| t.parse().ok());
        args.drain(at..(at + 2).min(args.len()));
        if tolerance.is_none() {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    let mut all = Vec::new();
    let listed = args.iter().try_for_each(|a| jobs(Path::new(a), &mut all));
    if let Err(e) = listed.and_then(|()| if all.is_empty() { Err(USAGE.to_owned()) } else { Ok(()) }) {
        eprintln!("{e}");
        return ExitCode::from(2);
    }
    let mut found: Vec<(String, f64, String, String)> = Vec::new();
    for job in &all {
        let v = in_child(job, tolerance).unwrap_or_else(|e| json!({ "outcome": "failed", "message": e }));
        let said = |key: &str| v[key].as_str().unwrap_or_default().to_owned();
        let line = (said("outcome"), v["nmse"].as_f64().unwrap_or(f64::NAN), job.name.clone(), said("message"));
        println!("{}", shown(&line));
        found.push(line);
    }
    let count = |outcome: &str| found.iter().filter(|f| f.0 == outcome).count();
    println!();
    if let Some(worst) = found.iter().filter(|f| f.1.is_finite()).max_by(|a, b| a.1.total_cmp(&b.1)) {
        println!("worst: {}", shown(worst));
    }
    println!(
        "{} passed, {} estimated only and refused at load, {} without a reference, {} failed",
        count("passed"),
        count("refused"),
        count("unchecked"),
        count("failed")
    );
    if count("failed") == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn shown((outcome, nmse, name, message): &(String, f64, String, String)) -> String {
    let nmse = if nmse.is_finite() { format!("{nmse:.2e}") } else { "-".into() };
    format!("{outcome:9} {nmse:>9}  {name:32} {message}")
}
