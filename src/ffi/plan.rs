//! Plans: the place of each layer, and the exact number of bytes that each device will be asked for.

use std::ffi::c_char;
use std::sync::Arc;

use super::context::rekindle_context;
use super::error::rekindle_status;
use super::file::rekindle_file;
use super::guard::guard;
use super::handle::{create, destroy, get};
use super::structs::{Struct, place, read_or_default, slice, text};
use crate::context::Context;
use crate::error::{Error, Result, Status};
use crate::gguf::Gguf;
use crate::plan::{
    Answer, DeviceLimit, DraftSource, EstimatorKind, Objective, Params, Plan, PoolBy, Pooling, Question, Weights,
};
use crate::quant::Type;

/// A plan. (The type has the suffix _t because rekindle_plan is the function.)
pub struct rekindle_plan_t {
    _private: (),
}

/// Types of the KV cache.
pub const REKINDLE_KV_DEFAULT: i32 = 0;
pub const REKINDLE_KV_F32: i32 = 1;
pub const REKINDLE_KV_F16: i32 = 2;
pub const REKINDLE_KV_Q8_0: i32 = 3;
pub const REKINDLE_KV_Q4_0: i32 = 4;

/// The CPU's way to the weights. AUTO: from the file's memory map if that is possible. MAPPED: always from the map.
/// COPIED: from a copy.
pub const REKINDLE_WEIGHTS_AUTO: i32 = 0;
pub const REKINDLE_WEIGHTS_MAPPED: i32 = 1;
pub const REKINDLE_WEIGHTS_COPIED: i32 = 2;

/// The rows that a batch leaves. DEFAULT: logits; an encoder has none, and leaves what its file says. FILE: as the file
/// says in `{architecture}.pooling_type`, or NONE if it says nothing.
///
/// NONE: the embedding of each token that is asked for. MEAN, CLS, LAST: one row for each text, which is a sequence's
/// tokens in the batch: the mean of all, the first token's, the last token's. RANK: the scores that the file's head
/// makes of one row of a text (encoders and rerankers); a file without such a head is an error.
pub const REKINDLE_POOLING_DEFAULT: i32 = 0;
pub const REKINDLE_POOLING_FILE: i32 = 1;
pub const REKINDLE_POOLING_NONE: i32 = 2;
pub const REKINDLE_POOLING_MEAN: i32 = 3;
pub const REKINDLE_POOLING_CLS: i32 = 4;
pub const REKINDLE_POOLING_LAST: i32 = 5;
pub const REKINDLE_POOLING_RANK: i32 = 6;

/// The aim of a plan. LATENCY (the default): one sequence is decoded as fast as possible. THROUGHPUT: the slowest
/// device is as fast as possible, for several sequences that follow each other from device to device. HEADROOM: as much
/// memory as possible is left for context.
pub const REKINDLE_OBJECTIVE_LATENCY: i32 = 0;
pub const REKINDLE_OBJECTIVE_THROUGHPUT: i32 = 1;
pub const REKINDLE_OBJECTIVE_HEADROOM: i32 = 2;

/// The source of a plan's bytes. MEASURED: the graph that will run. FAMILY: the formulas that this kind of program uses
/// instead, an estimate that cannot be loaded. AUTO: measured if the architecture's graph is known, else the formulas.
pub const REKINDLE_ESTIMATOR_AUTO: i32 = 0;
pub const REKINDLE_ESTIMATOR_MEASURED: i32 = 1;
pub const REKINDLE_ESTIMATOR_FAMILY: i32 = 2;

/// For rekindle_device_limit: put no layers on this device.
pub const REKINDLE_LIMIT_EXCLUDE: u32 = 1;

/// A limit on the use of one device. The struct never grows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_device_limit {
    /// Index in the context.
    pub device: u32,
    /// REKINDLE_LIMIT_EXCLUDE or 0.
    pub flags: u32,
    /// The most layers it may have, those whose experts alone are here among them; 0 means as many as fit.
    pub max_layers: u32,
    /// Zero.
    pub reserved: u32,
    /// Bytes to leave free, besides reserve_bytes of the plan's parameters.
    pub reserve_bytes: u64,
}

