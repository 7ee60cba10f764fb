//! The plan as text for people.

use std::fmt::{self, Write};

use super::place::Objective;
use super::report::{DevicePlan, Plan};
use crate::device::Kind;
use crate::error::{Error, Status};

const BAR: usize = 40;

/// Bytes as people read them, always with the exact figure's magnitude: `412.5 MiB`.
pub(super) fn human(bytes: u64) -> String {
    let b = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", b / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", b / 1_048_576.0),
        _ => format!("{:.2} GiB", b / 1_073_741_824.0),
    }
}

/// A number with a space at each thousand: `23 040`.
pub(super) fn thousands(n: u32) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

/// A bar of the device's total memory: bytes that others use, then each arena, then bytes that stay free.
fn bar(d: &DevicePlan) -> String {
    let total = d.total_bytes.max(1) as f64;
    let used = d.total_bytes.saturating_sub(d.free_bytes);
    let parts = [
        (used, '·'),
        (d.memory.mapped + d.memory.weights, 'W'),
        (d.memory.kv, 'K'),
        (d.memory.compute + d.memory.driver, 'C'),
    ];
    let mut out = String::new();
    let (mut sum, mut cells) = (0.0, 0);
    for (bytes, mark) in parts {
        sum += bytes as f64;
        // A part that has any bytes gets at least one mark.
        let end = ((sum / total * BAR as f64).round() as usize).max(cells + usize::from(bytes > 0)).min(BAR);
        out.extend(std::iter::repeat_n(mark, end - cells.min(end)));
        cells = cells.max(end);
    }
    out.extend(std::iter::repeat_n(' ', BAR - cells.min(BAR)));
    out
}

