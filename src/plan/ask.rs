//! Questions about a file on a set of devices, answered by planning.

use std::sync::Arc;

use super::chain::Ranges;
use super::params::Params;
use super::report::Plan;
use super::request::Request;
use super::search::Model;
use crate::context::Context;
use crate::error::Result;
use crate::gguf::Gguf;
use crate::quant::Type;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The longest context, in tokens, that fits; at most what the model was trained for.
    LargestContext,
    /// The largest n_ubatch, in tokens, that fits with the context of the parameters.
    LargestBatch,
    /// The fewest devices that hold the model with the context of the parameters.
    FewestDevices,
    /// The more exact of F16 and Q8_0 for the KV cache that fits with the context of the parameters.
    BestKvType,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Tokens(u32),
    Devices(u32),
    KvType(Type),
}

/// A batch larger than this gains nothing on any device.
const LARGEST_BATCH: u32 = 16384;

impl Plan {
    /// Answers a question about `file` on the context's devices: on the dies alone if some may compute layers, else on
    /// the CPU. `None`: it does not fit in any way.
    ///
    /// # Errors
    /// As for [`Plan::new`]; `Unsupported` for an architecture that cannot be measured.
    pub fn ask(
        context: &Arc<Context>,
        file: &Arc<Gguf>,
        params: &Params,
        question: Question,
    ) -> Result<Option<Answer>> {
        let open = match question {
            Question::BestKvType => Params { type_k: None, type_v: None, ..params.clone() },
            // Batches are cut to a context that is given.
            Question::LargestContext => Params { n_ctx: 0, ..params.clone() },
            _ => params.clone(),
        };
        let r = Request::new(context, file, &open)?;
        let m = Model::new(&r)?;
        let types = m.kv_types(&r)?[0];
        let mask = m.asked(&r);
        Ok(match question {
            Question::LargestContext => largest_context(&r, &m, types)?.map(Answer::Tokens),
            Question::FewestDevices => {
                let units = m.units(&r);
                let chain = Ranges::new(&units, types, r.n_ctx, r.batch.n_ubatch)?;
                chain.fewest(mask)?.map(|n| Answer::Devices(n as u32))
            }
            Question::BestKvType => {
                let units = m.units(&r);
                let fits = |types| -> Result<bool> {
                    let chain = Ranges::new(&units, types, r.n_ctx, r.batch.n_ubatch)?;
                    chain.fits(mask, usize::MAX)
                };
                let mut best = None;
                for types in m.kv_types(&r)? {
                    if best.is_none() && fits(types)? {
                        best = Some(Answer::KvType(types.0));
                    }
                }
                best
            }
            Question::LargestBatch => largest_batch(context, file, params, &m, types)?.map(Answer::Tokens),
        })
    }
}

/// The longest context; where it holds no whole micro-batch, the longest with the batches that it holds.
fn largest_context(r: &Request<'_>, m: &Model, types: (Type, Type)) -> Result<Option<u32>> {
    let longest = m.largest_context(r, &m.units(r), types, m.asked(r), 0, false)?;
    if longest.is_some_and(|n| n >= r.batch.n_ubatch) {
        return Ok(longest.filter(|n| *n >= r.least_n_ctx()));
    }
    let fits = |n_ctx: u32| fits(r.context, r.file, &Params { n_ctx, ..r.params.clone() }, m, types);
    largest(r.least_n_ctx(), r.batch.n_ubatch.min(r.n_ctx), fits)
}

fn largest_batch(
    context: &Arc<Context>,
    file: &Arc<Gguf>,
    params: &Params,
    m: &Model,
    types: (Type, Type),
) -> Result<Option<u32>> {
    let fits = |n: u32| {
        let n_outputs_max = params.n_outputs_max.min(n);
        fits(context, file, &Params { n_batch: n, n_ubatch: n, n_outputs_max, ..params.clone() }, m, types)
    };
    let n_ctx = Request::new(context, file, params)?.n_ctx;
    let least = params.n_seq_max.max(1);
    largest(least, n_ctx.clamp(least, LARGEST_BATCH), fits)
}

/// True if the devices hold the model with these parameters.
fn fits(context: &Arc<Context>, file: &Arc<Gguf>, params: &Params, m: &Model, types: (Type, Type)) -> Result<bool> {
    let r = Request::new(context, file, params)?;
    let units = m.units(&r);
    let chain = Ranges::new(&units, types, r.n_ctx, r.batch.n_ubatch)?;
    chain.fits(m.asked(&r), usize::MAX)
}

/// The largest number from `least` to `most` that fits, if all up to it do.
fn largest(least: u32, most: u32, fits: impl Fn(u32) -> Result<bool>) -> Result<Option<u32>> {
    if least > most || !fits(least)? {
        return Ok(None);
    }
    let (mut low, mut high) = (least, most + 1);
    while high - low > 1 {
        let mid = low + (high - low) / 2;
        if fits(mid)? { low = mid } else { high = mid }
    }
    Ok(Some(low))
}
