//! The sections on single models: what started this, compute memory, the Q8_0 cache, experts on the CPU; and models
//! beside one die and the CPU.

use std::fmt::{Result, Write};

use rekindle::plan::{Params, Plan};
use rekindle::quant::Type;

use super::cells::{self, family, measured};
use super::models::Model;

pub fn highlight(out: &mut String, model: &Model) -> Result {
    let exact = cells::plan(2, &model.file, &measured(4096, Type::F16));
    let formulas = cells::plan(2, &model.file, &family(4096, Type::F16));
    let one = cells::plan(1, &model.file, &family(4096, Type::F16));
    writeln!(out, "\n## {} at 4096 on two dies\n", model.name)?;
    writeln!(out, "| | family, margin 3.5 | measured |\n|---|---|---|")?;
    let mut row =
        |name: &str, f: &dyn Fn(&Plan) -> String| writeln!(out, "| {name} | {} | {} |", f(&formulas), f(&exact));
    row("dies used", &|p| cells::used(p).count().to_string())?;
    row("layers per die", &cells::split)?;
    row("GiB per die", &cells::gib_per_die)?;
    row("GiB together", &|p| format!("**{}**", cells::gib(cells::total(p))))?;
    row("weights + KV + compute + driver or reserve, MiB per die", &cells::parts)?;
    row("tokens/s, predicted", &cells::speed)?;
    writeln!(out, "\nBy the formulas one die holds {} layers, so a second one is taken.", cells::placed(&one))
}

/// The compute buffer that each of several GPUs is charged, in MiB. It is seen on a die so full that every layer stays
/// on the CPU.
fn formula_before_margin(model: &Model, n_ctx: u32, n_batch: u32) -> String {
    let full = Params { n_batch, n_ubatch: 512, margin: 1.0, reserve_bytes: 11 << 30, ..family(n_ctx, Type::F16) };
    let plan = cells::plan(1, &model.file, &full);
    assert_eq!(cells::used(&plan).count(), 0);
    cells::mib(plan.devices[1].memory.compute)
}

pub fn compute(out: &mut String, model: &Model) -> Result {
    writeln!(
        out,
        "
## Compute memory by design

The table is for {} on four dies, with n_ubatch 512 and one row of logits. It has the compute arena of each
die that is used, and the result of the formula for each of several GPUs before it is multiplied by 3.5. The arena
depends on neither the context nor n_batch: it keeps no score matrix of heads x batch x context, nor logits of tokens
that nobody asked for. The working memory that the dies' kernels need is in it. The last die has the row of logits as
well.

| context | n_batch | measured, MiB per die | formula, MiB per GPU |
|--:|--:|---|--:|",
        model.name
    )?;
    for n_ctx in [4096, 16384, 32768, 131_072] {
        for n_batch in [512, 1024, 2048] {
            let params = Params { n_batch, n_ubatch: 512, n_outputs_max: 1, ..measured(n_ctx, Type::F16) };
            let exact = cells::compute(&cells::plan(4, &model.file, &params));
            writeln!(out, "| {n_ctx} | {n_batch} | {exact} | {} |", formula_before_margin(model, n_ctx, n_batch))?;
        }
    }
    Ok(())
}

pub fn q8_0(out: &mut String, small: &Model, large: &Model) -> Result {
    writeln!(out, "\n## A cache in Q8_0, at 16384 tokens\n")?;
    writeln!(out, "| model | dies | cache | layers | MiB per die | GiB | tokens/s | family: layers | GiB | fits |")?;
    writeln!(out, "|---|--:|---|---|---|--:|---|---|--:|---|")?;
    for (model, n_dies) in [(small, 1), (large, 2)] {
        for kv in [Type::F16, Type::Q8_0] {
            let exact = cells::plan(n_dies, &model.file, &measured(16384, kv));
            let formulas = cells::plan(n_dies, &model.file, &family(16384, kv));
            write!(out, "| {} | {n_dies} | {} | ", model.name, kv.name())?;
            writeln!(out, "{} | {} |", cells::of_measured(&exact, "does not fit"), cells::of_family(&formulas))?;
        }
    }
    Ok(())
}

