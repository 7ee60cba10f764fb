//! The contents of a plan: the decisions, the devices, the layers, and the plan as text.

use std::ffi::c_char;

use super::error::rekindle_status;
use super::guard::guard;
use super::handle::get;
use super::output;
use super::plan::{
    REKINDLE_OBJECTIVE_HEADROOM, REKINDLE_OBJECTIVE_LATENCY, REKINDLE_OBJECTIVE_THROUGHPUT, kv_number, pooling_number,
    rekindle_plan_t,
};
use super::structs::{Struct, chars, write};
use crate::error::{Error, Result};
use crate::plan::{Objective, Plan, Source};

/// The origin of a choice: the parameters, the family's default, the library's default, a key of the file, or the
/// memory that there is.
pub const REKINDLE_SOURCE_CALLER: i32 = 1;
pub const REKINDLE_SOURCE_FAMILY: i32 = 2;
pub const REKINDLE_SOURCE_GLOBAL: i32 = 3;
pub const REKINDLE_SOURCE_FILE: i32 = 4;
pub const REKINDLE_SOURCE_LIMITED: i32 = 5;

fn source_number(s: Source) -> i32 {
    match s {
        Source::Caller => REKINDLE_SOURCE_CALLER,
        Source::Family => REKINDLE_SOURCE_FAMILY,
        Source::Global => REKINDLE_SOURCE_GLOBAL,
        Source::File => REKINDLE_SOURCE_FILE,
        Source::Limited => REKINDLE_SOURCE_LIMITED,
    }
}

/// The decisions of a plan.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_plan_summary {
    /// sizeof(rekindle_plan_summary), set by the caller.
    pub struct_size: u32,
    /// Non-zero: it fits. It can be loaded if it is also measured, no layer is on a described device, and every type of
    /// its tensors can be computed with. ("loadable" in rekindle_plan_json says so, and a reason tells what is in the
    /// way.)
    pub fits: u32,
    pub n_layer: u32,
    pub n_ctx: u32,
    /// REKINDLE_SOURCE_… of n_ctx, and of the batch sizes.
    pub n_ctx_source: i32,
    pub batch_source: i32,
    pub n_ctx_train: u32,
    pub n_batch: u32,
    pub n_ubatch: u32,
    pub n_seq_max: u32,
    pub n_outputs_max: u32,
    /// REKINDLE_KV_…
    pub type_k: i32,
    pub type_v: i32,
    pub n_threads: u32,
    /// The numbers of entries for rekindle_plan_get_device and rekindle_plan_reason.
    pub n_devices: u32,
    pub n_reasons: u32,
    /// The remedies that were worked out by now. The first rekindle_plan_remedy, rekindle_plan_text or
    /// rekindle_plan_json works out all of them, for which it plans again; before that, 0.
    pub n_remedies: u32,
    /// REKINDLE_OBJECTIVE_…
    pub objective: i32,
    pub architecture: [c_char; 64],
    pub name: [c_char; 128],
    /// "measured" if the bytes come from the very graph that will run; "family" if they come from formulas, an estimate
    /// that cannot be loaded.
    pub estimator: [c_char; 32],
    /// Speeds in tokens per second, predicted by the cost model and not measured; 0 if there is no prediction. They are
    /// those of one sequence at an empty and at a full context, of a prompt, and of all sequences together while every
    /// device always has one to work on.
    pub predicted_decode: f64,
    pub predicted_decode_full: f64,
    pub predicted_prompt: f64,
    pub predicted_pipelined: f64,
    /// The device in use that has the fewest bytes left, -1 if none; tightest_bytes are these bytes.
    pub tightest_device: i32,
    /// Layers that the CPU computes as a whole, beside dies or alone.
    pub n_cpu_layers: u32,
    pub tightest_bytes: u64,
    /// Layers that keep a recurrent state per sequence, and the checkpoints of such states that the plan has room for;
    /// 0 for models without such layers.
    pub n_recurrent_layers: u32,
    pub n_checkpoints: u32,
    /// Tokens of a draft at most; 0 if the model makes none.
    pub n_draft: u32,
    /// Zero.
    pub reserved: u32,
    /// REKINDLE_POOLING_…: the rows that a batch leaves; DEFAULT: logits.
    pub pooling: i32,
    /// Zero.
    pub reserved_too: u32,
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_plan_summary {
    const NAME: &'static str = "rekindle_plan_summary";
}

