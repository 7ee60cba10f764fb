//! Lexemes behind which the lexer could read too far are taken apart.
//!
//! At each place of a text the parser allows some lexemes, and the lexer reads on while any of them can go on. Let L
//! and M be allowed at one place, w a whole text of L, and c a character that may come behind L there. If M can begin
//! with wc, the lexer reads c, too, and the parse "L, then c" is lost. If there are no such L, M, w and c, every parse
//! is found: after w nothing can go on with c, so the lexer stops just there.
//!
//! This is looked for lexeme by lexeme, with more texts than there are:
//!
//! - Which lexemes may stand behind which: from the rules, as one computes first and follow sets.
//! - Which may be allowed at one place: those that a text can begin with; and if T and U are allowed at one place and
//!   share a text, all that may stand behind T together with all behind U.
//! - With which bytes M goes on behind a text of L: from their automata ([`super::nfa`]). Bytes, because the lexer
//!   reads bytes.
//!
//! Of two lexemes that fail, M is taken apart into the elements of its expression, or L if M is a single character.
//! Single characters never fail with each other, so this comes to an end. If the search takes too long, everything is
//! taken apart.

use std::collections::HashMap;

use super::chars::Bytes;
use super::nfa::{Meeting, Nfa};
use super::parts::{Lexeme, Part, Parts};
use super::read::Node;

/// Steps of the whole search.
const BUDGET: usize = 100_000_000;
/// Lexemes among which it searches.
const MOST_LEXEMES: usize = 1500;

pub(super) fn split(parts: &mut Parts) {
    let mut search = Search { budget: BUDGET, automata: HashMap::new(), meetings: HashMap::new() };
    loop {
        let Some(apart) = search.failing(parts) else {
            // Every lexeme of more than one character.
            while take_apart(parts, |_| true) {}
            return;
        };
        if apart.is_empty() {
            return;
        }
        take_apart(parts, |lexeme| apart.contains(&lexeme));
    }
}

/// Puts the elements of these lexemes in their place; false if none of them has any.
fn take_apart(parts: &mut Parts, which: impl Fn(usize) -> bool) -> bool {
    fn walk(part: &mut Part, parts: &mut Parts, which: &impl Fn(usize) -> bool) -> bool {
        match part {
            Part::Rule(_) => false,
            Part::Repeat(inner, ..) => walk(inner, parts, which),
            Part::Row(items) | Part::Either(items) => {
                items.iter_mut().fold(false, |any, item| walk(item, parts, which) | any)
            }
            Part::Lexeme(lexeme) if !which(*lexeme) => false,
            Part::Lexeme(lexeme) => {
                let new = match parts.lexemes[*lexeme].clone() {
                    Lexeme::Token(..) | Lexeme::Text(Node::Chars(_) | Node::Rule(_) | Node::Token(..)) => return false,
                    Lexeme::Text(Node::Row(items)) => Part::Row(items.into_iter().map(|i| parts.text(i)).collect()),
                    Lexeme::Text(Node::Either(items)) => {
                        Part::Either(items.into_iter().map(|i| parts.text(i)).collect())
                    }
                    Lexeme::Text(Node::Repeat(inner, min, max)) => Part::Repeat(Box::new(parts.text(*inner)), min, max),
                };
                *part = new;
                true
            }
        }
    }
    let mut rules = std::mem::take(&mut parts.rules);
    let any = rules.iter_mut().fold(false, |any, rule| walk(rule, parts, &which) | any);
    parts.rules = rules;
    any
}

fn is_single(lexeme: &Lexeme) -> bool {
    matches!(lexeme, Lexeme::Text(Node::Chars(_)) | Lexeme::Token(..))
}

struct Search {
    budget: usize,
    automata: HashMap<usize, Nfa>,
    meetings: HashMap<(usize, usize), Meeting>,
}

impl Search {
    fn take(&mut self, steps: usize) -> Option<()> {
        self.budget = self.budget.checked_sub(steps)?;
        Some(())
    }

    /// The lexemes to take apart; `None` if the budget is used up.
    fn failing(&mut self, parts: &Parts) -> Option<Vec<usize>> {
        let n = parts.lexemes.len();
        if n > MOST_LEXEMES {
            return None;
        }
        let flow = Flow::of(parts, &mut self.budget)?;
        for (i, lexeme) in parts.lexemes.iter().enumerate() {
            if let (Lexeme::Text(node), false) = (lexeme, self.automata.contains_key(&i)) {
                self.automata.insert(i, Nfa::new(node, &mut self.budget)?);
            }
        }
        let together = self.together(parts, &flow)?;
        let behind: Vec<Bytes> = (0..n)
            .map(|i| {
                let mut bytes = Bytes::default();
                let texts = ones(&flow.behind[i]).filter_map(|t| self.automata.get(&t));
                texts.for_each(|a| bytes.add(a.first_bytes()));
                bytes
            })
            .collect();
        let mut apart = Vec::new();
        for (l, m) in together {
            if self.meeting(l, m, parts)?.beyond.meets(&behind[l]) {
                apart.push(if is_single(&parts.lexemes[m]) { l } else { m });
            }
        }
        Some(apart)
    }

