//! A plan as a picture: a bar of each device's memory, and the exact bytes of its parts below it. docs/plan.svg is one.

use std::fmt::{Result, Write};

use rekindle::plan::{DevicePlan, Plan};

const WIDTH: f64 = 820.0;
/// The height of a device: its name, its bar, two lines of parts.
const HEIGHT: f64 = 104.0;

/// `devices` are the names to write, in the plan's order.
pub fn svg(title: &str, devices: &[&str], plan: &Plan) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_svg(&mut out, title, devices, plan);
    out
}

fn write_svg(out: &mut String, title: &str, devices: &[&str], plan: &Plan) -> Result {
    let (width, height) = (WIDTH + 40.0, 70.0 + HEIGHT * plan.devices.len() as f64);
    writeln!(out, r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-size="13""#)?;
    writeln!(out, r#"  font-family="Helvetica, Arial, sans-serif">"#)?;
    writeln!(out, r##"<rect width="{width}" height="{height}" rx="8" fill="#ffffff" stroke="#d0d0d0"/>"##)?;
    text(out, 20.0, 32.0, r#"font-size="16" font-weight="bold""#, title)?;
    for (i, (device, name)) in plan.devices.iter().zip(devices).enumerate() {
        write_device(out, 58.0 + HEIGHT * i as f64, name, device, plan)?;
    }
    if let Some(p) = &plan.prediction {
        let speeds = format!(
            "Predicted: {:.1} tokens per second at an empty context, {:.1} at a full one.",
            p.decode, p.decode_full
        );
        text(out, 20.0, height - 18.0, r##"fill="#404040""##, &speeds)?;
    }
    writeln!(out, "</svg>")
}

fn text(out: &mut String, x: f64, y: f64, style: &str, words: &str) -> Result {
    writeln!(out, r#"<text x="{x:.1}" y="{y:.1}" {style}>{words}</text>"#)
}

fn write_device(out: &mut String, top: f64, name: &str, d: &DevicePlan, plan: &Plan) -> Result {
    let m = &d.memory;
    let taken = d.total_bytes - d.free_bytes;
    let parts = [
        ("taken by others", "#b0b0b0", taken),
        ("weights", "#4c78a8", m.weights),
        ("weights (mapped file)", "#9ecae9", m.mapped),
        ("KV cache", "#f58518", m.kv),
        ("compute", "#54a24b", m.compute),
        ("driver", "#e45756", m.driver),
        ("free", "#f0f0f0", d.free_bytes - m.needed()),
    ];
    text(out, 20.0, top, r#"font-weight="bold""#, &format!("{name}: {}", work(d, plan)))?;
    let (mut x, mut column, mut row) = (20.0, 0.0, 0.0);
    for (what, colour, bytes) in parts.into_iter().filter(|(_, _, bytes)| *bytes > 0) {
        let width = WIDTH * bytes as f64 / d.total_bytes as f64;
        let bar = top + 8.0;
        writeln!(out, r#"<rect x="{x:.2}" y="{bar}" width="{width:.2}" height="30" fill="{colour}"/>"#)?;
        x += width;
        let (left, line) = (20.0 + column, top + 56.0 + row);
        writeln!(out, r#"<rect x="{left}" y="{}" width="10" height="10" fill="{colour}"/>"#, line - 10.0)?;
        text(out, left + 16.0, line, "", &format!("{what} {} B", thousands(bytes)))?;
        (column, row) = if column < 500.0 { (column + 274.0, row) } else { (0.0, row + 18.0) };
    }
    Ok(())
}

/// The device's part of the model.
fn work(d: &DevicePlan, plan: &Plan) -> String {
    let output = if d.has_output { " and the output" } else { "" };
    match (d.n_layers, d.n_expert_layers) {
        (0, 0) => "reads the token embedding".to_owned(),
        (0, n) => format!("the experts of {n} layers, and the token embedding"),
        (n, _) if n == plan.n_layer && plan.n_cpu_experts() > 0 => {
            format!("all {n} layers{output}, without the experts of {} layers", plan.n_cpu_experts())
        }
        (n, _) if n == plan.n_layer => format!("all {n} layers{output}"),
        (n, _) => format!("layers {}-{}{output}", d.first_layer, d.first_layer + n - 1),
    }
}

/// `9 990 123 456`
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|g| str::from_utf8(g).unwrap()).collect();
    groups.join("\u{202f}")
}
