//! Plans: what goes where, and exactly how many bytes each device will be asked for.

use std::ffi::c_char;
use std::sync::Arc;

use super::context::rekindle_context;
use super::error::rekindle_status;
use super::file::rekindle_file;
use super::guard::guard;
use super::handle::{create, destroy, get};
use super::output;
use super::structs::{Struct, chars, place, read_or_default, slice, write};
use crate::context::Context;
use crate::error::{Error, Result, Status};
use crate::gguf::Gguf;
use crate::plan::{Answer, DeviceLimit, EstimatorKind, Objective, Params, Plan, Question, Source, Weights};
use crate::quant::Type;

/// A plan. (The type has a suffix because rekindle_plan is the function.)
pub struct rekindle_plan_t {
    _private: (),
}

/// Types of the KV cache.
pub const REKINDLE_KV_DEFAULT: i32 = 0;
pub const REKINDLE_KV_F32: i32 = 1;
pub const REKINDLE_KV_F16: i32 = 2;
pub const REKINDLE_KV_Q8_0: i32 = 3;

/// What is best: the fastest decode of one sequence (the default), the fastest slowest device, for sequences in a pipeline, or the
/// most memory left for context.
pub const REKINDLE_OBJECTIVE_LATENCY: i32 = 0;
pub const REKINDLE_OBJECTIVE_THROUGHPUT: i32 = 1;
pub const REKINDLE_OBJECTIVE_HEADROOM: i32 = 2;

/// What bytes are taken from: measured where the architecture's graph is known, else the family's formulas; only measured; only the
/// formulas, an estimate that cannot be loaded.
pub const REKINDLE_ESTIMATOR_AUTO: i32 = 0;
pub const REKINDLE_ESTIMATOR_MEASURED: i32 = 1;
pub const REKINDLE_ESTIMATOR_FAMILY: i32 = 2;

/// For rekindle_device_limit: no layers on this device.
pub const REKINDLE_LIMIT_EXCLUDE: u32 = 1;

/// Questions for rekindle_plan_ask, about the dies that may compute layers, or the CPU where there are none.
/// The longest context that fits, in tokens, at most what the model was trained for.
pub const REKINDLE_ASK_LARGEST_CONTEXT: i32 = 1;
/// The largest n_ubatch that fits with the context of the parameters, in tokens.
pub const REKINDLE_ASK_LARGEST_BATCH: i32 = 2;
/// The fewest devices that hold the model with the context of the parameters.
pub const REKINDLE_ASK_FEWEST_DEVICES: i32 = 3;
/// The more exact of REKINDLE_KV_F16 and REKINDLE_KV_Q8_0 that fits with the context of the parameters.
pub const REKINDLE_ASK_BEST_KV_TYPE: i32 = 4;

/// What may be used of one device. Its size is fixed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_device_limit {
    /// Index in the context.
    pub device: u32,
    /// REKINDLE_LIMIT_EXCLUDE or 0.
    pub flags: u32,
    /// Layers at most, also of those whose experts alone are here; 0: as many as fit.
    pub max_layers: u32,
    /// Zero.
    pub reserved: u32,
    /// Bytes to leave free, besides reserve_bytes of the plan's parameters.
    pub reserve_bytes: u64,
}

/// How the CPU gets at the weights: from the file's memory map where that is possible, always so, or from a copy.
pub const REKINDLE_WEIGHTS_AUTO: i32 = 0;
pub const REKINDLE_WEIGHTS_MAPPED: i32 = 1;
pub const REKINDLE_WEIGHTS_COPIED: i32 = 2;

/// Where a choice came from: the parameters, the family's or the library's default, a key of the file, or what fits into memory.
pub const REKINDLE_SOURCE_CALLER: i32 = 1;
pub const REKINDLE_SOURCE_FAMILY: i32 = 2;
pub const REKINDLE_SOURCE_GLOBAL: i32 = 3;
pub const REKINDLE_SOURCE_FILE: i32 = 4;
pub const REKINDLE_SOURCE_LIMITED: i32 = 5;

