//! A loaded model: its arenas exactly as planned, the bookkeeping of its KV caches, its vocabulary.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, this_thread};

use super::batch::Bounds;
use super::caches::Caches;
use super::gain::Gain;
use super::hidden::Hidden;
use super::load::{self, LoadParams};
use super::machine::Machine;
use super::perf::{Counters, Perf, since};
use super::slots::{Slots, User};
use crate::context::{Context, LogLevel};
use crate::device::Arena;
use crate::error::{Error, Result, Status};
use crate::gguf::Gguf;
use crate::graph::{Outcome, Pick, Pooling};
use crate::plan::{Exact, Memory, Plan};
use crate::vocab::Vocab;

/// A call that saves or loads a sequence.
pub(super) struct Saves<'a>(&'a AtomicUsize);

impl Drop for Saves<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Facts about a model and the plan that it was loaded by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    pub architecture: String,
    pub name: String,
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
    pub n_params: u64,
    /// False if recurrent layers remember each sequence as a whole, so that no part of it can be moved or taken out.
    pub can_shift: bool,
    pub n_checkpoints: u32,
    /// Tokens of a draft at most; 0: the model makes none.
    pub n_draft: u32,
    /// The rows that a batch leaves in place of logits, if it does.
    pub pooling: Option<Pooling>,
    /// Elements of such a row, or of a token's embedding.
    pub n_embd_out: u32,
    pub n_adapters: u32,
}

/// The part of a model that one call at a time may change.
pub(super) struct State {
    pub machine: Machine,
    pub caches: Caches,
    /// Rows that the last decode left, and the sequence of each.
    pub n_outputs: u32,
    pub row_seqs: Vec<u32>,
    /// The switch of drafts, if the model makes any.
    pub gain: Option<Gain>,
}

/// A loaded model. Calls that only read may run at once; of those that write, a second one gets `Busy`.
pub struct Model {
    // It has pointers into `weights` and `file`. Fields are dropped in their order, so it stands before these.
    pub(super) state: RwLock<State>,
    /// The users of sequences. To be locked after `state`, and never for long.
    pub(super) slots: Mutex<Slots>,
    /// Steps of generations that have computed something.
    pub(super) steps: AtomicU64,
    pub(super) info: ModelInfo,
    /// By device of the context.
    memory: Vec<Memory>,
    pub(super) n_ubatch: usize,
    /// Positions are below it.
    pub(super) n_positions: i32,
    /// The tokens whose rows are left.
    pub(super) pick: Pick,
    /// True for an encoder, whose tokens see a whole text, and which keeps nothing.
    pub(super) whole_texts: bool,
    pub(super) cancelled: AtomicBool,
    pub(super) counters: Counters,
    vocab: OnceLock<Result<Arc<Vocab>>>,
    /// That of saved sequences (`saved`), made at the first one.
    pub(super) fingerprint: OnceLock<u64>,
    /// The thread that saves or loads a sequence, or 0.
    saver: AtomicUsize,
    /// The model that guesses for this one.
    pub(super) second: Mutex<Option<Arc<Model>>>,
    /// Tokens that the file says must not be sampled.
    pub(super) suppressed: Vec<i32>,
    writer: Mutex<()>,
    _weights: Arena,
    file: Arc<Gguf>,
    /// It keeps the context as well.
    plan: Arc<Plan>,
}