/// The wishes for a plan. Zero in a field means: decide for me.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_plan_params {
    /// sizeof(rekindle_plan_params), set by the caller.
    pub struct_size: u32,
    /// Tokens that the KV cache holds, of all sequences together; 0 means as many as the model was trained for, or
    /// fewer if only they fit. Then 1/64 of each device stays free, unless reserve_bytes or a limit says how much.
    pub n_ctx: u32,
    /// Sequences, with ids from 0. At most 256; 0 means 1.
    pub n_seq_max: u32,
    /// Rows of logits that one rekindle_decode may leave; 0 means one per sequence, n_batch at most.
    pub n_outputs_max: u32,
    /// The most tokens of one rekindle_decode, and the most that go through the layers in one pass, which are not more
    /// than those. 0 in both means the family's default; 0 in one means the value of the other. More than n_ctx are cut
    /// to n_ctx.
    pub n_batch: u32,
    pub n_ubatch: u32,
    /// REKINDLE_KV_… The default is F16, or Q8_0 if only that fits (or, with dies, if it leaves fewer layers or experts
    /// to the CPU).
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
    /// The number of limits.
    pub n_limits: u32,
    /// Limits of single devices, each device at most once; may be NULL if n_limits is 0. They are read during the call
    /// only.
    pub limits: *const rekindle_device_limit,
    /// The family estimator's factor on compute buffers, 1 to 100; 0 means 3.5.
    pub margin: f64,
    /// Checkpoints of recurrent states, of all sequences together, for models whose layers remember a sequence as a
    /// whole (rekindle_seq_cut tells of them). Each takes the bytes of one sequence's state. 0 means four per sequence,
    /// 16 at most; REKINDLE_CHECKPOINTS_NONE means none. At most 1024.
    pub n_checkpoints: u32,
    /// Tokens that are guessed at most before the model checks them, all in one batch; rekindle_generate does so. The
    /// text stays the same, bit by bit. 0 means none. At most 15. n_outputs_max is at least one more.
    pub n_draft: u32,
    /// REKINDLE_POOLING_…: the rows that a batch leaves. Every choice but the default leaves no logits; the output
    /// matrix is then neither planned nor loaded.
    pub pooling: i32,
    /// REKINDLE_DRAFT_…: who guesses.
    pub draft_source: u32,
    /// Places of tensors, by patterns of their names: UTF-8 text of placements_len bytes, copied during the call. It is
    /// a list of pairs with commas between them, as `blk\.[0-3]\.ffn_.*_exps=CPU,^blk\.7\.=CUDA1`: a regular expression
    /// (in the syntax of Rust's regex crate, without commas) that is looked for in a tensor's name, and CPU or CUDA
    /// with the number of a die; 256 pairs at most. Of the expressions that are found the first one counts. All tensors
    /// of a layer go to one device, but for its routed experts, which may be on the CPU; a text that asks for anything
    /// else is refused with the tensor's name (REKINDLE_INVALID_ARGUMENT). Each device computes neighbouring layers, so
    /// not all places go together: then the plan does not fit.
    pub placements: *const c_char,
    pub placements_len: usize,
}

/// A prediction layer of the model itself (MTP) makes drafts; a file without such a layer is an error. It is not loaded
/// if n_draft is 0.
pub const REKINDLE_DRAFT_LAYER: u32 = 0;
/// The prompt and the text so far make drafts: where their last tokens stood before, what followed there. It serves any
/// model, and texts that repeat themselves: code that is changed, answers that quote.
pub const REKINDLE_DRAFT_TEXT: u32 = 1;
/// A second, smaller model with the same vocabulary makes drafts: the one that rekindle_model_set_draft names.
pub const REKINDLE_DRAFT_MODEL: u32 = 2;

/// For n_checkpoints of rekindle_plan_params: keep no checkpoints.
pub const REKINDLE_CHECKPOINTS_NONE: u32 = u32::MAX;

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_plan_params {
    const NAME: &'static str = "rekindle_plan_params";
}

fn checkpoints(n: u32) -> Option<u32> {
    match n {
        0 => None,
        REKINDLE_CHECKPOINTS_NONE => Some(0),
        n => Some(n),
    }
}

fn pooling(n: i32) -> Result<PoolBy> {
    Ok(match n {
        REKINDLE_POOLING_DEFAULT => PoolBy::Family,
        REKINDLE_POOLING_FILE => PoolBy::File,
        REKINDLE_POOLING_NONE => PoolBy::Caller(Pooling::None),
        REKINDLE_POOLING_MEAN => PoolBy::Caller(Pooling::Mean),
        REKINDLE_POOLING_CLS => PoolBy::Caller(Pooling::Cls),
        REKINDLE_POOLING_LAST => PoolBy::Caller(Pooling::Last),
        REKINDLE_POOLING_RANK => PoolBy::Caller(Pooling::Rank),
        _ => {
            let text = format!("pooling is {n}, expected a REKINDLE_POOLING_… number");
            return Err(Error::invalid(text).subject("pooling"));
        }
    })
}

pub(super) fn pooling_number(pooling: Option<Pooling>) -> i32 {
    match pooling {
        None => REKINDLE_POOLING_DEFAULT,
        Some(Pooling::None) => REKINDLE_POOLING_NONE,
        Some(Pooling::Mean) => REKINDLE_POOLING_MEAN,
        Some(Pooling::Cls) => REKINDLE_POOLING_CLS,
        Some(Pooling::Last) => REKINDLE_POOLING_LAST,
        Some(Pooling::Rank) => REKINDLE_POOLING_RANK,
    }
}

