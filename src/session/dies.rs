//! The dies of a load: their arenas exactly as planned, and every weight where the plan puts it.
//!
//! Dies are opened and their arenas allocated first, before the host's, since their memory is the one that is short.
//! Then every die is filled by a thread of its own: pieces of the file are read into the die's ring of page-locked
//! memory, and copied to the die from there while the next piece is read. So all links are busy at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::machine::{self, Machine, Parts};
use crate::context::Context;
use crate::cpu;
use crate::cuda::{self, Arenas, Die, Pinned, Ptr, Ring, Source, Staging};
use crate::device::Kind;
use crate::error::{Error, Result, Status};
use crate::plan::{Exact, Holder, Plan};
use crate::threads::{self, Queue};

/// Opens the dies that a plan uses, and allocates their three arenas.
///
/// # Errors
/// `OutOfMemory` naming die and arena; `Device`, naming die and call.
pub(super) fn open(context: &Context, exact: &Exact) -> Result<Vec<(Die, Arenas)>> {
    let mut dies: Vec<(Die, Arenas)> = Vec::new();
    let (mut visit, mut shelf) = (None, cuda::Shelf::default());
    for (i, device) in context.devices().iter().enumerate() {
        if device.kind != Kind::Cuda || !exact.placement.devices().any(|used| used == i as u32) {
            continue;
        }
        let mut die = cuda::open(device, i as u32, &mut shelf)?;
        if visit.is_none() {
            visit = Some(die.visit()?);
        }
        let m = exact.arenas.memory[i];
        let mut taken = 0;
        let mut take = |what: &str, bytes: u64| {
            let at = die.allocate(what, bytes as usize).map_err(|e| match e.status {
                // The error says how much all arenas together could have had, so that a plan for that much can be made.
                Status::OutOfMemory => match die.largest_allocation(bytes) {
                    Ok(most) => e.amounts(m.asked() - m.driver, taken + most),
                    Err(_) => e,
                },
                _ => e,
            })?;
            taken += bytes;
            Ok::<Ptr, Error>(at)
        };
        let arenas = Arenas {
            weights: take("the weights arena", m.weights)?,
            kv: take("the KV cache", m.kv)?,
            compute: take("the compute arena", m.compute)?,
        };
        // Copies go straight from one die to the other, if that was proved when the dies were found.
        for (other, _) in &dies {
            if context.inventory().link(i, other.index as usize).is_some() {
                die.see(other)?;
                other.see(&die)?;
            }
        }
        dies.push((die, arenas));
    }
    Ok(dies)
}

