//! Things that the numeric tests share: finding files, loading models with an F32 KV cache, decoding, comparing.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::plan::{Params, Plan};
use rekindle::quant::Type;
use rekindle::session::{Batch, LoadParams, Model};

/// The repository: of a test that was built elsewhere, `REKINDLE_ROOT`.
pub fn root() -> PathBuf {
    std::env::var_os("REKINDLE_ROOT").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

pub fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures").join(name)
}

/// The file of an index entry: `shared:models/x.gguf` lies under `REKINDLE_SHARED` or `../shared`; None, with a line
/// that says so, where it is missing. Files of the repository must be there.
pub fn model_file(path: &str) -> Option<PathBuf> {
    let Some(shared) = path.strip_prefix("shared:") else { return Some(root().join(path)) };
    let folder = std::env::var_os("REKINDLE_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let file = folder.join(shared);
    if file.exists() {
        return Some(file);
    }
    // Automatic runs that were given the folder must not pass without its files.
    assert!(
        std::env::var_os("CI").is_none() || (std::env::var_os("REKINDLE_SHARED").is_none() && !folder.exists()),
        "{} is missing",
        file.display()
    );
    println!("SKIPPED: no {} (set REKINDLE_SHARED)", file.display());
    None
}

pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub fn ids(value: &serde_json::Value) -> Vec<i32> {
    value.as_array().unwrap().iter().map(|n| n.as_i64().unwrap() as i32).collect()
}

pub fn floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// An F32 KV cache, so that only the arithmetic of the weights differs from exact.
pub fn exact_kv() -> Params {
    Params { n_ctx: 256, n_outputs_max: 64, type_k: Some(Type::F32), type_v: Some(Type::F32), ..Params::default() }
}

pub fn load(path: &Path, params: &Params) -> Arc<Model> {
    load_with_threads(path, params, 2)
}

pub fn load_with_threads(path: &Path, params: &Params, n_threads: u32) -> Arc<Model> {
    let context = Context::new("cpu", n_threads, None, LogLevel::Error).unwrap();
    let file = Arc::new(Gguf::open(path).unwrap());
    let plan = Plan::new(&context, &file, params).unwrap();
    assert!(plan.fits, "{}", plan.text());
    Model::load(&context, &Arc::new(plan), LoadParams::default()).unwrap()
}

/// True if a model has recurrent layers. Tests of sequences that are cut and shifted anywhere leave those out
/// (tests/recurrent.rs has them).
pub fn is_recurrent(path: &Path) -> bool {
    Gguf::open(path).unwrap().tensors().iter().any(|t| t.name.contains(".ssm_") || t.name.contains(".shortconv."))
}

pub fn row(model: &Model, row: u32) -> Vec<f32> {
    let (at, n) = model.logits(row).unwrap();
    // SAFETY: the pointer is good for n values until the next call that writes the model, and they are copied at once.
    unsafe { std::slice::from_raw_parts(at, n as usize) }.to_vec()
}

/// Logits of every token, decoded in one batch at the given positions of one sequence.
pub fn decode_at(model: &Model, seq: i32, first: i32, tokens: &[i32]) -> Vec<Vec<f32>> {
    let positions: Vec<i32> = (0..tokens.len() as i32).map(|i| first + i).collect();
    let seqs = vec![seq; tokens.len()];
    let outputs = vec![1u8; tokens.len()];
    let batch = Batch { tokens, positions: Some(&positions), seq_ids: Some(&seqs), outputs: Some(&outputs) };
    model.decode(&batch).unwrap();
    assert_eq!(model.n_outputs().unwrap() as usize, tokens.len());
    (0..tokens.len() as u32).map(|i| row(model, i)).collect()
}

/// sum((x - y)^2) / sum(y^2)
pub fn nmse(x: &[f32], y: &[f32]) -> f64 {
    assert_eq!(x.len(), y.len());
    assert!(x.iter().all(|v| v.is_finite()), "logits that are no numbers");
    let difference: f64 = x.iter().zip(y).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum();
    difference / y.iter().map(|y| f64::from(*y).powi(2)).sum::<f64>()
}

/// The largest difference, relative to the largest magnitude in y.
pub fn relative(x: &[f32], y: &[f32]) -> f32 {
    assert_eq!(x.len(), y.len());
    assert!(x.iter().all(|v| v.is_finite()), "logits that are no numbers");
    let largest = y.iter().fold(0f32, |m, y| m.max(y.abs()));
    x.iter().zip(y).fold(0f32, |m, (x, y)| m.max((x - y).abs())) / largest
}

pub fn same_bits(x: &[Vec<f32>], y: &[Vec<f32>]) -> bool {
    let bits =
        |rows: &[Vec<f32>]| rows.iter().map(|row| row.iter().map(|v| v.to_bits()).collect()).collect::<Vec<Vec<u32>>>();
    bits(x) == bits(y)
}

pub fn argmax(x: &[f32]) -> i32 {
    let mut best = 0;
    for (i, v) in x.iter().enumerate() {
        if *v > x[best] {
            best = i;
        }
    }
    best as i32
}
