//! Shares of a layer have all of it, and once.

use std::path::Path;

use super::*;
use crate::gguf::Gguf;

/// The dies of a group read every byte of a matrix that is cut, and none twice; a matrix that is not, each of them
/// reads. Their heads are those of the whole layer, or each has all of them.
#[test]
fn shares_have_all_of_a_layer_once() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf");
    let (_, whole) = crate::arch::build(&Gguf::open(&path).unwrap()).unwrap();
    for n in [2, 3, 4] {
        let Sharded { graph, whole: why } = shard(&whole, n);
        for layer in (0..whole.n_layer).filter(|l| why[*l as usize].is_none()) {
            let of = |node: &&Node| node.layer == layer;
            for (weight, info) in graph.weights.iter().enumerate() {
                let parts = graph.nodes.iter().filter(of).filter_map(|node| node.op.facts().product);
                let parts: Vec<_> = parts.map(|p| p.part).filter(|p| p.weight.0 as usize == weight).collect();
                if parts.is_empty() {
                    continue;
                }
                let mut hits = vec![0; info.n_bytes as usize];
                for (first, bytes) in parts.iter().flat_map(|p| p.pieces(info)) {
                    hits[first..first + bytes].iter_mut().for_each(|h| *h += 1);
                }
                let once = hits.iter().all(|h| *h == 1);
                assert!(once || hits.iter().all(|h| *h == n), "layer {layer} on {n}: '{}'", info.name);
                // Its two heads of keys cannot be cut further.
                assert!(once || n > 2 && info.name.contains("attn_"), "layer {layer} on {n}: '{}'", info.name);
            }
            let heads = |graph: &Graph| {
                let states = graph.states.iter().filter(|s| s.layer == layer && !s.copy).map(|s| match &s.shape {
                    StateShape::Kv(kv) => kv.n_head_kv,
                    StateShape::Recurrent(n) => *n,
                });
                states.sum::<usize>()
            };
            assert_eq!(heads(&graph), heads(&whole), "layer {layer} on {n}");
        }
    }
}

/// Layers that read one cache stay whole, all of them, and the reason says so.
#[test]
fn a_layer_that_cannot_be_cut_stays_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf");
    let (_, mut graph) = crate::arch::build(&Gguf::open(&path).unwrap()).unwrap();
    for node in graph.nodes.iter_mut().filter(|n| n.layer == 1) {
        if let Op::Attention(o) = &mut node.op {
            o.state = StateId(0);
        }
    }
    let sharded = shard(&graph, 2);
    for layer in [0, 1] {
        assert_eq!(sharded.whole[layer].as_deref(), Some("several layers read one cache"));
    }
    let of = |graph: &Graph| graph.nodes.iter().filter(|n| n.layer == 1).count();
    assert_eq!(of(&sharded.graph), of(&graph));
}
