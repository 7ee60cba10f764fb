//! Loading: the arenas, and every weight where the plan puts it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;

use super::dies;
use super::machine::Machine;
use super::reading::{Need, Reading};
use crate::context::{Context, LogLevel};
use crate::cpu::matmul::Kernels;
use crate::cpu::{Executor, Held, Parts};
use crate::device::{self, Arena, lock_pages};
use crate::error::{Error, Result, Status, try_vec};
use crate::gguf::{Gguf, TensorInfo};
use crate::graph::{Graph, Rope, Rotation, WeightId};
use crate::plan::{Exact, Holder, Memory, Plan};
use crate::quant::dequantize;

/// What the caller may want of a load.
#[derive(Default)]
pub struct LoadParams<'a> {
    /// Told the share done, 0 to 1; false cancels.
    pub progress: Option<&'a mut dyn FnMut(f32) -> bool>,
    /// Refuse tensors with values that are no finite numbers; reads every weight.
    pub check_tensors: bool,
    /// Keep weights and arenas from being swapped out; if the system refuses, a warning is logged.
    pub mlock: bool,
    /// Do not record and replay the launches of short steps on CUDA devices.
    pub no_cuda_graphs: bool,
    /// Where a die turns out to have less memory than was reported, plan again for what there is.
    pub replan: bool,
}

pub(super) struct Loaded {
    pub machine: Machine,
    pub weights: Arena,
    /// Per device of the context.
    pub memory: Vec<Memory>,
}

/// Bytes that are copied between two reports of progress.
const PIECE: usize = 32 << 20;

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
    // The dies first: theirs is the memory that is short.
    let dies = dies::open(context, exact)?;
    let arena = Arena::new("the weights arena", planned.weights as usize)?;
    let on_dies: u64 = arenas.memory.iter().enumerate().filter(|(d, _)| *d != cpu).map(|(_, m)| m.weights).sum();
    let mut progress =
        Progress { report: params.progress.as_deref_mut(), done: 0, total: planned.weights + planned.mapped + on_dies };
    progress.advance(0)?;
    file.read_in_order();
    let reading = Reading::start(file.clone(), graph, context.n_threads(), |w| {
        holder(w.0 as usize).is_some_and(|h| h.offset.is_none())
    })?;
    let whole = !dies.is_empty() || params.check_tensors || params.mlock;
    let token_seconds = if whole { None } else { plan.prediction.map(|p| 1.0 / p.decode) };
    // The system zeroes the other arenas meanwhile, which takes about as long as reading a file that is in memory.
    let no_arena = AtomicBool::new(false);
    let (read, kv, compute) = std::thread::scope(|scope| {
        let start = |what: &'static str, bytes: u64| {
            let no_arena = &no_arena;
            let make =
                move || Arena::new(what, bytes as usize).inspect_err(|_| no_arena.store(true, Ordering::Relaxed));
            std::thread::Builder::new()
                .spawn_scoped(scope, make)
                .map_err(|e| Error::new(Status::OutOfMemory, format!("a thread for {what} could not be started: {e}")))
        };
        let (kv, compute) = (start("the KV cache", planned.kv), start("the compute arena", planned.compute));
        let read = wait_for(&reading, token_seconds, &no_arena, &mut progress);
        let end = |thread: Result<ScopedJoinHandle<'_, Result<Arena>>>| {
            thread?
                .join()
                .unwrap_or_else(|_| Err(Error::new(Status::Internal, "a thread that zeroes an arena panicked")))
        };
        (read, end(kv), end(compute))
    });
    let (kv, compute) = (kv?, compute?);
    read?;
    let mapped = reading.pieces().map(|p| p.2.len() as u64).sum();
    let mut held = Vec::with_capacity(graph.weights.len());
    for (i, info) in graph.weights.iter().enumerate() {
        if params.check_tensors {
            file.bring_in(info, 0, info.n_bytes as usize)?;
            check_finite(info, file.tensor_data(info)).map_err(|e| e.at(file.path()))?;
            progress.advance(0)?;
        }
        // What no node here reads stays null.
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
                        file.bring_in(info, first, n)?;
                        arena.write(to, &data[first..first + n])?;
                        progress.advance(n)?;
                        to += n;
                    }
                }
                Held { part: *part, at: arena.base().wrapping_add(*offset).cast_const() }
            }
        });
    }
    let rotations: Arc<[Rotation]> = graph.ropes.iter().map(|r| rotation(r, graph, file, plan.n_ctx)).collect();
    let mut lock = params.mlock;
    if lock
        && let Err(e) = reading
            .pieces()
            .map(|(_, w, piece)| lock_pages(&file.tensor_data(w)[piece]))
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
        rotations,
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
    memory[cpu] = Memory { weights: arena.bytes() as u64, mapped, kv: kv as u64, compute: compute as u64, driver: 0 };
    for (die, _) in &dies {
        memory[die.index as usize] = arenas.memory[die.index as usize];
    }
    let mut machine =
        dies::fill(context, plan, exact, executor, dies, !params.no_cuda_graphs, &mut |bytes| progress.advance(bytes))?;
    machine.reading = Some(reading);
    progress.finish()?;
    Ok(Loaded { machine, weights: arena, memory })
}

