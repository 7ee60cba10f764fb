//! The map of a plan: a bar of each device's memory, and below them what fills it, the devices side by side.
//!
//! ```text
//! 0 [··WWWWWWWWWWWWWWWWWWWWWWWWWWWWKKKKCD     ] 11.17 GiB  layers 0-47, output  Tesla K80, described
//!
//!             device 0
//! W weights   7.96 GiB
//! K KV cache  1.50 GiB
//! …
//! ```
//!
//! The letters of the bars begin the lines below, so these are their legend. A tool that colours it looks for them.

use std::fmt::{self, Write};

use super::report::{DevicePlan, Plan};
use super::text::human;
use crate::device::Kind;

/// Characters of a bar, which stands for the whole memory of its device.
const BAR: usize = 40;
/// Devices side by side; more go below.
const ABREAST: usize = 8;

/// The letters and names of the parts of a device's memory ([`DevicePlan::parts`]).
const PARTS: [(char, &str); 7] = [
    ('·', "others"),
    ('W', "weights"),
    ('M', "mapped file"),
    ('K', "KV cache"),
    ('S', "states"),
    ('C', "compute"),
    ('D', "driver"),
];

fn bar(d: &DevicePlan) -> String {
    let total = d.total_bytes.max(1) as f64;
    let mut out = String::new();
    let (mut sum, mut cells) = (0.0, 0);
    for ((mark, _), bytes) in PARTS.into_iter().zip(d.parts()) {
        sum += bytes as f64;
        // A part that has any bytes gets at least one mark.
        let end = ((sum / total * BAR as f64).round() as usize).max(cells + usize::from(bytes > 0)).min(BAR);
        out.extend(std::iter::repeat_n(mark, end - cells.min(end)));
        cells = cells.max(end);
    }
    out.extend(std::iter::repeat_n(' ', BAR - cells.min(BAR)));
    out
}

/// `3`, or `3-5`.
fn range(first: u32, last: u32) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

impl Plan {
    pub(super) fn write_map(&self, out: &mut String) -> fmt::Result {
        let (used, idle): (Vec<&DevicePlan>, Vec<&DevicePlan>) =
            self.devices.iter().partition(|d| d.computes() || d.memory.asked() + d.memory.mapped > d.memory.driver);
        let works: Vec<String> = used.iter().map(|d| self.works_on(d)).collect();
        let wide = works.iter().map(|w| w.chars().count()).max().unwrap_or(0);
        for (d, work) in used.iter().zip(&works) {
            let device = &self.context.devices()[d.device as usize];
            let described = if device.described { ", described" } else { "" };
            let (name, total) = (&device.name, human(d.total_bytes));
            writeln!(out, "{:<2}[{}] {total:>10}  {work:<wide$}  {name}{described}", d.device, bar(d))?;
        }
        // Neighbours that are alike share a part of the line.
        let alike = |a: &&DevicePlan, b: &&DevicePlan| {
            let name = |d: &DevicePlan| &self.context.devices()[d.device as usize].name;
            a.device + 1 == b.device && name(a) == name(b) && a.free_bytes == b.free_bytes
        };
        let runs: Vec<String> = idle
            .chunk_by(alike)
            .filter_map(|run| {
                let (first, last) = (run.first()?, run.last()?);
                let each = if run.len() > 1 { " each" } else { "" };
                let name = &self.context.devices()[first.device as usize].name;
                let free = human(first.free_bytes);
                Some(format!("{} ({name}, {free} free{each})", range(first.device, last.device)))
            })
            .collect();
        if !runs.is_empty() {
            writeln!(out, "not used: {}", runs.join(", "))?;
        }
        used.chunks(ABREAST).try_for_each(|some| write_bytes(out, some))
    }

    /// The layers of a device: `layers 0-23, output`.
    fn works_on(&self, d: &DevicePlan) -> String {
        let device = &self.context.devices()[d.device as usize];
        let mut apart =
            self.layers.iter().filter(|l| l.experts_device == d.device && l.device != d.device).map(|l| l.layer);
        let layers = match d.n_layers {
            0 if d.n_expert_layers > 0 => {
                let first = apart.next().unwrap_or(0);
                format!("experts of {}", range(first, apart.next_back().unwrap_or(first)))
            }
            0 if d.has_output => return "output".to_owned(),
            0 if device.kind == Kind::Cpu && d.memory.mapped + d.memory.weights > 0 => "token embedding".to_owned(),
            0 => "buffers".to_owned(),
            1 => format!("layer {}", d.first_layer),
            n => format!("layers {}-{}", d.first_layer, d.first_layer + n - 1),
        };
        layers + if d.has_output { ", output" } else { "" }
    }
}

/// A line for each part of memory that any of the devices has, with a column for each of them.
fn write_bytes(out: &mut String, devices: &[&DevicePlan]) -> fmt::Result {
    writeln!(out)?;
    let mut row = |title: &str, cell: &dyn Fn(&DevicePlan) -> String| {
        write!(out, "{title:<13}")?;
        devices.iter().try_for_each(|d| write!(out, "{:>12}", cell(d)))?;
        writeln!(out)
    };
    let bytes = |n: u64| if n > 0 { human(n) } else { "-".to_owned() };
    row("", &|d| format!("device {}", d.device))?;
    // The bytes of others come last but one, beside those that stay free.
    for i in (1..PARTS.len()).chain([0]) {
        if devices.iter().any(|d| d.parts()[i] > 0) {
            let (mark, name) = PARTS[i];
            row(&format!("{mark} {name}"), &|d| bytes(d.parts()[i]))?;
        }
    }
    row("  free", &|d| match d.free_bytes.saturating_sub(d.memory.needed()) {
        0 => "none".to_owned(),
        left => human(left),
    })
}
