//! Remedies: changes with which a model would fit, or fit better. Each is planned before it is named.

use std::sync::Arc;

use super::ask::{Answer, Question};
use super::params::{Params, Source};
use super::report::Plan;
use super::request::Request;
use super::text::{human, thousands};
use super::why::dies;
use crate::context::Context;
use crate::device::Kind;
use crate::error::Result;
use crate::quant::Type;

/// The largest number of further dies that is suggested.
const MOST_MORE_DIES: usize = 4;

impl Plan {
    /// Changes with which the model would fit, or fit better. They are worked out at the first call.
    pub fn remedies(&self) -> &[String] {
        self.remedies.get_or_init(|| remedies(self))
    }

    /// Number of remedies that were worked out by now: none before the first call of `remedies`.
    pub fn n_known_remedies(&self) -> usize {
        self.remedies.get().map_or(0, Vec::len)
    }
}

fn remedies(plan: &Plan) -> Vec<String> {
    if plan.exact.is_none() {
        return Vec::new();
    }
    let mut out = Vec::new();
    if !plan.fits {
        out.extend(
            plan.devices
                .iter()
                .filter(|d| d.shortfall > 0)
                .map(|d| format!("free {} on device {}", human(d.shortfall), d.device)),
        );
    }
    // A question that cannot be planned is a remedy that does not exist.
    out.extend([context(plan), kv(plan), batch(plan), more_dies(plan)].into_iter().flatten().flatten());
    out
}

/// The plan's parameters, with the context and KV types that were decided.
fn decided(plan: &Plan) -> Params {
    Params { n_ctx: plan.n_ctx, type_k: Some(plan.type_k), type_v: Some(plan.type_v), ..plan.params.clone() }
}

fn uses_dies(plan: &Plan) -> bool {
    let request = Request::new(&plan.context, &plan.file, &plan.params);
    request.is_ok_and(|r| r.dies_or_cpu() != 1 << plan.context.inventory().cpu())
}

fn context(plan: &Plan) -> Result<Option<String>> {
    if plan.n_ctx_source == Source::Limited {
        return Ok(None);
    }
    let answer = Plan::ask(&plan.context, &plan.file, &decided(plan), Question::LargestContext)?;
    let Some(Answer::Tokens(n)) = answer else { return Ok(None) };
    let whole = if n == plan.n_ctx_train { ", all that the model was trained for" } else { "" };
    let on = if uses_dies(plan) { "these dies" } else { "this machine" };
    // If layers are on the CPU, a shorter context on dies alone is worth naming.
    Ok((!plan.fits || n > plan.n_ctx || plan.uses_cpu() && n < plan.n_ctx)
        .then(|| format!("largest context on {on}: {}{whole}", thousands(n))))
}

fn kv(plan: &Plan) -> Result<Option<String>> {
    if plan.type_k == Type::Q8_0 && plan.type_v == Type::Q8_0 {
        return Ok(None);
    }
    let params = Params { type_k: Some(Type::Q8_0), type_v: Some(Type::Q8_0), ..decided(plan) };
    let Ok(Some(Answer::Devices(n))) = Plan::ask(&plan.context, &plan.file, &params, Question::FewestDevices) else {
        return Ok(None);
    };
    let fewer = plan.fits && !plan.uses_cpu() && (n as usize) < plan.n_dies();
    let better = !plan.fits || (uses_dies(plan) && plan.uses_cpu());
    Ok((fewer || better).then(|| {
        if uses_dies(plan) {
            format!("with Q8_0 KV it fits on {}", dies(n as usize, "", "").trim())
        } else {
            "with Q8_0 KV it fits".to_owned()
        }
    }))
}

fn batch(plan: &Plan) -> Result<Option<String>> {
    if plan.fits {
        return Ok(None);
    }
    let answer = Plan::ask(&plan.context, &plan.file, &decided(plan), Question::LargestBatch)?;
    Ok(match answer {
        Some(Answer::Tokens(n)) if n < plan.n_ubatch => Some(format!("with n_batch and n_ubatch {n} it fits")),
        _ => None,
    })
}

/// The same with more dies like the last one.
fn more_dies(plan: &Plan) -> Result<Option<String>> {
    let unlimited = plan.fits && !plan.uses_cpu() && plan.n_ctx == plan.n_ctx_train;
    let Some(die) =
        plan.context.devices().iter().rfind(|d| d.kind == Kind::Cuda && d.takes_layers).filter(|_| !unlimited)
    else {
        return Ok(None);
    };
    let cpu = plan.context.inventory().cpu();
    for more in 1..=MOST_MORE_DIES.min(crate::device::MAX_DEVICES - cpu - 1) {
        let mut inventory = plan.context.inventory().clone();
        for i in 0..more {
            let mut copy = die.clone();
            copy.board += 1 + i as u32 / 2;
            inventory.devices.insert(cpu, copy);
        }
        // Links and limits name devices by number, and the CPU has moved.
        for l in &mut inventory.links {
            for end in [&mut l.a, &mut l.b] {
                *end += if *end as usize == cpu { more as u32 } else { 0 };
            }
        }
        let mut params = decided(plan);
        params.limits.iter_mut().filter(|l| l.device as usize == cpu).for_each(|l| l.device += more as u32);
        let context: Arc<Context> = plan.context.with_inventory(inventory);
        let n = if more == 1 { "one more die".to_owned() } else { format!("{more} more dies") };
        if plan.fits && !plan.uses_cpu() {
            let answer = Plan::ask(&context, &plan.file, &params, Question::LargestContext)?;
            return Ok(match answer {
                Some(Answer::Tokens(tokens)) if tokens > plan.n_ctx => {
                    Some(format!("{n}: a context of {}", thousands(tokens)))
                }
                _ => None,
            });
        }
        if let Some(Answer::Devices(_)) = Plan::ask(&context, &plan.file, &params, Question::FewestDevices)? {
            return Ok(Some(format!("with {n} it fits on dies alone")));
        }
    }
    Ok(None)
}
