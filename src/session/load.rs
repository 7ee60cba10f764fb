//! Loading: the arenas, and every weight where the plan puts it.
//!
//! 1. The dies' arenas are allocated, since their memory is the one that is short (`dies`).
//! 2. The CPU computes with most weights where they lie in the file's map. A few threads read these tensors through, so
//!    that they are in memory before the first token (`bring_in`). Meanwhile two threads allocate the KV and compute
//!    arenas, which the system fills with zeros.
//! 3. Weights that the plan wants copied go to the weights arena.
//! 4. Each die is filled by a thread of its own.
//!
//! All along the caller is told of the progress, and may cancel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sync::Mutex;

use super::dies;
use super::machine::Machine;
use crate::context::{Context, LogLevel};
use crate::cpu::matmul::Kernels;
use crate::cpu::{Executor, Held, Parts};
use crate::device::{self, Arena, lock_pages};
use crate::error::{Error, Result, Status, try_vec};
use crate::gguf::{Gguf, TensorInfo};
use crate::graph::{Graph, Rope, Rotation, WeightId};
use crate::plan::{Exact, Holder, Memory, Plan};
use crate::quant::dequantize;
use crate::threads::{self, Queue, Running};

/// The caller's wishes for a load.
#[derive(Default)]
pub struct LoadParams<'a> {
    /// Called with the share that is done, 0 to 1. If it returns false, the load is cancelled.
    pub progress: Option<&'a mut dyn FnMut(f32) -> bool>,
    /// Refuse tensors with values that are no finite numbers. Every weight is read for that.
    pub check_tensors: bool,
    /// Keep weights and arenas from being swapped out; if the system refuses, a warning is logged.
    pub mlock: bool,
    /// Do not record and replay the launches of short steps on CUDA devices.
    pub no_cuda_graphs: bool,
    /// Give CUDA devices one node after the other: none is joined with its neighbours into one launch. Results are the
    /// same; tests hold both together.
    pub one_by_one: bool,
    /// If a die turns out to have less memory than was reported, plan again for the memory that there is.
    pub replan: bool,
}

pub(super) struct Loaded {
    pub machine: Machine,
    pub weights: Arena,
    /// By device of the context.
    pub memory: Vec<Memory>,
}

/// Bytes that are read or copied between two reports of progress.
const PIECE: usize = 8 << 20;
/// The most threads that read.
const READING: u32 = 4;

