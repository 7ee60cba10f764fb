//! kernels/grids.h, written from the library's own grids (`quant/grids.rs`).

use std::fmt::{LowerHex, Write};

use crate::quant::{IQ2_S_GRID, IQ2_XS_GRID, IQ3_S_GRID, IQ3_XXS_GRID};

const TOP: &str = "\
// The grids of kernels/grid.h. Generated from src/quant/grids.rs; do not edit: `REKINDLE_BLESS=1 cargo test --lib
// grids_h` writes it.
#pragma once
";

/// A table of numbers of `digits` digits, `per_line` in a line.
fn table<T: LowerHex>(out: &mut String, ty: &str, name: &str, entries: &[T], digits: usize, per_line: usize) {
    let end = if digits == 16 { "ull" } else { "" };
    writeln!(out, "\nTABLE({ty}, {name}, {}) = {{", entries.len()).unwrap();
    for line in entries.chunks(per_line) {
        let numbers: Vec<String> = line.iter().map(|x| format!("0x{x:0digits$x}{end},")).collect();
        writeln!(out, "    {}", numbers.join(" ")).unwrap();
    }
    writeln!(out, "}};").unwrap();
}

#[test]
fn grids_h_is_made_of_the_grids() {
    let mut text = String::from(TOP);
    table(&mut text, "unsigned", "IQ3_XXS_GRID", &IQ3_XXS_GRID, 8, 9);
    table(&mut text, "unsigned", "IQ3_S_GRID", &IQ3_S_GRID, 8, 9);
    table(&mut text, "unsigned long long", "IQ2_XS_GRID", &IQ2_XS_GRID, 16, 5);
    table(&mut text, "unsigned long long", "IQ2_S_GRID", &IQ2_S_GRID, 16, 5);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/grids.h");
    if std::env::var_os("REKINDLE_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(checked_in == text, "kernels/grids.h is out of date; REKINDLE_BLESS=1 cargo test --lib grids_h writes it");
}
