//! Models: loading, memory, counters, cancelling.

use std::ffi::{c_char, c_void};

use super::context::rekindle_context;
use super::error::{UserData, rekindle_status};
use super::guard::guard;
use super::handle::{create, destroy, get};
use super::plan::{pooling_number, rekindle_plan_t};
use super::structs::{Struct, chars, place, read_or_default, write};
use crate::context::Context;
use crate::error::Error;
use crate::plan::Plan;
use crate::session::{LoadParams, Model};

/// A loaded model with its KV cache. Calls with a const model may run at the same time, from several threads. Of the
/// other calls one runs at a time, and a second gets REKINDLE_BUSY.
pub struct rekindle_model {
    _private: (),
}

/// Gets the share of a load that is done, 0 to 1, in the calling thread. It returns 0 to go on and anything else to
/// cancel.
pub type rekindle_progress_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, done: f32) -> i32>;

/// If a CUDA device turns out to have less memory than it reported, the load fails (the default), or a new plan is made
/// for the memory that there is, and loaded (rekindle_model_plan returns it).
pub const REKINDLE_ON_OOM_FAIL: i32 = 0;
pub const REKINDLE_ON_OOM_REPLAN: i32 = 1;

/// For rekindle_load. Zero in every field but struct_size is the default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_load_params {
    /// sizeof(rekindle_load_params), set by the caller.
    pub struct_size: u32,
    /// Non-zero: refuse weights that are no finite numbers. Every weight is read once more for this.
    pub check_tensors: u32,
    /// Non-zero: keep weights and arenas from being swapped out. If the system refuses, a warning is logged.
    pub mlock: u32,
    /// Zero.
    pub reserved: u32,
    /// It goes from 0 to 1, and begins at 0 again if the load plans again.
    pub progress: rekindle_progress_fn,
    pub progress_user_data: *mut c_void,
    /// REKINDLE_ON_OOM_…
    pub on_oom: i32,
    /// Non-zero: CUDA devices launch every kernel of short steps one by one. Otherwise they record the launches and
    /// replay them (CUDA graphs).
    pub no_cuda_graphs: u32,
}

// SAFETY: repr(C), no padding, zero is valid in every field.
unsafe impl Struct for rekindle_load_params {
    const NAME: &'static str = "rekindle_load_params";
}