    /// The pairs of lexemes that may be allowed at one place, each in both orders.
    fn together(&mut self, parts: &Parts, flow: &Flow) -> Option<Vec<(usize, usize)>> {
        let n = parts.lexemes.len();
        let (mut seen, mut found) = (vec![false; n * n], Vec::new());
        let mut next = 0;
        let mut add = |a: &[u64], b: &[u64], found: &mut Vec<(usize, usize)>| {
            for l in ones(a) {
                for m in ones(b) {
                    if !std::mem::replace(&mut seen[l * n + m], true) {
                        found.push((l, m));
                    }
                }
            }
        };
        add(&flow.begin, &flow.begin, &mut found);
        while let Some(&(t, u)) = found.get(next) {
            next += 1;
            if t == u || self.meeting(t, u, parts)?.same {
                let (a, b) = (&flow.behind[t], &flow.behind[u]);
                self.take(ones(a).count() * ones(b).count() + n / 64)?;
                add(a, b, &mut found);
                add(b, a, &mut found);
            }
        }
        Some(found)
    }

    fn meeting(&mut self, l: usize, m: usize, parts: &Parts) -> Option<Meeting> {
        if let Some(known) = self.meetings.get(&(l, m)) {
            return Some(*known);
        }
        let meeting = match (self.automata.get(&l), self.automata.get(&m)) {
            (Some(l), Some(m)) => l.meet(m, &mut self.budget)?,
            // Two tokens may be the same one; a token and a text never.
            _ => Meeting { same: is_token(parts, l) && is_token(parts, m), ..Meeting::default() },
        };
        self.meetings.insert((l, m), meeting);
        Some(meeting)
    }
}

fn is_token(parts: &Parts, lexeme: usize) -> bool {
    matches!(parts.lexemes[lexeme], Lexeme::Token(..))
}

/// A set of lexemes, a bit for each.
type Set = Vec<u64>;

fn ones(set: &[u64]) -> impl Iterator<Item = usize> + '_ {
    set.iter().enumerate().flat_map(|(word, bits)| {
        let mut bits = *bits;
        std::iter::from_fn(move || {
            let bit = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
            bits &= bits - 1;
            Some(word * 64 + bit)
        })
    })
}

/// Adds a set to another one; true if that grew.
fn unite(to: &mut Set, from: &[u64]) -> bool {
    let mut grew = false;
    for (t, f) in to.iter_mut().zip(from) {
        grew |= *f & !*t != 0;
        *t |= f;
    }
    grew
}

/// The lexemes that begin and end a part.
#[derive(Clone)]
struct Edges {
    empty: bool,
    first: Set,
    last: Set,
}

/// The order in which lexemes may stand.
struct Flow {
    /// Those that a text may begin with.
    begin: Set,
    /// For each lexeme those that may stand behind it.
    behind: Vec<Set>,
}

impl Flow {
    fn of(parts: &Parts, budget: &mut usize) -> Option<Flow> {
        let words = parts.lexemes.len().div_ceil(64);
        let none = Edges { empty: false, first: vec![0; words], last: vec![0; words] };
        let mut rules = vec![none.clone(); parts.rules.len()];
        let mut behind = vec![vec![0; words]; parts.lexemes.len()];
        let mut grew = true;
        while grew {
            grew = false;
            for (i, rule) in parts.rules.iter().enumerate().rev() {
                let new = edges(rule, &rules, &mut behind, words, budget)?;
                let old = &mut rules[i];
                grew |= new.empty != old.empty;
                grew |= unite(&mut old.first, &new.first) | unite(&mut old.last, &new.last);
                old.empty = new.empty;
            }
        }
        Some(Flow { begin: rules.first()?.first.clone(), behind })
    }
}

/// The edges of a part; the lexemes inside it that stand behind each other are noted on the way.
fn edges(part: &Part, rules: &[Edges], behind: &mut [Set], words: usize, budget: &mut usize) -> Option<Edges> {
    *budget = budget.checked_sub(words)?;
    let join = |last: &Set, first: &Set, behind: &mut [Set], budget: &mut usize| {
        *budget = budget.checked_sub(ones(last).count() * words)?;
        ones(last).for_each(|l| {
            unite(&mut behind[l], first);
        });
        Some(())
    };
    Some(match part {
        Part::Lexeme(i) => {
            let mut set = vec![0; words];
            set[i / 64] |= 1 << (i % 64);
            Edges { empty: false, first: set.clone(), last: set }
        }
        Part::Rule(i) => rules[*i].clone(),
        Part::Either(items) => {
            let mut all = Edges { empty: false, first: vec![0; words], last: vec![0; words] };
            for item in items {
                let item = edges(item, rules, behind, words, budget)?;
                all.empty |= item.empty;
                unite(&mut all.first, &item.first);
                unite(&mut all.last, &item.last);
            }
            all
        }
        Part::Row(items) => {
            let mut all = Edges { empty: true, first: vec![0; words], last: vec![0; words] };
            for item in items {
                let item = edges(item, rules, behind, words, budget)?;
                join(&all.last, &item.first, behind, budget)?;
                if all.empty {
                    unite(&mut all.first, &item.first);
                }
                if item.empty {
                    unite(&mut all.last, &item.last);
                } else {
                    all.last = item.last;
                }
                all.empty &= item.empty;
            }
            all
        }
        Part::Repeat(inner, min, max) => {
            let mut inner = edges(inner, rules, behind, words, budget)?;
            if *max != Some(1) {
                join(&inner.last, &inner.first, behind, budget)?;
            }
            inner.empty |= *min == 0;
            inner
        }
    })
}