impl Model {
    /// Loads a model: allocates just the bytes that `plan` says, and fills them.
    ///
    /// # Errors
    /// `NotFit` for a plan that does not fit, `OutOfMemory`, `Cancelled` by the progress callback, `BadFile` for
    /// tensors with values that are not numbers (if they are checked), `Io` for a file that cannot be read. Nothing is
    /// left behind.
    pub fn load(context: &Arc<Context>, plan: &Arc<Plan>, mut params: LoadParams<'_>) -> Result<Arc<Model>> {
        let start = Instant::now();
        if !Arc::ptr_eq(context, &plan.context) {
            return Err(Error::invalid("the plan was made in another context").subject("plan"));
        }
        let mut plan = Arc::clone(plan);
        let mut tries = if params.replan { 2 * context.devices().len() } else { 0 };
        let loaded = loop {
            let exact = loadable(context, &plan)?;
            match load::fill(context, &plan, exact, &mut params) {
                Ok(loaded) => break loaded,
                Err(e) if tries > 0 && e.status == Status::OutOfMemory => {
                    tries -= 1;
                    let Some(other) = plan.with_less(&e)? else { return Err(e) };
                    context.log(LogLevel::Warn, &format!("{}: planned again: {}", plan.file.path(), e.message));
                    plan = Arc::new(other);
                }
                Err(e) => return Err(e),
            }
        };
        let exact = loadable(context, &plan)?;
        let h = &exact.hparams;
        let n_adapters = plan.file.adapters().len();
        let info = ModelInfo {
            architecture: plan.architecture.clone(),
            name: plan.name.clone(),
            n_vocab: h.n_vocab as u32,
            n_embd: h.n_embd as u32,
            n_layer: h.n_layer,
            n_head: h.first().n_head as u32,
            n_head_kv: h.first().n_head_kv as u32,
            n_ctx: plan.n_ctx,
            n_ctx_train: h.n_ctx_train,
            n_batch: plan.n_batch,
            n_ubatch: plan.n_ubatch,
            n_seq_max: plan.n_seq_max,
            n_outputs_max: plan.n_outputs_max,
            can_shift: plan.n_recurrent_layers == 0 && exact.graph.n_positions().is_none(),
            n_checkpoints: plan.n_checkpoints,
            n_draft: plan.n_draft,
            pooling: exact.graph.pooling,
            n_embd_out: exact.graph.result(Outcome::Embeddings).map_or(0, |v| exact.graph.value(v).cols as u32),
            n_adapters: n_adapters as u32,
            n_params: {
                let own = exact.graph.weights.iter().filter(|w| !plan.file.is_adapters(w));
                own.map(|w| w.ne.iter().product::<u64>()).sum()
            },
        };
        let hidden = exact.graph.draft.as_ref().map(|_| Hidden::new(h.n_embd, plan.n_seq_max));
        let gain = (plan.n_draft > 0).then(|| Gain::new(plan.n_draft as usize));
        let caches = Caches::new(&exact.arenas.caches, plan.n_seq_max, plan.n_draft, hidden, n_adapters)?;
        let suppressed = Vocab::suppressed_in(&plan.file, h.n_vocab as usize)?;
        let counters = Counters::default();
        Counters::add(&counters.load_us, since(start));
        context.log(LogLevel::Info, &format!("{}: loaded {} ({})", plan.file.path(), info.name, info.architecture));
        Ok(Arc::new(Model {
            state: RwLock::new(State { machine: loaded.machine, caches, n_outputs: 0, row_seqs: Vec::new(), gain }),
            steps: AtomicU64::new(0),
            slots: Mutex::new(Slots::new(info.n_seq_max)?),
            info,
            memory: loaded.memory,
            n_ubatch: plan.n_ubatch as usize,
            n_positions: exact.graph.n_positions().and_then(|n| i32::try_from(n).ok()).unwrap_or(i32::MAX),
            pick: exact.graph.pick,
            whole_texts: exact.graph.whole_texts,
            cancelled: AtomicBool::new(false),
            counters,
            vocab: OnceLock::new(),
            fingerprint: OnceLock::new(),
            saver: AtomicUsize::new(0),
            second: Mutex::new(None),
            suppressed,
            writer: Mutex::new(()),
            _weights: loaded.weights,
            file: plan.file.clone(),
            plan,
        }))
    }

    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The plan that it was loaded by: the caller's, or the one that was made when a die had less memory than reported.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The bytes that are really allocated on a device, in the plan's terms.
    ///
    /// # Errors
    /// `InvalidArgument` if the context has no such device.
    pub fn memory(&self, device: u32) -> Result<Memory> {
        self.memory.get(device as usize).copied().ok_or_else(|| {
            Error::invalid(format!("device {device} is out of range, the context has {}", self.memory.len()))
                .subject("device")
        })
    }

