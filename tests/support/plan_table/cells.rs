//! One plan's figures as cells of a table. Only the dies count: the host's memory differs from machine to machine.

use std::sync::Arc;

use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::plan::{DevicePlan, EstimatorKind, Params, Plan};
use rekindle::quant::Type;

/// Plans for described K80 dies.
pub fn plan(n_dies: usize, file: &Arc<Gguf>, params: &Params) -> Plan {
    let context = Context::new(&format!("k80:{n_dies}"), 1, None, LogLevel::Error).expect("described dies");
    Plan::new(&context, file, params).unwrap_or_else(|e| panic!("{}: {e}", file.path()))
}

/// The same beside a CPU that may compute layers: 64 GiB, 40 GB/s, 400 GFLOPS.
pub fn plan_with_cpu(n_dies: usize, file: &Arc<Gguf>, params: &Params) -> Plan {
    let cpu = r#"{"kind":"cpu","total_bytes":68719476736,"read_bandwidth":4e10,"host_bandwidth":4e10,"flops":4e11}"#;
    let devices = format!(r#"[{{"profile":"k80","count":{n_dies}}},{cpu}]"#);
    let context = Context::new(&devices, 1, None, LogLevel::Error).expect("described devices");
    Plan::new(&context, file, params).unwrap_or_else(|e| panic!("{}: {e}", file.path()))
}

pub fn measured(n_ctx: u32, kv: Type) -> Params {
    Params { n_ctx, type_k: Some(kv), type_v: Some(kv), estimator: EstimatorKind::Measured, ..Params::default() }
}

pub fn family(n_ctx: u32, kv: Type) -> Params {
    Params { estimator: EstimatorKind::Family, margin: 3.5, ..measured(n_ctx, kv) }
}

/// True if dies compute the model's layers. Else every layer is on a CPU that may have them, however much room there
/// is.
pub fn dies_compute(file: &Arc<Gguf>) -> bool {
    let p = plan_with_cpu(4, file, &measured(512, Type::F16));
    dies(&p).iter().any(|d| d.n_layers > 0)
}

/// All devices but the last, which is the CPU.
fn dies(p: &Plan) -> &[DevicePlan] {
    &p.devices[..p.devices.len() - 1]
}

pub fn used(p: &Plan) -> impl Iterator<Item = &DevicePlan> {
    dies(p).iter().filter(|d| d.n_layers > 0 || d.has_output)
}

pub fn fits(p: &Plan) -> bool {
    let placed: u32 = used(p).map(units).sum();
    placed == p.n_layer + 1 && dies(p).iter().all(|d| d.shortfall == 0)
}

/// Layers of a die, the output counted as one.
fn units(d: &DevicePlan) -> u32 {
    d.n_layers + u32::from(d.has_output)
}

fn joined(parts: impl Iterator<Item = String>, between: &str) -> String {
    parts.collect::<Vec<_>>().join(between)
}

/// `25 + 24`
pub fn split(p: &Plan) -> String {
    joined(used(p).map(|d| units(d).to_string()), " + ")
}

pub fn gib(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / (1u64 << 30) as f64)
}

pub fn mib(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / (1u64 << 20) as f64)
}

pub fn total(p: &Plan) -> u64 {
    used(p).map(|d| d.memory.needed()).sum()
}

/// `8.41 + 7.81`
pub fn gib_per_die(p: &Plan) -> String {
    joined(used(p).map(|d| gib(d.memory.needed())), " + ")
}

/// A line per die: weights, KV cache, states where the model has any, compute arena and what the driver takes (the
/// formulas: what they keep free).
pub fn parts(p: &Plan) -> String {
    let states = p.devices.iter().any(|d| d.memory.states > 0);
    let die = |d: &DevicePlan| {
        let m = d.memory;
        let parts = [m.weights, m.kv - m.states].into_iter().chain(states.then_some(m.states));
        joined(parts.chain([m.compute, m.driver]).map(mib), " + ")
    };
    joined(used(p).map(die), "<br>")
}

/// Compute arenas in MiB, die by die.
pub fn compute(p: &Plan) -> String {
    joined(used(p).map(|d| format!("{:.1}", d.memory.compute as f64 / (1u64 << 20) as f64)), " / ")
}

/// Predicted tokens per second at an empty and at a full context.
pub fn speed(p: &Plan) -> String {
    p.prediction.map_or("–".to_owned(), |s| format!("{:.1} … {:.1}", s.decode, s.decode_full))
}

/// `44 of 49`
pub fn placed(p: &Plan) -> String {
    format!("{} of {}", used(p).map(units).sum::<u32>(), p.n_layer + 1)
}

/// The CPU's own memory for KV cache and states.
pub fn cpu_kv(p: &Plan) -> String {
    mib(p.devices.last().map_or(0, |d| d.memory.kv))
}

/// Layers, parts, GiB and speed; in place of the parts `otherwise` where it does not fit.
pub fn of_measured(p: &Plan, otherwise: &str) -> String {
    if !fits(p) {
        let lack = dies(p).iter().map(|d| d.shortfall).sum();
        return format!("– | {otherwise} | short by {} | –", gib(lack));
    }
    format!("{} | {} | {} | {}", split(p), parts(p), gib(total(p)), speed(p))
}

/// Layers, GiB and whether it fits.
pub fn of_family(p: &Plan) -> String {
    if used(p).count() == 0 {
        return "none | – | no".to_owned();
    }
    let verdict = if fits(p) { "yes".to_owned() } else { format!("no, {}", placed(p)) };
    format!("{} | {} | {verdict}", split(p), gib(total(p)))
}
