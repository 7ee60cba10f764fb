//! Gives every activation its place in its device's compute arena, by lifetime.
//!
//! Nodes run in order, so a value lives from the node that makes it to the last that reads it; places of dead values are used
//! again. A value that a node on another device reads gets a place there too, from its first to its last reader on that device.

use super::{Graph, INPUT, Node, Rows, ValueId};
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
}

impl Placement {
    /// The device of a node's layer.
    pub fn device(&self, layer: u32) -> Option<u32> {
        if layer == INPUT { Some(self.input) } else { self.layers.get(layer as usize).copied() }
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

    /// Lays the graph out for `device`. `workspace` tells what a node's kernel needs besides its inputs and output, in bytes.
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
        let here = |n: &Node| placement.device(n.layer) == Some(device);
        let size = |v: ValueId| {
            let value = graph.value(v);
            let bytes = limits.rows(value.rows).checked_mul(value.cols)?.checked_mul(size_of::<f32>())?;
            bytes.checked_next_multiple_of(ALIGN)
        };

        let mut last_use = vec![None; graph.values.len()];
        let mut workspace_bytes = 0;
        for (i, node) in graph.nodes.iter().enumerate().filter(|(_, n)| here(n)) {
            for v in node.inputs.iter().chain(&node.output) {
                last_use[v.0 as usize] = Some(i);
            }
            workspace_bytes = workspace_bytes.max(workspace(node).ok_or_else(overflow)?);
        }

        let workspace_bytes = workspace_bytes.checked_next_multiple_of(ALIGN).ok_or_else(overflow)?;
        let mut arena = Arena { free: Vec::new(), end: workspace_bytes };
        let mut offsets: Vec<Option<usize>> = vec![None; graph.values.len()];
        // Results of earlier micro-batches stay while later ones run, so theirs are places of their own.
        for v in [graph.logits, graph.embeddings] {
            if last_use[v.0 as usize].replace(graph.nodes.len()).is_some() {
                offsets[v.0 as usize] = Some(arena.take(size(v).ok_or_else(overflow)?).ok_or_else(overflow)?);
            }
        }
        for (i, node) in graph.nodes.iter().enumerate().filter(|(_, n)| here(n)) {
            // Values from another device arrive before the node runs.
            for v in &node.inputs {
                if offsets[v.0 as usize].is_none() {
                    offsets[v.0 as usize] = Some(arena.take(size(*v).ok_or_else(overflow)?).ok_or_else(overflow)?);
                }
            }
            let mut reused = None;
            if let Some(out) = node.output.filter(|v| offsets[v.0 as usize].is_none()) {
                let first = node.inputs.first().filter(|v| {
                    node.op.in_place() && last_use[v.0 as usize] == Some(i) && node.inputs[1..].iter().all(|w| w != *v)
                });
                match first {
                    Some(v) if size(*v) == size(out) => {
                        offsets[out.0 as usize] = offsets[v.0 as usize];
                        reused = Some(*v);
                    }
                    _ => offsets[out.0 as usize] = Some(arena.take(size(out).ok_or_else(overflow)?).ok_or_else(overflow)?),
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
    use crate::graph::{Gate, Op, Value};

    /// A chain of adds and norms with a long-lived residual: no two values that live at once may share bytes.
    #[test]
    fn live_values_never_overlap() {
        let value = |name, cols| Value { name, rows: Rows::Tokens, cols };
        let node = |inputs: &[u32], output| Node {
            op: Op::Gate(Gate::Silu),
            inputs: inputs.iter().map(|v| ValueId(*v)).collect(),
            output: Some(ValueId(output)),
            layer: 0,
        };
        let graph = Graph {
            n_layer: 1,
            n_vocab: 1,
            n_embd: 16,
            values: vec![value("a", 16), value("b", 64), value("c", 64), value("d", 64), value("e", 16), value("f", 32)],
            weights: vec![],
            nodes: vec![node(&[], 0), node(&[0], 1), node(&[0], 2), node(&[1, 2], 3), node(&[3], 4), node(&[4, 0], 5)],
            kv: vec![],
            ropes: vec![],
            logits: ValueId(5),
            embeddings: ValueId(4),
        };
        let limits = Limits { n_tokens: 8, n_outputs: 1 };
        let placement = Placement { input: 0, layers: vec![0, 0] };
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
}