/// Tells what a plan decided. A plan never changes, and all its functions may run at the same time.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_plan_get_summary(
    plan: *const rekindle_plan_t,
    summary: *mut rekindle_plan_summary,
) -> rekindle_status {
    guard("rekindle_plan_get_summary", || {
        let p = get::<Plan, _>(plan)?;
        let value = rekindle_plan_summary {
            struct_size: 0,
            fits: u32::from(p.fits),
            n_layer: p.n_layer,
            n_ctx: p.n_ctx,
            n_ctx_source: source_number(p.n_ctx_source),
            batch_source: source_number(p.batch_source),
            n_ctx_train: p.n_ctx_train,
            n_batch: p.n_batch,
            n_ubatch: p.n_ubatch,
            n_seq_max: p.n_seq_max,
            n_outputs_max: p.n_outputs_max,
            type_k: kv_number(p.type_k),
            type_v: kv_number(p.type_v),
            n_threads: p.n_threads,
            n_devices: p.devices.len() as u32,
            n_reasons: p.reasons.len() as u32,
            n_remedies: p.n_known_remedies() as u32,
            objective: match p.objective {
                Objective::Latency => REKINDLE_OBJECTIVE_LATENCY,
                Objective::Throughput => REKINDLE_OBJECTIVE_THROUGHPUT,
                Objective::Headroom => REKINDLE_OBJECTIVE_HEADROOM,
            },
            architecture: chars(&p.architecture),
            name: chars(&p.name),
            estimator: chars(p.estimator),
            predicted_decode: p.prediction.map_or(0.0, |s| s.decode),
            predicted_decode_full: p.prediction.map_or(0.0, |s| s.decode_full),
            predicted_prompt: p.prediction.map_or(0.0, |s| s.prompt),
            predicted_pipelined: p.prediction.map_or(0.0, |s| s.pipelined),
            tightest_device: p.tightest().map_or(-1, |(d, _)| d.device as i32),
            n_cpu_layers: p.n_cpu_layers(),
            tightest_bytes: p.tightest().map_or(0, |(_, left)| left),
            n_recurrent_layers: p.n_recurrent_layers,
            n_checkpoints: p.n_checkpoints,
            n_draft: p.n_draft,
            reserved: 0,
            pooling: pooling_number(p.pooling),
            reserved_too: 0,
        };
        // SAFETY: the caller's struct.
        unsafe { write(summary, &value) }
    })
}

/// The part of a plan that lies on one device. Sizes are in bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_plan_device {
    /// sizeof(rekindle_plan_device), set by the caller.
    pub struct_size: u32,
    /// The device's index in the context.
    pub device: u32,
    pub first_layer: u32,
    pub n_layers: u32,
    /// Non-zero: it computes the output.
    pub has_output: u32,
    /// Zero.
    pub reserved: u32,
    /// The device's memory, and the part of it that was free when the context was created.
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// The bytes that are missing; 0 if it fits.
    pub shortfall: u64,
    /// The weights arena; weights that are used straight from the file's memory map, which are the system's page cache;
    /// the KV arena, which holds the KV cache and recurrent states; the compute arena; the driver's own part.
    pub weights: u64,
    pub mapped: u64,
    pub kv: u64,
    pub compute: u64,
    pub driver: u64,
    /// Layers of other devices whose routed experts are here.
    pub n_expert_layers: u32,
    /// Zero.
    pub reserved2: u32,
    /// Those bytes of the KV arena that are recurrent states: of sequences, of batches under way, and of checkpoints.
    pub states: u64,
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_plan_device {
    const NAME: &'static str = "rekindle_plan_device";
}

fn entry<'a, T>(list: &'a [T], index: u32, what: &str) -> Result<&'a T> {
    list.get(index as usize).ok_or_else(|| {
        Error::not_found(format!("{what} {index} is out of range, the plan has {}", list.len())).subject("index")
    })
}

/// Tells what a plan puts on one device: entry `index` of its devices.
///
/// REKINDLE_NOT_FOUND: there is no such index, here and below.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_plan_get_device(
    plan: *const rekindle_plan_t,
    index: u32,
    device: *mut rekindle_plan_device,
) -> rekindle_status {
    guard("rekindle_plan_get_device", || {
        let p = get::<Plan, _>(plan)?;
        let d = entry(&p.devices, index, "device")?;
        let value = rekindle_plan_device {
            struct_size: 0,
            device: d.device,
            first_layer: d.first_layer,
            n_layers: d.n_layers,
            has_output: u32::from(d.has_output),
            reserved: 0,
            total_bytes: d.total_bytes,
            free_bytes: d.free_bytes,
            shortfall: d.shortfall,
            weights: d.memory.weights,
            mapped: d.memory.mapped,
            kv: d.memory.kv,
            compute: d.memory.compute,
            driver: d.memory.driver,
            n_expert_layers: d.n_expert_layers,
            reserved2: 0,
            states: d.memory.states,
        };
        // SAFETY: the caller's struct.
        unsafe { write(device, &value) }
    })
}