/// Allocates the arenas of a plan, and fills them.
pub(super) fn fill(context: &Context, plan: &Plan, exact: &Exact, params: &mut LoadParams<'_>) -> Result<Loaded> {
    let (graph, file, arenas) = (&exact.graph, &plan.file, &exact.arenas);
    let cpu = context.inventory().cpu();
    let planned = arenas.memory[cpu];
    // Others may have taken memory since the plan; a refusal here is better than the system's out-of-memory killer
    // later.
    let free = device::free_memory();
    let holder = |w: usize| arenas.weights[w].iter().find(|h| h.device as usize == cpu);
    if planned.asked() > free {
        return Err(Error::out_of_memory("the arenas", planned.asked()).amounts(planned.asked(), free));
    }
    // The dies come first: their memory is the one that is short.
    let mut dies = dies::open(context, exact)?;
    dies.iter_mut().for_each(|(die, _)| die.joins = !params.one_by_one);
    let mut arena = Arena::new("the weights arena", planned.weights as usize)?;
    let on_dies: u64 = arenas.memory.iter().enumerate().filter(|(d, _)| *d != cpu).map(|(_, m)| m.weights).sum();
    let mut progress =
        Progress { report: params.progress.as_deref_mut(), done: 0, total: planned.weights + planned.mapped + on_dies };
    progress.advance(0)?;
    let is_mapped = |w: usize| holder(w).is_some_and(|h| h.offset.is_none());
    let mut mapped: Vec<&TensorInfo> =
        (0..).zip(&graph.weights).filter(|(w, _)| is_mapped(*w)).map(|(_, info)| info).collect();
    // A disk is fastest in the file's order.
    mapped.sort_by_key(|info| (info.split, info.offset));
    // The system zeroes the other arenas meanwhile, which takes about as long as reading a file that is in memory.
    let no_arena = AtomicBool::new(false);
    let (read, kv, compute) = threads::scope(|scope| {
        let start = |what: &'static str, bytes: u64| {
            let no_arena = &no_arena;
            let make =
                move || Arena::new(what, bytes as usize).inspect_err(|_| no_arena.store(true, Ordering::Relaxed));
            scope.start("rekindle-arena", 0, make).map_err(|e| e.at(what))
        };
        let (kv, compute) = (start("the KV cache", planned.kv), start("the compute arena", planned.compute));
        let read = bring_in(file, &mapped, context.n_threads(), &no_arena, &mut progress);
        let end = |thread: Result<Running<Result<Arena>>>| scope.join(thread?)?;
        (read, end(kv), end(compute))
    });
    let (kv, compute) = (kv?, compute?);
    read?;
    let mut held = Vec::with_capacity(graph.weights.len());
    for (i, info) in graph.weights.iter().enumerate() {
        if params.check_tensors {
            check_finite(file, info)?;
            progress.advance(0)?;
        }
        // A weight that no node here reads stays null.
        let nowhere = Held { part: graph.whole(WeightId(i as u32)), at: std::ptr::null() };
        let data = file.tensor_data(info);
        held.push(match holder(i) {
            None => nowhere,
            Some(Holder { offset: None, .. }) => Held { at: data.as_ptr(), ..nowhere },
            Some(Holder { part, offset: Some(offset), .. }) => {
                let mut to = *offset;
                for (first, n) in part.pieces(info) {
                    for first in (first..first + n).step_by(PIECE).zip(std::iter::repeat(first + n)) {
                        let (first, n) = (first.0, PIECE.min(first.1 - first.0));
                        arena.write_with(to, n, |to| file.read_tensor(info, first as u64, to))?;
                        progress.advance(n)?;
                        to += n;
                    }
                }
                Held { part: *part, at: arena.base().wrapping_add(*offset).cast_const() }
            }
        });
    }
    let rotations: Result<Arc<[Rotation]>> = graph.ropes.iter().map(|r| rotation(r, graph, file, plan.n_ctx)).collect();
    let mut lock = params.mlock;
    if lock
        && let Err(e) = mapped
            .iter()
            .map(|info| lock_pages(file.tensor_data(info)))
            .chain([arena.lock("the weights arena")])
            .collect::<Result<()>>()
    {
        context.log(LogLevel::Warn, &format!("memory is not locked: {e}"));
        lock = false;
    }
    let layout = arenas.layouts[cpu].clone();
    let parts = Parts {
        graph: Arc::clone(graph),
        kernels: Kernels::new(context.isa()),
        pool: context.pool()?,
        weights: held,
        states: arenas.states.clone(),
        here: exact.states_on(cpu as u32),
        kv,
        compute,
        layout,
        type_k: plan.type_k,
        type_v: plan.type_v,
        rotations: rotations?,
        n_outputs_max: plan.n_outputs_max as usize,
    };
    // SAFETY: each pointer leads to all that is read of a tensor, in the file's map or in the arena, which the model
    // keeps as long as the executor.
    let executor = unsafe { Executor::new(parts) };
    if lock && let Err(e) = executor.lock() {
        context.log(LogLevel::Warn, &format!("memory is not locked: {e}"));
    }
    let (kv, compute) = executor.arena_bytes();
    let mut memory = vec![Memory::default(); context.devices().len()];
    let states = arenas.memory[cpu].states;
    let mapped = mapped.iter().map(|info| info.n_bytes).sum();
    memory[cpu] =
        Memory { weights: arena.bytes() as u64, mapped, kv: kv as u64, states, compute: compute as u64, driver: 0 };
    for (die, _) in &dies {
        memory[die.index as usize] = arenas.memory[die.index as usize];
    }
    let machine =
        dies::fill(context, plan, exact, executor, dies, !params.no_cuda_graphs, &mut |bytes| progress.advance(bytes))?;
    progress.finish()?;
    Ok(Loaded { machine, weights: arena, memory })
}

/// Brings tensors into memory that are computed with where they lie in the file's map. It ends early once `in_vain` is
/// set.
///
/// A few threads take the pieces in their order, so that the disk always has something to do. A piece that cannot be
/// read is an error here, and not a bus error in the middle of a decode.
fn bring_in(
    file: &Gguf,
    tensors: &[&TensorInfo],
    n_threads: u32,
    in_vain: &AtomicBool,
    progress: &mut Progress<'_, '_>,
) -> Result<()> {
    file.read_in_order();
    let pieces = tensors.iter().flat_map(|info| {
        let bytes = info.n_bytes as usize;
        (0..bytes).step_by(PIECE).map(move |first| (*info, first, PIECE.min(bytes - first)))
    });
    let pieces = Mutex::new(pieces);
    let queue = Queue::default();
    threads::scope(|scope| {
        let pieces = &pieces;
        let start = |_| {
            let tell = queue.teller();
            let work = move || {
                loop {
                    let next = pieces.lock().next();
                    let Some((info, first, n)) = next else { return };
                    let outcome = file.bring_in(info, first, n).map(|()| n);
                    let over = outcome.is_err() || in_vain.load(Ordering::Relaxed);
                    // Nobody listens any more after an error elsewhere.
                    if !tell.tell(outcome) || over {
                        return;
                    }
                }
            };
            scope.start("rekindle-read", 0, work)
        };
        let threads: Vec<_> = (0..n_threads.min(READING)).map(start).collect();
        let outcome = std::iter::from_fn(|| queue.next()).try_for_each(|n| progress.advance(n?));
        queue.close();
        threads.into_iter().map(|thread| scope.join(thread?)).fold(outcome, Result::and)
    })
}

/// The progress of a load, of which the caller is told.
struct Progress<'r, 'a> {
    report: Option<&'r mut (dyn FnMut(f32) -> bool + 'a)>,
    done: u64,
    total: u64,
}