fn kv_type(field: &str, n: i32) -> Result<Option<Type>> {
    match n {
        REKINDLE_KV_DEFAULT => Ok(None),
        REKINDLE_KV_F32 => Ok(Some(Type::F32)),
        REKINDLE_KV_F16 => Ok(Some(Type::F16)),
        REKINDLE_KV_Q8_0 => Ok(Some(Type::Q8_0)),
        REKINDLE_KV_Q4_0 => Ok(Some(Type::Q4_0)),
        _ => Err(Error::invalid(format!("{field} is {n}, expected a REKINDLE_KV_… number")).subject(field)),
    }
}

pub(super) fn kv_number(ty: Type) -> i32 {
    match ty {
        Type::F32 => REKINDLE_KV_F32,
        Type::F16 => REKINDLE_KV_F16,
        Type::Q8_0 => REKINDLE_KV_Q8_0,
        Type::Q4_0 => REKINDLE_KV_Q4_0,
        _ => REKINDLE_KV_DEFAULT,
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
    // SAFETY: the caller's text.
    let placements = unsafe { text(p.placements, p.placements_len, "placements") }?.to_owned();
    // SAFETY: the caller's array.
    let limits = unsafe { slice(p.limits, p.n_limits as usize, "limits") }?
        .iter()
        .enumerate()
        .map(limit)
        .collect::<Result<_>>()?;
    Ok(Params {
        n_ctx: p.n_ctx,
        n_seq_max: p.n_seq_max,
        n_checkpoints: checkpoints(p.n_checkpoints),
        n_draft: p.n_draft,
        pooling: pooling(p.pooling)?,
        draft_source: match p.draft_source {
            REKINDLE_DRAFT_LAYER => DraftSource::Layer,
            REKINDLE_DRAFT_TEXT => DraftSource::Text,
            REKINDLE_DRAFT_MODEL => DraftSource::Model,
            n => {
                let text = format!("draft_source is {n}, expected a REKINDLE_DRAFT_ number");
                return Err(Error::invalid(text).subject("draft_source"));
            }
        },
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
        placements,
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

/// Plans a file on a context's devices and allocates nothing there. `params` may be NULL. On success, and also with
/// REKINDLE_NOT_FIT, `*plan` is a handle that rekindle_plan_destroy ends; with another error it is left alone.
///
/// A plan counts on the memory that was free when the context was created. The memory of models that were loaded since
/// is not subtracted: make a new context for the next model, or reserve that memory with reserve_bytes or limits.
///
/// REKINDLE_NOT_FIT: the plan says what is missing and what would help; it cannot be loaded. REKINDLE_UNSUPPORTED: a KV
/// type cannot be used. With REKINDLE_ESTIMATOR_MEASURED it also means that the architecture cannot be run, or that its
/// graph cannot take a tensor; without, the family's formulas make an estimate then. REKINDLE_BAD_FILE: keys or tensors
/// are wrong. REKINDLE_INVALID_ARGUMENT: a parameter is out of range or contradicts another.
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
        plan.not_fit().map_or(Ok(()), Err)
    })
}

/// Destroys a plan. Models loaded with it go on. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rekindle_plan_destroy(plan: *mut rekindle_plan_t) -> rekindle_status {
    guard("rekindle_plan_destroy", || destroy::<Plan, _>(plan))
}

/// Questions for rekindle_plan_ask. They are about the dies that may compute layers, or about the CPU if there are
/// none.
///
/// The longest context that fits, in tokens, up to the one that the model was trained for.
pub const REKINDLE_ASK_LARGEST_CONTEXT: i32 = 1;
/// The largest n_ubatch that fits with the context of the parameters, in tokens.
pub const REKINDLE_ASK_LARGEST_BATCH: i32 = 2;
/// The fewest devices that hold the model with the context of the parameters.
pub const REKINDLE_ASK_FEWEST_DEVICES: i32 = 3;
/// The more exact of REKINDLE_KV_F16 and REKINDLE_KV_Q8_0 that fits with the context of the parameters.
pub const REKINDLE_ASK_BEST_KV_TYPE: i32 = 4;

/// Answers a question about a file on a context's devices (REKINDLE_ASK_…) by planning. `params` may be NULL; if they
/// leave the KV type open, it is F16. `*answer` gets tokens, devices or a REKINDLE_KV_… number.
///
/// REKINDLE_NOT_FIT: the model does not fit in any way. REKINDLE_UNSUPPORTED: the architecture, or a tensor in its
/// graph, cannot be measured. The other errors are those of rekindle_plan.
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
