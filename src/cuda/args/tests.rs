use std::fmt::Write;

use super::*;

const TOP: &str = "\
// The arguments of kernels: their structs, and the numbers that both sides must agree on. Generated from
// src/cuda/args.rs; do not edit: `REKINDLE_BLESS=1 cargo test --lib args_h` writes it.
#pragma once
";

fn args_h() -> String {
    let mut out = String::from(TOP);
    let mut say = |docs: &[&str], indent: &str, what: std::fmt::Arguments| {
        docs.iter().for_each(|doc| writeln!(out, "{indent}//{doc}").unwrap());
        writeln!(out, "{indent}{what}").unwrap();
    };
    say(&[], "", format_args!(""));
    for described in [CONSTANTS, TABLES, recurrent::STRUCTS, STRUCTS, small::STRUCTS].into_iter().flatten() {
        match described {
            Described::Constant { docs, name, value } => say(docs, "", format_args!("enum {{ {name} = {value} }};")),
            Described::Struct { docs, name, fields } => {
                say(&[], "", format_args!(""));
                say(docs, "", format_args!("struct {name} {{"));
                for DescribedField { docs, c, name } in *fields {
                    say(docs, "    ", format_args!("{c}{name};"));
                }
                say(&[], "", format_args!("}};"));
            }
        }
    }
    out
}

#[test]
fn args_h_is_made_of_this_file() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/args.h");
    let text = args_h();
    if std::env::var_os("REKINDLE_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(checked_in == text, "kernels/args.h is out of date; REKINDLE_BLESS=1 cargo test --lib args_h writes it");
}
