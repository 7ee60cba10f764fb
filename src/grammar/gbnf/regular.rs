//! Tells which rules are regular expressions, and which can never come to an end.

use super::read::{Node, Rule};
use crate::error::{Error, Result};
use crate::grammar::scan::mistake;

/// The size that a regular expression may have, in nodes, when all rules that it names stand in it.
pub(super) const LARGEST: usize = 20_000;
/// The depth to which its nodes may stand in each other.
pub(super) const TALLEST: usize = 60;

/// The most nodes that are looked at until it is known which rules come to an end.
const MOST_STEPS: usize = 50_000_000;

/// Nodes and their height, of a node that is regular when the rules are put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub nodes: usize,
    pub height: usize,
}

/// The size of each rule that is a regular expression: it names no rule that, however far away, names it again.
pub(super) fn regular(rules: &[Rule]) -> Vec<Option<Size>> {
    let mut sizes = vec![None; rules.len()];
    for rule in named_first(rules) {
        // A rule that this one names and that is not done yet stands above it.
        sizes[rule] = size(&rules[rule].body, &sizes);
    }
    sizes
}

fn size(node: &Node, rules: &[Option<Size>]) -> Option<Size> {
    let size = match node {
        Node::Chars(_) => Size { nodes: 1, height: 1 },
        Node::Token(..) => return None,
        Node::Rule(rule) => rules[*rule]?,
        Node::Repeat(inner, ..) => {
            let inner = size(inner, rules)?;
            Size { nodes: inner.nodes + 1, height: inner.height + 1 }
        }
        Node::Row(items) | Node::Either(items) => {
            let mut all = Size { nodes: 1, height: 1 };
            for item in items {
                let item = size(item, rules)?;
                all = Size { nodes: all.nodes + item.nodes, height: all.height.max(item.height + 1) };
            }
            all
        }
    };
    (size.nodes <= LARGEST && size.height <= TALLEST).then_some(size)
}

/// Calls `found` with every rule that a node names.
pub(super) fn each_name(node: &Node, found: &mut impl FnMut(usize)) {
    match node {
        Node::Chars(_) | Node::Token(..) => (),
        Node::Rule(rule) => found(*rule),
        Node::Repeat(inner, ..) => each_name(inner, found),
        Node::Row(items) | Node::Either(items) => items.iter().for_each(|i| each_name(i, found)),
    }
}

/// All rules, those first that others name, as far as circles allow.
fn named_first(rules: &[Rule]) -> Vec<usize> {
    let names: Vec<Vec<usize>> = rules
        .iter()
        .map(|r| {
            let mut names = Vec::new();
            each_name(&r.body, &mut |n| names.push(n));
            names.sort_unstable();
            names.dedup();
            names
        })
        .collect();
    let (mut order, mut seen) = (Vec::new(), vec![false; rules.len()]);
    for first in 0..rules.len() {
        // A rule, and how many of its names were followed.
        let mut path = if std::mem::replace(&mut seen[first], true) { vec![] } else { vec![(first, 0)] };
        while let Some((rule, done)) = path.last_mut() {
            match names[*rule].get(*done) {
                Some(next) => {
                    *done += 1;
                    if !std::mem::replace(&mut seen[*next], true) {
                        path.push((*next, 0));
                    }
                }
                None => {
                    order.push(*rule);
                    path.pop();
                }
            }
        }
    }
    order
}

/// # Errors
/// `InvalidArgument` for a rule that goes on for ever: no text of finite length satisfies it.
pub(super) fn check_endings(text: &str, rules: &[Rule]) -> Result<()> {
    let order = named_first(rules);
    let mut ends = vec![false; rules.len()];
    let mut steps = 0;
    let mut changed = true;
    while changed {
        changed = false;
        for rule in &order {
            if !ends[*rule] && can_end(&rules[*rule].body, &ends, &mut steps) {
                ends[*rule] = true;
                changed = true;
            }
        }
        if steps > MOST_STEPS {
            return Err(Error::unsupported("the grammar's rules are too complex").subject("text"));
        }
    }
    match ends.iter().position(|e| !e) {
        Some(rule) => {
            let what = format!("rule '{}' never comes to an end", rules[rule].name);
            Err(mistake(text, rules[rule].at, &what))
        }
        None => Ok(()),
    }
}

fn can_end(node: &Node, ends: &[bool], steps: &mut usize) -> bool {
    *steps += 1;
    match node {
        Node::Chars(_) | Node::Token(..) => true,
        Node::Rule(rule) => ends[*rule],
        Node::Repeat(inner, min, _) => *min == 0 || can_end(inner, ends, steps),
        Node::Row(items) => items.iter().all(|i| can_end(i, ends, steps)),
        Node::Either(items) => items.iter().any(|i| can_end(i, ends, steps)),
    }
}
