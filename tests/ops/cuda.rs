//! A die, with its kernels loaded once for all rows.

use rekindle::Result;
use rekindle::cuda::{
    Arenas, Die, Event, Executor, Held, Parts, Pinned, Ptr, Shelf, Staging, Tables, Visit, open, tables_bytes,
    workspace_bytes,
};
use rekindle::device::{Arena, Device as Found};
use rekindle::graph::{ALIGN, Cache, Graph, Limits, Micro, Node};
use rekindle::quant::Type;

use super::row::{On, Row};
use super::run::Device;
use super::single::Single;
use super::weight::Weight;

/// Bytes of page-locked memory.
const HOST: usize = 4 << 20;

pub struct Cuda {
    // Before the die, whose context it needs, and the memory that it locks.
    pinned: Option<Pinned>,
    /// While no executor has it.
    die: Option<Die>,
    host: Arena,
    pieces: [Event; 2],
    marks: [Event; 2],
    arenas: Option<Arenas>,
    /// Whether short steps are recorded and replayed.
    pub replay: bool,
    _visit: Visit,
}

impl Cuda {
    pub fn new(device: &Found) -> Result<Cuda> {
        let mut die = open(device, 0, &mut Shelf::default())?;
        let visit = die.visit()?;
        let host = Arena::new("page-locked memory", HOST)?;
        // SAFETY: the arena is dropped after it.
        let pinned = Some(unsafe { Pinned::new(&die, host.base(), host.bytes()) }?);
        let (pieces, marks) = ([die.event()?, die.event()?], [die.timed_event()?, die.timed_event()?]);
        Ok(Cuda { pinned, die: Some(die), host, pieces, marks, arenas: None, replay: false, _visit: visit })
    }

    /// Whether the last executor has given the die back.
    pub fn is_at_rest(&self) -> bool {
        self.die.is_some()
    }

    /// Copies bytes of the host to the die, piece by piece.
    fn put(&self, die: &Die, to: Ptr, bytes: &[u8]) -> Result<()> {
        for (i, piece) in bytes.chunks(HOST).enumerate() {
            // SAFETY: the arena has HOST bytes, which nobody else uses meanwhile.
            unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), self.host.base(), piece.len()) };
            // SAFETY: page-locked and not written before the die has done; the caller allocated the bytes.
            unsafe { die.copy_in(to.add(i * HOST), self.host.base(), piece.len()) }?;
            die.finish()?;
        }
        Ok(())
    }

    fn allocate(&mut self, die: &mut Die, single: &Single, row: &Row) -> Result<Vec<Option<Held>>> {
        let (mut held, mut end) = (Vec::new(), 0);
        for (i, w) in row.weights.iter().enumerate() {
            held.push(Some(Held { part: single.part(row, i), offset: end }));
            end = (end + w.n_bytes()).next_multiple_of(ALIGN);
        }
        let arenas = Arenas {
            weights: die.allocate("weights", end)?,
            kv: die.allocate("the KV cache", single.kv_bytes)?,
            compute: die.allocate("activations", single.layout.bytes)?,
        };
        self.arenas = Some(arenas);
        let load = |(w, held): (&Weight, &Option<Held>)| {
            let mut outcome = Ok(());
            let first = held.map_or(0, |h| h.offset);
            w.load(|at, bytes| {
                let put = || self.put(die, arenas.weights.add(first + at), bytes);
                outcome = outcome.clone().and_then(|()| put());
            });
            // Kernels read whole words, up to the padding's end.
            let end = first + w.n_bytes();
            let padding = end.next_multiple_of(ALIGN) - end;
            if padding > 0 {
                // SAFETY: within the allocation, which ends where the padding does.
                unsafe { die.fill(arenas.weights.add(end), 0, padding) }?;
            }
            outcome
        };
        row.weights.iter().zip(&held).try_for_each(load)?;
        Ok(held)
    }
}

impl Device for Cuda {
    type X = Executor;
    const ON: On = On::Cuda;

    fn workspace(&self, graph: &Graph, node: &Node, limits: Limits) -> Option<usize> {
        workspace_bytes(graph, node, limits)
    }

    fn tables(&self, limits: Limits, caches: &[Cache]) -> usize {
        tables_bytes(limits, caches).expect("small sizes")
    }

    fn begin(&mut self, single: &Single, row: &Row) -> Result<Executor> {
        let mut die = self.die.take().expect("one executor at a time");
        let weights = self.allocate(&mut die, single, row)?;
        let [type_k, type_v] = row.cached.as_ref().map_or([Type::F32; 2], |c| [c.type_k, c.type_v]);
        let parts = Parts {
            die,
            graph: single.graph.clone(),
            layout: single.layout.clone(),
            weights,
            arenas: self.arenas.expect("allocated above"),
            states: single.places.clone(),
            here: single.here(),
            type_k,
            type_v,
            rotations: single.rotations.clone(),
            replay: self.replay,
            pieces: self.pieces,
            staging: Staging { at: self.host.base(), bytes: self.host.bytes() },
        };
        // SAFETY: page-locked, kept beside the executor, and used by no other call while one of its runs.
        Ok(unsafe { Executor::new(parts) })
    }

    fn bring(&mut self, x: &mut Executor, micro: &Micro<'_>) -> Result<()> {
        // SAFETY: larger than the largest tables, and the die is at rest.
        let tables = unsafe { Tables::write(micro, self.host.base()) };
        // SAFETY: page-locked; not written before the die is at rest again.
        unsafe { x.take_tables(&tables, self.host.base()) }?;
        x.die().finish()
    }

    fn end(&mut self, x: Executor) -> Result<()> {
        let mut die = x.into_die();
        let arenas = self.arenas.take().into_iter().flat_map(|a| [a.weights, a.kv, a.compute]);
        arenas.filter(|at| *at != Ptr::NULL).try_for_each(|at| die.give(at))?;
        self.die = Some(die);
        Ok(())
    }

    fn seconds(&mut self, x: &mut Executor, times: usize, call: &dyn Fn(&mut Executor) -> Result<()>) -> Result<f64> {
        x.die().record(self.marks[0])?;
        let given = (0..times).try_for_each(|_| call(x));
        given.and(x.die().record(self.marks[1])).and(x.die().finish())?;
        x.die().seconds(self.marks[0], self.marks[1])
    }

    /// A copy within the die's memory: bytes read and written.
    fn plain(&mut self, bytes: usize) -> Result<f64> {
        let (half, [start, end]) = (bytes / 2, self.marks);
        let Some(die) = &mut self.die else { panic!("an executor has the die") };
        let at = die.allocate("a copy", 2 * half)?;
        let mut best = 0f64;
        for i in 0..5 {
            // SAFETY: both halves are within the allocation.
            unsafe {
                die.fill(at, i, half)?;
                die.record(start)?;
                die.copy_from(at.add(half), die, at, half)?;
            }
            die.record(end).and(die.finish())?;
            best = best.max(2.0 * half as f64 / die.seconds(start, end)?.max(1e-9));
        }
        die.give(at)?;
        Ok(best)
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // The memory is unlocked in the die's context.
        let _ = self.die.as_ref().map(Die::enter);
        self.pinned = None;
    }
}