impl Progress<'_, '_> {
    fn advance(&mut self, bytes: usize) -> Result<()> {
        self.done += bytes as u64;
        // 1 is kept for the very end.
        self.tell((self.done as f64 / self.total.max(1) as f64).min(0.999) as f32)
    }
    fn finish(&mut self) -> Result<()> {
        self.tell(1.0)
    }
    fn tell(&mut self, share: f32) -> Result<()> {
        if let Some(report) = &mut self.report
            && !report(share)
        {
            return Err(Error::new(Status::Cancelled, "the load was cancelled by its progress callback"));
        }
        Ok(())
    }
}

/// The rotation of a rope for a KV cache of `n_ctx` tokens. Its factors are floats, as the builder checked.
///
/// # Errors
/// `Io` naming the factors.
fn rotation(rope: &Rope, graph: &Graph, file: &Gguf, n_ctx: u32) -> Result<Rotation> {
    let floats = |w: WeightId| -> Result<Vec<f32>> {
        let info = graph.weight(w);
        let mut bytes = try_vec("factors of a rotation", info.n_bytes as usize, 0u8)?;
        file.read_tensor(info, 0, &mut bytes)?;
        let bytes = bytes.chunks_exact(4);
        Ok(bytes.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    };
    let factors = rope.factors.at(n_ctx as usize).map(floats).transpose()?;
    Ok(Rotation::new(rope, factors.as_deref()))
}

/// Refuses a tensor with values that are no finite numbers.
///
/// # Errors
/// `BadFile` naming the tensor and row.
fn check_finite(file: &Gguf, info: &TensorInfo) -> Result<()> {
    let cols = usize::try_from(info.ne[0]).unwrap_or(0);
    let row_bytes = info.ty.row_bytes(cols).filter(|n| *n > 0).unwrap_or(1);
    let mut row = try_vec("a row of weights", cols, 0f32)?;
    let n_rows = info.n_bytes as usize / row_bytes;
    let at_once = (PIECE / row_bytes).clamp(1, n_rows.max(1));
    let mut bytes = try_vec("rows of weights", at_once * row_bytes, 0u8)?;
    for first in (0..n_rows).step_by(at_once) {
        let bytes = &mut bytes[..at_once.min(n_rows - first) * row_bytes];
        file.read_tensor(info, (first * row_bytes) as u64, bytes)?;
        for (i, bytes) in (first..).zip(bytes.chunks_exact(row_bytes)) {
            dequantize(info.ty, bytes, &mut row);
            if let Some(k) = row.iter().position(|x| !x.is_finite()) {
                let what = format!(
                    "{}: tensor '{}' holds {} at row {i}, column {k}, expected finite numbers",
                    file.path(),
                    info.name,
                    row[k]
                );
                return Err(Error::bad_file(what).subject(&info.name));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf")
    }

    /// Reads all tensors of a file. Gives the outcome, the bytes that were told of, and how often; `more` says if it
    /// goes on.
    fn read(file: &Gguf, n_threads: u32, in_vain: bool, more: &dyn Fn(usize) -> bool) -> (Result<()>, u64, usize) {
        let tensors: Vec<&TensorInfo> = file.tensors().iter().collect();
        let mut calls = 0;
        let mut report = |_| {
            calls += 1;
            more(calls)
        };
        let mut progress = Progress { report: Some(&mut report), done: 0, total: 1 };
        let outcome = bring_in(file, &tensors, n_threads, &AtomicBool::new(in_vain), &mut progress);
        let done = progress.done;
        (outcome, done, calls)
    }

    #[test]
    fn each_piece_is_read_once_unless_the_load_ends() {
        let file = Gguf::open(&path()).unwrap();
        let (total, n) = (file.tensors().iter().map(|t| t.n_bytes).sum::<u64>(), file.tensors().len());
        for n_threads in [1, 2, 9] {
            let (outcome, done, calls) = read(&file, n_threads, false, &|_| true);
            assert!(outcome.is_ok() && done == total && calls >= n);
            let (outcome, _, calls) = read(&file, n_threads, false, &|calls| calls < 3);
            assert_eq!((outcome.unwrap_err().status, calls), (Status::Cancelled, 3));
            let (outcome, done, _) = read(&file, n_threads, true, &|_| true);
            assert!(outcome.is_ok() && done < total);
        }
    }

    /// If the file cannot be read, the load says so, and not the first token.
    #[test]
    fn a_load_finds_what_cannot_be_read() {
        let short = std::env::temp_dir().join(format!("rekindle-unreadable-{}.gguf", std::process::id()));
        std::fs::copy(path(), &short).unwrap();
        let file = Gguf::open(&short).unwrap();
        std::fs::File::options().write(true).open(&short).unwrap().set_len(file.n_bytes() / 2).unwrap();
        std::fs::remove_file(&short).unwrap();
        for n_threads in [1, 4] {
            let e = read(&file, n_threads, false, &|_| true).0.unwrap_err();
            assert_eq!(e.status, Status::Io);
            let tensor = file.tensor(&e.detail.subject).unwrap();
            assert!(tensor.offset + tensor.n_bytes > file.n_bytes() / 2);
        }
    }
}