/// Loads a plan: allocates just the bytes that it says and fills them. `params` may be NULL. On success `*model` is a
/// handle that rekindle_model_destroy ends; it needs neither context, file nor plan any more.
///
/// The weights are in memory when the call returns, those too that the CPU uses in the mapped file.
///
/// REKINDLE_NOT_FIT: the plan does not fit. REKINDLE_OUT_OF_MEMORY: other programs have taken the memory since the plan
/// was made. REKINDLE_CANCELLED: by the progress callback. REKINDLE_BAD_FILE: check_tensors found a weight that is no
/// finite number. REKINDLE_IO: the file cannot be read. REKINDLE_UNSUPPORTED: the plan is an estimate, or a type of its
/// tensors cannot be computed with. REKINDLE_DEVICE: a layer is on a described device, or a device failed.
/// REKINDLE_INVALID_ARGUMENT: the plan is of another context, or a parameter is out of range. In all these cases
/// nothing is left behind.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_load(
    context: *const rekindle_context,
    plan: *const rekindle_plan_t,
    params: *const rekindle_load_params,
    model: *mut *mut rekindle_model,
) -> rekindle_status {
    guard("rekindle_load", || {
        let (c, p) = (get::<Context, _>(context)?, get::<Plan, _>(plan)?);
        let out = place(model, "model")?;
        // SAFETY: the caller's struct.
        let params = unsafe { read_or_default(params) }?;
        if !matches!(params.on_oom, REKINDLE_ON_OOM_FAIL | REKINDLE_ON_OOM_REPLAN) {
            let text = format!("on_oom is {}, expected REKINDLE_ON_OOM_FAIL or REKINDLE_ON_OOM_REPLAN", params.on_oom);
            return Err(Error::invalid(text).subject("on_oom"));
        }
        let data = UserData(params.progress_user_data);
        // SAFETY: the host's function and its own pointer.
        let mut call = params.progress.map(|report| move |done: f32| unsafe { report(data.get(), done) } == 0);
        let load = LoadParams {
            progress: call.as_mut().map(|f| f as &mut dyn FnMut(f32) -> bool),
            check_tensors: params.check_tensors != 0,
            mlock: params.mlock != 0,
            no_cuda_graphs: params.no_cuda_graphs != 0,
            one_by_one: false,
            replan: params.on_oom == REKINDLE_ON_OOM_REPLAN,
        };
        let handle = create(Model::load(&c, &p, load)?)?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// Destroys a model; pointers to its logits become invalid. A call that is still using it, in another thread or around
/// a callback that calls this, goes on as if nothing had happened, and the memory is freed at its end. NULL is
/// allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rekindle_model_destroy(model: *mut rekindle_model) -> rekindle_status {
    guard("rekindle_model_destroy", || destroy::<Model, _>(model))
}

/// The description of a model, and the sizes that it was loaded with.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_model_info {
    /// sizeof(rekindle_model_info), set by the caller.
    pub struct_size: u32,
    /// Logits per row.
    pub n_vocab: u32,
    pub n_embd: u32,
    pub n_layer: u32,
    pub n_head: u32,
    pub n_head_kv: u32,
    pub n_ctx: u32,
    pub n_ctx_train: u32,
    pub n_batch: u32,
    pub n_ubatch: u32,
    pub n_seq_max: u32,
    pub n_outputs_max: u32,
    /// Elements of the weights in use.
    pub n_params: u64,
    pub architecture: [c_char; 64],
    pub name: [c_char; 128],
    /// Non-zero: rekindle_seq_shift works, and rekindle_seq_remove takes positions from the middle of a sequence. Zero
    /// with models whose layers keep a recurrent state per sequence.
    pub can_shift: u32,
    /// Checkpoints of recurrent states that there is room for; 0 for models without such states.
    pub n_checkpoints: u32,
    /// Tokens that are guessed at most before the model checks them; 0 if no drafts were asked for.
    pub n_draft: u32,
    /// Zero.
    pub reserved: u32,
    /// REKINDLE_POOLING_…: the rows that a batch leaves; DEFAULT: logits.
    pub pooling: i32,
    /// Elements of a row of rekindle_embeddings and rekindle_pooled: n_embd for most models, the number of scores with
    /// REKINDLE_POOLING_RANK.
    pub n_embd_out: u32,
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_model_info {
    const NAME: &'static str = "rekindle_model_info";
}

/// Tells what a model is.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_model_get_info(
    model: *const rekindle_model,
    info: *mut rekindle_model_info,
) -> rekindle_status {
    guard("rekindle_model_get_info", || {
        let m = get::<Model, _>(model)?;
        let i = m.info();
        let value = rekindle_model_info {
            struct_size: 0,
            n_vocab: i.n_vocab,
            n_embd: i.n_embd,
            n_layer: i.n_layer,
            n_head: i.n_head,
            n_head_kv: i.n_head_kv,
            n_ctx: i.n_ctx,
            n_ctx_train: i.n_ctx_train,
            n_batch: i.n_batch,
            n_ubatch: i.n_ubatch,
            n_seq_max: i.n_seq_max,
            n_outputs_max: i.n_outputs_max,
            n_params: i.n_params,
            architecture: chars(&i.architecture),
            name: chars(&i.name),
            can_shift: u32::from(i.can_shift),
            n_checkpoints: i.n_checkpoints,
            n_draft: i.n_draft,
            reserved: 0,
            pooling: pooling_number(i.pooling),
            n_embd_out: i.n_embd_out,
        };
        // SAFETY: the caller's struct.
        unsafe { write(info, &value) }
    })
}

/// Sets the model that makes drafts for another one, which was planned with n_draft and REKINDLE_DRAFT_MODEL. Both may
/// be on other devices and have other contexts; their vocabularies must be the same. `draft` NULL ends it; until then
/// `model` keeps it, also when its handle is destroyed. Its sequences follow those of `model`, so it should serve
/// nobody else; while it is in use, has no room or fails, `model` goes on without drafts. The text stays the same, bit
/// by bit, with any sampler, and drafts are made only while they win time. rekindle_generate makes them; rekindle_step
/// makes none.
///
/// REKINDLE_INVALID_ARGUMENT: `model` was planned otherwise; the vocabularies differ; `draft` is `model`, has a model
/// that makes drafts for it, or leaves no logits. REKINDLE_BUSY.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_model_set_draft(
    model: *mut rekindle_model,
    draft: *mut rekindle_model,
) -> rekindle_status {
    guard("rekindle_model_set_draft", || {
        let m = get::<Model, _>(model)?;
        let draft = (!draft.is_null()).then(|| get::<Model, _>(draft)).transpose()?;
        m.set_draft(draft)
    })
}

