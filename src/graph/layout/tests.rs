use super::*;
use crate::graph::{Activation, Gate, Op, Outcome, Value};

/// A chain of adds and norms with a long-lived residual: no two values that live at once may share bytes.
#[test]
fn live_values_never_overlap() {
    let value = |name, cols| Value { name, rows: Rows::Tokens, cols };
    let node = |inputs: &[u32], output| Node {
        op: Op::Gate(Gate::Plain(Activation::Silu)),
        inputs: inputs.iter().map(|v| ValueId(*v)).collect(),
        output: Some(ValueId(output)),
        layer: 0,
        part: Part::Body,
    };
    let graph = Graph {
        draft: None,
        pooling: None,
        pick: crate::graph::Pick::Asked,
        n_ctx_most: None,
        whole_texts: false,
        n_layer: 1,
        n_vocab: 1,
        n_embd: 16,
        values: vec![value("a", 16), value("b", 64), value("c", 64), value("d", 64), value("e", 16), value("f", 32)],
        weights: vec![],
        unread: vec![],
        nodes: vec![node(&[], 0), node(&[0], 1), node(&[0], 2), node(&[1, 2], 3), node(&[3], 4), node(&[4, 0], 5)],
        inputs: vec![],
        adapters: Vec::new(),
        results: vec![(Outcome::Logits, ValueId(5)), (Outcome::Embeddings, ValueId(4))],
        states: vec![],
        ropes: vec![],
    };
    let limits = Limits { n_tokens: 8, n_outputs: 1 };
    let placement = Placement::whole(0, vec![0, 0]);
    let layout = Layout::new(&graph, limits, 0, &placement, &|_| Some(100)).unwrap();
    assert_eq!(layout.workspace_bytes, 128);
    let place = |v: u32| {
        let start = layout.offset(ValueId(v)).unwrap();
        (start, start + 8 * graph.values[v as usize].cols * 4)
    };
    // (value, value) pairs that are alive at the same time.
    for (v, w) in [(0, 1), (0, 2), (1, 2), (0, 3), (0, 4), (4, 5)] {
        let (a, b) = (place(v), place(w));
        assert!(a.1 <= b.0 || b.1 <= a.0, "{v} {a:?} and {w} {b:?}");
        assert!(a.1 <= layout.bytes && b.1 <= layout.bytes && a.0 >= 128);
    }
    // d takes b's place: b dies where d is made.
    assert_eq!(place(1).0, place(3).0);
    let limits = Limits { n_tokens: usize::MAX / 8, n_outputs: 1 };
    assert!(Layout::new(&graph, limits, 0, &placement, &|_| Some(0)).is_err());
}

/// Runs nodes with copies between devices as a plan for several of them does: every node finds what it reads where
/// it reads it, for layers and experts on devices of their own.
#[test]
fn stretches_find_what_they_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    let mut n_mixtures = 0;
    for path in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        let file = std::sync::Arc::new(crate::gguf::Gguf::open(&path).unwrap());
        let (_, graph) = crate::arch::build(&file).unwrap();
        n_mixtures += usize::from(graph.nodes.iter().any(|n| n.part == Part::Experts));
        let n = graph.n_layer as usize + 1;
        for cut in 0..=n {
            let layers: Vec<u32> = (0..n).map(|l| u32::from(l >= cut)).collect();
            let cpu = vec![2; n - 1];
            let mixed: Vec<u32> = (0..n - 1).map(|l| if l < n / 2 { 2 } else { layers[l] }).collect();
            let (before, after) =
                ((0..n).map(|l| if l < cut { 2 } else { 0 }), (0..n).map(|l| if l < cut { 0 } else { 2 }));
            for placement in [
                Placement { input: 2, layers: layers.clone(), experts: cpu },
                Placement { input: 2, layers: layers.clone(), experts: mixed },
                Placement::whole(2, layers),
                Placement::whole(2, before.collect()),
                Placement::whole(2, after.collect()),
            ] {
                // With one row, values of other shapes may take as many bytes.
                for limits in [Limits { n_tokens: 7, n_outputs: 3 }, Limits { n_tokens: 1, n_outputs: 1 }] {
                    run(&graph, limits, &placement, &format!("{} cut at {cut}, {limits:?}", file.path()));
                }
            }
        }
    }
    assert!(n_mixtures > 8, "{n_mixtures} mixtures");
}

fn run(graph: &Graph, limits: Limits, placement: &Placement, what: &str) {
    let layouts: Vec<Layout> =
        (0..3).map(|d| Layout::new(graph, limits, d, placement, &|_| Some(64)).unwrap()).collect();
    // Per device: what lies where, (start, end, value).
    let mut held: Vec<Vec<(usize, usize, ValueId)>> = vec![Vec::new(); 3];
    let put = |held: &mut Vec<(usize, usize, ValueId)>, d: usize, v: ValueId| {
        let start = layouts[d].offset(v).unwrap_or_else(|| panic!("{what}: no place for {v:?} on {d}"));
        let end = start + limits.rows(graph.value(v).rows) * graph.value(v).cols * 4;
        assert!(start >= layouts[d].workspace_bytes && end <= layouts[d].bytes, "{what}");
        held.retain(|(s, e, _)| *e <= start || end <= *s);
        held.push((start, end, v));
    };
    let has = |held: &[(usize, usize, ValueId)], v: ValueId| held.iter().any(|h| h.2 == v);
    let devices: Vec<usize> = graph.nodes.iter().map(|n| placement.device(n).unwrap() as usize).collect();
    for (i, node) in graph.nodes.iter().enumerate() {
        let d = devices[i];
        for v in &node.inputs {
            assert!(has(&held[d], *v), "{what}: node {i} misses {v:?}");
        }
        if let Some(v) = node.output {
            put(&mut held[d], d, v);
            // A result in place of its input aside, what is read stays while the node runs.
            let same = |w: &&ValueId| graph.value(**w).has_shape_of(graph.value(v));
            let in_place = node.inputs.first().filter(same).filter(|_| node.op.facts().in_place);
            assert!(node.inputs.iter().all(|w| Some(w) == in_place || has(&held[d], *w)), "{what}: node {i}");
            let reads =
                |other: &usize| graph.nodes.iter().zip(&devices).any(|(n, d)| d == other && n.inputs.contains(&v));
            let result = |other: &usize| *other == placement.input as usize && graph.is_result(v);
            for other in (0..3).filter(|o| *o != d).filter(|o| reads(o) || result(o)) {
                put(&mut held[other], other, v);
            }
        }
    }
    let host = &held[placement.input as usize];
    assert!(graph.results.iter().all(|(_, v)| has(host, *v)), "{what}");
}