/// What to plan for. Zero in a field: decide for me.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_plan_params {
    /// sizeof(rekindle_plan_params), set by the caller.
    pub struct_size: u32,
    /// Tokens that the KV cache holds, of all sequences together; 0: what the model was trained for, or less if only that fits.
    pub n_ctx: u32,
    /// Sequences, with ids from 0; 0: 1. At most 256.
    pub n_seq_max: u32,
    /// Rows of logits that one rekindle_decode may leave; 0: one per sequence, n_batch at most.
    pub n_outputs_max: u32,
    /// Tokens of a rekindle_decode at most, and of one pass through the layers, which are no more. 0 in both: the family's default, in
    /// one: the other. More than n_ctx are cut to that.
    pub n_batch: u32,
    pub n_ubatch: u32,
    /// REKINDLE_KV_…; default: F16, or Q8_0 where only that fits (with fewer layers or experts on the CPU, if there are dies).
    pub type_k: i32,
    pub type_v: i32,
    /// REKINDLE_WEIGHTS_…
    pub weights: i32,
    /// REKINDLE_OBJECTIVE_…
    pub objective: i32,
    /// Bytes to leave free on each device.
    pub reserve_bytes: u64,
    /// REKINDLE_ESTIMATOR_…
    pub estimator: i32,
    /// How many limits there are.
    pub n_limits: u32,
    /// Limits of single devices, each device at most once; may be NULL with 0. Read during the call only.
    pub limits: *const rekindle_device_limit,
    /// The family estimator's factor on compute buffers, 1 to 100; 0: 3.5.
    pub margin: f64,
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_plan_params {
    const NAME: &'static str = "rekindle_plan_params";
}

/// What a plan decided.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_plan_summary {
    /// sizeof(rekindle_plan_summary), set by the caller.
    pub struct_size: u32,
    /// Non-zero: it fits. It can be loaded if it is also measured, no layer is on a described device, and every type of its tensors can be
    /// computed with ("loadable" in rekindle_plan_json; a reason says what is in the way).
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
    /// How many there are for rekindle_plan_get_device, rekindle_plan_reason and rekindle_plan_remedy.
    pub n_devices: u32,
    pub n_reasons: u32,
    pub n_remedies: u32,
    /// REKINDLE_OBJECTIVE_…
    pub objective: i32,
    pub architecture: [c_char; 64],
    pub name: [c_char; 128],
    /// "measured": from the very graph that will run. "family": by formulas, an estimate that cannot be loaded.
    pub estimator: [c_char; 32],
    /// Predicted by the cost model, not measured; 0 where there is no prediction. Tokens per second of one sequence at an empty and
    /// at a full context, of a prompt, and of all sequences together when every device always has one to work on.
    pub predicted_decode: f64,
    pub predicted_decode_full: f64,
    pub predicted_prompt: f64,
    pub predicted_pipelined: f64,
    /// The device in use that has the least bytes left, -1 if none; and the bytes.
    pub tightest_device: i32,
    /// Layers that the CPU computes as a whole, beside dies or alone.
    pub n_cpu_layers: u32,
    pub tightest_bytes: u64,
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_plan_summary {
    const NAME: &'static str = "rekindle_plan_summary";
}

/// What a plan puts on one device. Sizes in bytes.
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
    /// The device's memory, and what was free of it when the context was created.
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// What is missing; 0 if it fits.
    pub shortfall: u64,
    /// The weights arena; weights used straight from the file's memory map, which are the system's page cache; the KV cache; the
    /// compute arena; what the driver takes for itself.
    pub weights: u64,
    pub mapped: u64,
    pub kv: u64,
    pub compute: u64,
    pub driver: u64,
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_plan_device {
    const NAME: &'static str = "rekindle_plan_device";
}

/// Where a plan puts one layer.
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
    /// The device that has its routed experts: the CPU where a mixture is too large for the dies, else `device`.
    pub experts_device: u32,
    /// Zero.
    pub reserved2: u32,
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_plan_layer {
    const NAME: &'static str = "rekindle_plan_layer";
}

fn kv_type(field: &str, n: i32) -> Result<Option<Type>> {
    match n {
        REKINDLE_KV_DEFAULT => Ok(None),
        REKINDLE_KV_F32 => Ok(Some(Type::F32)),
        REKINDLE_KV_F16 => Ok(Some(Type::F16)),
        REKINDLE_KV_Q8_0 => Ok(Some(Type::Q8_0)),
        _ => Err(Error::invalid(format!("{field} is {n}, expected a REKINDLE_KV_… number")).subject(field)),
    }
}

fn kv_number(ty: Type) -> i32 {
    match ty {
        Type::F32 => REKINDLE_KV_F32,
        Type::F16 => REKINDLE_KV_F16,
        Type::Q8_0 => REKINDLE_KV_Q8_0,
        _ => REKINDLE_KV_DEFAULT,
    }
}

