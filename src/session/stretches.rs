//! The stretches of a graph: the order of work on a model's devices.
//!
//! The graph is cut into stretches: neighbouring nodes on one device, of which only the last may make a value that
//! another device reads. A micro-batch walks them in order. Each is given to its device's executor, and its last value
//! is copied to the devices that read it.
//!
//! ```text
//! nodes      embed    | rope table   | layers 0 .. 11 | layers 12 .. 23, output norm | output matrix
//! device     CPU      | CPU          | die 0          | die 1                        | die 1
//! handed on  to die 0 | to both dies | to die 1       | to the CPU                   | to the CPU
//! ```

use std::ops::Range;

use crate::graph::{Graph, Placement, ValueId};

/// Neighbouring nodes of one device.
#[derive(Debug, PartialEq)]
pub(super) struct Stretch {
    pub device: u32,
    pub nodes: Range<usize>,
    /// The value that its last node made, and the devices that it is copied to.
    pub hand: Option<(ValueId, Vec<u32>)>,
}

/// Cuts a range of nodes where the device changes and where a value is handed on.
pub(super) fn stretches(graph: &Graph, range: Range<usize>, placement: &Placement) -> Vec<Stretch> {
    let device = |i: usize| placement.device(&graph.nodes[i]).unwrap_or(placement.input);
    let mut readers: Vec<Vec<u32>> = vec![Vec::new(); graph.values.len()];
    for i in range.clone() {
        for v in &graph.nodes[i].inputs {
            readers[v.0 as usize].push(device(i));
        }
    }
    // The caller reads results on the host.
    for (_, v) in &graph.results {
        readers[v.0 as usize].push(placement.input);
    }
    let elsewhere = |v: ValueId, here: u32| {
        let mut to = readers[v.0 as usize].clone();
        to.retain(|d| *d != here);
        to.sort_unstable();
        to.dedup();
        to
    };
    // The caller writes the given values on the host. Those that dies read are handed on before the first node.
    let given = graph.given().map(|v| (v, elsewhere(v, placement.input))).filter(|(_, to)| !to.is_empty());
    let mut out: Vec<Stretch> =
        given.map(|hand| Stretch { device: placement.input, nodes: 0..0, hand: Some(hand) }).collect();
    for i in range {
        let node = &graph.nodes[i];
        let here = device(i);
        let to = node.output.map(|v| elsewhere(v, here)).unwrap_or_default();
        match out.last_mut() {
            Some(last) if last.device == here && last.hand.is_none() => last.nodes.end = i + 1,
            _ => out.push(Stretch { device: here, nodes: i..i + 1, hand: None }),
        }
        if let (Some(last), Some(v), false) = (out.last_mut(), node.output, to.is_empty()) {
            last.hand = Some((v, to));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Gguf;

    /// Every value is handed on exactly to the devices that read it, right behind the node that made it.
    #[test]
    fn values_go_where_they_are_read() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf");
        let (_, graph) = crate::arch::build(&Gguf::open(&path).unwrap()).unwrap();
        let n = graph.n_layer as usize;
        let mut layers = vec![0; n + 1];
        layers[n / 2..].fill(1);
        let placement = Placement::whole(2, layers);
        let all = stretches(&graph, 0..graph.nodes.len(), &placement);
        let covered: Vec<usize> = all.iter().flat_map(|s| s.nodes.clone()).collect();
        assert_eq!(covered, (0..graph.nodes.len()).collect::<Vec<_>>());
        let hands: Vec<(&str, u32, Vec<u32>)> = all
            .iter()
            .filter_map(|s| s.hand.as_ref().map(|(v, to)| (graph.value(*v).name, s.device, to.clone())))
            .collect();
        let expected: Vec<(&str, u32, Vec<u32>)> = vec![
            ("embd", 2, vec![0]),
            ("rope", 2, vec![0, 1]),
            ("ffn_res", 0, vec![1]),
            ("output_norm", 1, vec![2]),
            ("output", 1, vec![2]),
        ];
        assert_eq!(hands, expected);
    }
}