impl Plan {
    /// The plan for people: a table with a bar per device, reasons, and remedies.
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
            let host_only = device.kind == Kind::Cpu && !d.computes();
            // The host of described dies computes nothing; one line tells what it reads.
            if host_only && self.devices.len() > 1 && !device.takes_layers {
                writeln!(
                    out,
                    "\nhost: token embedding {} in the mapped file, buffers {}",
                    human(d.memory.mapped + d.memory.weights),
                    human(d.memory.compute)
                )?;
                continue;
            }
            let range = match d.n_layers {
                0 if d.n_expert_layers > 0 => self.experts_of(d.device),
                0 => "no layers".to_owned(),
                1 => format!("layer {}", d.first_layer),
                n => format!("layers {}-{}", d.first_layer, d.first_layer + n - 1),
            };
            let output = if d.has_output { " + output" } else { "" };
            let described = if device.described { ", described" } else { "" };
            writeln!(
                out,
                "\ndevice {}: {} ({}{described}), {range}{output}",
                d.device,
                device.name,
                device.kind.name()
            )?;
            writeln!(out, "  [{}] {} total, {} free", bar(d), human(d.total_bytes), human(d.free_bytes))?;
            let m = &d.memory;
            let left = d.free_bytes.saturating_sub(m.needed());
            for (name, bytes) in [
                ("weights (mapped file)", m.mapped),
                ("weights", m.weights),
                ("KV cache", m.kv - m.states),
                ("states", m.states),
                ("compute", m.compute),
                ("driver", m.driver),
                ("free after", left),
            ] {
                // Only some families have states.
                if name == "states" && bytes == 0 {
                    continue;
                }
                writeln!(out, "  {name:<22}{bytes:>16} B {:>12}", human(bytes))?;
            }
            if d.shortfall > 0 {
                writeln!(out, "  short by              {:>16} B {:>12}", d.shortfall, human(d.shortfall))?;
            }
        }
        writeln!(out)?;
        for r in self.ranges_with_reasons() {
            writeln!(out, "- {r}")?;
        }
        for r in &self.reasons {
            writeln!(out, "- {r}")?;
        }
        if let Some(p) = &self.prediction {
            write!(
                out,
                "predicted, not measured: {:.1} tokens/s, {:.1} at a full context; prompt {:.0} tokens/s",
                p.decode, p.decode_full, p.prompt
            )?;
            if self.objective == Objective::Throughput && self.n_dies() > 1 {
                write!(out, "; {:.1} tokens/s of sequences in a pipeline", p.pipelined)?;
            }
            writeln!(out)?;
        }
        writeln!(out, "{}", self.verdict())?;
        for r in self.remedies() {
            writeln!(out, "  {r}")?;
        }
        Ok(())
    }

    /// The error that tells a host of a plan that does not fit; `None` if it fits.
    pub(crate) fn not_fit(&self) -> Option<Error> {
        if self.fits {
            return None;
        }
        let mut e = Error::new(Status::NotFit, format!("the model does not fit: {}", self.shortfalls()));
        if let Some(d) = self.devices.iter().max_by_key(|d| d.shortfall) {
            e = e.amounts(d.memory.needed(), d.free_bytes);
            e.detail.device = Some(d.device);
        }
        Some(e)
    }

    /// The devices that lack bytes, and how many, in a sentence.
    fn shortfalls(&self) -> String {
        let short = self.devices.iter().filter(|d| d.shortfall > 0);
        let short: Vec<String> = short
            .map(|d| format!("device {} is short by {} ({} bytes)", d.device, human(d.shortfall), d.shortfall))
            .collect();
        if short.is_empty() { "the limits leave layers without a place".to_owned() } else { short.join(", ") }
    }

    /// The sentence that says if it fits, and which device is tightest.
    fn verdict(&self) -> String {
        let estimate =
            if self.exact.is_none() { " by the family's formulas: an estimate, it cannot be loaded" } else { "" };
        if !self.fits {
            return format!("DOES NOT FIT{estimate}: {}", self.shortfalls());
        }
        match self.tightest() {
            Some((d, left)) if self.devices.len() > 1 => {
                format!("fits{estimate}; tightest is device {}, with {} left", d.device, human(left))
            }
            _ => format!("fits{estimate}"),
        }
    }

    /// Of the devices that compute something, the one with the fewest bytes left, and their number.
    pub fn tightest(&self) -> Option<(&DevicePlan, u64)> {
        let used = self.devices.iter().filter(|d| d.computes());
        used.map(|d| (d, d.free_bytes.saturating_sub(d.memory.needed()))).min_by_key(|(_, left)| *left)
    }

    /// `experts of layers 0-11`, for a device that has them.
    fn experts_of(&self, device: u32) -> String {
        let mut apart =
            self.layers.iter().filter(|l| l.experts_device == device && l.device != device).map(|l| l.layer);
        let first = apart.next().unwrap_or(0);
        apart
            .next_back()
            .map_or(format!("experts of layer {first}"), |last| format!("experts of layers {first}-{last}"))
    }

    /// A line for each row of neighbouring layers that are on one device for one reason.
    fn ranges_with_reasons(&self) -> Vec<String> {
        let runs = self
            .layers
            .chunk_by(|a, b| (a.device, a.experts_device, &a.reason) == (b.device, b.experts_device, &b.reason));
        runs.filter_map(|run| {
            let (first, last) = (run.first()?, run.last()?);
            let layers = match (first.layer == self.n_layer, last.layer == self.n_layer) {
                (true, _) => "output".to_owned(),
                (_, true) if run.len() == 2 => format!("layer {} and output", first.layer),
                (_, true) => format!("layers {}-{} and output", first.layer, self.n_layer - 1),
                _ if run.len() == 1 => format!("layer {}", first.layer),
                _ => format!("layers {}-{}", first.layer, last.layer),
            };
            let experts = match first.experts_device {
                d if d == first.device => String::new(),
                d => format!(", experts on device {d}"),
            };
            Some(format!("{layers} on device {}{experts}: {}", first.device, first.reason))
        })
        .collect()
    }

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
        row("n_ctx", &|p| thousands(p.n_ctx))?;
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