/// Fills the dies' weights arenas from the file, and puts the machine together. `advance` is told of bytes, in this
/// thread.
///
/// # Errors
/// Those of `advance`; `Io`; `Device`, naming die and call.
pub(super) fn fill(
    context: &Context,
    plan: &Plan,
    exact: &Exact,
    cpu: cpu::Executor,
    mut dies: Vec<(Die, Arenas)>,
    replay: bool,
    advance: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Machine> {
    let _visit = dies.first().map(|(die, _)| die.visit()).transpose()?;
    let rotations = cpu.rotations();
    let staging = {
        let (arena, used) = cpu.compute();
        arena.base().wrapping_add(used)
    };
    let pinned = match dies.first() {
        None => None,
        Some((die, _)) => {
            let (arena, _) = cpu.compute();
            // SAFETY: the machine keeps the executor, and drops this first.
            Some(unsafe { Pinned::new(die, arena.base(), arena.bytes()) }?)
        }
    };
    let mut rings = Vec::with_capacity(dies.len());
    let mut marks = Vec::with_capacity(dies.len());
    for (i, (die, _)) in dies.iter_mut().enumerate() {
        marks.push(([die.event()?, die.event()?], die.event()?, die.event()?));
        // SAFETY: the plan has a ring for each die behind the layout, then the tables.
        rings.push(unsafe { Ring::new(die, staging.wrapping_add(i * cuda::RING_BYTES)) }?);
    }
    let outcome = upload(plan, exact, &dies, &mut rings, advance);
    // Nothing may be on its way to or from the host's memory when that goes.
    let mut settled = Ok(());
    for (die, _) in &dies {
        settled = settled.and(die.finish());
    }
    outcome.and(settled)?;

    let tables = staging.wrapping_add(dies.len() * cuda::RING_BYTES);
    let all: Vec<u32> = dies.iter().map(|(die, _)| die.index).collect();
    let mut parts = Vec::with_capacity(dies.len());
    for (((die, arenas), ring), (pieces, made, taken)) in dies.into_iter().zip(rings).zip(marks) {
        let device = die.index;
        let joined = |other: &u32| context.inventory().link(device as usize, *other as usize).is_some();
        let peers = all.iter().copied().filter(|d| *d != device && joined(d)).collect();
        let own = |holders: &Vec<Holder>| {
            let holder = holders.iter().find(|h| h.device == device)?;
            Some(cuda::Held { part: holder.part, offset: holder.offset? })
        };
        let parts_of_die = cuda::Parts {
            die,
            graph: Arc::clone(&exact.graph),
            layout: exact.arenas.layouts[device as usize].clone(),
            weights: exact.arenas.weights.iter().map(own).collect(),
            arenas,
            states: exact.arenas.states.clone(),
            here: exact.states_on(device),
            type_k: plan.type_k,
            type_v: plan.type_v,
            rotations: Arc::clone(&rotations),
            replay,
            pieces,
            staging: Staging { at: tables, bytes: exact.arenas.tables_bytes },
        };
        // SAFETY: the plan gave the tables this page-locked place in the CPU's arena, which the machine keeps; it takes
        // itself mutably to use any executor.
        let executor = unsafe { cuda::Executor::new(parts_of_die) };
        parts.push(machine::Die { device, executor, ring, made, taken, peers, at_work: false, reads_host: false });
    }
    Ok(Machine::new(Parts {
        cpu,
        dies: parts,
        pinned,
        graph: Arc::clone(&exact.graph),
        placement: exact.placement.clone(),
        states: exact.arenas.states.clone(),
        tables,
        n_cells: exact.arenas.caches.iter().map(|c| c.n_cells).collect(),
    }))
}

/// Brings every die its weights, each by a thread.
fn upload(
    plan: &Plan,
    exact: &Exact,
    dies: &[(Die, Arenas)],
    rings: &mut [Ring],
    advance: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<()> {
    let stop = AtomicBool::new(false);
    let queue = Queue::default();
    threads::scope(|scope| {
        let stop = &stop;
        let mut workers = Vec::new();
        for ((die, arenas), ring) in dies.iter().zip(rings) {
            let tell = queue.teller();
            let (device, weights) = (die.index, arenas.weights);
            let work = move || {
                let outcome = bring(plan, exact, die, weights, ring, stop, &|n| {
                    // Nobody listens any more after an error elsewhere.
                    tell.tell(n);
                });
                if outcome.is_err() {
                    stop.store(true, Ordering::Relaxed);
                }
                outcome
            };
            workers.push(scope.start(&format!("rekindle-load-{device}"), 0, work));
        }
        let mut outcome = Ok(());
        while let Some(n) = queue.next() {
            if outcome.is_ok() {
                outcome = advance(n);
                stop.fetch_or(outcome.is_err(), Ordering::Relaxed);
            }
        }
        let ends: Vec<Result<()>> = workers.into_iter().map(|w| scope.join(w?)?).collect();
        // The first cause is told, not the errors of threads that stopped because of it.
        outcome?;
        let cancelled = |e: &Error| e.status == Status::Cancelled;
        match ends.into_iter().filter_map(Result::err).min_by_key(cancelled) {
            Some(e) => Err(e),
            None => Ok(()),
        }
    })
}

/// Brings one die its weights.
fn bring(
    plan: &Plan,
    exact: &Exact,
    die: &Die,
    arena: Ptr,
    ring: &mut Ring,
    stop: &AtomicBool,
    done: &dyn Fn(usize),
) -> Result<()> {
    for (info, holders) in exact.graph.weights.iter().zip(&exact.arenas.weights) {
        let Some((part, Some(offset))) = holders.iter().find(|h| h.device == die.index).map(|h| (h.part, h.offset))
        else {
            continue;
        };
        let bytes = part.n_bytes(info) as usize;
        let read = |first: usize, to: &mut [u8]| {
            part.pieces_of(info, first, to.len()).try_fold(0, |n, (from, bytes)| {
                plan.file.read_tensor(info, from as u64, &mut to[n..n + bytes]).map(|()| n + bytes)
            })?;
            Ok(())
        };
        ring.fill(die, &Source { read: &read, bytes, to: arena.add(offset) }, stop, done)?;
        let at = offset + bytes;
        let padding = at.next_multiple_of(crate::graph::ALIGN) - at;
        if padding > 0 {
            // SAFETY: the plan rounded the weight's bytes up.
            unsafe { die.fill(arena.add(at), 0, padding) }?;
        }
    }
    die.finish()
}