    /// The model's tokeniser, read at the first call.
    ///
    /// # Errors
    /// `Unsupported` for a kind that is not known, `BadFile`; decoding token ids works all the same.
    pub fn vocab(&self) -> Result<Arc<Vocab>> {
        self.vocab.get_or_init(|| Vocab::from_gguf(&self.file).map(Arc::new)).clone()
    }

    /// The file that it was loaded from.
    pub fn file(&self) -> &Gguf {
        &self.file
    }

    /// Ends the call that decodes on this model at this moment with `Cancelled`; without one it does nothing.
    pub fn cancel(&self) {
        self.cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    pub fn perf(&self) -> Perf {
        self.counters.get()
    }
    pub fn perf_reset(&self) {
        self.counters.reset();
    }

    /// The right to write.
    ///
    /// # Errors
    /// `Busy` while another call has it, also one that this thread's callback is called from.
    /// Looks at the sequences and results, and waits for a batch that is being computed.
    ///
    /// # Errors
    /// `Busy` within a callback of a call that saves or loads a sequence, which keeps them from changing.
    pub(super) fn look(&self) -> Result<RwLockReadGuard<'_, State>> {
        if self.saver.load(Ordering::Relaxed) == this_thread() {
            let text = "the model's sequences are being saved or loaded by the call that this callback belongs to";
            return Err(Error::new(Status::Busy, text));
        }
        Ok(self.state.read())
    }

    /// Says that this thread saves or loads a sequence, as long as what it gives lives.
    pub(super) fn saves(&self) -> Saves<'_> {
        self.saver.store(this_thread(), Ordering::Relaxed);
        Saves(&self.saver)
    }

    pub(super) fn write(&self) -> Result<MutexGuard<'_, ()>> {
        let busy = || {
            Error::new(Status::Busy, "the model is in use by another call, or by the one that this callback belongs to")
        };
        self.writer.try_lock().ok_or_else(busy)
    }

    /// Gives a sequence to the host, who names it. If it was left idle, it is forgotten first.
    ///
    /// # Errors
    /// `InvalidArgument` if a generation has it.
    pub(super) fn claim(&self, caches: &mut Caches, seq: u32) -> Result<()> {
        let mut slots = self.slots.lock();
        match slots.of(seq) {
            User::Host => {}
            User::Idle(_) => {
                caches.release(seq);
                slots.give(seq, User::Host);
            }
            User::Generation => {
                return Err(Error::invalid(format!("sequence {seq} belongs to a generation")).subject("seq_id"));
            }
        }
        Ok(())
    }

    pub(super) fn bounds(&self) -> Bounds {
        let ModelInfo { n_vocab, n_batch, n_outputs_max, .. } = self.info;
        Bounds { n_vocab, n_batch, n_outputs_max, n_positions: self.n_positions, pick: self.pick }
    }
}

/// The part of a plan that the loader needs.
///
/// # Errors
/// `NotFit`; `Unsupported` for an estimate; `Device` if a layer is on a device that is only described.
fn loadable<'a>(context: &Context, plan: &'a Plan) -> Result<&'a Exact> {
    if let Some(e) = plan.not_fit() {
        return Err(e);
    }
    let Some(exact) = &plan.exact else {
        return Err(Error::unsupported(format!(
            "the plan is an estimate by the family's formulas and cannot be loaded ({})",
            plan.reasons.join("; ")
        ))
        .subject("plan"));
    };
    if let Some(e) = exact.uncomputable(context.devices()) {
        return Err(e.at(plan.file.path()));
    }
    if let Some(device) = exact.placement.devices().find(|d| context.devices()[*d as usize].described) {
        let d = &context.devices()[device as usize];
        let mut e = Error::new(
            Status::Device,
            format!("device {device} ({}) is described, not found: it can be planned for, not loaded", d.name),
        );
        e.detail.device = Some(device);
        return Err(e);
    }
    Ok(exact)
}
