//! From a request to a plan.

use std::sync::{Arc, OnceLock};

use super::estimator::Estimator;
use super::family::Family;
use super::params::{DeviceLimit, DraftSource, EstimatorKind, Params, Source};
use super::report::Plan;
use super::request::Request;
use super::search::Model;
use crate::arch::PoolBy;
use crate::context::Context;
use crate::device::Kind;
use crate::error::{Error, Result, Status};
use crate::gguf::Gguf;
use crate::graph::{Pooling, StateShape};

impl Plan {
    /// Plans `file` on the context's devices. A model that does not fit gives a plan with `fits` false and each
    /// device's shortfall.
    ///
    /// # Errors
    /// `Unsupported` for a tensor type that cannot be computed with, `BadFile` for a file whose keys or tensors are
    /// wrong, `InvalidArgument` for contradicting parameters.
    pub fn new(context: &Arc<Context>, file: &Arc<Gguf>, params: &Params) -> Result<Plan> {
        let r = Request::new(context, file, params)?;
        let estimator = estimator(&r)?;
        let e = estimator.estimate(&r)?;
        let name = match file.get_str("general.name") {
            Ok(Some(name)) if !name.is_empty() => name.to_owned(),
            _ => std::path::Path::new(file.path())
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default(),
        };
        if let Some(most) = e.exact.as_ref().and_then(|x| x.graph.n_ctx_most).filter(|most| e.n_ctx > *most) {
            return Err(Error::unsupported(format!(
                "n_ctx is {}, expected at most {most}: in longer contexts architecture '{}' chooses what a token sees, \
                 by an indexer that has no operation here",
                e.n_ctx, r.architecture
            ))
            .subject("n_ctx"));
        }
        // The context may have been limited to what fits.
        let batch = r.batch.within(e.n_ctx);
        let mut reasons = context.inventory().notes.clone();
        reasons.extend(e.reasons);
        let whole_texts = e.exact.as_ref().is_some_and(|x| x.graph.whole_texts);
        if whole_texts {
            reasons.extend(encoder_reasons(&r, batch.n_ubatch));
        }
        if e.n_ctx > r.n_ctx_train && !whole_texts {
            reasons.push(format!(
                "n_ctx {} is more than the {} tokens that the model was trained for",
                e.n_ctx, r.n_ctx_train
            ));
        }
        reasons.push(format!("n_batch {} and n_ubatch {}: {}", batch.n_batch, batch.n_ubatch, r.batch_source.name()));
        let recurrent = e.exact.iter().flat_map(|x| &x.graph.states);
        let mut recurrent: Vec<u32> =
            recurrent.filter(|s| matches!(s.shape, StateShape::Recurrent(_))).map(|s| s.layer).collect();
        recurrent.dedup();
        let n_checkpoints = if recurrent.is_empty() { 0 } else { r.n_checkpoints };
        if n_checkpoints > 0 {
            reasons.push(checkpoints_reason(&r));
        }
        if r.n_draft > 0 {
            reasons.push(draft_reason(&r));
        }
        let pooling = e.exact.as_ref().and_then(|x| x.graph.pooling);
        if let Some(pooling) = pooling {
            reasons.push(pooling_reason(&r, pooling));
        }
        Ok(Plan {
            architecture: r.architecture.clone(),
            name,
            n_layer: e.n_layer,
            n_ctx: e.n_ctx,
            n_ctx_source: e.n_ctx_source,
            n_ctx_train: r.n_ctx_train,
            n_batch: batch.n_batch,
            n_ubatch: batch.n_ubatch,
            batch_source: r.batch_source,
            n_seq_max: r.n_seq_max,
            n_outputs_max: r.n_outputs_max,
            n_recurrent_layers: recurrent.len() as u32,
            n_checkpoints,
            n_draft: r.n_draft,
            draft_source: params.draft_source,
            pooling,
            type_k: e.type_k,
            type_v: e.type_v,
            n_threads: context.n_threads(),
            objective: params.objective,
            estimator: estimator.name(),
            fits: e.fits,
            devices: e.devices,
            layers: e.layers,
            reasons,
            prediction: e.prediction,
            remedies: OnceLock::new(),
            params: params.clone(),
            context: context.clone(),
            file: file.clone(),
            exact: e.exact,
        })
    }

