//! A model's devices at work: the nodes that each computes, and the values that one hands to the next.
//!
//! A micro-batch walks the stretches of the graph in order (`stretches`). Each is given to its device's executor, and
//! its last value is copied to the devices that read it.
//!
//! # Who waits for whom
//!
//! The CPU computes while this thread waits. A die only takes orders: kernels and copies are put into its stream, and
//! run there one after the other. So each kind of copy has its own rule:
//!
//! - From the host to a die: the copy is put into the die's stream. The host must not write that place again before the
//!   copy is done, so `reads_host` is set, and whoever writes waits for such dies.
//! - From a die to the host: the copy is put into the die's stream. The CPU waits for all dies that are at work before
//!   it computes (`settle`).
//! - From die to die: both streams wait for each other through events. The reader's place must be free before the copy
//!   (`taken`), the value must be made before the copy (`made`), and the maker's place may be used again only after it.
//!   Without a link the copy goes through both dies' rings on the host.
//!
//! At the end of a micro-batch all dies come to rest.

use std::sync::atomic::AtomicBool;

use super::stretches::{Hand, Stretch, stretches};
use crate::cpu;
use crate::cuda::{self, Event, Pinned, Ring, Tables};
use crate::error::{Error, Result, Status};
use crate::graph::{Executor, Graph, Micro, Move, Outcome, Placement, StatePlace, ValueId};

/// A die of a model.
pub(super) struct Die {
    /// Index in the context's inventory.
    pub device: u32,
    pub executor: cuda::Executor,
    pub ring: Ring,
    /// Marks the point of its stream at which it has made a value.
    pub made: Event,
    /// Marks the point of its stream at which it has taken a value from another die.
    pub taken: Event,
    /// Devices that it copies from without the host.
    pub peers: Vec<u32>,
    /// True if its stream may still have something to do.
    pub at_work: bool,
    /// True if its stream may still read a place on the host.
    pub reads_host: bool,
}

/// The parts of a graph that run by themselves.
const TRUNK: usize = 0;
const DRAFT: usize = 1;

/// The devices of a loaded model.
pub(super) struct Machine {
    // The rings are in the arena of the CPU's executor. Fields are dropped in their order, so dies stand before it.
    dies: Vec<Die>,
    pinned: Option<Pinned>,
    cpu: cpu::Executor,
    graph: std::sync::Arc<Graph>,
    /// Those of the trunk, and of the draft.
    stretches: [Vec<Stretch>; 2],
    /// The places of states.
    pub(super) states: Vec<StatePlace>,
    /// The place on the host in which tables for the dies are written.
    tables: *mut u8,
    /// By cache: its number of cells, which is also the number of spans that its tables have room for.
    n_cells: Vec<usize>,
    /// The error after which the model cannot be used any more.
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
    pub states: Vec<StatePlace>,
    pub tables: *mut u8,
    pub n_cells: Vec<usize>,
}

impl Machine {
    pub fn new(parts: Parts) -> Machine {
        let Parts { cpu, dies, pinned, graph, placement, states, tables, n_cells } = parts;
        let draft = graph.draft.as_ref().map(|d| d.nodes.clone());
        let stretches = [graph.trunk(), draft.unwrap_or_default()].map(|nodes| stretches(&graph, nodes, &placement));
        Machine { dies, pinned, cpu, stretches, graph, states, tables, n_cells, lost: None }
    }

    /// True if the dies' tables have room for so many spans of each cache.
    pub fn has_room(&self, n_spans: impl Iterator<Item = usize>) -> bool {
        self.dies.is_empty() || n_spans.zip(&self.n_cells).all(|(n, most)| n <= *most)
    }

    /// A row of a result; empty if the graph has no such result.
    pub fn result_row(&self, outcome: Outcome, row: usize) -> &[f32] {
        self.graph.result(outcome).map_or(&[], |v| self.cpu.result_row(v, row))
    }

    /// Computes a micro-batch: fills its cells of the KV cache and its rows of the logits.
    ///
    /// # Errors
    /// `Cancelled`; `Device` or `OutOfMemory` naming die and call; `Internal`. After an error that a die does not
    /// survive, every further call fails with it.
    pub fn run(&mut self, micro: &Micro<'_>, cancel: &AtomicBool) -> Result<()> {
        self.run_part(TRUNK, micro, cancel)
    }

    /// Computes the draft's nodes for a micro-batch. `hidden` is for each token the hidden row of the one before.
    ///
    /// # Errors
    /// As for `run`.
    pub fn run_draft(&mut self, micro: &Micro<'_>, hidden: &[f32], cancel: &AtomicBool) -> Result<()> {
        if let Some(draft) = &self.graph.draft {
            self.cpu.write(draft.hidden, 0, hidden)?;
        }
        self.run_part(DRAFT, micro, cancel)
    }