/// Gives the plan that a model was loaded by: the one given to rekindle_load, or the one that on_oom led to. On success
/// `*plan` is a handle of its own, which rekindle_plan_destroy ends.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_model_plan(
    model: *const rekindle_model,
    plan: *mut *mut rekindle_plan_t,
) -> rekindle_status {
    guard("rekindle_model_plan", || {
        let m = get::<Model, _>(model)?;
        let out = place(plan, "plan")?;
        let handle = create(m.plan().clone())?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// Bytes on one device, with the meanings that they have in a plan (rekindle_plan_device).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_memory {
    /// sizeof(rekindle_memory), set by the caller.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    pub weights: u64,
    pub mapped: u64,
    pub kv: u64,
    pub compute: u64,
    pub driver: u64,
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_memory {
    const NAME: &'static str = "rekindle_memory";
}

/// Tells the bytes that a model asked device `device` of its context for. They are the plan's bytes, no more and no
/// less.
///
/// REKINDLE_INVALID_ARGUMENT: there is no such device.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_model_memory(
    model: *const rekindle_model,
    device: u32,
    memory: *mut rekindle_memory,
) -> rekindle_status {
    guard("rekindle_model_memory", || {
        let m = get::<Model, _>(model)?.memory(device)?;
        let value = rekindle_memory {
            struct_size: 0,
            reserved: 0,
            weights: m.weights,
            mapped: m.mapped,
            kv: m.kv,
            compute: m.compute,
            driver: m.driver,
        };
        // SAFETY: the caller's struct.
        unsafe { write(memory, &value) }
    })
}

/// Counters since the load or the last reset. Times in microseconds.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_perf {
    /// sizeof(rekindle_perf), set by the caller.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Tokens that came in batches of more than one token, and those that came singly. Of steps the latter are those
    /// that generations have said, several at once where grammars force them.
    pub n_prompt_tokens: u64,
    pub n_decode_tokens: u64,
    /// The time until rekindle_load returned.
    pub load_us: u64,
    pub prompt_us: u64,
    pub decode_us: u64,
    pub sample_us: u64,
    /// Tokens that were guessed, and those of them that were right. The latter count as tokens that
    /// came singly, too.
    pub n_drafted: u64,
    pub n_draft_agreed: u64,
    /// Tokens of generations that were decoded without a guess, because guesses had lost more time than they won.
    pub n_draft_off: u64,
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_perf {
    const NAME: &'static str = "rekindle_perf";
}

/// Gives a model's counters.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_model_get_perf(
    model: *const rekindle_model,
    perf: *mut rekindle_perf,
) -> rekindle_status {
    guard("rekindle_model_get_perf", || {
        let p = get::<Model, _>(model)?.perf();
        let value = rekindle_perf {
            struct_size: 0,
            reserved: 0,
            n_prompt_tokens: p.n_prompt_tokens,
            n_decode_tokens: p.n_decode_tokens,
            load_us: p.load_us,
            prompt_us: p.prompt_us,
            decode_us: p.decode_us,
            sample_us: p.sample_us,
            n_drafted: p.n_drafted,
            n_draft_agreed: p.n_draft_agreed,
            n_draft_off: p.n_draft_off,
        };
        // SAFETY: the caller's struct.
        unsafe { write(perf, &value) }
    })
}

/// Sets a model's counters to zero, except for the time of its load.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rekindle_model_reset_perf(model: *mut rekindle_model) -> rekindle_status {
    guard("rekindle_model_reset_perf", || {
        get::<Model, _>(model)?.perf_reset();
        Ok(())
    })
}

/// Makes the rekindle_decode or rekindle_generate that runs on this model at this moment end soon with
/// REKINDLE_CANCELLED. If none runs, it does nothing. It may be called from any thread, also from a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rekindle_cancel(model: *const rekindle_model) -> rekindle_status {
    guard("rekindle_cancel", || {
        get::<Model, _>(model)?.cancel();
        Ok(())
    })
}