fn source_number(s: Source) -> i32 {
    match s {
        Source::Caller => REKINDLE_SOURCE_CALLER,
        Source::Family => REKINDLE_SOURCE_FAMILY,
        Source::Global => REKINDLE_SOURCE_GLOBAL,
        Source::File => REKINDLE_SOURCE_FILE,
        Source::Limited => REKINDLE_SOURCE_LIMITED,
    }
}

/// # Safety
/// `params` is null or has the bytes that its `struct_size` says, and its array the elements.
unsafe fn read_params(params: *const rekindle_plan_params) -> Result<Params> {
    // SAFETY: as the caller says.
    let p = unsafe { read_or_default(params) }?;
    let weights = match p.weights {
        REKINDLE_WEIGHTS_AUTO => Weights::Auto,
        REKINDLE_WEIGHTS_MAPPED => Weights::Mapped,
        REKINDLE_WEIGHTS_COPIED => Weights::Copied,
        n => {
            return Err(
                Error::invalid(format!("weights is {n}, expected a REKINDLE_WEIGHTS_… number")).subject("weights")
            );
        }
    };
    let objective = match p.objective {
        REKINDLE_OBJECTIVE_LATENCY => Objective::Latency,
        REKINDLE_OBJECTIVE_THROUGHPUT => Objective::Throughput,
        REKINDLE_OBJECTIVE_HEADROOM => Objective::Headroom,
        n => {
            return Err(Error::invalid(format!("objective is {n}, expected a REKINDLE_OBJECTIVE_… number"))
                .subject("objective"));
        }
    };
    let estimator = match p.estimator {
        REKINDLE_ESTIMATOR_AUTO => EstimatorKind::Auto,
        REKINDLE_ESTIMATOR_MEASURED => EstimatorKind::Measured,
        REKINDLE_ESTIMATOR_FAMILY => EstimatorKind::Family,
        n => {
            return Err(Error::invalid(format!("estimator is {n}, expected a REKINDLE_ESTIMATOR_… number"))
                .subject("estimator"));
        }
    };
    // SAFETY: the caller's array.
    let limits = unsafe { slice(p.limits, p.n_limits as usize, "limits") }?
        .iter()
        .enumerate()
        .map(limit)
        .collect::<Result<_>>()?;
    Ok(Params {
        n_ctx: p.n_ctx,
        n_seq_max: p.n_seq_max,
        n_outputs_max: p.n_outputs_max,
        n_batch: p.n_batch,
        n_ubatch: p.n_ubatch,
        type_k: kv_type("type_k", p.type_k)?,
        type_v: kv_type("type_v", p.type_v)?,
        weights,
        reserve_bytes: p.reserve_bytes,
        objective,
        estimator,
        margin: p.margin,
        limits,
    })
}

fn limit((i, l): (usize, &rekindle_device_limit)) -> Result<DeviceLimit> {
    if l.flags & !REKINDLE_LIMIT_EXCLUDE != 0 || l.reserved != 0 {
        return Err(Error::invalid(format!(
            "limits[{i}] has flags {:#x} and reserved {}, of which none is known",
            l.flags, l.reserved
        ))
        .subject("limits"));
    }
    let max_layers = match (l.flags & REKINDLE_LIMIT_EXCLUDE, l.max_layers) {
        (0, 0) => None,
        (0, n) => Some(n),
        _ => Some(0),
    };
    Ok(DeviceLimit { device: l.device, reserve_bytes: l.reserve_bytes, max_layers })
}

