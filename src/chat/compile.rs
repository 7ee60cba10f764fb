//! Compiles a template so that none of its values can become a trap.
//!
//! A list of minijinja may hold the same value many times. `x = [x, x]`, done sixty times, takes sixty small lists and
//! has 2^60 elements when something walks it. `~` and filters do walk it, and pay only afterwards. A namespace that
//! holds itself has no end at all. So here every list, tuple and map that a template makes goes through a filter of
//! ours, which walks it first and pays for everything that it sees (`pay::measure`), and every comparison goes through
//! one that pays for everything that it looks at (`compare`). minijinja has no hook for that, but lets instructions be
//! replaced. That part of it is marked as unstable, so Cargo.toml names its exact version.

use std::collections::{BTreeMap, HashSet};

use minijinja::machinery::{CodeGenerator, Instruction, Instructions, eval, make_string_output, parse};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};

use super::{compare, constants, tags};

/// Filters of `python::install` that make a list, a tuple, a map, a sum and a product. (minijinja joins and repeats
/// lists lazily, also after sixty doublings.) No template can name them.
pub(super) const LIST: &str = "[]";
pub(super) const TUPLE: &str = "()";
pub(super) const MAP: &str = "{}";
pub(super) const ADD: &str = "+";
pub(super) const MULTIPLY: &str = "*";
/// That of a part of a text or list. The engine cuts lists lazily, and looks through all earlier cuts each time.
pub(super) const SLICE: &str = "[:]";

/// The filter of a value that is assigned to an attribute.
pub(super) const ASSIGNED: &str = "rekindle_assigned";

/// An instruction's number for a filter that the engine looks up each time.
const LOOKED_UP: u8 = u8::MAX;

pub(super) fn compile<'s>(name: &'s str, text: &'s str, syntax: SyntaxConfig) -> Result<Instructions<'s>, Error> {
    let ast = parse(text, name, syntax)?;
    constants::check(&ast)?;
    let mut generator = CodeGenerator::new(name, text);
    generator.compile_stmt(&ast);
    let (mut instructions, _) = generator.finish();
    let n = (0..).take_while(|i| instructions.get(*i).is_some()).count() as u32;
    let targets: HashSet<u32> = (0..n).filter_map(|i| target(instructions.get(i)?)).collect();
    for i in 0..n {
        // The value that was loaded just before is the key, if no jump leads here with another one.
        let constant = |i: u32| matches!(instructions.get(i.wrapping_sub(1)), Some(Instruction::LoadConst(_)));
        let made = match instructions.get(i) {
            Some(Instruction::BuildList(Some(n))) => Some((LIST, *n)),
            Some(Instruction::BuildTuple(Some(n))) => Some((TUPLE, *n)),
            Some(Instruction::BuildMap(n)) => Some((MAP, *n * 2)),
            Some(Instruction::Add) => Some((ADD, 2)),
            Some(Instruction::Mul) => Some((MULTIPLY, 2)),
            Some(Instruction::Slice) => Some((SLICE, 4)),
            Some(Instruction::Eq) => Some((compare::EQUAL, 2)),
            Some(Instruction::Ne) => Some((compare::UNEQUAL, 2)),
            Some(Instruction::Lt) => Some((compare::LESS, 2)),
            Some(Instruction::Lte) => Some((compare::AT_MOST, 2)),
            Some(Instruction::Gt) => Some((compare::GREATER, 2)),
            Some(Instruction::Gte) => Some((compare::AT_LEAST, 2)),
            Some(Instruction::In) => Some((compare::IN, 2)),
            Some(Instruction::GetItem) if targets.contains(&i) || !constant(i) => Some((compare::ITEM, 2)),
            _ => None,
        };
        if let (Some((filter, items @ 1..)), Some(place)) = (made, instructions.get_mut(i)) {
            let items =
                u16::try_from(items).map_err(|_| Error::new(ErrorKind::InvalidOperation, "a list is too long"))?;
            *place = Instruction::ApplyFilter(filter, Some(items), LOOKED_UP);
        }
    }
    check_assignments(&instructions, n)?;
    Ok(with_paid_texts(&instructions, n))
}