/// Waits until the file is in memory, but for what is read while the first token, of so many seconds, is computed; or
/// until it is in vain.
fn wait_for(
    reading: &Reading,
    token_seconds: Option<f64>,
    in_vain: &AtomicBool,
    progress: &mut Progress<'_, '_>,
) -> Result<()> {
    let mut left: usize = reading.pieces().filter(|p| p.0 != Need::Row).map(|p| p.2.len()).sum();
    let mut done = 0;
    for (need, _, piece) in reading.pieces() {
        // Twice the token's time, because that is a prediction; what is read meanwhile costs nothing.
        let soon = |t: f64| reading.seconds_for(left).is_some_and(|s| s <= 2.0 * t);
        if need != Need::Load && token_seconds.is_some_and(soon) || in_vain.load(Ordering::Relaxed) {
            break;
        }
        done += piece.len();
        left = left.saturating_sub(piece.len());
        reading.wait_for_bytes(done)?;
        progress.advance(piece.len())?;
    }
    Ok(())
}

/// Tells the caller how far the load is.
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

/// A rotation by the factors that a KV cache of `n_ctx` tokens has; the builder took them as floats.
fn rotation(rope: &Rope, graph: &Graph, file: &Gguf, n_ctx: u32) -> Rotation {
    let floats = |w: WeightId| -> Vec<f32> {
        let bytes = file.tensor_data(graph.weight(w)).chunks_exact(4);
        bytes.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    Rotation::new(rope, rope.factors.at(n_ctx as usize).map(floats).as_deref())
}

/// # Errors
/// `BadFile` naming the tensor and row.
fn check_finite(info: &TensorInfo, data: &[u8]) -> Result<()> {
    let cols = usize::try_from(info.ne[0]).unwrap_or(0);
    let row_bytes = info.ty.row_bytes(cols).filter(|n| *n > 0).unwrap_or(data.len().max(1));
    let mut row = try_vec("a row of weights", cols, 0f32)?;
    for (i, bytes) in data.chunks_exact(row_bytes).enumerate() {
        dequantize(info.ty, bytes, &mut row);
        if let Some(k) = row.iter().position(|x| !x.is_finite()) {
            return Err(Error::bad_file(format!(
                "tensor '{}' holds {} at row {i}, column {k}, expected finite numbers",
                info.name, row[k]
            ))
            .subject(&info.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::reading::Source;
    use super::*;
    use crate::gguf::Gguf;
    use std::ops::Range;
    use std::path::Path;
    use std::sync::atomic::AtomicUsize;
    use std::time::{Duration, Instant};

    const TENSOR: usize = 16 << 20;

    /// A disk that takes 5 ms for a tensor, and brings only so many until it may go on, or a test has failed.
    struct Disk {
        left: AtomicUsize,
        may_go_on: Arc<AtomicBool>,
        at_last: Instant,
    }

    impl Source for Disk {
        fn bring_in(&self, _: &TensorInfo, _: Range<usize>) -> Result<()> {
            std::thread::sleep(Duration::from_millis(5));
            let stuck = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_err();
            while stuck && !self.may_go_on.load(Ordering::Relaxed) && Instant::now() < self.at_last {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        }
        fn bring_row(&self, _: &TensorInfo, _: Range<usize>) -> Result<()> {
            Ok(())
        }
        fn expect(&self, _: &TensorInfo, _: Range<usize>) {}
        fn touch(&self, _: &TensorInfo, _: Range<usize>) {}
    }

    /// A load goes on to the first token when the disk has shown that the rest comes while that is computed, and not
    /// before.
    #[test]
    fn the_end_of_a_file_is_not_waited_for() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf");
        let mut graph = crate::arch::build(&Gguf::open(&path).unwrap()).unwrap().1;
        graph.weights.iter_mut().for_each(|w| w.n_bytes = TENSOR as u64);
        let (n, graph) = (graph.weights.len(), Arc::new(graph));
        let load = |tensors: usize, token_seconds: Option<f64>, in_vain: bool| {
            let may_go_on = Arc::new(AtomicBool::new(false));
            let at_last = Instant::now() + Duration::from_secs(5);
            let disk = Disk { left: AtomicUsize::new(tensors), may_go_on: Arc::clone(&may_go_on), at_last };
            let reading = Reading::start(Arc::new(disk), &graph, 2, |_| true).unwrap();
            let mut progress = Progress { report: None, done: 0, total: 1 };
            wait_for(&reading, token_seconds, &AtomicBool::new(in_vain), &mut progress).unwrap();
            may_go_on.store(true, Ordering::Relaxed);
            progress.done as usize / TENSOR
        };
        // Two tensors show how fast the disk is; the third does not come.
        assert!(load(2, Some(3600.0), false) <= 2);
        // Twice the token's time is enough for eight tensors of 5 ms at most.
        assert!(load(n, Some(0.02), false) >= n - 8);
        assert_eq!(load(n, Some(0.0), false), n);
        assert_eq!(load(n, None, false), n);
        assert_eq!(load(0, None, true), 0);
    }
}
