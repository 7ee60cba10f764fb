//! Remedies: changes with which a model would fit, or fit better. Each is planned before it is named.
//!
//! A remedy begins with the options of the command-line tool that bring it about, if there are some: `--ctx 16551: the
//! longest context on these dies`. Those that keep the context come first.

use std::sync::Arc;

use super::ask::{Answer, Question};
use super::params::{Params, Source};
use super::report::Plan;
use super::request::Request;
use super::text::human;
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
    // A question that cannot be planned is a remedy that does not exist.
    let found = [kv(plan), with_cpu(plan), more_dies(plan), context(plan), shorter_kv(plan), batch(plan)];
    let mut out: Vec<String> = found.into_iter().flatten().flatten().collect();
    if !plan.fits {
        let short = plan.devices.iter().filter(|d| d.shortfall > 0);
        out.extend(short.map(|d| format!("free {} on device {}", human(d.shortfall), d.device)));
    }
    out
}

/// The plan's parameters, with the context and KV types that were decided.
fn decided(plan: &Plan) -> Params {
    Params { n_ctx: plan.n_ctx, type_k: Some(plan.type_k), type_v: Some(plan.type_v), ..plan.params.clone() }
}

/// The same with a cache in Q8_0; `None` if it is that already.
fn in_q8_0(plan: &Plan) -> Option<Params> {
    let q8_0 = Some(Type::Q8_0);
    let other = plan.type_k != Type::Q8_0 || plan.type_v != Type::Q8_0;
    other.then(|| Params { type_k: q8_0, type_v: q8_0, ..decided(plan) })
}

fn uses_dies(plan: &Plan) -> bool {
    let request = Request::new(&plan.context, &plan.file, &plan.params);
    request.is_ok_and(|r| r.dies_or_cpu() != 1 << plan.context.inventory().cpu())
}

fn longest(plan: &Plan, params: &Params) -> Result<Option<u32>> {
    let answer = Plan::ask(&plan.context, &plan.file, params, Question::LargestContext)?;
    Ok(answer.and_then(|a| if let Answer::Tokens(n) = a { Some(n) } else { None }))
}

fn context(plan: &Plan) -> Result<Option<String>> {
    if plan.n_ctx_source == Source::Limited {
        return Ok(None);
    }
    let Some(n) = longest(plan, &decided(plan))? else { return Ok(None) };
    let whole = if n == plan.n_ctx_train { ", all that the model was trained for" } else { "" };
    let on = if uses_dies(plan) { "these dies" } else { "this machine" };
    // If layers are on the CPU, a shorter context on dies alone is worth naming.
    let shorter = n < plan.n_ctx && uses_dies(plan) && plan.uses_cpu();
    Ok((!plan.fits || n > plan.n_ctx || shorter).then(|| format!("--ctx {n}: the largest context on {on}{whole}")))
}

fn kv(plan: &Plan) -> Result<Option<String>> {
    let Some(params) = in_q8_0(plan) else { return Ok(None) };
    let Ok(Some(Answer::Devices(n))) = Plan::ask(&plan.context, &plan.file, &params, Question::FewestDevices) else {
        return Ok(None);
    };
    let fewer = plan.fits && !plan.uses_cpu() && (n as usize) < plan.n_dies();
    let better = !plan.fits || (uses_dies(plan) && plan.uses_cpu());
    Ok((fewer || better).then(|| {
        let on = dies(n as usize, "", "");
        if uses_dies(plan) { format!("--kv q8_0: it fits on {}", on.trim()) } else { "--kv q8_0: it fits".to_owned() }
    }))
}

/// If a cache in Q8_0 does not hold the context, the context that it does hold.
fn shorter_kv(plan: &Plan) -> Result<Option<String>> {
    let Some(params) = in_q8_0(plan).filter(|_| !plan.fits) else { return Ok(None) };
    let n = longest(plan, &params)?.filter(|n| *n < plan.n_ctx);
    Ok(n.map(|n| format!("--kv q8_0 --ctx {n}: the largest context with a smaller cache")))
}

/// The CPU beside the dies, if the caller left it out.
fn with_cpu(plan: &Plan) -> Result<Option<String>> {
    let mut inventory = plan.context.inventory().clone();
    let cpu = inventory.cpu();
    if plan.fits || inventory.devices[cpu].takes_layers {
        return Ok(None);
    }
    inventory.devices[cpu].takes_layers = true;
    let params = Params { n_ctx: plan.n_ctx, ..plan.params.clone() };
    let mixed = Plan::new(&plan.context.with_inventory(inventory), &plan.file, &params)?;
    Ok(mixed.fits.then(|| {
        let speed = mixed.prediction.map_or(String::new(), |p| format!(", {:.1} tokens/s are predicted", p.decode));
        let what = match (mixed.n_cpu_layers(), mixed.n_cpu_experts()) {
            (0, experts) => format!("the experts of {experts}"),
            (whole, _) => whole.to_string(),
        };
        let text = format!("it fits with {what} of {} layers on the CPU{speed}", plan.n_layer);
        match plan.context.spec() {
            spec if is_names(spec) => format!("--devices {spec},cpu: {text}"),
            _ => format!("the CPU beside the dies: {text}"),
        }
    }))
}

fn batch(plan: &Plan) -> Result<Option<String>> {
    if plan.fits {
        return Ok(None);
    }
    let answer = Plan::ask(&plan.context, &plan.file, &decided(plan), Question::LargestBatch)?;
    Ok(match answer {
        Some(Answer::Tokens(n)) if n < plan.n_ubatch => Some(format!("--batch {n} --ubatch {n}: it fits")),
        _ => None,
    })
}

/// True for a spec of names, to which another can be added.
fn is_names(spec: &str) -> bool {
    !spec.is_empty() && spec != "auto" && !spec.starts_with(['[', '{'])
}

/// The option for `more` dies like the last one, if that one is a described one with a name.
fn spec_with(spec: &str, more: usize) -> Option<String> {
    let mut items: Vec<String> = spec.split(',').map(|s| s.trim().to_owned()).collect();
    let last = items.iter_mut().rfind(|i| *i != "cpu").filter(|i| is_names(i) && !i.starts_with("cuda"))?;
    let (name, count) = last.split_once(':').unwrap_or((last, "1"));
    *last = format!("{name}:{}", count.parse::<usize>().ok()? + more);
    Some(format!("--devices {}", items.join(",")))
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
        let n = spec_with(plan.context.spec(), more).unwrap_or(n);
        if plan.fits && !plan.uses_cpu() {
            let answer = Plan::ask(&context, &plan.file, &params, Question::LargestContext)?;
            return Ok(match answer {
                Some(Answer::Tokens(tokens)) if tokens > plan.n_ctx => Some(format!("{n}: a context of {tokens}")),
                _ => None,
            });
        }
        if let Some(Answer::Devices(_)) = Plan::ask(&context, &plan.file, &params, Question::FewestDevices)? {
            return Ok(Some(format!("{n}: it fits on dies alone")));
        }
    }
    Ok(None)
}
