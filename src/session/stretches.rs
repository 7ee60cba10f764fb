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
//!
//! A value for another die may wait while third parties and the other itself get work that does not need it.
//! Dies that share layers get theirs one after the other, and then exchange what all of them have made: so all of them
//! are at work at once.
//!
//! ```text
//! nodes      attention, die 0 | attention, die 1                 | sum, feed-forward, die 0 | the same, die 1
//! handed on                   | part 0 to die 1, part 1 to die 0 |                          | both parts
//! ```

use std::ops::Range;

use crate::graph::{Graph, Placement, ValueId};

/// Neighbouring nodes of one device.
#[derive(Debug, PartialEq)]
pub(super) struct Stretch {
    pub device: u32,
    pub nodes: Range<usize>,
    /// Values that are handed on behind it.
    pub hands: Vec<Hand>,
}

/// A value that a device has, and the devices that it is copied to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hand {
    pub value: ValueId,
    pub from: u32,
    pub to: Vec<u32>,
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
    let host = placement.input;
    let given = graph.given().map(|value| Hand { value, from: host, to: elsewhere(value, host) });
    let given = given.filter(|hand| !hand.to.is_empty());
    let mut out: Vec<Stretch> = given.map(|hand| Stretch { device: host, nodes: 0..0, hands: vec![hand] }).collect();
    // The last stretch ends here, since it made a value that others read.
    let mut ended = true;
    let mut waiting: Vec<Hand> = Vec::new();
    for i in range {
        let node = &graph.nodes[i];
        let here = device(i);
        // A waiting value is handed on before a reader needs it, and before its maker goes on.
        let needed = |hand: &Hand| hand.from == here || (hand.to.contains(&here) && node.inputs.contains(&hand.value));
        if waiting.iter().any(needed)
            && let Some(last) = out.last_mut()
        {
            last.hands.append(&mut waiting);
            ended = true;
        }
        match out.last_mut() {
            Some(last) if last.device == here && !ended => last.nodes.end = i + 1,
            _ => out.push(Stretch { device: here, nodes: i..i + 1, hands: Vec::new() }),
        }
        ended = false;
        let Some(value) = node.output else { continue };
        let hand = Hand { value, from: here, to: elsewhere(value, here) };
        match out.last_mut() {
            _ if hand.to.is_empty() => {}
            // The host's place of a value may be used again at once.
            Some(last) if here == host || hand.to.contains(&host) => {
                last.hands.append(&mut waiting);
                last.hands.push(hand);
                ended = true;
            }
            _ => {
                waiting.push(hand);
                ended = true;
            }
        }
    }
    if let Some(last) = out.last_mut() {
        last.hands.append(&mut waiting);
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
            .flat_map(|s| s.hands.iter().map(|h| (graph.value(h.value).name, h.from, h.to.clone())))
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

    /// Dies that share layers get their work before any of them waits for another's sum.
    #[test]
    fn a_group_exchanges_what_all_have_made() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf");
        let (_, whole) = crate::arch::build(&Gguf::open(&path).unwrap()).unwrap();
        let sharded = crate::graph::shard(&whole, 2);
        assert!(sharded.whole.iter().all(Option::is_none), "{:?}", sharded.whole);
        let (graph, n) = (sharded.graph, whole.n_layer as usize);
        let placement = Placement { shards: vec![vec![0, 1]; n], ..Placement::whole(2, vec![0; n + 1]) };
        let all = stretches(&graph, 0..graph.nodes.len(), &placement);
        let covered: Vec<usize> = all.iter().flat_map(|s| s.nodes.clone()).collect();
        assert_eq!(covered, (0..graph.nodes.len()).collect::<Vec<_>>());
        let exchanges = all.iter().filter(|s| s.hands.len() == 2 && s.hands.iter().all(|h| h.from < 2));
        // Two a layer; only the first die needs the last sum.
        assert_eq!(exchanges.count(), 2 * n - 1);
        // Behind the last exchange stand the last sum and the output, on the first die.
        let dies: Vec<u32> = all.iter().map(|s| s.device).filter(|d| *d < 2).take(4 * n).collect();
        assert!(dies.len() == 4 * n && dies.chunks_exact(2).all(|pair| pair == [0, 1]), "{dies:?}");
    }
}
