//! Two plans of one file, side by side.

use std::fmt::{self, Write};

use super::report::Plan;
use super::text::human;

impl Plan {
    /// The bytes that two plans of one file would ask for, side by side, device by device.
    pub fn compare(&self, other: &Plan) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_comparison(other, &mut out);
        out
    }

    fn write_comparison(&self, other: &Plan, out: &mut String) -> fmt::Result {
        let both = [self, other];
        writeln!(out, "{} ({}, {} layers)", self.name, self.architecture, self.n_layer)?;
        writeln!(out, "{:<26}{:>20}{:>20}", "", self.estimator, other.estimator)?;
        let mut row =
            |name: &str, f: &dyn Fn(&Plan) -> String| writeln!(out, "{name:<26}{:>20}{:>20}", f(both[0]), f(both[1]));
        row("n_ctx", &|p| p.n_ctx.to_string())?;
        row("n_ubatch", &|p| p.n_ubatch.to_string())?;
        row("KV", &|p| format!("{}/{}", p.type_k.name(), p.type_v.name()))?;
        let n = self.devices.len().min(other.devices.len());
        for i in 0..n {
            if both.iter().all(|p| !p.devices[i].computes()) {
                continue;
            }
            let name = |what: &str| format!("device {i} {what}");
            row(&name("layers"), &|p| {
                let d = &p.devices[i];
                format!("{}{}", d.n_layers, if d.has_output { " + output" } else { "" })
            })?;
            row(&name("weights"), &|p| human(p.devices[i].memory.weights + p.devices[i].memory.mapped))?;
            row(&name("KV cache"), &|p| human(p.devices[i].memory.kv - p.devices[i].memory.states))?;
            if both.iter().any(|p| p.devices[i].memory.states > 0) {
                row(&name("states"), &|p| human(p.devices[i].memory.states))?;
            }
            row(&name("compute"), &|p| human(p.devices[i].memory.compute))?;
            row(&name("driver, reserve"), &|p| human(p.devices[i].memory.driver))?;
            row(&name("sum"), &|p| human(p.devices[i].memory.needed()))?;
        }
        let used = |p: &Plan| -> u64 { p.devices.iter().filter(|d| d.computes()).map(|d| d.memory.needed()).sum() };
        row("sum", &|p| human(used(p)))?;
        row("verdict", &|p| if p.fits { "fits" } else { "DOES NOT FIT" }.to_owned())
    }
}
