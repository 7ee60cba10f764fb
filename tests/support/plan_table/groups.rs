//! The table of dies that share layers.

use std::fmt::{self, Write};

use super::cells;
use super::models::Model;
use rekindle::plan::{Params, Plan};
use rekindle::quant::Type;

/// Dies, and dies of a group; 0: layers are whole.
const WAYS: [(usize, u32); 5] = [(2, 0), (2, 2), (4, 0), (4, 2), (4, 4)];

const TEXT: &str = "
## Dies that share layers, at 4096 tokens

With `n_group` the dies of a group compute each layer together. With four dies and groups of two, two groups stand
behind each other. `shared` are the layers that a group shares; the others are whole on its first die. The speeds are
those of the same cost model, with 10 us and the bytes for each exchange, as if all dies had links of 8 GB/s; where sums
go by way of the host it is 25 us.

| model | dies | n_group | shared | MiB per die | GiB | tokens/s |
|---|--:|--:|--:|---|--:|---|
";

pub fn groups(out: &mut String, models: &[&Model]) -> fmt::Result {
    out.push_str(TEXT);
    for model in models {
        for (n_dies, n_group) in WAYS {
            let params = Params { n_group, ..cells::measured(4096, Type::F16) };
            let plan = cells::plan_linked(n_dies, &model.file, &params);
            let figures = match cells::fits_groups(&plan) {
                true => {
                    format!("{} | {} | {}", cells::parts(&plan), cells::gib(cells::total(&plan)), cells::speed(&plan))
                }
                false => "does not fit | – | –".to_owned(),
            };
            let n_group = if n_group == 0 { "–".to_owned() } else { n_group.to_string() };
            writeln!(out, "| {} | {n_dies} | {n_group} | {} | {figures} |", model.name, shared(&plan))?;
        }
    }
    Ok(())
}

fn shared(plan: &Plan) -> String {
    let n = plan.layers.iter().filter(|l| l.devices.len() > 1).count();
    if n == 0 { "–".to_owned() } else { format!("{n} of {}", plan.n_layer) }
}
