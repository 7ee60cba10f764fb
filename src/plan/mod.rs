//! The plan: what goes where, and how many bytes each device will be asked for.
//!
//! Everything is measured from the graph that will run: weights from the file's directory, the KV cache from the layers' shapes,
//! the compute arena from the lifetimes of the activations at the largest batch.

mod batch;
#[allow(dead_code)]
mod family;
mod json;
mod measure;
mod text;

use std::sync::Arc;

pub use measure::{Copies, KvPlaces, Measured};

use crate::arch::{self, Hparams};
use crate::device::Kind;
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::graph::{Graph, Limits};
use crate::quant::Type;
use crate::session::Context;

/// Where a choice came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Caller,
    Family,
    Global,
    /// The model's own key.
    File,
    /// What fits into memory.
    Limited,
}

impl Source {
    pub fn name(self) -> &'static str {
        match self {
            Source::Caller => "caller",
            Source::Family => "family default",
            Source::Global => "global default",
            Source::File => "model file",
            Source::Limited => "what fits",
        }
    }
}

/// Whether the CPU reads weights from the memory map or from a copy in its weights arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weights {
    /// Mapped where the device can read the map.
    #[default]
    Auto,
    Mapped,
    Copied,
}

/// What the caller asks for; zero (or `None`) means: decide for me.
#[derive(Debug, Clone, Default)]
pub struct Params {
    /// Tokens that the KV cache holds, of all sequences together.
    pub n_ctx: u32,
    pub n_seq_max: u32,
    /// Rows of a batch whose logits can be asked for at once; default one per sequence.
    pub n_outputs_max: u32,
    pub n_batch: u32,
    pub n_ubatch: u32,
    pub type_k: Option<Type>,
    pub type_v: Option<Type>,
    pub weights: Weights,
    /// Bytes to leave free on each device.
    pub reserve_bytes: u64,
}

/// Bytes on one device, by arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// The weights arena.
    pub weights: u64,
    /// Weights used straight from the file's memory map; page cache, not the process's own.
    pub mapped: u64,
    /// The KV cache arena.
    pub kv: u64,
    /// The compute arena.
    pub compute: u64,
    /// What the driver takes for itself.
    pub driver: u64,
}

impl Memory {
    /// What the device is asked for: the three arenas and the driver's share.
    pub fn asked(&self) -> u64 {
        [self.weights, self.kv, self.compute, self.driver].into_iter().fold(0, u64::saturating_add)
    }
    /// What must fit into free memory; mapped weights that do not would be read from the disk again and again.
    pub fn needed(&self) -> u64 {
        self.asked().saturating_add(self.mapped)
    }
}

#[derive(Debug, Clone)]
pub struct DevicePlan {
    /// Index in the context's inventory.
    pub device: u32,
    pub memory: Memory,
    /// Before anything is loaded.
    pub free_bytes: u64,
    pub total_bytes: u64,
    pub first_layer: u32,
    pub n_layers: u32,
    pub has_output: bool,
    /// Bytes that are missing; 0 where all fits.
    pub shortfall: u64,
}

#[derive(Debug, Clone)]
pub struct LayerPlan {
    /// `n_layer` stands for the output.
    pub layer: u32,
    pub device: u32,
    pub weights: u64,
    pub kv: u64,
    pub reason: String,
}

/// A plan, and all that loading it needs.
pub struct Plan {
    pub architecture: String,
    /// general.name, or the file's name.
    pub name: String,
    pub n_layer: u32,
    pub n_ctx: u32,
    pub n_ctx_source: Source,
    pub n_ctx_train: u32,
    pub n_batch: u32,
    pub n_ubatch: u32,
    pub batch_source: Source,
    pub n_seq_max: u32,
    pub n_outputs_max: u32,
    pub type_k: Type,
    pub type_v: Type,
    pub n_threads: u32,
    pub estimator: &'static str,
    pub fits: bool,
    pub devices: Vec<DevicePlan>,
    pub layers: Vec<LayerPlan>,
    pub reasons: Vec<String>,
    pub remedies: Vec<String>,
    pub(crate) context: Arc<Context>,
    pub(crate) file: Arc<Gguf>,
    pub(crate) hparams: Hparams,
    pub(crate) graph: Arc<Graph>,
    pub(crate) measured: Measured,
}

