//! A grammar cut into lexemes: the longest stretches of a rule that name no recursive rule.

use std::collections::HashMap;

use super::read::{Node, Rule};
use super::regular::{LARGEST, Size, TALLEST};

/// The most nodes that are copied to put rules in place of their names.
const MOST_COPIED: usize = 500_000;

/// A rule's body above its lexemes.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Lexeme(usize),
    Row(Vec<Part>),
    Either(Vec<Part>),
    Repeat(Box<Part>, u32, Option<u32>),
    Rule(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Lexeme {
    /// A regular expression, without the empty text if it matches that: a lexer cannot read nothing.
    Text(Node),
    /// This token, or any but it.
    Token(u32, bool),
}

/// Rules over lexemes; the first rule begins.
#[derive(Default)]
pub(super) struct Parts {
    pub rules: Vec<Part>,
    pub lexemes: Vec<Lexeme>,
    known: HashMap<Lexeme, usize>,
}

impl Parts {
    /// The part that stands for a regular expression.
    pub fn text(&mut self, node: Node) -> Part {
        if !has_chars(&node) {
            return Part::Row(Vec::new());
        }
        let can_be_empty = can_be_empty(&node);
        let lexeme = Part::Lexeme(self.lexeme(Lexeme::Text(node)));
        if can_be_empty { Part::Repeat(Box::new(lexeme), 0, Some(1)) } else { lexeme }
    }

    fn lexeme(&mut self, lexeme: Lexeme) -> usize {
        let next = self.lexemes.len();
        *self.known.entry(lexeme).or_insert_with_key(|lexeme| {
            self.lexemes.push(lexeme.clone());
            next
        })
    }
}

fn has_chars(node: &Node) -> bool {
    match node {
        Node::Chars(_) => true,
        Node::Repeat(_, _, Some(0)) | Node::Rule(_) | Node::Token(..) => false,
        Node::Repeat(inner, ..) => has_chars(inner),
        Node::Row(items) | Node::Either(items) => items.iter().any(has_chars),
    }
}

pub(super) fn can_be_empty(node: &Node) -> bool {
    match node {
        Node::Chars(_) | Node::Rule(_) | Node::Token(..) => false,
        Node::Repeat(inner, min, _) => *min == 0 || can_be_empty(inner),
        Node::Row(items) => items.iter().all(can_be_empty),
        Node::Either(items) => items.iter().any(can_be_empty),
    }
}

pub(super) fn cut(rules: &[Rule], regular: &[Option<Size>], root: usize) -> Parts {
    let mut cutter = Cutter {
        rules,
        regular,
        copied: 0,
        numbers: HashMap::from([(root, 0)]),
        waiting: vec![root],
        parts: Parts { rules: vec![Part::Row(Vec::new())], ..Parts::default() },
    };
    while let Some(rule) = cutter.waiting.pop() {
        let piece = cutter.cut(&rules[rule].body);
        let part = cutter.close(piece);
        cutter.parts.rules[cutter.numbers[&rule]] = part;
    }
    cutter.parts
}

struct Cutter<'a> {
    rules: &'a [Rule],
    regular: &'a [Option<Size>],
    copied: usize,
    /// The rules that are kept, and their numbers among the parts.
    numbers: HashMap<usize, usize>,
    waiting: Vec<usize>,
    parts: Parts,
}

/// The form that a node has got: a regular expression that may grow yet, or a part.
enum Piece {
    Regular(Node, Size),
    Part(Part),
}

impl Cutter<'_> {
    fn cut(&mut self, node: &Node) -> Piece {
        match node {
            Node::Chars(_) => Piece::Regular(node.clone(), Size { nodes: 1, height: 1 }),
            Node::Token(id, negated) => Piece::Part(Part::Lexeme(self.parts.lexeme(Lexeme::Token(*id, *negated)))),
            Node::Rule(rule) => match self.regular[*rule] {
                Some(size) if self.copied + size.nodes <= MOST_COPIED => {
                    self.copied += size.nodes;
                    Piece::Regular(self.put_in(&self.rules[*rule].body), size)
                }
                _ => Piece::Part(Part::Rule(self.number(*rule))),
            },
            Node::Repeat(inner, min, max) => match self.cut(inner) {
                Piece::Regular(inner, size) if size.nodes < LARGEST && size.height < TALLEST => Piece::Regular(
                    Node::Repeat(Box::new(inner), *min, *max),
                    Size { nodes: size.nodes + 1, height: size.height + 1 },
                ),
                inner => Piece::Part(Part::Repeat(Box::new(self.close(inner)), *min, *max)),
            },
            Node::Row(items) => self.group(items, Node::Row, Part::Row, false),
            Node::Either(items) => self.group(items, Node::Either, Part::Either, true),
        }
    }

    /// Items of a row or of alternatives. Regular ones that stand together become one; alternatives may be brought
    /// together for that.
    fn group(
        &mut self,
        items: &[Node],
        node: fn(Vec<Node>) -> Node,
        part: fn(Vec<Part>) -> Part,
        any_order: bool,
    ) -> Piece {
        let (mut parts, mut open, mut size) = (Vec::new(), Vec::new(), Size { nodes: 1, height: 1 });
        for item in items {
            match self.cut(item) {
                Piece::Regular(item, more) => {
                    if size.nodes + more.nodes > LARGEST || more.height >= TALLEST {
                        parts.push(self.parts.text(node(std::mem::take(&mut open))));
                        size = Size { nodes: 1, height: 1 };
                    }
                    size = Size { nodes: size.nodes + more.nodes, height: size.height.max(more.height + 1) };
                    open.push(item);
                }
                Piece::Part(item) => {
                    if !open.is_empty() && !any_order {
                        parts.push(self.parts.text(node(std::mem::take(&mut open))));
                        size = Size { nodes: 1, height: 1 };
                    }
                    parts.push(item);
                }
            }
        }
        if parts.is_empty() {
            return Piece::Regular(node(open), size);
        }
        if !open.is_empty() {
            parts.push(self.parts.text(node(open)));
        }
        Piece::Part(part(parts))
    }

    fn close(&mut self, piece: Piece) -> Part {
        match piece {
            Piece::Regular(node, _) => self.parts.text(node),
            Piece::Part(part) => part,
        }
    }

    fn number(&mut self, rule: usize) -> usize {
        let next = self.parts.rules.len();
        *self.numbers.entry(rule).or_insert_with(|| {
            self.parts.rules.push(Part::Row(Vec::new()));
            self.waiting.push(rule);
            next
        })
    }

    /// A copy of a regular node with the rules that it names put in.
    fn put_in(&self, node: &Node) -> Node {
        match node {
            Node::Chars(_) | Node::Token(..) => node.clone(),
            Node::Rule(rule) => self.put_in(&self.rules[*rule].body),
            Node::Repeat(inner, min, max) => Node::Repeat(Box::new(self.put_in(inner)), *min, *max),
            Node::Row(items) => Node::Row(items.iter().map(|i| self.put_in(i)).collect()),
            Node::Either(items) => Node::Either(items.iter().map(|i| self.put_in(i)).collect()),
        }
    }
}
