//! The plan as a picture: an SVG for a page or a document.
//!
//! ```text
//! title: model, context
//! device 0: its name, its part of the model
//! [====weights====|KV|st|c|d|    free    ]     a bar of all its memory, to scale; red behind the end is missing
//! # weights … B   # KV cache … B   …           the exact bytes of each part
//! [][][][][][][][]                             a cell for each layer, the output last; paler: without its experts;
//!                                              pale: its experts alone
//! …
//! predicted speeds, and the remedies
//! ```
//!
//! Lengths are in pixels of the picture's own coordinates; it scales with the place that it is shown in. Names come
//! from files and drivers, so they are escaped.

use std::fmt::{self, Write};

use super::report::{DevicePlan, Plan};
use super::text::human;
use crate::device::Kind;

const WIDTH: f64 = 820.0;
const LEFT: f64 = 20.0;
/// The names and colours of the parts of a device's memory ([`DevicePlan::parts`]), and of that which stays free.
const PARTS: [(&str, &str); 8] = [
    ("taken by others", "#b0b0b0"),
    ("weights", "#4c78a8"),
    ("weights (mapped file)", "#9ecae9"),
    ("KV cache", "#f58518"),
    ("states", "#b279a2"),
    ("compute", "#54a24b"),
    ("driver", "#e45756"),
    ("free", "#f0f0f0"),
];
/// The height of a device: its name, its bar, three lines of parts, its cells.
const HEIGHT: f64 = 144.0;
const LINE: f64 = 20.0;
/// Characters of a line of text at most.
const LONGEST: usize = 130;

impl Plan {
    /// The plan as an SVG picture, a text of XML.
    pub fn svg(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_svg(&mut out);
        out
    }