const DEFAULT_KV_TYPE: Type = Type::F16;
/// Types that the KV cache can be kept in.
const KV_TYPES: [Type; 3] = [Type::F32, Type::F16, Type::Q8_0];
/// Sequences are told apart in a bit set per cell.
pub const MAX_SEQUENCES: u32 = 256;

impl Plan {
    /// Plans `file` on the context's devices. A model that does not fit gives a plan with `fits` false and each device's shortfall.
    ///
    /// # Errors
    /// `Unsupported` for an architecture or type that cannot be run, `BadFile` for a file whose keys or tensors are wrong,
    /// `InvalidArgument` for contradicting parameters.
    pub fn new(context: &Arc<Context>, file: &Arc<Gguf>, params: &Params) -> Result<Plan> {
        let (hparams, graph) = arch::build(file)?;
        let architecture = arch::architecture(file)?.to_owned();
        for w in &graph.weights {
            if !w.ty.is_supported() {
                let (name, ty) = (&w.name, w.ty.name());
                return Err(Error::unsupported(format!(
                    "{}: tensor '{name}' is of type {ty}, which cannot be computed with",
                    file.path()
                ))
                .subject(name));
            }
        }
        let n_seq_max = params.n_seq_max.max(1);
        if n_seq_max > MAX_SEQUENCES {
            return Err(
                Error::invalid(format!("n_seq_max is {n_seq_max}, expected at most {MAX_SEQUENCES}")).subject("n_seq_max")
            );
        }
        let type_k = kv_type("type_k", params.type_k, &graph, |s| s.head_dim_k)?;
        let type_v = kv_type("type_v", params.type_v, &graph, |s| s.head_dim_v)?;
        let wanted = if params.n_ctx > 0 { params.n_ctx } else { hparams.n_ctx_train };
        if wanted > i32::MAX as u32 {
            return Err(Error::invalid(format!("n_ctx is {wanted}, expected at most {}", i32::MAX)).subject("n_ctx"));
        }
        if params.n_ctx > 0 && n_seq_max > params.n_ctx {
            return Err(Error::invalid(format!("n_seq_max is {n_seq_max}, more than the {wanted} tokens of context"))
                .subject("n_seq_max"));
        }
        let (batch, batch_source) = batch::choose(&architecture, params, wanted)?;
        let n_outputs_max = if params.n_outputs_max > 0 { params.n_outputs_max } else { n_seq_max.min(batch.n_batch) };
        if n_outputs_max > batch.n_batch {
            return Err(Error::invalid(format!(
                "n_outputs_max is {n_outputs_max}, more than a batch's {} tokens",
                batch.n_batch
            ))
            .subject("n_outputs_max"));
        }
        // A micro-batch asks for at most n_ubatch rows, but a batch's rows stay until the next call.
        let limits = Limits { n_tokens: batch.n_ubatch as usize, n_outputs: n_outputs_max as usize };

        let device_of = vec![0; graph.n_layer as usize + 1];
        let copies = Copies { weights: params.weights, type_k, type_v, n_threads: context.n_threads() };
        let measure = |n_ctx: u32| measure::measure(context.devices(), &graph, &device_of, limits, n_ctx, copies);
        let mut n_ctx = wanted;
        let mut n_ctx_source = if params.n_ctx > 0 { Source::Caller } else { Source::File };
        let mut measured = measure(n_ctx)?;
        let room = |m: &Measured| {
            m.memory.iter().zip(context.devices()).all(|(m, d)| m.needed() <= d.free_bytes.saturating_sub(params.reserve_bytes))
        };
        let mut reasons = Vec::new();
        if params.n_ctx == 0 && !room(&measured) {
            // Bytes grow with n_ctx, so the largest that fits is found by halving.
            let (mut low, mut high) = (0, n_ctx);
            while high - low > 1 {
                let mid = low + (high - low) / 2;
                if room(&measure(mid)?) { low = mid } else { high = mid }
            }
            if low >= batch.n_ubatch {
                n_ctx = low;
                n_ctx_source = Source::Limited;
                measured = measure(n_ctx)?;
                reasons.push(format!("n_ctx {n_ctx}: the largest that fits; the model was trained for {}", hparams.n_ctx_train));
            }
        }
        if n_ctx > hparams.n_ctx_train {
            reasons.push(format!("n_ctx {n_ctx} is more than the {} tokens that the model was trained for", hparams.n_ctx_train));
        }
        reasons.push(format!("n_batch {} and n_ubatch {}: {}", batch.n_batch, batch.n_ubatch, batch_source.name()));

        let devices: Vec<DevicePlan> = context
            .devices()
            .iter()
            .zip(&measured.memory)
            .enumerate()
            .map(|(i, (d, m))| DevicePlan {
                device: i as u32,
                memory: *m,
                free_bytes: d.free_bytes,
                total_bytes: d.total_bytes,
                first_layer: 0,
                n_layers: graph.n_layer,
                has_output: true,
                shortfall: m.needed().saturating_sub(d.free_bytes.saturating_sub(params.reserve_bytes)),
            })
            .collect();
        let fits = devices.iter().all(|d| d.shortfall == 0);
        let mut remedies = Vec::new();
        if !fits {
            remedies.push(format!("free {} more bytes", devices.iter().map(|d| d.shortfall).sum::<u64>()));
            let smaller = measure(batch.n_ubatch.min(n_ctx))?;
            if room(&smaller) {
                remedies.push("a smaller n_ctx fits; n_ctx = 0 finds the largest".to_owned());
            }
        }
        let layers = (0..=graph.n_layer)
            .map(|layer| LayerPlan {
                layer,
                device: 0,
                weights: measured.layer_weights[layer as usize],
                kv: measured.layer_kv.get(layer as usize).copied().unwrap_or(0),
                reason: format!("the only device is the {}", Kind::Cpu.name()),
            })
            .collect();
        let name = match file.get_str("general.name") {
            Ok(Some(name)) if !name.is_empty() => name.to_owned(),
            _ => std::path::Path::new(file.path()).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
        };
        Ok(Plan {
            architecture,
            name,
            n_layer: graph.n_layer,
            n_ctx,
            n_ctx_source,
            n_ctx_train: hparams.n_ctx_train,
            n_batch: batch.n_batch,
            n_ubatch: batch.n_ubatch,
            batch_source,
            n_seq_max,
            n_outputs_max,
            type_k,
            type_v,
            n_threads: context.n_threads(),
            estimator: "measured",
            fits,
            devices,
            layers,
            reasons,
            remedies,
            context: context.clone(),
            file: file.clone(),
            hparams,
            graph: Arc::new(graph),
            measured,
        })
    }
}

fn kv_type(field: &str, asked: Option<Type>, graph: &Graph, len: impl Fn(&crate::graph::KvShape) -> usize) -> Result<Type> {
    let ty = asked.unwrap_or(DEFAULT_KV_TYPE);
    if !KV_TYPES.contains(&ty) {
        return Err(Error::unsupported(format!("{field} is {}, expected F32, F16 or Q8_0", ty.name())).subject(field));
    }
    if let Some(n) = graph.kv.iter().map(len).find(|n| n % ty.block_len() != 0) {
        return Err(Error::unsupported(format!(
            "{field} is {}, which needs heads of a multiple of {}; this model's have length {n}",
            ty.name(),
            ty.block_len()
        ))
        .subject(field));
    }
    Ok(ty)
}
