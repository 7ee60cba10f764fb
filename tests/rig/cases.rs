//! The fixtures as the tests of the rig need them: plans on dies, loads whose bytes are counted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle::context::Context;
use rekindle::device::Kind;
use rekindle::gguf::Gguf;
use rekindle::graph::Node;
use rekindle::plan::{DeviceLimit, Params, Plan};
use rekindle::quant::Type;
use rekindle::session::{LoadParams, Model};

use crate::support::*;
use crate::virtual_rig::*;

pub const FOUR: &str = "dies = 4; memory = 256MiB; overhead = 1MiB";

/// A fixture as a test needs it: its file, token ids, and logits of some rows as nearest to exact as there are.
pub struct Case {
    pub name: String,
    pub file: PathBuf,
    pub tokens: Vec<i32>,
    pub rows: Vec<usize>,
    pub exact: Vec<f32>,
}

pub fn cases() -> Vec<Case> {
    let index = json(&fixture("logits/index.json"));
    let read = |m: &serde_json::Value| {
        let name = m["model"].as_str().unwrap().to_owned();
        let has_exact = m.get("f64").is_none_or(|f| f.as_bool().unwrap());
        Some(Case {
            file: model_file(m["path"].as_str().unwrap())?,
            tokens: ids(&m["tokens"]),
            rows: ids(&m["rows"]).into_iter().map(|r| r as usize).collect(),
            exact: floats(&fixture(&format!("logits/{name}.{}.bin", if has_exact { "f64" } else { "ref" }))),
            name,
        })
    };
    let all: Vec<Case> = index.as_array().unwrap().iter().filter_map(read).collect();
    all.iter().for_each(|case| assert!(is_for_dies(&case.file), "{}: dies have no kernel for an op", case.name));
    all
}

/// True if dies have a kernel for every op of a model.
fn is_for_dies(file: &Path) -> bool {
    let (_, graph) = rekindle::arch::build(&Gguf::open(file).unwrap()).unwrap();
    graph.nodes.iter().all(|node| rekindle::cuda::has_kernel(&graph, node))
}

/// A plan on dies, some layers of it on the CPU where `on_cpu` is not 0.
pub fn plan(
    rig: &Rig,
    spec: &str,
    file: &Path,
    params: &Params,
    spread: bool,
    on_cpu: bool,
) -> (Arc<Context>, Arc<Plan>) {
    plan_of(rig, spec, Gguf::open(file).unwrap(), params, spread, on_cpu)
}

/// The same of an open file.
pub fn plan_of(
    rig: &Rig,
    spec: &str,
    file: Gguf,
    params: &Params,
    spread: bool,
    on_cpu: bool,
) -> (Arc<Context>, Arc<Plan>) {
    let context = rig.context(spec);
    let gguf = Arc::new(file);
    let mut params = params.clone();
    let (_, graph) = rekindle::arch::build(&gguf).unwrap();
    let n_dies = context.devices().iter().filter(|d| d.kind == Kind::Cuda).count() as u32;
    if spread || on_cpu {
        // No die may take all, so that all take some.
        let parts = if on_cpu { n_dies + 1 } else { n_dies };
        let each = graph.n_layer.div_ceil(parts).max(1);
        // Layers that read another's cache are where that is: the first die has a layer, the last device all others.
        let state_of = |n: &Node| n.op.facts().reads.map(|s| graph.states[s.0 as usize].layer);
        let shares = graph.nodes.iter().any(|n| state_of(n).is_some_and(|layer| layer != n.layer));
        let most = |device| match (shares, device) {
            (false, _) => Some(each),
            (true, 0) => Some(1),
            (true, d) if d + 1 < parts => Some(0),
            (true, _) => Some(graph.n_layer - 1),
        };
        params.limits =
            (0..parts).map(|device| DeviceLimit { device, reserve_bytes: 0, max_layers: most(device) }).collect();
    }
    let plan = Plan::new(&context, &gguf, &params).unwrap();
    assert!(plan.fits, "{}", plan.text());
    (context, Arc::new(plan))
}

/// Loads, and holds every die's bytes against the plan's.
pub fn load_on(rig: &Rig, context: &Arc<Context>, plan: &Arc<Plan>, what: &str) -> Arc<Model> {
    let model =
        Model::load(context, plan, LoadParams::default()).unwrap_or_else(|e| panic!("{what}: {e}\n{}", rig.report()));
    let mut asked_of = [0; 24];
    for (i, d) in context.devices().iter().enumerate().filter(|(_, d)| d.kind == Kind::Cuda) {
        let planned = plan.devices[i].memory;
        asked_of[d.ordinal.unwrap() as usize] += planned.weights + planned.kv + planned.compute;
        assert_eq!(model.memory(i as u32).unwrap(), planned, "{what}: what the model says of die {i}");
    }
    for (die, asked) in asked_of.into_iter().enumerate().filter(|(_, asked)| rig.is_virtual() && *asked > 0) {
        assert_eq!(rig.bytes(die as i32), asked, "{what}: bytes of die {die}\n{}", plan.text());
    }
    model
}

/// The places where parts of a model may go: devices, and whether the CPU takes layers.
pub fn spreads(rig: &Rig) -> Vec<(String, bool)> {
    let mut all: Vec<_> = ["cuda:2", "cuda:4"].iter().map(|spec| (rig.spec(spec), false)).collect();
    all.push((twice(), false));
    // With one card, two dies are that.
    all.sort();
    all.dedup();
    all.push((rig.spec("cuda:2,cpu"), true));
    all
}

/// The fixtures with F32 weights: the CPU computes with them in float32 too.
pub fn plain_cases() -> Vec<Case> {
    let plain = |c: &Case| Gguf::open(&c.file).unwrap().tensors().iter().all(|t| t.ty == Type::F32);
    cases().into_iter().filter(plain).collect()
}

/// One of each architecture, and one more of those that have mixtures of experts.
pub fn one_of_each(cases: Vec<Case>) -> Vec<Case> {
    let mut seen = Vec::new();
    let mut is_new = |case: &Case| {
        let gguf = Gguf::open(&case.file).unwrap();
        let architecture = rekindle::arch::architecture(&gguf).unwrap().to_owned();
        let kind = (architecture, gguf.tensors().iter().any(|t| t.name.contains("_exps")));
        let is_new = !seen.contains(&kind);
        seen.push(kind);
        is_new
    };
    cases.into_iter().filter(|case| is_new(case)).collect()
}

/// Logits of the last token.
pub fn last(model: &Model, at: i32, tokens: &[i32]) -> Vec<f32> {
    let positions: Vec<i32> = (at..at + tokens.len() as i32).collect();
    model.decode(&rekindle::session::Batch { tokens, positions: Some(&positions), ..Default::default() }).unwrap();
    row(model, 0)
}
