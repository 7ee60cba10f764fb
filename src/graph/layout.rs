//! Gives every activation its place in its device's compute arena, by lifetime.
//!
//! # Problem
//!
//! A graph has hundreds of values, and a few of them are alive at a time. A place of its own for each would need
//! many times the memory. Places taken and given back while nodes run would do, but then nobody knows beforehand how
//! many bytes that is, and an allocation in the middle of a step may fail.
//!
//! # Idea
//!
//! Nodes run in a fixed order, so a value lives from the node that makes it to the last one that reads it. Taking and
//! giving back is therefore played through once, without running anything, at the largest batch. The play leaves an
//! offset per value, and its high-water mark is the arena's size. Planner, loader and executors all use that result.
//!
//! # Steps, for one device
//!
//! 1. Find the last node on this device that makes or reads each value.
//! 2. At the arena's start lies the working memory of kernels: one, as large as the hungriest node needs, since nodes
//!    run one after the other. Behind it lie values that stay throughout: results, and values that the host is given.
//! 3. Walk all nodes in order. A node of this device takes a place for its output: that of its first input, if the op
//!    can work in place and nobody reads that input later; else the first hole that is large enough; else the end.
//!    Then the places of values whose last use this was become holes.
//! 4. A node of another device takes a place here if nodes here read its output: a copy arrives as soon as the value is
//!    made. The results of the graph are copied to the input's device, the host, where the caller reads them.
//!
//! ```text
//! node              makes   takes                                     then dies
//! norm(x)           h       place A
//! matmul(h)         g       place B
//! matmul(h)         u       place C                                   h: A is free
//! gate(g, u)        f       B, in place of g                          u: C is free
//! matmul(f)         y       A, the first hole (x is still alive)      f: B is free
//! add(x, y)         z       x's, in place                             y: A is free
//! ```
//!
//! # Why it is right
//!
//! Between the moment a value takes its place and its last use nobody else gets these bytes. A smaller batch has fewer
//! rows of each value, which are the first bytes of the same place, so every batch fits. The session copies a value to
//! its readers right behind the node that made it, so copies find their places free too.

use super::graph::{Graph, INPUT, Node};
use super::state::State;
use super::value::{Part, Rows, ValueId};
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

/// The device that computes each part of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The device of the input: the host's CPU.
    pub input: u32,
    /// The device of each layer, and of the output as the last: `[n_layer + 1]`.
    pub layers: Vec<u32>,
    /// The device of each layer's routed experts, where it has any: `[n_layer]`.
    pub experts: Vec<u32>,
    /// The devices of a layer's shards, in their order, where a group shares it: `[n_layer]`, or empty if no layer is
    /// shared. A device may have several.
    pub shards: Vec<Vec<u32>>,
}

impl Placement {
    /// A placement that keeps layers together with their experts.
    pub fn whole(input: u32, layers: Vec<u32>) -> Placement {
        let experts = layers[..layers.len().saturating_sub(1)].to_vec();
        Placement { input, layers, experts, shards: Vec::new() }
    }

    /// The device of a node.
    pub fn device(&self, node: &Node) -> Option<u32> {
        if node.layer == INPUT { Some(self.input) } else { self.of(node.layer, node.part) }
    }

    /// The device of a layer's part.
    fn of(&self, layer: u32, part: Part) -> Option<u32> {
        let layer = layer as usize;
        match part {
            Part::Body => self.layers.get(layer).copied(),
            Part::Experts => self.experts.get(layer).copied(),
            Part::Shard(i) => self.shards.get(layer).and_then(|of| of.get(usize::from(i)).copied()),
        }
    }

    /// The device of a state: that of the part of the layer that it belongs to.
    pub fn of_state(&self, state: &State) -> Option<u32> {
        self.of(state.layer, state.part)
    }

    /// The devices of all layers, experts and shards. A device may come several times.
    pub fn devices(&self) -> impl Iterator<Item = u32> {
        self.layers.iter().chain(&self.experts).chain(self.shards.iter().flatten()).copied()
    }
}

/// Places in one device's compute arena.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Byte offset per value; `None` where this device does not hold it.
    offsets: Vec<Option<usize>>,
    limits: Limits,
    /// Working memory of kernels, at the arena's start.
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
        let value = graph.value(v);
        let start = first
            .checked_mul(value.cols)
            .filter(|s| s.checked_add(n).is_some_and(|end| end <= self.limits.rows(value.rows) * value.cols));
        let at = self.offset(v).zip(start).map(|(offset, start)| offset + start * size_of::<f32>());
        at.ok_or_else(|| Error::invalid(format!("value {} has no such rows on this device", v.0)))
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
        let mut arena = FirstFit { holes: Vec::new(), end: workspace_bytes };
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
                // A value that is made elsewhere and read here arrives now.
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
                    // Of one shape, not only of as many bytes: a number for each row is read again for each column.
                    Some(v) if graph.value(*v).has_shape_of(graph.value(out)) => {
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
        Ok(Layout { offsets, limits, workspace_bytes, bytes: arena.end })
    }
}

/// A block of memory that grows at its end, and the holes in it. A place is taken in the first hole that is large
/// enough.
struct FirstFit {
    /// (offset, bytes), by offset. Holes that touch are one.
    holes: Vec<(usize, usize)>,
    /// The bytes needed so far. They never shrink, so at last it is the arena's size.
    end: usize,
}

impl FirstFit {
    /// The offset of a new place; `None` if it overflows.
    fn take(&mut self, bytes: usize) -> Option<usize> {
        if let Some(i) = self.holes.iter().position(|(_, hole)| *hole >= bytes) {
            let (offset, hole) = self.holes[i];
            if hole == bytes {
                self.holes.remove(i);
            } else {
                self.holes[i] = (offset + bytes, hole - bytes);
            }
            return Some(offset);
        }
        // The last hole is too small, but if nothing lies behind it, the place begins there all the same.
        if let Some((offset, hole)) = self.holes.last().copied()
            && offset + hole == self.end
        {
            self.holes.pop();
            self.end = offset.checked_add(bytes)?;
            return Some(offset);
        }
        let offset = self.end;
        self.end = self.end.checked_add(bytes)?;
        Some(offset)
    }

    /// Makes a place a hole, joined with the holes before and behind it.
    fn give(&mut self, offset: usize, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let i = self.holes.partition_point(|(o, _)| *o < offset);
        self.holes.insert(i, (offset, bytes));
        if i + 1 < self.holes.len() && offset + bytes == self.holes[i + 1].0 {
            self.holes[i].1 += self.holes[i + 1].1;
            self.holes.remove(i + 1);
        }
        if i > 0 && self.holes[i - 1].0 + self.holes[i - 1].1 == offset {
            self.holes[i - 1].1 += self.holes[i].1;
            self.holes.remove(i);
        }
    }
}

#[cfg(test)]
mod tests;