/// Plans a file on a context's devices; allocates nothing there. `params` may be NULL. On success, and also with
/// REKINDLE_NOT_FIT, `*plan` is a handle to be given to rekindle_plan_destroy; with another error it is left alone.
///
/// It counts on what was free when the context was created. What models loaded since have taken is not subtracted: make a new context for
/// the next one, or reserve it with reserve_bytes or limits.
///
/// REKINDLE_NOT_FIT: the plan says what is missing and what would help; it cannot be loaded. REKINDLE_UNSUPPORTED: a KV type that
/// cannot be used; with REKINDLE_ESTIMATOR_MEASURED also an architecture that cannot be run, or a tensor that its graph cannot take, of which
/// otherwise the family's formulas make an estimate. REKINDLE_BAD_FILE: keys or tensors are wrong.
/// REKINDLE_INVALID_ARGUMENT: a parameter is out of range or contradicts another.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_plan(
    context: *const rekindle_context,
    file: *const rekindle_file,
    params: *const rekindle_plan_params,
    plan: *mut *mut rekindle_plan_t,
) -> rekindle_status {
    guard("rekindle_plan", || {
        let (c, f) = (get::<Context, _>(context)?, get::<Gguf, _>(file)?);
        let out = place(plan, "plan")?;
        // SAFETY: the caller's struct and array.
        let params = unsafe { read_params(params) }?;
        let plan = Arc::new(Plan::new(&c, &f, &params)?);
        let handle = create(plan.clone())?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(handle) };
        if plan.fits {
            return Ok(());
        }
        let mut e = Error::new(Status::NotFit, format!("the model does not fit: {}", plan.shortfalls()));
        if let Some(d) = plan.devices.iter().max_by_key(|d| d.shortfall) {
            e = e.amounts(d.memory.needed(), d.free_bytes);
            e.detail.device = Some(d.device);
        }
        Err(e)
    })
}

/// Destroys a plan. Models loaded with it go on. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rekindle_plan_destroy(plan: *mut rekindle_plan_t) -> rekindle_status {
    guard("rekindle_plan_destroy", || destroy::<Plan, _>(plan))
}

/// What a plan decided. A plan never changes; all its functions may run at the same time.
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
            n_remedies: p.remedies().len() as u32,
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
        };
        // SAFETY: the caller's struct.
        unsafe { write(summary, &value) }
    })
}

fn entry<'a, T>(list: &'a [T], index: u32, what: &str) -> Result<&'a T> {
    list.get(index as usize).ok_or_else(|| {
        Error::not_found(format!("{what} {index} is out of range, the plan has {}", list.len())).subject("index")
    })
}

/// Device `index` of a plan.
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
        };
        // SAFETY: the caller's struct.
        unsafe { write(device, &value) }
    })
}

/// Layer `index` of a plan; index n_layer is the output.
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

/// Reason `index`: why the plan is as it is, a sentence. Text: buffer, capacity, needed.
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

/// Remedy `index`: what would make it fit, a sentence. Text: buffer, capacity, needed.
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

/// The whole plan as a table for people. Text: buffer, capacity, needed.
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

/// The whole plan as a JSON object; keys are only ever added. schema/plan.schema.json describes them, which is installed as
/// share/rekindle/plan.schema.json. Text: buffer, capacity, needed.
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

/// Two plans of one file side by side, as a table for people: the measured one and the family's estimate, say. Text: buffer,
/// capacity, needed.
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

/// Answers a question about a file on a context's devices (REKINDLE_ASK_…) by planning. `params` may be NULL; of what it leaves open,
/// the KV type is F16. `*answer` gets tokens, devices or a REKINDLE_KV_… number.
///
/// REKINDLE_NOT_FIT: it does not fit in any way. REKINDLE_UNSUPPORTED: the architecture, or a tensor in its graph, cannot be measured. Others
/// as for rekindle_plan.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_plan_ask(
    context: *const rekindle_context,
    file: *const rekindle_file,
    params: *const rekindle_plan_params,
    question: i32,
    answer: *mut u32,
) -> rekindle_status {
    guard("rekindle_plan_ask", || {
        let (c, f) = (get::<Context, _>(context)?, get::<Gguf, _>(file)?);
        let out = place(answer, "answer")?;
        // SAFETY: the caller's struct and array.
        let params = unsafe { read_params(params) }?;
        let question = match question {
            REKINDLE_ASK_LARGEST_CONTEXT => Question::LargestContext,
            REKINDLE_ASK_LARGEST_BATCH => Question::LargestBatch,
            REKINDLE_ASK_FEWEST_DEVICES => Question::FewestDevices,
            REKINDLE_ASK_BEST_KV_TYPE => Question::BestKvType,
            n => {
                return Err(
                    Error::invalid(format!("question is {n}, expected a REKINDLE_ASK_… number")).subject("question")
                );
            }
        };
        let value = match Plan::ask(&c, &f, &params, question)? {
            None => {
                return Err(Error::new(Status::NotFit, "the model does not fit on these devices, whatever the answer"));
            }
            Some(Answer::Tokens(n) | Answer::Devices(n)) => n,
            Some(Answer::KvType(ty)) => kv_number(ty) as u32,
        };
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(value) };
        Ok(())
    })
}
