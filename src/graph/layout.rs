//! Gives every activation its place in its device's compute arena, by lifetime.
//!
//! Nodes run in order, so a value lives from the node that makes it to the last that reads it; places of dead values
//! are used again. A value that nodes on another device read is copied there as soon as it is made, and has a place
//! there from then on. The results of the graph are copied to the input's device, the host, where the caller reads
//! them.

use super::graph::{Graph, INPUT, Node, Part};
use super::value::{Rows, ValueId};
use crate::error::{Error, Result};

/// Every place begins at a multiple of this: a cache line, and the widest vector.
pub const ALIGN: usize = 64;

/// The largest sizes of the named dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// n_ubatch
    pub n_tokens: usize,
    /// n_outputs_max
    pub n_outputs: usize,
}

impl Limits {
    pub fn rows(&self, rows: Rows) -> usize {
        match rows {
            Rows::Tokens => self.n_tokens,
            Rows::Outputs => self.n_outputs,
        }
    }
}

/// Which device computes what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The device of the input: the host's CPU.
    pub input: u32,
    /// The device of each layer, and of the output as the last: `[n_layer + 1]`.
    pub layers: Vec<u32>,
    /// The device of each layer's routed experts, where it has any: `[n_layer]`.
    pub experts: Vec<u32>,
}

impl Placement {
    /// Layers with their experts.
    pub fn whole(input: u32, layers: Vec<u32>) -> Placement {
        let experts = layers[..layers.len().saturating_sub(1)].to_vec();
        Placement { input, layers, experts }
    }

    /// The device of a node.
    pub fn device(&self, node: &Node) -> Option<u32> {
        let of = match node.part {
            Part::Body => &self.layers,
            Part::Experts => &self.experts,
        };
        if node.layer == INPUT { Some(self.input) } else { of.get(node.layer as usize).copied() }
    }

    /// The devices of all layers and experts, one or several times each.
    pub fn devices(&self) -> impl Iterator<Item = u32> {
        self.layers.iter().chain(&self.experts).copied()
    }
}

/// Places in one device's compute arena.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Byte offset per value; `None` where this device does not hold it.
    offsets: Vec<Option<usize>>,
    /// Kernels' working memory, at the arena's start.
    pub workspace_bytes: usize,
    /// The arena's size.
    pub bytes: usize,
}

impl Layout {
    /// The byte offset of a value on this device.
    pub fn offset(&self, v: ValueId) -> Option<usize> {
        self.offsets.get(v.0 as usize).copied().flatten()
    }

    /// The byte offset of `n` floats from row `first` of a value, if it has so many on this device.
    ///
    /// # Errors
    /// `InvalidArgument` if it has not.
    pub fn rows(&self, graph: &Graph, v: ValueId, first: usize, n: usize) -> Result<usize> {
        let row = graph.value(v).cols * size_of::<f32>();
        let at = self.offset(v).and_then(|offset| first.checked_mul(row)?.checked_add(offset));
        let fits = |at: &usize| n.checked_mul(size_of::<f32>()).is_some_and(|n| n <= self.bytes.saturating_sub(*at));
        at.filter(fits).ok_or_else(|| Error::invalid(format!("value {} has no such rows on this device", v.0)))
    }

