//! A request: the caller's parameters, checked and completed in the same way for every estimator.

use std::sync::Arc;

use super::arenas::Sizing;
use super::batch;
use super::params::{DraftSource, MAX_CHECKPOINTS, MAX_DRAFT, MAX_SEQUENCES, Params, Source};
use crate::arch::{self, BatchDefaults};
use crate::context::Context;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::graph::Limits;
use crate::quant::Type;

/// The share of a device that may be used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Site {
    /// Bytes for the arenas: those that are free, less `kept`.
    pub room: u64,
    /// Bytes that the driver takes, and bytes that are to stay free.
    pub kept: u64,
    pub max_layers: u32,
}

impl Site {
    pub fn takes_layers(&self) -> bool {
        self.max_layers > 0
    }
}

/// Checkpoints per sequence, if the caller does not say it. A turn of a chat makes up to three: where the prompt
/// begins, a little before its end, and at its end. The fourth is that of the turn before.
const CHECKPOINTS: u32 = 4;
/// With many sequences, checkpoints are no more than these by default.
const MOST_BY_DEFAULT: u32 = 16;

/// Everything that a plan is made from.
pub(super) struct Request<'a> {
    pub context: &'a Arc<Context>,
    pub file: &'a Arc<Gguf>,
    pub params: &'a Params,
    pub architecture: String,
    pub n_ctx_train: u32,
    /// The caller's n_ctx, else the model's.
    pub n_ctx: u32,
    pub batch: BatchDefaults,
    pub batch_source: Source,
    pub n_seq_max: u32,
    pub n_checkpoints: u32,
    pub n_draft: u32,
    pub n_outputs_max: u32,
    /// Per device of the context.
    pub sites: Vec<Site>,
}