/// The place of one layer in a plan.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_plan_layer {
    /// sizeof(rekindle_plan_layer), set by the caller.
    pub struct_size: u32,
    /// The layer; n_layer stands for the output.
    pub layer: u32,
    pub device: u32,
    /// Zero.
    pub reserved: u32,
    /// Bytes of its weights, the experts' among them, and of its KV cache.
    pub weights: u64,
    pub kv: u64,
    pub reason: [c_char; 128],
    /// The device that has its routed experts. This is the CPU if a mixture of experts is too large for the dies, else
    /// `device`.
    pub experts_device: u32,
    /// Zero.
    pub reserved2: u32,
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_plan_layer {
    const NAME: &'static str = "rekindle_plan_layer";
}

/// Tells the place of layer `index` of a plan; index n_layer is the output.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_plan_get_layer(
    plan: *const rekindle_plan_t,
    index: u32,
    layer: *mut rekindle_plan_layer,
) -> rekindle_status {
    guard("rekindle_plan_get_layer", || {
        let p = get::<Plan, _>(plan)?;
        let l = entry(&p.layers, index, "layer")?;
        let value = rekindle_plan_layer {
            struct_size: 0,
            layer: l.layer,
            device: l.device,
            reserved: 0,
            weights: l.weights,
            kv: l.kv,
            reason: chars(&l.reason),
            experts_device: l.experts_device,
            reserved2: 0,
        };
        // SAFETY: the caller's struct.
        unsafe { write(layer, &value) }
    })
}

/// Writes reason `index`, a sentence that says why the plan is as it is. Text: buffer, capacity, needed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_plan_reason(
    plan: *const rekindle_plan_t,
    index: u32,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_plan_reason", || {
        let p = get::<Plan, _>(plan)?;
        // SAFETY: the caller's buffer.
        unsafe { output::text(entry(&p.reasons, index, "reason")?.as_bytes(), buffer, capacity, needed) }
    })
}

/// Writes remedy `index`, a sentence that says what would make the model fit. Text: buffer, capacity, needed. The first
/// call plans what might help, which may take longer than the plan itself; ask from 0 on until REKINDLE_NOT_FOUND.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_plan_remedy(
    plan: *const rekindle_plan_t,
    index: u32,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_plan_remedy", || {
        let p = get::<Plan, _>(plan)?;
        // SAFETY: the caller's buffer.
        unsafe { output::text(entry(p.remedies(), index, "remedy")?.as_bytes(), buffer, capacity, needed) }
    })
}

/// Writes the whole plan as a table for people. Text: buffer, capacity, needed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_plan_text(
    plan: *const rekindle_plan_t,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_plan_text", || {
        let p = get::<Plan, _>(plan)?;
        // SAFETY: the caller's buffer.
        unsafe { output::text(p.text().as_bytes(), buffer, capacity, needed) }
    })
}

/// Draws the plan: an SVG picture (XML in UTF-8) with a bar of each device's memory to scale, the exact bytes of its
/// parts, a cell for each layer, the predicted speeds and the remedies. Names in it are escaped. Text: buffer,
/// capacity, needed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_plan_svg(
    plan: *const rekindle_plan_t,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_plan_svg", || {
        let p = get::<Plan, _>(plan)?;
        // SAFETY: the caller's buffer.
        unsafe { output::text(p.svg().as_bytes(), buffer, capacity, needed) }
    })
}

/// Writes the whole plan as a JSON object. Keys are only ever added. schema/plan.schema.json describes them; it is
/// installed as share/rekindle/plan.schema.json. Text: buffer, capacity, needed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_plan_json(
    plan: *const rekindle_plan_t,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_plan_json", || {
        let p = get::<Plan, _>(plan)?;
        // SAFETY: the caller's buffer.
        unsafe { output::text(p.json().as_bytes(), buffer, capacity, needed) }
    })
}

/// Writes two plans of one file side by side, as a table for people: the measured one and the family's estimate, say.
/// Text: buffer, capacity, needed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_plan_compare(
    plan: *const rekindle_plan_t,
    other: *const rekindle_plan_t,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_plan_compare", || {
        let (p, q) = (get::<Plan, _>(plan)?, get::<Plan, _>(other)?);
        // SAFETY: the caller's buffer.
        unsafe { output::text(p.compare(&q).as_bytes(), buffer, capacity, needed) }
    })
}