    fn run_part(&mut self, part: usize, micro: &Micro<'_>, cancel: &AtomicBool) -> Result<()> {
        self.usable()?;
        let _visit = self.dies.first().map(|d| d.executor.die().visit()).transpose()?;
        let scaled = self.write_scales(micro);
        let outcome = scaled.and_then(|()| self.steps(part, micro, cancel)).and_then(|()| self.settle());
        self.after(outcome)
    }

    /// Writes the scales of adapters, which enter the graph from the host.
    fn write_scales(&mut self, micro: &Micro<'_>) -> Result<()> {
        for s in &self.graph.adapters {
            let n_adapters = micro.adapters.len() / micro.tokens.len().max(1);
            let rows: Vec<f32> =
                micro.adapters.chunks_exact(n_adapters.max(1)).map(|scales| scales[s.adapter] * s.factor).collect();
            self.cpu.write(s.value, 0, &rows)?;
        }
        Ok(())
    }

    /// Puts a row of a result in the place of its first one.
    ///
    /// # Errors
    /// `InvalidArgument` if the graph has no such row.
    pub fn make_first(&mut self, outcome: Outcome, row: usize) -> Result<()> {
        let Some(v) = self.graph.result(outcome).filter(|_| row > 0) else { return Ok(()) };
        let copy = self.cpu.result_row(v, row).to_vec();
        self.cpu.write(v, 0, &copy)
    }