    /// Lays the graph out for `device`. `workspace` tells what a node's kernel needs besides its inputs and output, in
    /// bytes.
    ///
    /// # Errors
    /// `InvalidArgument` if a size overflows.
    pub fn new(
        graph: &Graph,
        limits: Limits,
        device: u32,
        placement: &Placement,
        workspace: &dyn Fn(&Node) -> Option<usize>,
    ) -> Result<Layout> {
        let overflow = || Error::invalid("the compute arena's size overflows; n_ubatch or n_outputs_max is too large");
        let here: Vec<bool> = graph.nodes.iter().map(|n| placement.device(n) == Some(device)).collect();
        let size = |v: ValueId| {
            let value = graph.value(v);
            let bytes = limits.rows(value.rows).checked_mul(value.cols)?.checked_mul(size_of::<f32>())?;
            bytes.checked_next_multiple_of(ALIGN)
        };

        let mut last_use = vec![None; graph.values.len()];
        let mut workspace_bytes = 0;
        for (i, node) in graph.nodes.iter().enumerate().filter(|(i, _)| here[*i]) {
            for v in node.inputs.iter().chain(&node.output) {
                last_use[v.0 as usize] = Some(i);
            }
            workspace_bytes = workspace_bytes.max(workspace(node).ok_or_else(overflow)?);
        }

        let workspace_bytes = workspace_bytes.checked_next_multiple_of(ALIGN).ok_or_else(overflow)?;
        let mut arena = Arena { free: Vec::new(), end: workspace_bytes };
        let mut offsets: Vec<Option<usize>> = vec![None; graph.values.len()];
        // Results of earlier micro-batches stay while later ones run, so theirs are places of their own.
        for (_, v) in &graph.results {
            if last_use[v.0 as usize].is_some() || device == placement.input {
                last_use[v.0 as usize] = Some(graph.nodes.len());
                offsets[v.0 as usize] = Some(arena.take(size(*v).ok_or_else(overflow)?).ok_or_else(overflow)?);
            }
        }
        // The host has what it is given from the start, and so has every device that reads it.
        for v in graph.given() {
            if last_use[v.0 as usize].is_some() || device == placement.input {
                last_use[v.0 as usize].get_or_insert(graph.nodes.len());
                offsets[v.0 as usize] = Some(arena.take(size(v).ok_or_else(overflow)?).ok_or_else(overflow)?);
            }
        }
        for (i, node) in graph.nodes.iter().enumerate() {
            if !here[i] {
                // What is made elsewhere and read here arrives now.
                if let Some(v) =
                    node.output.filter(|v| last_use[v.0 as usize].is_some() && offsets[v.0 as usize].is_none())
                {
                    offsets[v.0 as usize] = Some(arena.take(size(v).ok_or_else(overflow)?).ok_or_else(overflow)?);
                }
                continue;
            }
            let mut reused = None;
            if let Some(out) = node.output.filter(|v| offsets[v.0 as usize].is_none()) {
                let first = node.inputs.first().filter(|v| {
                    node.op.facts().in_place
                        && last_use[v.0 as usize] == Some(i)
                        && node.inputs[1..].iter().all(|w| w != *v)
                });
                match first {
                    Some(v) if size(*v) == size(out) => {
                        offsets[out.0 as usize] = offsets[v.0 as usize];
                        reused = Some(*v);
                    }
                    _ => {
                        offsets[out.0 as usize] =
                            Some(arena.take(size(out).ok_or_else(overflow)?).ok_or_else(overflow)?)
                    }
                }
            }
            let mut dead: Vec<ValueId> = node.inputs.iter().chain(&node.output).copied().collect();
            dead.sort_by_key(|v| v.0);
            dead.dedup();
            for v in dead {
                if last_use[v.0 as usize] == Some(i)
                    && reused != Some(v)
                    && let (Some(offset), Some(bytes)) = (offsets[v.0 as usize], size(v))
                {
                    arena.give(offset, bytes);
                }
            }
        }
        Ok(Layout { offsets, workspace_bytes, bytes: arena.end })
    }
}

/// First-fit over a sorted list of holes.
struct Arena {
    /// (offset, bytes), by offset, never adjacent.
    free: Vec<(usize, usize)>,
    end: usize,
}

impl Arena {
    fn take(&mut self, bytes: usize) -> Option<usize> {
        if let Some(i) = self.free.iter().position(|(_, hole)| *hole >= bytes) {
            let (offset, hole) = self.free[i];
            if hole == bytes {
                self.free.remove(i);
            } else {
                self.free[i] = (offset + bytes, hole - bytes);
            }
            return Some(offset);
        }
        // A hole at the end grows instead of leaving itself behind.
        if let Some((offset, hole)) = self.free.last().copied()
            && offset + hole == self.end
        {
            self.free.pop();
            self.end = offset.checked_add(bytes)?;
            return Some(offset);
        }
        let offset = self.end;
        self.end = self.end.checked_add(bytes)?;
        Some(offset)
    }

    fn give(&mut self, offset: usize, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let i = self.free.partition_point(|(o, _)| *o < offset);
        self.free.insert(i, (offset, bytes));
        if i + 1 < self.free.len() && offset + bytes == self.free[i + 1].0 {
            self.free[i].1 += self.free[i + 1].1;
            self.free.remove(i + 1);
        }
        if i > 0 && self.free[i - 1].0 + self.free[i - 1].1 == offset {
            self.free[i - 1].1 += self.free[i].1;
            self.free.remove(i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Gate, Op, Outcome, Value};

    /// A chain of adds and norms with a long-lived residual: no two values that live at once may share bytes.
    #[test]
    fn live_values_never_overlap() {
        let value = |name, cols| Value { name, rows: Rows::Tokens, cols };
        let node = |inputs: &[u32], output| Node {
            op: Op::Gate(Gate::Silu),
            inputs: inputs.iter().map(|v| ValueId(*v)).collect(),
            output: Some(ValueId(output)),
            layer: 0,
            part: Part::Body,
        };
        let graph = Graph {
            n_layer: 1,
            n_vocab: 1,
            n_embd: 16,
            values: vec![
                value("a", 16),
                value("b", 64),
                value("c", 64),
                value("d", 64),
                value("e", 16),
                value("f", 32),
            ],
            weights: vec![],
            nodes: vec![node(&[], 0), node(&[0], 1), node(&[0], 2), node(&[1, 2], 3), node(&[3], 4), node(&[4, 0], 5)],
            inputs: vec![],
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
        let limits = Limits { n_tokens: 7, n_outputs: 3 };
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
                    run(&graph, limits, &placement, &format!("{} cut at {cut}", file.path()));
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
                let in_place = node.inputs.first().filter(|_| node.op.facts().in_place);
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
}
