//! The plan as text for people.

use std::fmt::{self, Write};

use super::{DevicePlan, Plan};

const BAR: usize = 40;

/// Bytes as people read them, always with the exact figure's magnitude: `412.5 MiB`.
fn human(bytes: u64) -> String {
    let b = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", b / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", b / 1_048_576.0),
        _ => format!("{:.2} GiB", b / 1_073_741_824.0),
    }
}

/// A bar of the device's total memory: what others use, then each arena, then what stays free.
fn bar(d: &DevicePlan) -> String {
    let total = d.total_bytes.max(1) as f64;
    let used = d.total_bytes.saturating_sub(d.free_bytes);
    let parts =
        [(used, '·'), (d.memory.mapped + d.memory.weights, 'W'), (d.memory.kv, 'K'), (d.memory.compute + d.memory.driver, 'C')];
    let mut out = String::new();
    let (mut sum, mut cells) = (0.0, 0);
    for (bytes, mark) in parts {
        sum += bytes as f64;
        // What is there at all is shown, if only by one mark.
        let end = ((sum / total * BAR as f64).round() as usize).max(cells + usize::from(bytes > 0)).min(BAR);
        out.extend(std::iter::repeat_n(mark, end - cells.min(end)));
        cells = cells.max(end);
    }
    out.extend(std::iter::repeat_n(' ', BAR - cells.min(BAR)));
    out
}

impl Plan {
    /// The plan for people: a table with a bar per device, the reasons, and, where it does not fit, what would help.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_text(&mut out);
        out
    }

    fn write_text(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "{} ({}, {} layers), estimator: {}", self.name, self.architecture, self.n_layer, self.estimator)?;
        writeln!(
            out,
            "n_ctx {} ({}), n_batch {}, n_ubatch {} ({}), sequences {}, output rows {}, KV {}/{}, threads {}",
            self.n_ctx,
            self.n_ctx_source.name(),
            self.n_batch,
            self.n_ubatch,
            self.batch_source.name(),
            self.n_seq_max,
            self.n_outputs_max,
            self.type_k.name(),
            self.type_v.name(),
            self.n_threads
        )?;
        for d in &self.devices {
            let device = &self.context.devices()[d.device as usize];
            let range = match d.n_layers {
                0 => "no layers".to_owned(),
                n => format!("layers {}-{}", d.first_layer, d.first_layer + n - 1),
            };
            let output = if d.has_output { " + output" } else { "" };
            writeln!(out, "\ndevice {}: {} ({}), {range}{output}", d.device, device.name, device.kind.name())?;
            writeln!(out, "  [{}] {} total, {} free", bar(d), human(d.total_bytes), human(d.free_bytes))?;
            let m = &d.memory;
            let left = d.free_bytes.saturating_sub(m.needed());
            for (name, bytes) in [
                ("weights (mapped file)", m.mapped),
                ("weights", m.weights),
                ("KV cache", m.kv),
                ("compute", m.compute),
                ("driver", m.driver),
                ("free after", left),
            ] {
                writeln!(out, "  {name:<22}{bytes:>16} B {:>12}", human(bytes))?;
            }
            if d.shortfall > 0 {
                writeln!(out, "  short by              {:>16} B {:>12}", d.shortfall, human(d.shortfall))?;
            }
        }
        writeln!(out)?;
        for r in &self.reasons {
            writeln!(out, "- {r}")?;
        }
        writeln!(out, "{}", if self.fits { "fits" } else { "DOES NOT FIT" })?;
        for r in &self.remedies {
            writeln!(out, "  remedy: {r}")?;
        }
        Ok(())
    }
}
