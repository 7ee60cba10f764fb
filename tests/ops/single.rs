//! The graph of a row: its op, and what brings keys and values to the cache that it reads.

use std::ops::Range;
use std::sync::Arc;

use rekindle::graph::{
    ALIGN, Cache, CacheKind, Graph, Input, Layout, Limits, Node, Op, Outcome, Part, Pick, Placement, Rotation, Rows,
    Side, State, StateId, StatePlace, StateShape, StoreKv, Value, ValueId, WeightId,
};
use rekindle::quant::Type;

use super::row::{Cached, Row};

/// Tokens of a micro-batch that fills a cache, at least.
const FILL: usize = 32;

/// A graph of one op, laid out.
pub struct Single {
    pub graph: Arc<Graph>,
    pub limits: Limits,
    pub layout: Layout,
    /// The op; several times with other weights or caches, for benchmarks.
    pub nodes: Range<usize>,
    pub inputs: Vec<ValueId>,
    pub output: Option<ValueId>,
    /// Nodes before the op that store keys and values, one for each cache, and what they store.
    pub fill: Option<(Range<usize>, Vec<ValueId>)>,
    pub places: Vec<StatePlace>,
    pub caches: Vec<Cache>,
    pub kv_bytes: usize,
    pub rotations: Arc<[Rotation]>,
}

/// A graph on its way.
#[derive(Default)]
struct Building {
    values: Vec<Value>,
    nodes: Vec<Node>,
    inputs: Vec<Input>,
}

impl Building {
    fn value(&mut self, rows: Rows, cols: usize) -> ValueId {
        self.values.push(Value { name: "value", rows, cols });
        ValueId(self.values.len() as u32 - 1)
    }
    fn given(&mut self, cols: usize) -> ValueId {
        let v = self.value(Rows::Tokens, cols);
        self.inputs.push(Input::Rows(v));
        v
    }
    fn node(&mut self, op: Op, inputs: &[ValueId], output: Option<ValueId>) {
        self.nodes.push(Node { op, inputs: inputs.to_vec(), output, layer: 0, part: Part::Body });
    }
}

/// The states of `copies` caches, after one of the other cache, which is elsewhere; their places from `first` on.
fn states(c: &Cached, copies: usize, first: usize) -> (Vec<State>, Vec<StatePlace>, usize) {
    let row = |ty: Type, n: usize| ty.row_bytes(n).expect("whole blocks");
    let k = row(c.type_k, c.shape.n_head_kv * c.shape.head_dim_k);
    let v = if c.shape.v_in_k { 0 } else { row(c.type_v, c.shape.n_head_kv * c.shape.head_dim_v) };
    let mut end = first;
    let mut side = |row: usize| {
        let offset = end;
        end = (end + row * c.n_cells).next_multiple_of(ALIGN);
        Side { offset, row }
    };
    let mut places = vec![StatePlace { cache: 1 - c.cache, n_cells: c.n_cells, keys: side(0), values: side(0) }];
    places.extend((0..copies).map(|_| StatePlace {
        cache: c.cache,
        n_cells: c.n_cells,
        keys: side(k),
        values: side(v),
    }));
    let shape = if c.recurrent { StateShape::Recurrent(c.shape.head_dim_k) } else { StateShape::Kv(c.shape) };
    let state = |layer: usize| State { layer: layer as u32, shape };
    ((0..=copies).map(state).collect(), places, end)
}

/// The op once more, with the weights or the cache of copy `i`.
fn copied(op: &Op, i: usize) -> Op {
    let mut op = op.clone();
    match &mut op {
        Op::MatMul(o) => o.matrix.first_row += i * o.matrix.n_rows,
        Op::StoreKv(o) => o.state.0 += i as u32,
        Op::Attention(o) => o.state.0 += i as u32,
        Op::Convolve(o) => o.state.0 += i as u32,
        Op::LinearAttention(o) => o.state.0 += i as u32,
        Op::Scan(o) => o.state.0 += i as u32,
        _ => {}
    }
    op
}