    /// Plans anew after a load ran out of a die's memory, with the bytes that turned out to be there: `e` names the die
    /// and the bytes that its arenas could have had together. `None` if it does not, or if nothing fits then.
    pub(crate) fn with_less(&self, e: &Error) -> Result<Option<Plan>> {
        let die = |d: &u32| self.context.devices()[*d as usize].kind == Kind::Cuda;
        // Only allocations of arenas say how much there was.
        let Some(device) = e.detail.device.filter(die).filter(|_| e.detail.needed > 0) else { return Ok(None) };
        let d = &self.context.devices()[device as usize];
        let promised = d.free_bytes.saturating_sub(d.driver_bytes).saturating_sub(self.params.reserve_bytes);
        let mut params = self.params.clone();
        let reserve_bytes = promised.saturating_sub(e.detail.available).min(d.total_bytes);
        match params.limits.iter_mut().find(|l| l.device == device) {
            Some(limit) if limit.reserve_bytes >= reserve_bytes => return Ok(None),
            Some(limit) => limit.reserve_bytes = reserve_bytes,
            None => params.limits.push(DeviceLimit { device, reserve_bytes, max_layers: None }),
        }
        Plan::new(&self.context, &self.file, &params).map(|plan| Some(plan).filter(|p| p.fits))
    }
}

/// The estimator for a request.
///
/// # Errors
/// `Unsupported` if measuring is asked for and the architecture has no graph; the file's errors otherwise.
fn estimator(r: &Request<'_>) -> Result<Box<dyn Estimator>> {
    // Formulas know nothing of these.
    let measured = match (r.params.placements.is_empty(), r.file.adapters().is_empty()) {
        (false, _) => Some("placements"),
        (true, false) => Some("adapters"),
        (true, true) => None,
    };
    let open = measured.is_none();
    match (r.params.estimator, measured) {
        (EstimatorKind::Family, None) => return Ok(Box::new(Family { unmeasured: None })),
        (EstimatorKind::Family, Some(what)) => {
            return Err(Error::unsupported(format!("{what} need a plan that is measured")).subject(what));
        }
        _ => {}
    }
    let formulas = r.params.estimator == EstimatorKind::Auto && open;
    match Model::new(r) {
        Ok(m) => Ok(Box::new(m)),
        Err(e) if e.status == Status::Unsupported && formulas => Ok(Box::new(Family { unmeasured: Some(e.message) })),
        Err(e) => Err(e),
    }
}

/// The reason for what a draft takes.
fn draft_reason(r: &Request<'_>) -> String {
    let what = match r.params.draft_source {
        DraftSource::Layer => "the output's device holds the prediction layer, its KV cache, and",
        DraftSource::Text => "guesses come from the text so far, and there are",
        DraftSource::Model => "guesses come from a second model, and there are",
    };
    format!("n_draft {}: {}; {what} {} rows of logits", r.n_draft, Source::Caller.name(), r.n_outputs_max)
}

/// The reasons for what an encoder takes, and for its device.
fn encoder_reasons(r: &Request<'_>, n_ubatch: u32) -> Vec<String> {
    let mut out = vec![format!(
        "an encoder: tokens see their whole text, so there is no KV cache; a text has up to n_ubatch {n_ubatch} tokens"
    )];
    if r.context.devices().iter().any(|d| d.kind == Kind::Cuda) {
        out.push("layers on the CPU: dies have no kernels for attention over whole texts".to_owned());
    }
    out
}

/// The reason for the rows that are left in place of logits.
fn pooling_reason(r: &Request<'_>, pooling: Pooling) -> String {
    let source = if matches!(r.params.pooling, PoolBy::Caller(_)) { Source::Caller } else { Source::File };
    format!("pooling {}: {}; no logits are left, and no output matrix is loaded", pooling.name(), source.name())
}

/// The reason for the number of checkpoints.
fn checkpoints_reason(r: &Request<'_>) -> String {
    let source = if r.params.n_checkpoints.is_some() { Source::Caller } else { Source::Global };
    format!("n_checkpoints {}: {}; a sequence that is cut goes on from the last one", r.n_checkpoints, source.name())
}