    /// The hidden rows of the trunk's last micro-batch, `n` of them.
    ///
    /// # Errors
    /// `InvalidArgument` if the graph makes no drafts.
    pub fn hidden(&mut self, n: usize, to: &mut Vec<f32>) -> Result<()> {
        let v = self.graph.result(Outcome::Hidden).ok_or_else(|| Error::invalid("this model makes no drafts"))?;
        to.resize(n * self.graph.n_embd, 0.0);
        self.cpu.read(v, 0, to)
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

    fn steps(&mut self, part: usize, micro: &Micro<'_>, cancel: &AtomicBool) -> Result<()> {
        if !self.dies.is_empty() {
            // SAFETY: the plan gave them this place, and the dies came to rest after the last micro-batch.
            let tables = unsafe { Tables::write(micro, self.tables) };
            for die in &mut self.dies {
                die.at_work = true;
                // SAFETY: page-locked, and not written again before the dies come to rest.
                unsafe { die.executor.take_tables(&tables, self.tables) }?;
            }
        }
        for i in 0..self.stretches[part].len() {
            let Stretch { device, nodes, .. } = &self.stretches[part][i];
            let (device, nodes) = (*device, nodes.clone());
            match self.dies.iter_mut().position(|d| d.device == device) {
                Some(d) => {
                    self.dies[d].at_work = true;
                    self.dies[d].executor.run(nodes, micro, cancel)?;
                }
                None => {
                    // Copies may be on their way from or to the host's arena.
                    self.settle()?;
                    self.cpu.run(nodes, micro, cancel)?;
                }
            }
            let hands = self.stretches[part][i].hands.clone();
            if hands.len() > 1 && self.are_peers(&hands) {
                self.exchange(&hands, micro)?;
            } else if hands.len() > 1 && self.fit_rings(&hands, micro) {
                self.exchange_by_host(&hands, micro)?;
            } else {
                for Hand { value, from, to } in hands {
                    for to in to {
                        self.hand(value, from, to, micro)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The place of a device among the dies.
    fn place(&self, device: u32) -> Option<usize> {
        self.dies.iter().position(|die| die.device == device)
    }

    /// True if all these values go from die to die without the host.
    fn are_peers(&self, hands: &[Hand]) -> bool {
        let peers = |from: u32, to: u32| {
            self.place(from).is_some() && self.place(to).is_some_and(|b| self.dies[b].peers.contains(&from))
        };
        hands.iter().all(|hand| hand.to.iter().all(|to| peers(hand.from, *to)))
    }

    /// Copies values between dies that have all made theirs: each die copies what it reads, all at once. A place that a
    /// die reads to is free, since its stream has got here. A maker goes on when all readers have its value.
    fn exchange(&mut self, hands: &[Hand], micro: &Micro<'_>) -> Result<()> {
        let mut makers: Vec<usize> = hands.iter().filter_map(|hand| self.place(hand.from)).collect();
        makers.sort_unstable();
        makers.dedup();
        for a in &makers {
            self.dies[*a].executor.die().record(self.dies[*a].made)?;
        }
        let mut taken = Vec::new();
        for (b, reader) in self.dies.iter().enumerate() {
            let mut from = Vec::new();
            for hand in hands.iter().filter(|hand| hand.to.contains(&reader.device)) {
                let Some(a) = self.place(hand.from).filter(|a| *a != b) else { continue };
                let (maker, bytes) = (&self.dies[a], self.bytes_of(hand.value, micro));
                let row = self.graph.first_row(hand.value, micro);
                if bytes == 0 {
                    continue;
                }
                if !from.contains(&a) {
                    reader.executor.die().wait_for(maker.made)?;
                    from.push(a);
                }
                let (at, to) = (maker.executor.at(hand.value, row), reader.executor.at(hand.value, row));
                // SAFETY: both layouts have the value's rows.
                unsafe { reader.executor.die().copy_from(to, maker.executor.die(), at, bytes) }?;
            }
            if !from.is_empty() {
                reader.executor.die().record(reader.taken)?;
            }
            taken.extend(from.into_iter().map(|a| (a, b)));
        }
        // Only now, so that no die's copies wait for those of another.
        for (a, b) in taken {
            self.dies[a].executor.die().wait_for(self.dies[b].taken)?;
        }
        Ok(())
    }

    /// True if all these values go from die to die, and the dies' rings hold what each of them sends.
    fn fit_rings(&self, hands: &[Hand], micro: &Micro<'_>) -> bool {
        let (most_bytes, most) = cuda::MOST_SENT;
        let of = |device: u32| hands.iter().filter(|h| h.from == device).map(|h| h.to.len()).sum::<usize>();
        hands.iter().all(|hand| {
            let bytes = self.bytes_of(hand.value, micro);
            let dies = hand.to.iter().chain([&hand.from]).all(|d| self.place(*d).is_some());
            dies && (1..=most_bytes).contains(&bytes) && of(hand.from) <= most
        })
    }

    /// Bytes of a micro-batch's rows of a value.
    fn bytes_of(&self, v: ValueId, micro: &Micro<'_>) -> usize {
        let value = self.graph.value(v);
        micro.n_rows(value.rows) * value.cols * size_of::<f32>()
    }

    /// The same by way of the host: every die sends what it has made before any of them waits for another's.
    fn exchange_by_host(&mut self, hands: &[Hand], micro: &Micro<'_>) -> Result<()> {
        let mut all = Vec::new();
        for hand in hands {
            let (bytes, row) = (self.bytes_of(hand.value, micro), self.graph.first_row(hand.value, micro));
            let Some(a) = self.place(hand.from) else { continue };
            let readers: Vec<usize> = hand.to.iter().filter_map(|to| self.place(*to)).filter(|b| *b != a).collect();
            for b in readers {
                let maker = &mut self.dies[a];
                maker.at_work = true;
                let from = maker.executor.at(hand.value, row);
                // SAFETY: the layout has the value's rows.
                let sent = unsafe { maker.ring.send(maker.executor.die(), from, bytes) }?;
                all.push((a, b, hand.value, row, sent));
            }
        }
        for (a, b, v, row, sent) in all {
            let [maker, reader] = self
                .dies
                .get_disjoint_mut([a, b])
                .map_err(|_| Error::new(Status::Internal, "a die handed a value to itself"))?;
            reader.at_work = true;
            let to = reader.executor.at(v, row);
            // SAFETY: as above; the reader's place is free, since its stream has got here.
            unsafe { maker.ring.receive(&sent, reader.executor.die(), &reader.ring, to) }?;
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
        match (self.place(from), self.place(to)) {
            (None, None) => {}
            (None, Some(b)) => {
                let die = &mut self.dies[b];
                (die.at_work, die.reads_host) = (true, true);
                // SAFETY: both layouts have the value's rows; the place on the host is used again only when the die has
                // them.
                unsafe { die.executor.die().copy_in(die.executor.at(v, row), on_host, bytes) }?;
            }
            (Some(a), None) => {
                // Another die may have yet to read this place on the host.
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
                // The place on the other die is free when that die's stream gets here.
                y.record(b.taken)?;
                x.wait_for(b.taken)?;
                if b.peers.contains(&a.device) {
                    x.record(a.made)?;
                    y.wait_for(a.made)?;
                    // SAFETY: both layouts have the value's rows.
                    unsafe { y.copy_from(to, x, from, bytes) }?;
                    // This die may use its place again only when the copy is done.
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

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The CPU, then the dies.
    pub fn executors(&self) -> impl Iterator<Item = &dyn Executor> {
        let cpu: &dyn Executor = &self.cpu;
        std::iter::once(cpu).chain(self.dies.iter().map(|d| -> &dyn Executor { &d.executor }))
    }

    /// Calls `f` for each of these executors, with its number, and lets the dies come to rest.
    ///
    /// # Errors
    /// As for `run`, and those of `f`.
    pub fn at_rest(&mut self, mut f: impl FnMut(&mut dyn Executor, usize) -> Result<()>) -> Result<()> {
        self.usable()?;
        let _visit = self.dies.first().map(|d| d.executor.die().visit()).transpose()?;
        let mut outcome = f(&mut self.cpu, 0);
        for (i, die) in self.dies.iter_mut().enumerate() {
            die.at_work = true;
            outcome = outcome.and_then(|()| f(&mut die.executor, i + 1));
        }
        outcome = outcome.and(self.settle());
        self.after(outcome)
    }

    /// Copies cells and turns their keys, on all devices. `moves` has a list for each cache.
    ///
    /// # Errors
    /// As for `run`; `OutOfMemory` if small buffers cannot be had.
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