impl Single {
    /// `tables` are bytes before the caches in the KV arena, for limits and caches.
    pub fn new(
        row: &Row,
        copies: usize,
        workspace: &dyn Fn(&Graph, &Node, Limits) -> Option<usize>,
        tables: &dyn Fn(Limits, &[Cache]) -> usize,
    ) -> Single {
        let cached = row.cached.as_ref();
        let n_tokens = row.batch.tokens.len() + 1;
        let n_tokens = if cached.is_some_and(|c| !c.filled.is_empty()) { n_tokens.max(FILL) } else { n_tokens };
        let n_outputs = row.batch.first_output + row.batch.outputs.len() + 1;
        let limits = Limits { n_tokens, n_outputs };
        let caches = cached.map_or(vec![], |c| vec![Cache { kind: CacheKind::Context, n_cells: c.n_cells.max(1) }; 2]);
        let first = tables(limits, &caches);
        let (states, places, kv_bytes) = cached.map_or((vec![], vec![], first), |c| states(c, copies, first));

        let mut b = Building::default();
        let fill = cached.filter(|c| !c.filled.is_empty() && !c.recurrent).map(|c| {
            let (shape, n) = (&c.shape, if c.shape.v_in_k { 1 } else { 2 });
            let cols = [shape.n_head_kv * shape.head_dim_k, shape.n_head_kv * shape.head_dim_v];
            let values: Vec<ValueId> = cols[..n].iter().map(|cols| b.given(*cols)).collect();
            let store = Op::StoreKv(StoreKv { state: StateId(1) });
            (0..copies).for_each(|i| b.node(copied(&store, i), &values, None));
            (0..copies, values)
        });
        let inputs: Vec<ValueId> = row.inputs.iter().map(|m| b.given(m.cols)).collect();
        let of_outputs = matches!(row.op, Op::SelectOutputs | Op::Mean);
        let rows = if of_outputs { Rows::Outputs } else { Rows::Tokens };
        let output = (row.cols > 0).then(|| b.value(rows, row.cols));
        let begin = b.nodes.len();
        (0..copies).for_each(|i| b.node(copied(&row.op, i), &inputs, output));
        let nodes = begin..b.nodes.len();
        if row.kept {
            let other = b.value(Rows::Outputs, row.inputs[0].cols);
            b.node(Op::SelectOutputs, &inputs[..1], Some(other));
        }
        let graph = Graph {
            draft: None,
            pooling: None,
            pick: Pick::Asked,
            n_ctx_most: None,
            whole_texts: false,
            n_layer: 1,
            n_vocab: 1,
            n_embd: 1,
            values: b.values,
            unread: Vec::new(),
            weights: row.weights.iter().map(|w| w.info.clone()).collect(),
            nodes: b.nodes,
            inputs: b.inputs,
            adapters: Vec::new(),
            results: if of_outputs { output.map(|v| (Outcome::Logits, v)).into_iter().collect() } else { vec![] },
            states,
            ropes: row.rope.iter().cloned().collect(),
        };
        // Device 1 is the host, which has nothing to do.
        let placement = Placement::whole(1, vec![0; 2]);
        let layout = Layout::new(&graph, limits, 0, &placement, &|node| workspace(&graph, node, limits));
        Single {
            layout: layout.expect("small sizes"),
            rotations: row.rope.iter().map(|r| Rotation::new(r, None)).collect(),
            graph: Arc::new(graph),
            limits,
            nodes,
            inputs,
            output,
            fill,
            places,
            caches,
            kv_bytes,
        }
    }

    /// Whether a state is on the device.
    pub fn here(&self) -> Vec<bool> {
        (0..self.places.len()).map(|i| i > 0).collect()
    }

    /// What the device holds of each weight.
    pub fn part(&self, row: &Row, weight: usize) -> rekindle::graph::WeightSlice {
        row.weights[weight].held.unwrap_or_else(|| self.graph.whole(WeightId(weight as u32)))
    }
}