impl<'a> Request<'a> {
    pub fn new(context: &'a Arc<Context>, file: &'a Arc<Gguf>, params: &'a Params) -> Result<Request<'a>> {
        let architecture = arch::architecture(file)?.to_owned();
        let n_ctx_train = arch::n_ctx_train(file)?;
        let n_seq_max = params.n_seq_max.max(1);
        let bad = |field: &str, value: u32, expected: String| {
            Err(Error::invalid(format!("{field} is {value}, expected {expected}")).subject(field))
        };
        if n_seq_max > MAX_SEQUENCES {
            return bad("n_seq_max", n_seq_max, format!("at most {MAX_SEQUENCES}"));
        }
        let n_ctx = match params.n_ctx {
            0 if arch::is_encoder(&architecture) => batch::encoder_context(params, n_ctx_train),
            0 => n_ctx_train,
            n => n,
        };
        if n_ctx > i32::MAX as u32 {
            return bad("n_ctx", n_ctx, format!("at most {}", i32::MAX));
        }
        if n_seq_max > n_ctx {
            return bad("n_seq_max", n_seq_max, format!("at most the {n_ctx} tokens of context"));
        }
        let n_checkpoints = match params.n_checkpoints {
            Some(n) if n > MAX_CHECKPOINTS => {
                return bad("n_checkpoints", n, format!("at most {MAX_CHECKPOINTS}"));
            }
            Some(n) => n,
            None => (CHECKPOINTS * n_seq_max).min(MOST_BY_DEFAULT),
        };
        let (batch, batch_source) = batch::choose(&architecture, params, n_ctx, n_ctx_train)?;
        let n_draft = params.n_draft;
        if n_draft > MAX_DRAFT {
            return bad("n_draft", n_draft, format!("at most {MAX_DRAFT}"));
        }
        // A draft is checked in one batch, with the token before it.
        if n_draft >= batch.n_batch {
            return bad("n_draft", n_draft, format!("less than the {} tokens of a batch", batch.n_batch));
        }
        let asked = if params.n_outputs_max > 0 { params.n_outputs_max } else { n_seq_max.min(batch.n_batch) };
        let n_outputs_max = if n_draft > 0 { asked.max(n_draft + 1) } else { asked };
        if n_outputs_max > batch.n_batch {
            return bad("n_outputs_max", n_outputs_max, format!("at most a batch's {} tokens", batch.n_batch));
        }
        if !(params.margin == 0.0 || (1.0..=100.0).contains(&params.margin)) {
            return Err(Error::invalid(format!("margin is {}, expected 1 to 100", params.margin)).subject("margin"));
        }
        let sites = sites(context.devices(), params)?;
        Ok(Request {
            context,
            file,
            params,
            architecture,
            n_ctx_train,
            n_ctx,
            batch,
            batch_source,
            n_seq_max,
            n_checkpoints,
            n_draft,
            n_outputs_max,
            sites,
        })
    }

    /// True if the caller leaves it to the planner how much of each device stays free.
    pub fn spares(&self) -> bool {
        self.params.reserve_bytes == 0 && self.params.limits.iter().all(|l| l.reserve_bytes == 0)
    }

    /// True if the model's prediction layer is to make drafts.
    pub fn predicts(&self) -> bool {
        self.n_draft > 0 && self.params.draft_source == DraftSource::Layer
    }

    /// The shortest context that holds what is asked for: a token of each sequence, a batch with all rows of logits.
    pub fn least_n_ctx(&self) -> u32 {
        self.n_seq_max.max(self.n_outputs_max)
    }

    /// The largest sizes of the graph's dimensions. A micro-batch asks for at most n_ubatch rows, but a batch's rows
    /// stay until the next call.
    pub fn limits(&self) -> Limits {
        Limits { n_tokens: self.batch.n_ubatch as usize, n_outputs: self.n_outputs_max as usize }
    }

    /// The choices that decide sizes besides the graph, with these types of the KV cache.
    pub fn sizing(&self, (type_k, type_v): (Type, Type)) -> Sizing {
        let (weights, n_threads) = (self.params.weights, self.context.n_threads());
        Sizing {
            weights,
            type_k,
            type_v,
            n_threads,
            n_seq_max: self.n_seq_max,
            n_checkpoints: self.n_checkpoints,
            n_draft: self.n_draft,
            n_batch: self.batch.n_batch,
        }
    }

    /// The dies that may compute layers, a bit each; the CPU alone, if there are none.
    pub fn dies_or_cpu(&self) -> u32 {
        let cpu = self.context.inventory().cpu();
        let takes = self.sites[..cpu].iter().enumerate().filter(|(_, s)| s.takes_layers());
        let dies = takes.fold(0, |mask, (i, _)| mask | 1 << i);
        if dies == 0 { 1 << cpu } else { dies }
    }
}

fn sites(devices: &[Device], params: &Params) -> Result<Vec<Site>> {
    let mut sites: Vec<Site> = devices
        .iter()
        .map(|d| Site {
            room: 0,
            kept: d.driver_bytes.saturating_add(params.reserve_bytes),
            max_layers: if d.takes_layers { u32::MAX } else { 0 },
        })
        .collect();
    for (i, l) in params.limits.iter().enumerate() {
        let Some(site) = sites.get_mut(l.device as usize) else {
            let text =
                format!("limits[{i}].device is {}, the context has devices 0 to {}", l.device, devices.len() - 1);
            return Err(Error::invalid(text).subject("limits"));
        };
        if params.limits[..i].iter().any(|other| other.device == l.device) {
            return Err(
                Error::invalid(format!("limits[{i}]: device {} was limited before", l.device)).subject("limits")
            );
        }
        let total = devices[l.device as usize].total_bytes;
        if l.reserve_bytes > total {
            let text = format!(
                "limits[{i}].reserve_bytes is {}, more than the {total} bytes of device {}",
                l.reserve_bytes, l.device
            );
            return Err(Error::invalid(text).subject("limits"));
        }
        site.kept = site.kept.saturating_add(l.reserve_bytes);
        site.max_layers = site.max_layers.min(l.max_layers.unwrap_or(u32::MAX));
    }
    for (site, device) in sites.iter_mut().zip(devices) {
        site.room = device.free_bytes.saturating_sub(site.kept);
    }
    if !sites.iter().any(Site::takes_layers) {
        return Err(Error::invalid("no device is left that may compute layers").subject("limits"));
    }
    Ok(sites)
}
