//! Rules that never come to an end: every text of such a rule needs another one of the same rule inside it. A
//! generation that gets into one can only stop where its room ends.
//!
//! A rule comes to an end if one of its alternatives has only parts that do; a lexeme does, and an empty text. What
//! follows from this is found from the lexemes upwards: each alternative counts its parts that are not known to end.
//! At 0 its rule is known, and all alternatives that name that rule count down (Dowling and Gallier 1984). So it takes
//! a time with the grammar's size.

use std::collections::{HashMap, HashSet};

use llguidance::api::{GrammarInit, ParserLimits, TopLevelGrammar};
use llguidance::earley::{CGrammar, CSymIdx};
use llguidance::panic_utils;
use llguidance::toktrie::TokEnv;

use crate::error::{Error, Result};

/// Checks a grammar that was compiled from `source`: all rules that its texts can reach come to an end.
///
/// # Errors
/// `InvalidArgument` naming a rule, or a reference of a schema, that does not.
pub(super) fn check(compiled: &CGrammar, source: TopLevelGrammar, env: &TokEnv, limits: &ParserLimits) -> Result<()> {
    let Some(circle) = circle(compiled) else { return Ok(()) };
    // The compiler has put rules into others and lost their names, so it is done again without that.
    let named = panic_utils::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let (grammar, lexemes) = GrammarInit::Serialized(source).to_internal(Some(env.clone()), limits.clone())?;
        let plain = grammar.compile(lexemes, limits)?;
        Ok(self::circle(&plain).unwrap_or_default())
    }));
    let name = name(named.ok().filter(|names| !names.is_empty()).unwrap_or(circle));
    Err(Error::invalid(format!("'{name}' never comes to an end: every text of it needs another one inside"))
        .subject("text"))
}

/// Of the names of symbols in a circle that of what the author wrote, a reference or a rule.
fn name(circle: Vec<String>) -> String {
    let of_reference = circle.iter().find(|n| *n == "#" || n.starts_with("#/"));
    // The compiler writes a rule that is named before its end with a mark behind it.
    let of_rule = || circle.iter().find_map(|n| n.strip_suffix('_'));
    of_reference.map(String::as_str).or_else(of_rule).or(circle.first().map(String::as_str)).unwrap_or("").to_owned()
}

fn alternatives(grammar: &CGrammar, symbol: CSymIdx) -> impl Iterator<Item = &[CSymIdx]> {
    grammar.rules_of(symbol).iter().map(|rule| grammar.rule_rhs(*rule).0)
}

/// The names of symbols that need each other without end; `None` if there are none.
fn circle(grammar: &CGrammar) -> Option<Vec<String>> {
    let symbols = reachable(grammar);
    let ending = ending(grammar, &symbols);
    let mut at = *symbols.iter().find(|s| !ending.contains(*s))?;
    // Each alternative of a symbol that does not end has such a part. Following one of them leads into a circle.
    let (mut way, mut places) = (Vec::new(), HashMap::new());
    while !places.contains_key(&at) {
        places.insert(at, way.len());
        way.push(grammar.sym_name(at).to_owned());
        // A symbol without alternatives is a rule that no text satisfies.
        let Some(next) = alternatives(grammar, at).flatten().find(|s| !ending.contains(*s)) else { break };
        at = *next;
    }
    Some(way.split_off(places[&at]))
}

/// The symbols that texts of the grammar can have.
fn reachable(grammar: &CGrammar) -> Vec<CSymIdx> {
    let (mut order, mut seen) = (vec![grammar.start()], HashSet::from([grammar.start()]));
    let mut done = 0;
    while let Some(symbol) = order.get(done).copied() {
        done += 1;
        order.extend(alternatives(grammar, symbol).flatten().filter(|part| seen.insert(**part)));
    }
    order
}

/// Those of the symbols that come to an end.
fn ending(grammar: &CGrammar, symbols: &[CSymIdx]) -> HashSet<CSymIdx> {
    let at_once = |symbol: &&CSymIdx| {
        let s = grammar.sym_data(**symbol);
        // A condition on parameters is taken to hold.
        s.is_terminal || s.is_nullable || !s.cond_nullable.is_empty()
    };
    let mut known: Vec<CSymIdx> = symbols.iter().filter(at_once).copied().collect();
    // Of each alternative its rule, and the number of parts that are not known to end.
    let mut left: Vec<(CSymIdx, usize)> = Vec::new();
    let mut named: HashMap<CSymIdx, Vec<usize>> = HashMap::new();
    for symbol in symbols {
        for parts in alternatives(grammar, *symbol) {
            parts.iter().for_each(|part| named.entry(*part).or_default().push(left.len()));
            left.push((*symbol, parts.len()));
        }
    }
    let mut ending = HashSet::new();
    while let Some(symbol) = known.pop() {
        if !ending.insert(symbol) {
            continue;
        }
        for i in named.get(&symbol).into_iter().flatten() {
            left[*i].1 -= 1;
            if left[*i].1 == 0 {
                known.push(left[*i].0);
            }
        }
    }
    ending
}
