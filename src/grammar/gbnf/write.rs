//! Rules over lexemes, written in Lark.

use std::fmt::Write;

use super::parts::{Lexeme, Part, Parts, can_be_empty};
use super::read::Node;

/// The brackets in each other that are written; Lark's parser allows 30.
const DEEPEST: usize = 8;

pub(super) fn write(parts: &Parts) -> String {
    let mut out = String::from("start: r0\n");
    // Writing to a String cannot fail.
    let mut later = Vec::new();
    for (i, rule) in parts.rules.iter().enumerate() {
        let _ = write!(out, "r{i}: ");
        part(&mut out, rule, parts, 0, &mut later);
        out.push('\n');
    }
    let mut written = 0;
    while let Some(inner) = later.get(written).copied() {
        let _ = write!(out, "q{written}: ");
        part(&mut out, inner, parts, 0, &mut later);
        out.push('\n');
        written += 1;
    }
    let used = used(parts);
    for (i, lexeme) in parts.lexemes.iter().enumerate() {
        if let (Lexeme::Text(node), true) = (lexeme, used[i]) {
            let _ = write!(out, "T{i}: /");
            expression(&mut out, node);
            out.push_str(if can_be_empty(node) { "/ & /[\\x{0}-\\x{10FFFF}]+/\n" } else { "/\n" });
        }
    }
    out
}

/// Lexemes that were taken apart are in no rule any more.
fn used(parts: &Parts) -> Vec<bool> {
    fn mark(part: &Part, used: &mut [bool]) {
        match part {
            Part::Lexeme(i) => used[*i] = true,
            Part::Rule(_) => (),
            Part::Repeat(inner, ..) => mark(inner, used),
            Part::Row(items) | Part::Either(items) => items.iter().for_each(|i| mark(i, used)),
        }
    }
    let mut used = vec![false; parts.lexemes.len()];
    parts.rules.iter().for_each(|r| mark(r, &mut used));
    used
}

/// Writes a part that stands in `depth` brackets. What would stand too deep becomes a rule of its own, `later`.
fn part<'a>(out: &mut String, p: &'a Part, parts: &Parts, depth: usize, later: &mut Vec<&'a Part>) {
    let _ = match p {
        Part::Row(_) | Part::Either(_) | Part::Repeat(..) if depth == DEEPEST => {
            later.push(p);
            write!(out, "q{}", later.len() - 1)
        }
        Part::Lexeme(i) => match &parts.lexemes[*i] {
            Lexeme::Text(_) => write!(out, "T{i}"),
            Lexeme::Token(id, false) => write!(out, "<[{id}]>"),
            Lexeme::Token(id, true) => write!(out, "<[^{id}]>"),
        },
        Part::Rule(i) => write!(out, "r{i}"),
        Part::Row(items) if items.is_empty() => write!(out, "\"\""),
        Part::Repeat(_, _, Some(0)) => write!(out, "\"\""),
        Part::Row(items) => {
            list(out, items, " ", parts, depth, later);
            Ok(())
        }
        Part::Either(items) => {
            list(out, items, " | ", parts, depth, later);
            Ok(())
        }
        Part::Repeat(inner, min, max) => {
            out.push('(');
            part(out, inner, parts, depth + 1, later);
            out.push(')');
            times(out, *min, *max);
            Ok(())
        }
    };
}

fn list<'a>(
    out: &mut String,
    items: &'a [Part],
    between: &str,
    parts: &Parts,
    depth: usize,
    later: &mut Vec<&'a Part>,
) {
    out.push('(');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push_str(between);
        }
        part(out, item, parts, depth + 1, later);
    }
    out.push(')');
}

fn times(out: &mut String, min: u32, max: Option<u32>) {
    let _ = match (min, max) {
        (0, None) => write!(out, "*"),
        (1, None) => write!(out, "+"),
        (0, Some(1)) => write!(out, "?"),
        (_, None) => write!(out, "{{{min},}}"),
        (_, Some(max)) => write!(out, "{{{min},{max}}}"),
    };
}

fn expression(out: &mut String, node: &Node) {
    match node {
        Node::Chars(chars) => out.push_str(&chars.class()),
        // Neither stands in a lexeme.
        Node::Rule(_) | Node::Token(..) => (),
        Node::Row(items) => {
            out.push_str("(?:");
            items.iter().for_each(|i| expression(out, i));
            out.push(')');
        }
        Node::Either(items) => {
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "(?:" } else { "|" });
                expression(out, item);
            }
            out.push(')');
        }
        Node::Repeat(inner, min, max) => {
            out.push_str("(?:");
            expression(out, inner);
            out.push(')');
            times(out, *min, *max);
        }
    }
}