    fn write_svg(&self, out: &mut String) -> fmt::Result {
        let shown: Vec<&DevicePlan> = self.devices.iter().filter(|d| self.is_shown(d)).collect();
        let notes = self.notes();
        let (width, height) = (WIDTH + 2.0 * LEFT, 50.0 + HEIGHT * shown.len() as f64 + LINE * notes.len() as f64);
        writeln!(out, r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-size="13""#)?;
        writeln!(out, r#"  font-family="Helvetica, Arial, sans-serif">"#)?;
        writeln!(out, r##"<rect width="{width}" height="{height}" rx="8" fill="#ffffff" stroke="#d0d0d0"/>"##)?;
        let title = format!("{} ({}), {} tokens of context", self.name, self.architecture, self.n_ctx);
        text(out, LEFT, 32.0, r#"font-size="16" font-weight="bold""#, &title)?;
        for (i, d) in shown.iter().enumerate() {
            self.write_device(out, 58.0 + HEIGHT * i as f64, d)?;
        }
        let first = 50.0 + HEIGHT * shown.len() as f64;
        for (i, note) in notes.iter().enumerate() {
            text(out, LEFT, first + LINE * i as f64, r##"fill="#404040""##, note)?;
        }
        writeln!(out, "</svg>")
    }

    /// The host of dies that are only described is no device of the reader's.
    fn is_shown(&self, d: &DevicePlan) -> bool {
        let device = &self.context.devices()[d.device as usize];
        d.computes() || self.devices.len() == 1 || device.kind == Kind::Cuda || device.takes_layers
    }

    /// The lines below the devices.
    fn notes(&self) -> Vec<String> {
        let speeds = self.prediction.map(|p| {
            format!(
                "Predicted: {:.1} tokens per second at an empty context, {:.1} at a full one; prompt {:.0}.",
                p.decode, p.decode_full, p.prompt
            )
        });
        let remedies = self.remedies().iter().map(|r| match self.fits {
            true => format!("Also possible: {r}"),
            false => format!("It would fit: {r}"),
        });
        speeds.into_iter().chain(remedies).collect()
    }

    fn write_device(&self, out: &mut String, top: f64, d: &DevicePlan) -> fmt::Result {
        let free = d.free_bytes.saturating_sub(d.memory.needed());
        let parts = PARTS.into_iter().zip(d.parts().into_iter().chain([free]));
        let device = &self.context.devices()[d.device as usize];
        let name = format!("device {}: {}, {}: {}", d.device, device.name, human(d.total_bytes), self.work(d));
        text(out, LEFT, top, r#"font-weight="bold""#, &name)?;
        // What is missing stands behind the device's memory, so that all is to one scale.
        let whole = d.total_bytes.saturating_add(d.shortfall).max(1) as f64;
        let (bar, mut x) = (top + 8.0, LEFT);
        let (mut column, mut row) = (0.0, 0.0);
        for ((what, colour), bytes) in parts.filter(|(_, bytes)| *bytes > 0) {
            let width = (WIDTH * bytes as f64 / whole).min(LEFT + WIDTH - x);
            writeln!(out, r#"<rect x="{x:.2}" y="{bar}" width="{width:.2}" height="26" fill="{colour}"/>"#)?;
            x += width;
            let (left, line) = (LEFT + column, top + 52.0 + row);
            writeln!(out, r#"<rect x="{left}" y="{}" width="10" height="10" fill="{colour}"/>"#, line - 10.0)?;
            text(out, left + 16.0, line, "", &format!("{what} {} B", thousands(bytes)))?;
            (column, row) = if column < 500.0 { (column + 274.0, row) } else { (0.0, row + 18.0) };
        }
        if d.shortfall > 0 {
            let end = LEFT + WIDTH * d.total_bytes as f64 / whole;
            let style = r##"stroke="#d00000" stroke-width="3""##;
            writeln!(out, r#"<line x1="{end:.2}" y1="{}" x2="{end:.2}" y2="{}" {style}/>"#, bar - 3.0, bar + 29.0)?;
            let missing = format!("short by {} B", thousands(d.shortfall));
            text(out, LEFT + WIDTH, top, r##"fill="#d00000" font-weight="bold" text-anchor="end""##, &missing)?;
        }
        self.write_cells(out, top + 98.0, d)
    }

    /// A cell for each layer, the output last.
    fn write_cells(&self, out: &mut String, y: f64, d: &DevicePlan) -> fmt::Result {
        let step = (WIDTH / self.layers.len().max(1) as f64).min(24.0);
        for (i, layer) in self.layers.iter().enumerate() {
            let colour = match (layer.devices.contains(&d.device), layer.experts_device == d.device) {
                (true, _) if layer.devices.len() > 1 => "#4c78a8",
                (true, true) => "#4c78a8",
                (true, false) => "#7fa1c6",
                (false, true) => "#9ecae9",
                (false, false) => "#f0f0f0",
            };
            let (x, width) = (LEFT + step * i as f64, step - 1.0);
            let what = if layer.layer == self.n_layer { "output".to_owned() } else { format!("layer {}", layer.layer) };
            let bytes = thousands(layer.weights);
            write!(out, r#"<rect x="{x:.2}" y="{y}" width="{width:.2}" height="12" fill="{colour}">"#)?;
            writeln!(out, "<title>{what}: weights {bytes} B, caches {} B</title></rect>", thousands(layer.kv))?;
        }
        Ok(())
    }

    /// A device's part of the model.
    fn work(&self, d: &DevicePlan) -> String {
        let output = if d.has_output { " and the output" } else { "" };
        match (d.n_layers, d.n_expert_layers) {
            (0, 0) if d.has_output => "the output".to_owned(),
            (0, 0) => "no layers".to_owned(),
            (0, n) => format!("the experts of {n} layers{output}"),
            (n, _) if n == self.n_layer && self.n_cpu_experts() > 0 => {
                format!("all {n} layers{output}, without the experts of {}", self.n_cpu_experts())
            }
            (n, _) if n == self.n_layer => format!("all {n} layers{output}"),
            (n, 0) => format!("layers {}-{}{output}", d.first_layer, d.first_layer + n - 1),
            (n, experts) => {
                format!("layers {}-{}{output}, the experts of {experts}", d.first_layer, d.first_layer + n - 1)
            }
        }
    }
}

/// A line of text, escaped, and cut where it would leave the picture.
fn text(out: &mut String, x: f64, y: f64, style: &str, words: &str) -> fmt::Result {
    write!(out, r#"<text x="{x:.1}" y="{y:.1}" {style}>"#)?;
    for c in words.chars().take(LONGEST) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // XML has no place for these.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    writeln!(out, "</text>")
}

/// `9 990 123 456`, with narrow spaces that do not break.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out
}
