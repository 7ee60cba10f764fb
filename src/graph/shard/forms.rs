//! The form that each value of a layer has on the dies of a group, found by a walk through the layer's nodes.
//!
//! # Idea
//!
//! A product of a whole row may be cut by its output: each die makes some columns. What follows is tried on the cut
//! columns: heads, activations and gates work on them as they are, and a product that reads them takes the same columns
//! of its matrix. Its result is then a *partial sum*, and the sum over all dies is the whole value.
//!
//! Values that are cut in the same way are a *class*. A class has a number of equal units, which every op on it limits
//! to a divisor: heads stay whole, and so do blocks of the weights that are cut by columns. At last each die gets some
//! of the units, and not all get as many if they do not divide.
//!
//! ```text
//! q 4096 columns  -> rope: 32 heads -> attention: 8 heads of keys  -> attn_output: blocks of 256    8 units of 512
//! gate, up 14336  -> gate * up      -> ffn_down: blocks of 256                                     56 units of 256
//! ```
//!
//! An op that cannot work on cut columns says which products made them. These are then whole on each die, and the walk
//! begins again.

use std::collections::{HashMap, HashSet};

use super::super::graph::Graph;
use super::super::op::{Gate, Op};
use super::super::value::{StateId, ValueId, WeightSlice};

/// The form of a value on the dies of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Each die has all of it.
    Whole,
    /// Each die has the units of a class that are its own. Columns may be those of several experts, each cut so.
    Split { class: usize, parts: usize },
    /// The sum over all dies is the value.
    Partial,
}

/// A product's cut: of the rows of its matrix, or of the columns, or of its matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    None,
    Rows,
    Columns(usize),
    /// Some of the matrices, one for each head.
    Matrices,
}

/// A node as the dies of a group compute it.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub cut: Cut,
    pub out: Form,
    /// By input: true if the sum over all dies is read, not a partial one.
    pub sums: Vec<bool>,
    /// The class by which the op's heads are cut.
    pub heads: Option<usize>,
}

/// The nodes of a layer that a group of dies shares.
pub(super) struct Forms {
    /// By number of the node in the graph.
    pub nodes: HashMap<usize, Shared>,
    /// The classes of states that are cut; others are whole on each die.
    pub states: HashMap<StateId, usize>,
    /// By class: its units.
    pub units: Vec<usize>,
}

/// The least share of the bytes of a layer's matrices that must be cut.
const LEAST_SHARE: f64 = 0.75;

/// The forms of a layer's nodes on `n` dies. `outside` says which values other layers or the caller read.
///
/// # Errors
/// The reason why the layer cannot be shared.
pub(super) fn of_layer(graph: &Graph, nodes: &[usize], outside: &[bool], n: usize) -> Result<Forms, String> {
    let (mut whole, mut why, mut cause) = (HashSet::new(), String::from("it has no matrices"), None);
    loop {
        let mut walk = Walk::new(graph, n, &whole);
        match walk.all(nodes, outside) {
            Ok(forms) => {
                let (cut, all) = walk.bytes(nodes, &forms);
                if cut < all * LEAST_SHARE || cut == 0.0 {
                    let share = if all > 0.0 { 100.0 * cut / all } else { 0.0 };
                    return Err(format!("only {share:.0} % of its matrices can be cut: {}", cause.unwrap_or(why)));
                }
                return Ok(forms);
            }
            Err(failure) => {
                why = failure.why;
                if failure.of_parts {
                    cause.get_or_insert_with(|| why.clone());
                }
                let before = whole.len();
                whole.extend(failure.products);
                if whole.len() == before {
                    return Err(why);
                }
            }
        }
    }
}

/// Products that must be whole, since an op cannot work on a part of what they make.
struct Failure {
    products: Vec<usize>,
    why: String,
    /// True if there would be fewer parts than dies. That is the cause, and all that cannot be cut besides follows.
    of_parts: bool,
}