pub fn experts(out: &mut String, models: &[&Model]) -> Result {
    writeln!(
        out,
        "
## Experts on the CPU, beside one die

If the dies are too small for a mixture of experts, the routed experts of its first layers are on the CPU, of as few
layers as possible. The rest of those layers, attention, router and KV cache, stays on the dies. This is chosen if whole
layers on the CPU are predicted to be slower. The CPU here is one that reads 40 GB/s and computes 400 GFLOPS. It reads
the experts and the token embedding from the mapped file.

| model | context | layers with experts on the CPU | MiB on the die | MiB mapped for the CPU | tokens/s | why |
|---|--:|--:|---|--:|--:|---|"
    )?;
    for model in models {
        for n_ctx in super::CONTEXTS {
            let p = cells::plan_with_cpu(1, &model.file, &measured(n_ctx, Type::F16));
            let why = p.reasons.iter().find(|r| r.starts_with("experts of")).map_or("all fit on the die", |r| r);
            let (n, mapped) = (p.n_cpu_experts(), cells::mib(p.devices[1].memory.mapped));
            write!(out, "| {} | {n_ctx} | {n} of {} | {} | {mapped} |", model.name, p.n_layer, cells::parts(&p))?;
            writeln!(out, " {} | {why} |", cells::speed(&p))?;
        }
    }
    Ok(())
}

/// Groups of dies at 4096 tokens, beside the same dies with layers that are whole.
pub fn groups(out: &mut String, models: &[&Model]) -> Result {
    writeln!(
        out,
        "
## Groups of dies that share layers, at 4096 tokens

Of a group (`n_group`) each die has a part of every layer that can be cut, and its part of that layer's KV cache. Bytes
are exact as everywhere. The sums of two dies on one board go from die to die. The output is on the last group's first
die, as a whole. Tokens per second are those at an empty … at a full context.

| model | dies | groups of | layers shared | MiB per die | GiB | tokens/s | with whole layers | why layers are whole |
|---|--:|--:|--:|---|--:|--:|--:|---|"
    )?;
    for model in models {
        for (n_dies, n_group) in [(2, 2), (4, 2), (4, 4)] {
            let whole = cells::plan(n_dies, &model.file, &measured(4096, Type::F16));
            let params = Params { n_group, ..measured(4096, Type::F16) };
            let p = cells::plan(n_dies, &model.file, &params);
            let before = if cells::fits(&whole) { cells::speed(&whole) } else { "does not fit".to_owned() };
            let shared = p.layers.iter().filter(|l| l.devices.len() > 1).count();
            let why = p.reasons.iter().find_map(|r| r.split_once(" whole: ")).map_or("–", |(_, why)| why);
            write!(out, "| {} | {n_dies} | {n_group} | {shared} of {} |", model.name, p.n_layer)?;
            match p.fits && p.n_cpu_layers() == 0 {
                true => {
                    write!(out, " {} | {} | {} |", cells::parts(&p), cells::gib(cells::total(&p)), cells::speed(&p))?
                }
                false => write!(out, " does not fit | – | – |")?,
            }
            writeln!(out, " {before} | {why} |")?;
        }
    }
    Ok(())
}

pub fn beside_cpu(out: &mut String, models: &[Model]) -> Result {
    writeln!(
        out,
        "
### The same on one die and the CPU

The CPU is the one described above. The output counts as a layer. The CPU computes whole layers, or the routed experts
of some layers alone, whichever is predicted to be faster. It reads their weights, and the embeddings, from the mapped
file; KV cache and states of its layers are in its memory.

| model | context | layers on the die | experts on the CPU | MiB on the die | KV and states on the CPU | MiB mapped \
for the CPU | tokens/s |
|---|--:|--:|--:|---|--:|--:|--:|"
    )?;
    for model in models {
        for n_ctx in super::CONTEXTS {
            let p = cells::plan_with_cpu(1, &model.file, &measured(n_ctx, Type::F16));
            let (experts, mapped) = (p.n_cpu_experts(), cells::mib(p.devices[1].memory.mapped));
            let die = if cells::used(&p).count() == 0 { "nothing".to_owned() } else { cells::parts(&p) };
            write!(out, "| {} | {n_ctx} | {} | {experts} of {} |", model.name, cells::placed(&p), p.n_layer)?;
            writeln!(out, " {die} | {} | {mapped} | {} |", cells::cpu_kv(&p), cells::speed(&p))?;
        }
    }
    Ok(())
}
