//! The plan as text for people: the verdict first, then the map (`map`), reasons, and remedies.

use std::fmt::{self, Write};

use super::place::Objective;
use super::report::{DevicePlan, Plan};
use crate::error::{Error, Status};

/// Bytes as people read them: `412.5 MiB`.
pub(super) fn human(bytes: u64) -> String {
    let b = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", b / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", b / 1_048_576.0),
        _ => format!("{:.2} GiB", b / 1_073_741_824.0),
    }
}

impl Plan {
    /// The plan for people: verdict, a bar and the bytes of each device, reasons, and remedies.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_text(&mut out);
        out
    }

    fn write_text(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "{}", self.verdict())?;
        self.write_prediction(out)?;
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
        writeln!(out)?;
        self.write_map(out)?;
        writeln!(out)?;
        for r in self.ranges_with_reasons() {
            writeln!(out, "- {r}")?;
        }
        for r in &self.reasons {
            writeln!(out, "- {r}")?;
        }
        if !self.remedies().is_empty() {
            writeln!(out, "\n{}", if self.fits { "also possible" } else { "what would help" })?;
        }
        for r in self.remedies() {
            writeln!(out, "  {r}")?;
        }
        Ok(())
    }

    fn write_prediction(&self, out: &mut String) -> fmt::Result {
        let Some(p) = &self.prediction else { return Ok(()) };
        write!(
            out,
            "predicted, not measured: {:.1} tokens/s, {:.1} at a full context; prompt {:.0} tokens/s",
            p.decode, p.decode_full, p.prompt
        )?;
        if self.objective == Objective::Throughput && self.n_dies() > 1 {
            write!(out, "; {:.1} tokens/s of sequences in a pipeline", p.pipelined)?;
        }
        writeln!(out)
    }

    /// The error that tells a host of a plan that does not fit; `None` if it fits.
    pub(crate) fn not_fit(&self) -> Option<Error> {
        if self.fits {
            return None;
        }
        let mut e = Error::new(Status::NotFit, format!("the model does not fit: {}", self.shortfalls(true)));
        if let Some(d) = self.devices.iter().max_by_key(|d| d.shortfall) {
            e = e.amounts(d.memory.needed(), d.free_bytes);
            e.detail.device = Some(d.device);
        }
        Some(e)
    }

    /// The devices that lack bytes, and how many, in a sentence.
    fn shortfalls(&self, exact: bool) -> String {
        let bytes = |n: u64| if exact { format!(" ({n} bytes)") } else { String::new() };
        let short = self.devices.iter().filter(|d| d.shortfall > 0);
        let short: Vec<String> = short
            .map(|d| format!("device {} is short by {}{}", d.device, human(d.shortfall), bytes(d.shortfall)))
            .collect();
        if short.is_empty() { "the limits leave layers without a place".to_owned() } else { short.join(", ") }
    }

    /// The sentence that says if it fits, and how much is left on the tightest device.
    fn verdict(&self) -> String {
        let estimate =
            if self.exact.is_none() { " by the family's formulas: an estimate, it cannot be loaded" } else { "" };
        if !self.fits {
            return format!("DOES NOT FIT{estimate}: {}", self.shortfalls(false));
        }
        match self.tightest() {
            Some((d, left)) => format!("fits{estimate}; {} left on device {}", human(left), d.device),
            None => format!("fits{estimate}"),
        }
    }

    /// Of the devices that compute something, the one with the fewest bytes left, and their number.
    pub fn tightest(&self) -> Option<(&DevicePlan, u64)> {
        let used = self.devices.iter().filter(|d| d.computes());
        used.map(|d| (d, d.free_bytes.saturating_sub(d.memory.needed()))).min_by_key(|(_, left)| *left)
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
}