struct Walk<'a> {
    graph: &'a Graph,
    n: usize,
    /// Products that are not cut by rows.
    whole: &'a HashSet<usize>,
    /// By class: another class that it has become, or itself.
    same: Vec<usize>,
    units: Vec<usize>,
    products: Vec<Vec<usize>>,
    values: HashMap<ValueId, Form>,
    states: HashMap<StateId, usize>,
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

type Step<T> = Result<T, Failure>;

impl<'a> Walk<'a> {
    fn new(graph: &'a Graph, n: usize, whole: &'a HashSet<usize>) -> Walk<'a> {
        Walk {
            graph,
            n,
            whole,
            same: Vec::new(),
            units: Vec::new(),
            products: Vec::new(),
            values: HashMap::new(),
            states: HashMap::new(),
        }
    }

    fn all(&mut self, nodes: &[usize], outside: &[bool]) -> Step<Forms> {
        let mut out = HashMap::new();
        for i in nodes {
            let shared = self.node(*i)?;
            if let Some(v) = self.graph.nodes[*i].output {
                self.values.insert(v, shared.out);
            }
            out.insert(*i, shared);
        }
        // Values that the rest of the graph reads must be whole or sums.
        for v in nodes.iter().filter_map(|i| self.graph.nodes[*i].output).filter(|v| outside[v.0 as usize]) {
            self.refuse(&[self.form(v)], usize::MAX)?;
        }
        for shared in out.values_mut() {
            shared.heads = shared.heads.map(|c| self.root(c));
            if let Cut::Columns(c) = &mut shared.cut {
                *c = self.root(*c);
            }
            if let Form::Split { class, .. } = &mut shared.out {
                *class = self.root(*class);
            }
        }
        let states = self.states.iter().map(|(s, c)| (*s, self.root(*c))).collect();
        Ok(Forms { nodes: out, states, units: self.units.clone() })
    }

    /// Bytes of the layer's matrices that are cut, and of all.
    fn bytes(&self, nodes: &[usize], forms: &Forms) -> (f64, f64) {
        let of = |part: WeightSlice| part.n_bytes(self.graph.weight(part.weight)) as f64;
        nodes.iter().fold((0.0, 0.0), |(cut, all), i| {
            let bytes = self.graph.nodes[*i].op.facts().product.map_or(0.0, |p| of(p.part));
            (if forms.nodes[i].cut == Cut::None { cut } else { cut + bytes }, all + bytes)
        })
    }

    fn root(&self, class: usize) -> usize {
        if self.same[class] == class { class } else { self.root(self.same[class]) }
    }

    fn form(&self, v: ValueId) -> Form {
        match self.values.get(&v) {
            Some(Form::Split { class, parts }) => Form::Split { class: self.root(*class), parts: *parts },
            Some(form) => *form,
            None => Form::Whole,
        }
    }

    fn failure(&self, forms: &[Form], why: String) -> Failure {
        let products = forms.iter().filter_map(|f| match f {
            Form::Split { class, .. } => Some(self.products[self.root(*class)].clone()),
            _ => None,
        });
        Failure { products: products.flatten().collect(), why, of_parts: false }
    }

    /// Refuses values that are cut.
    fn refuse(&self, forms: &[Form], node: usize) -> Step<()> {
        if forms.iter().all(|f| !matches!(f, Form::Split { .. })) {
            return Ok(());
        }
        let what = self.graph.nodes.get(node).map_or("another layer", |n| n.op.name());
        Err(self.failure(forms, format!("{what} reads whole rows")))
    }

    /// Lets a class have a divisor of `most` as its units.
    fn limit(&mut self, class: usize, most: usize, what: &str) -> Step<()> {
        let class = self.root(class);
        let units = gcd(self.units[class], most);
        if units < self.n {
            let why = format!("{what} cannot be cut into more than {units} equal parts");
            let failure = self.failure(&[Form::Split { class, parts: 1 }], why);
            return Err(Failure { of_parts: true, ..failure });
        }
        self.units[class] = units;
        Ok(())
    }

    /// Makes two classes one.
    fn join(&mut self, a: usize, b: usize, what: &str) -> Step<()> {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return Ok(());
        }
        let moved = std::mem::take(&mut self.products[b]);
        self.products[a].extend(moved);
        self.same[b] = a;
        self.limit(a, self.units[b], what)
    }

    fn class(&mut self, product: usize, units: usize, what: &str) -> Step<usize> {
        let class = self.same.len();
        self.same.push(class);
        self.units.push(units);
        self.products.push(vec![product]);
        self.limit(class, units, what)?;
        Ok(class)
    }

    fn node(&mut self, i: usize) -> Step<Shared> {
        let graph = self.graph;
        let node = &graph.nodes[i];
        let forms: Vec<Form> = node.inputs.iter().map(|v| self.form(*v)).collect();
        let cols = |v: usize| graph.value(node.inputs[v]).cols;
        let n_out = node.output.map_or(0, |v| graph.value(v).cols);
        let shared = |cut: Cut, out: Form, sums: bool, heads: Option<usize>| Shared {
            cut,
            out,
            sums: vec![sums; node.inputs.len()],
            heads,
        };
        // Everything whole on each die, if nothing better is known.
        let each = |walk: &Walk<'_>| walk.refuse(&forms, i).map(|()| shared(Cut::None, Form::Whole, true, None));
        let same = |form: Form| Ok(shared(Cut::None, form, false, None));
        let by_heads = |form: Form, class: usize| Ok(shared(Cut::None, form, false, Some(class)));
        let name = node.op.name();
        match (&node.op, &forms[..]) {
            (Op::MatMul(o), [x]) => self.product(i, *x, o.matrix, 1, cols(0)),
            (Op::MatMulExperts(o), [x, Form::Whole]) => {
                self.product(i, *x, o.matrices, o.n_expert_used, o.matrices.n_cols)
            }
            (Op::MatMulHeads(o), [Form::Split { class, parts: 1 }]) => {
                self.limit(*class, o.n_head, "its heads")?;
                Ok(Shared { cut: Cut::Matrices, ..shared(Cut::None, forms[0], false, Some(*class)) })
            }
            (Op::SumExperts(_) | Op::Scale(_), [Form::Partial, rest @ ..])
                if rest.iter().all(|f| *f == Form::Whole) =>
            {
                // Sums of partial sums, as long as nothing is added to each.
                if matches!(&node.op, Op::Scale(o) if o.bias.is_some()) { each(self) } else { same(Form::Partial) }
            }
            (Op::Scale(o), [x @ Form::Split { .. }, rest @ ..])
                if o.bias.is_none() && rest.iter().all(|f| *f == Form::Whole) =>
            {
                // Scales of columns would have to be cut, those of experts are not.
                let of_columns = rest.is_empty() && o.scale.is_some_and(|w| graph.weight(w).ne[0] > 1);
                if of_columns { each(self) } else { same(*x) }
            }
            (Op::Activation(_) | Op::SoftCap(_), [x @ Form::Split { .. }]) => same(*x),
            (Op::SelectOutputs, [x]) => same(*x),
            (Op::Norm(o), [Form::Split { class, parts: 1 }]) => {
                let weights = [o.weight, o.bias].into_iter().flatten().map(|w| graph.weight(w));
                if weights.into_iter().any(|w| w.ne[0] * w.ne[1] != o.group as u64) {
                    return each(self);
                }
                self.limit(*class, cols(0) / o.group, "the norm of heads")?;
                same(forms[0])
            }
            (Op::Rope(o), [Form::Split { class, parts: 1 }, rest @ ..]) if rest.iter().all(|f| *f == Form::Whole) => {
                self.limit(*class, o.n_head, "its heads")?;
                by_heads(forms[0], *class)
            }
            (Op::Columns(o), [Form::Split { class, parts: 1 }]) => {
                self.limit(*class, o.n_head, name)?;
                by_heads(forms[0], *class)
            }
            (Op::Concat(o), [Form::Split { class, parts: 1 }, second]) => {
                self.limit(*class, o.n_head, name)?;
                match second {
                    Form::Split { class: other, parts: 1 } => self.join(*class, *other, name)?,
                    // The same for each head.
                    Form::Whole if cols(1) * o.n_head == n_out - cols(0) => {}
                    _ => return each(self),
                }
                by_heads(forms[0], *class)
            }
            (Op::StoreKv(o), [Form::Split { class, parts: 1 }, rest @ ..]) => {
                self.limit(*class, graph.kv(o.state).n_head_kv, "its heads of keys")?;
                for form in rest {
                    let Form::Split { class: other, parts: 1 } = form else { return each(self) };
                    self.join(*class, *other, "its heads of keys")?;
                }
                self.states.insert(o.state, *class);
                by_heads(Form::Whole, *class)
            }
            (Op::Attention(o), [Form::Split { .. }]) if o.alibi.is_some() => {
                Err(self.failure(&[forms[0]], "its slopes go by the number of a head".to_owned()))
            }
            (Op::Attention(o), [Form::Split { class, parts: 1 }]) => {
                let n_head_kv = graph.kv(o.state).n_head_kv;
                match self.states.get(&o.state).copied() {
                    Some(state) => self.join(*class, state, "its heads of keys")?,
                    None if n_head_kv == 1 => self.limit(*class, o.n_head, "its heads")?,
                    None => return each(self),
                }
                by_heads(forms[0], *class)
            }
            (Op::Attention(o), [_]) if self.states.contains_key(&o.state) => {
                let class = self.states[&o.state];
                Err(self.failure(&[Form::Split { class, parts: 1 }], "its queries cannot be cut".to_owned()))
            }
            (Op::Add, [Form::Partial, Form::Partial]) => same(Form::Partial),
            (Op::Add, [Form::Split { class: a, parts: p }, Form::Split { class: b, parts: q }]) if p == q => {
                self.join(*a, *b, name)?;
                same(forms[0])
            }
            (Op::Gate(_), [Form::Split { class: a, parts: p }, Form::Split { class: b, parts: q }]) if p == q => {
                self.join(*a, *b, "the gate")?;
                same(Form::Split { class: *b, parts: *q })
            }
            // A number for each expert, or for the row.
            (Op::Gate(_), [Form::Whole, x @ Form::Split { parts, .. }]) if cols(0) == *parts => same(*x),
            (Op::Gate(Gate::Plain(_)), [Form::Whole, Form::Partial]) => same(Form::Partial),
            _ => each(self),
        }
    }

    /// A product with `parts` matrices for each row; x has `n_in` columns for each.
    fn product(&mut self, i: usize, x: Form, part: WeightSlice, parts: usize, n_in: usize) -> Step<Shared> {
        let node = &self.graph.nodes[i];
        let info = self.graph.weight(part.weight);
        let whole = |cut, out| Shared { cut, out, sums: vec![true; node.inputs.len()], heads: None };
        match x {
            Form::Split { class, parts: p } if p == parts => {
                let block = info.ty.block_len();
                if !n_in.is_multiple_of(block) || part.n_cols != info.ne[0] as usize {
                    self.refuse(&[x], i)?;
                }
                let what = format!("the input of '{}' in blocks of {block}", info.name);
                self.limit(class, n_in / block, &what)?;
                Ok(whole(Cut::Columns(class), Form::Partial))
            }
            Form::Split { .. } => self.refuse(&[x], i).map(|()| whole(Cut::None, Form::Whole)),
            Form::Whole | Form::Partial if self.whole.contains(&i) || part.n_rows < self.n => {
                Ok(whole(Cut::None, Form::Whole))
            }
            Form::Whole | Form::Partial => {
                let class = self.class(i, part.n_rows, &format!("the output of '{}'", info.name))?;
                Ok(whole(Cut::Rows, Form::Split { class, parts }))
            }
        }
    }
}
