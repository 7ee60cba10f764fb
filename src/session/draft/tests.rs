//! Logits of prediction layers against the reference's own (tests/reference/README.md says how they were made).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::context::{Context, LogLevel};
use crate::gguf::Gguf;
use crate::graph::Outcome;
use crate::plan::{Params, Plan};
use crate::quant::Type;
use crate::session::{Batch, LoadParams, Model};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// The logits that the layer leaves of each token, in one batch as the reference computes them.
fn predicted(file: &Path, tokens: &[i32], n_ubatch: u32) -> Vec<f32> {
    let context = Context::new("cpu", 1, None, LogLevel::Error).unwrap();
    let file = Arc::new(Gguf::open(file).unwrap());
    let (type_k, type_v) = (Some(Type::F32), Some(Type::F32));
    let params =
        Params { n_ctx: 64, n_batch: 64, n_ubatch, n_outputs_max: 64, n_draft: 2, type_k, type_v, ..Params::default() };
    let plan = Arc::new(Plan::new(&context, &file, &params).unwrap());
    let model = Model::load(&context, &plan, LoadParams::default()).unwrap();
    model.decode(&Batch { tokens, ..Batch::default() }).unwrap();
    let mut state = model.state.write();
    let waiting = state.caches.hidden.as_mut().unwrap().of(0).clone();
    assert!(waiting.ends_at(tokens.len() as i32) && waiting.tokens == tokens);
    let n_embd = model.info.n_embd as usize;
    let mut all = Vec::new();
    for first in (0..tokens.len()).step_by(n_ubatch as usize) {
        let last = tokens.len().min(first + n_ubatch as usize);
        let outputs: Vec<u32> = (0..(last - first) as u32).collect();
        let rows = &waiting.rows[first * n_embd..last * n_embd];
        model.draft_step(&mut state, 0, first as i32, &tokens[first..last], rows, &outputs).unwrap();
        outputs.iter().for_each(|r| all.extend_from_slice(state.machine.result_row(Outcome::DraftLogits, *r as usize)));
    }
    all
}

/// Normalised mean squared error at most 1e-6; both round in float32.
#[test]
fn predictions_are_those_of_the_reference() {
    let index = std::fs::read(fixture("logits/nextn.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    for m in index.as_array().unwrap() {
        let name = m["model"].as_str().unwrap();
        let reference = floats(&fixture(&format!("logits/{name}.nextn.bin")));
        let tokens: Vec<i32> = m["tokens"].as_array().unwrap().iter().map(|t| t.as_i64().unwrap() as i32).collect();
        for n_ubatch in [64, 7] {
            let own = predicted(&fixture(&format!("models/{name}.gguf")), &tokens, n_ubatch);
            assert_eq!(own.len(), reference.len());
            let square = |x: f32| f64::from(x) * f64::from(x);
            let difference: f64 = own.iter().zip(&reference).map(|(x, y)| square(x - y)).sum();
            let nmse = difference / reference.iter().map(|y| square(*y)).sum::<f64>();
            println!("{name:26} {n_ubatch:2} {nmse:.2e}");
            assert!(nmse <= 1e-6, "{name}: {nmse:e}");
        }
    }
}