/// The same program, but the template's own texts are written as values are, so that they are paid for before they are
/// written. That makes two instructions of one, and moves the places that jumps lead to.
fn with_paid_texts<'s>(old: &Instructions<'s>, n: u32) -> Instructions<'s> {
    let old_of = |i: u32| old.get(i).cloned();
    let mut places = vec![0];
    for i in 0..n {
        let more = u32::from(matches!(old.get(i), Some(Instruction::EmitRaw(_))));
        places.push(places[i as usize] + 1 + more);
    }
    let place = |i: u32| places.get(i as usize).copied().unwrap_or(i);
    let mut new = Instructions::new(old.name(), old.source());
    for (i, mut instruction) in (0..n).filter_map(|i| Some((i, old_of(i)?))) {
        let mut add = |instruction| match (old.get_span(i), old.get_line(i)) {
            (Some(span), _) => new.add_with_span(instruction, span),
            (None, Some(line)) => new.add_with_line(instruction, u16::try_from(line).unwrap_or(u16::MAX)),
            (None, None) => new.add(instruction),
        };
        match &mut instruction {
            Instruction::EmitRaw(text) => {
                add(Instruction::LoadConst(Value::from(*text)));
                instruction = Instruction::Emit;
            }
            Instruction::Iterate(to)
            | Instruction::Jump(to)
            | Instruction::JumpIfFalse(to)
            | Instruction::JumpIfFalseOrPop(to)
            | Instruction::JumpIfTrueOrPop(to)
            | Instruction::BuildMacro(_, to, _) => *to = place(*to),
            _ => {}
        }
        add(instruction);
    }
    new
}

/// The place at which an instruction may go on, if not at the next one.
fn target(instruction: &Instruction) -> Option<u32> {
    match instruction {
        Instruction::Iterate(to)
        | Instruction::Jump(to)
        | Instruction::JumpIfFalse(to)
        | Instruction::JumpIfFalseOrPop(to)
        | Instruction::JumpIfTrueOrPop(to) => Some(*to),
        _ => None,
    }
}

/// Puts the filter `ASSIGNED` behind each value that is assigned to a namespace's attribute, for which no instruction
/// can be replaced.
pub(super) fn with_checked_assignments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    while let Some(start) = tags::assignment(text, from) {
        let Some(end) = end_of_block(text, start) else { break };
        out.push_str(&text[from..start]);
        out.push_str(&format!("({}) | {ASSIGNED} ", &text[start..end]));
        from = end;
    }
    out + &text[from..]
}

/// The beginning of the block's end (`%}`, `-%}`, `+%}`), outside of strings.
fn end_of_block(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut i, mut quote) = (from, None);
    while i + 1 < bytes.len() {
        match (quote, bytes[i]) {
            (Some(_), b'\\') => i += 1,
            (Some(q), b) if b == q => quote = None,
            (None, b @ (b'"' | b'\'')) => quote = Some(b),
            (None, b'%') if bytes[i + 1] == b'}' => {
                return Some(if matches!(bytes[i - 1], b'-' | b'+') && i > from { i - 1 } else { i });
            }
            _ => {}
        }
        i += 1;
    }
    None
}

/// Every assignment to an attribute must have its filter.
fn check_assignments(instructions: &Instructions, n: u32) -> Result<(), Error> {
    for i in (0..n).filter(|i| matches!(instructions.get(*i), Some(Instruction::SetAttr(_)))) {
        let target = (0..i)
            .rev()
            .find(|j| !matches!(instructions.get(*j), Some(Instruction::GetAttr(_) | Instruction::Lookup(_))));
        if !matches!(target.and_then(|j| instructions.get(j)), Some(Instruction::ApplyFilter(ASSIGNED, ..))) {
            let line = instructions.get_line(i).unwrap_or(0);
            let text = format!("the assignment in line {line} is not of the form 'set namespace.attribute = value'");
            return Err(Error::new(ErrorKind::InvalidOperation, text));
        }
    }
    Ok(())
}

pub(super) fn run<'e>(
    env: &'e Environment<'e>,
    instructions: &Instructions<'e>,
    context: Value,
) -> Result<String, Error> {
    let mut out = String::new();
    let blocks = BTreeMap::new();
    eval(env, instructions, context, &blocks, &mut make_string_output(&mut out), AutoEscape::None)?;
    Ok(out)
}
