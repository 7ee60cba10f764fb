//! A model's devices at work: which nodes of the graph each computes, and what is handed from one to the next.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use crate::cpu;
use crate::cuda::{self, Event, Pinned, Ring, Tables};
use crate::error::{Error, Result, Status};
use crate::graph::{Executor, Graph, Micro, Move, Outcome, Placement, ValueId};

/// Neighbouring nodes of one device.
#[derive(Debug, PartialEq)]
struct Stretch {
    device: u32,
    nodes: Range<usize>,
    /// What its last node made, and the devices that it is copied to.
    hand: Option<(ValueId, Vec<u32>)>,
}

/// Cuts the graph where the device changes and where a value is handed on.
fn stretches(graph: &Graph, placement: &Placement) -> Vec<Stretch> {
    let device = |i: usize| placement.device(&graph.nodes[i]).unwrap_or(placement.input);
    let mut readers: Vec<Vec<u32>> = vec![Vec::new(); graph.values.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        for v in &node.inputs {
            readers[v.0 as usize].push(device(i));
        }
    }
    // The caller reads the results on the host.
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
    // The caller writes what it gives on the host.
    let given = graph.given().map(|v| (v, elsewhere(v, placement.input))).filter(|(_, to)| !to.is_empty());
    let mut out: Vec<Stretch> =
        given.map(|hand| Stretch { device: placement.input, nodes: 0..0, hand: Some(hand) }).collect();
    for (i, node) in graph.nodes.iter().enumerate() {
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

/// A die of a model.
pub(super) struct Die {
    /// Index in the context's inventory.
    pub device: u32,
    pub executor: cuda::Executor,
    pub ring: Ring,
    /// What it made is there.
    pub made: Event,
    /// It has what others made.
    pub taken: Event,
    /// Devices that it copies from without the host.
    pub peers: Vec<u32>,
    /// Whether something may still run.
    pub at_work: bool,
    /// Whether it may still read what the host made.
    pub reads_host: bool,
}

/// The devices of a loaded model.
pub(super) struct Machine {
    // Before the CPU's executor, in whose arena the rings are.
    dies: Vec<Die>,
    pinned: Option<Pinned>,
    cpu: cpu::Executor,
    graph: std::sync::Arc<Graph>,
    stretches: Vec<Stretch>,
    /// Where the tables are written for the dies.
    tables: *mut u8,
    /// Cells of each cache: spans that its tables have room for.
    n_cells: Vec<usize>,
    /// Why the model cannot be used any more.
    lost: Option<Error>,
}

// SAFETY: `tables` leads into the CPU executor's arena; `run` and `move_cells` take the machine mutably.
unsafe impl Send for Machine {}
// SAFETY: as above; shared access only reads results.
unsafe impl Sync for Machine {}

/// Everything a machine is made of.
pub(super) struct Parts {
    pub cpu: cpu::Executor,
    pub dies: Vec<Die>,
    pub pinned: Option<Pinned>,
    pub graph: std::sync::Arc<Graph>,
    pub placement: Placement,
    pub tables: *mut u8,
    pub n_cells: Vec<usize>,
}

impl Machine {
    pub fn new(parts: Parts) -> Machine {
        let Parts { cpu, dies, pinned, graph, placement, tables, n_cells } = parts;
        let stretches = stretches(&graph, &placement);
        Machine { dies, pinned, cpu, stretches, graph, tables, n_cells, lost: None }
    }

    /// Whether the dies' tables have room for so many spans of each cache.
    pub fn has_room(&self, n_spans: impl Iterator<Item = usize>) -> bool {
        self.dies.is_empty() || n_spans.zip(&self.n_cells).all(|(n, most)| n <= *most)
    }

    /// A row of a result; empty where the graph has no such result.
    pub fn result_row(&self, outcome: Outcome, row: usize) -> &[f32] {
        self.graph.result(outcome).map_or(&[], |v| self.cpu.result_row(v, row))
    }

    /// Computes a micro-batch: fills its cells of the KV cache and its rows of the logits.
    ///
    /// # Errors
    /// `Cancelled`; `Device` or `OutOfMemory` naming die and call; `Internal`. After an error that a die does not survive,
    /// every further call fails with it.
    pub fn run(&mut self, micro: &Micro<'_>, cancel: &AtomicBool) -> Result<()> {
        self.usable()?;
        let _visit = self.dies.first().map(|d| d.executor.die().visit()).transpose()?;
        let outcome = self.steps(micro, cancel).and_then(|()| self.settle());
        self.after(outcome)
    }

    fn usable(&self) -> Result<()> {
        self.lost.clone().map_or(Ok(()), Err)
    }

    /// Lets the dies come to rest after an error, and sees whether they still can be used.
    fn after(&mut self, outcome: Result<()>) -> Result<()> {
        if let Err(e) = &outcome {
            let _ = self.settle();
            let dead = self.dies.iter().find(|d| !d.executor.die().is_alive());
            let lost = dead.map(|dead| {
                let mut lost = e.clone().at(&format!("device {} is lost until the model is loaded again", dead.device));
                lost.status = Status::Device;
                lost
            });
            if self.lost.is_none() {
                self.lost = lost;
            }
        }
        outcome
    }

    fn steps(&mut self, micro: &Micro<'_>, cancel: &AtomicBool) -> Result<()> {
        if !self.dies.is_empty() {
            // SAFETY: the plan gave them this place, and the dies came to rest after the last micro-batch.
            let tables = unsafe { Tables::write(micro, self.tables) };
            for die in &mut self.dies {
                die.at_work = true;
                // SAFETY: page-locked, and not written again before the dies come to rest.
                unsafe { die.executor.take_tables(&tables, self.tables) }?;
            }
        }
        for i in 0..self.stretches.len() {
            let (device, nodes) = (self.stretches[i].device, self.stretches[i].nodes.clone());
            match self.dies.iter_mut().position(|d| d.device == device) {
                Some(d) => {
                    self.dies[d].at_work = true;
                    self.dies[d].executor.run(nodes, micro, cancel)?;
                }
                None => {
                    // What is on its way from or to the host's arena.
                    self.settle()?;
                    self.cpu.run(nodes, micro, cancel)?;
                }
            }
            let Stretch { hand: Some((v, to)), .. } = &self.stretches[i] else { continue };
            let (v, to) = (*v, to.clone());
            for to in to {
                self.hand(v, device, to, micro)?;
            }
        }
        Ok(())
    }

    /// Waits for every die that may still use the host's memory.
    fn settle(&mut self) -> Result<()> {
        let mut outcome = Ok(());
        for die in self.dies.iter_mut().filter(|d| d.at_work) {
            let done = die.executor.die().finish();
            (die.at_work, die.reads_host) = (done.is_err(), done.is_err());
            outcome = outcome.and(done);
        }
        outcome
    }

    /// Copies this micro-batch's rows of a value from one device to another.
    fn hand(&mut self, v: ValueId, from: u32, to: u32, micro: &Micro<'_>) -> Result<()> {
        let value = self.graph.value(v);
        let bytes = micro.n_rows(value.rows) * value.cols * size_of::<f32>();
        if bytes == 0 {
            return Ok(());
        }
        let row = self.graph.first_row(v, micro);
        let on_host = self.cpu.at(v, row).cast::<u8>();
        let place = |d: u32| self.dies.iter().position(|die| die.device == d);
        match (place(from), place(to)) {
            (None, None) => {}
            (None, Some(b)) => {
                let die = &mut self.dies[b];
                (die.at_work, die.reads_host) = (true, true);
                // SAFETY: both layouts have the value's rows; the place on the host is used again only when the die has
                // them.
                unsafe { die.executor.die().copy_in(die.executor.at(v, row), on_host, bytes) }?;
            }
            (Some(a), None) => {
                // The place on the host may be one that another die has yet to read.
                for other in self.dies.iter_mut().enumerate().filter(|(i, d)| *i != a && d.reads_host).map(|(_, d)| d) {
                    other.executor.die().finish()?;
                    other.reads_host = false;
                }
                let die = &mut self.dies[a];
                die.at_work = true;
                // SAFETY: as above.
                unsafe { die.executor.die().copy_out(on_host, die.executor.at(v, row), bytes) }?;
            }
            (Some(a), Some(b)) => {
                let [a, b] = self
                    .dies
                    .get_disjoint_mut([a, b])
                    .map_err(|_| Error::new(Status::Internal, "a die handed a value to itself"))?;
                let (from, to) = (a.executor.at(v, row), b.executor.at(v, row));
                let (x, y) = (a.executor.die(), b.executor.die());
                // The place on the other die is free when its stream gets there.
                y.record(b.taken)?;
                x.wait_for(b.taken)?;
                if b.peers.contains(&a.device) {
                    x.record(a.made)?;
                    y.wait_for(a.made)?;
                    // SAFETY: both layouts have the value's rows.
                    unsafe { y.copy_from(to, x, from, bytes) }?;
                    // The place on this die may be used again only then.
                    y.record(b.taken)?;
                    x.wait_for(b.taken)?;
                } else {
                    (a.at_work, b.at_work) = (true, true);
                    // SAFETY: as above.
                    unsafe { a.ring.hand(x, from, y, &b.ring, to, bytes) }?;
                }
            }
        }
        Ok(())
    }

    /// Copies cells and turns their keys, wherever they are; `moves` are of each cache.
    ///
    /// # Errors
    /// As for `run`; `OutOfMemory` for small buffers, before anything is changed.
    pub fn move_cells(&mut self, moves: &[Vec<Move>]) -> Result<()> {
        self.usable()?;
        let _visit = self.dies.first().map(|d| d.executor.die().visit()).transpose()?;
        // The dies first: one that cannot turn such keys says so before anything is changed.
        let mut changed = false;
        let mut outcome = Ok(());
        for die in &mut self.dies {
            die.at_work = true;
            outcome = outcome.and(die.executor.move_cells(moves));
            let done = die.executor.die().finish();
            die.at_work = done.is_err();
            outcome = outcome.and(done);
            changed |= !matches!(&outcome, Err(e) if e.status == Status::Unsupported);
        }
        if outcome.is_ok() {
            outcome = self.cpu.move_cells(moves);
            changed |= !matches!(&outcome, Err(e) if e.status == Status::OutOfMemory);
        }
        if let (true, Err(e)) = (changed, &outcome) {
            // Some keys have turned and others have not.
            self.lost = Some(e.clone().at("the KV cache is lost until the model is loaded again"));
        }
        self.after(outcome)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.settle();
        let _visit = self.dies.first().and_then(|d| d.executor.die().visit().ok());
        if let Some(die) = self.dies.first() {
            // The driver takes page-locked memory back in a context.
            let _ = die.executor.die().enter().or_else(|_| die.executor.die().enter());
        }
        self.pinned = None;
    }
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
        let all = stretches(&graph, &placement);
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
