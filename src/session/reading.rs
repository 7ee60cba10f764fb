//! The tensors that stay in a file's map, on their way into memory: a thread reads them while the load and the first
//! tokens go on.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, Result, Status, try_vec};
use crate::gguf::{Gguf, TensorInfo};
use crate::graph::{Embed, Graph, Micro, Node, Op, WeightId};

/// Bytes that are asked of the disk at once.
const PIECE: usize = 32 << 20;
/// Bytes that one thread touches before it looks for more: the last ones, which a token waits for, are shared by all.
const TOUCH: usize = 4 << 20;
/// Threads that touch, at most.
const TOUCHING: u32 = 4;
/// Bytes per second and seconds that no disk reaches: what came faster was in memory already.
const FROM_MEMORY: f64 = 16e9;
const AT_ONCE: f64 = 20e-6;
/// Bytes behind a piece from the disk that the system may have read with it: twice the most that is usual.
const READ_AHEAD: usize = 32 << 20;
/// Bytes of a disk's time that a row of a table costs it: as long as a disk takes to find a place, it could read about
/// so much.
const ROW_COST: usize = 1 << 20;

/// Bytes that the disk is asked for before any is waited for: the system itself reads few ahead of the first.
const FIRST: usize = 32 << 20;

/// Where the tensors are.
pub(super) trait Source: Send + Sync {
    /// Says that these bytes will be brought in soon, and waits for nothing.
    fn expect(&self, info: &TensorInfo, piece: Range<usize>);
    /// Brings bytes of a tensor into memory.
    fn bring_in(&self, info: &TensorInfo, piece: Range<usize>) -> Result<()>;
    /// The same for a few bytes of a large tensor, without what is around them.
    fn bring_row(&self, info: &TensorInfo, row: Range<usize>) -> Result<()>;
    /// Reads from each page of what was brought in.
    fn touch(&self, info: &TensorInfo, piece: Range<usize>);
}

impl Source for Gguf {
    fn expect(&self, info: &TensorInfo, piece: Range<usize>) {
        Gguf::expect(self, info, piece.start, piece.len());
    }
    fn bring_in(&self, info: &TensorInfo, piece: Range<usize>) -> Result<()> {
        Gguf::bring_in(self, info, piece.start, piece.len())
    }
    fn bring_row(&self, info: &TensorInfo, row: Range<usize>) -> Result<()> {
        self.read_aside(info, row.start as u64, &mut try_vec("a row", row.len(), 0)?)
    }
    fn touch(&self, info: &TensorInfo, piece: Range<usize>) {
        Gguf::touch(self, info, piece.start, piece.len());
    }
}

/// What a tensor is needed for; they are read in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// The executor is made with it.
    Load,
    /// Every token.
    Token,
    /// A token needs only its row.
    Row,
}

/// Ends when all is read and touched, with an error, or when it is dropped.
pub(super) struct Reading {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    source: Arc<dyn Source>,
    graph: Arc<Graph>,
    /// In the order of reading.
    order: Vec<(Need, WeightId)>,
    /// Per weight of the graph: how many tensors are in memory when it is.
    turn: Vec<usize>,
    n_threads: u32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// In memory.
    tensors: usize,
    bytes: usize,
    /// Bytes up to which all may have come from the disk.
    from_disk: usize,
    /// What came from there, and how long it took.
    disk_bytes: usize,
    disk_seconds: f64,
    failed: Option<Error>,
    stop: bool,
}

impl Reading {
    /// Starts to read those weights of a graph that are `wanted`, in the file's order: so a disk is fastest.
    ///
    /// What came from the disk, but for tables of rows, is touched by up to `n_threads` threads: a virtual machine gets
    /// memory that it has not used before only then, which may take longer than the disk.
    ///
    /// # Errors
    /// `OutOfMemory` if no thread can be started.
    pub fn start(
        source: Arc<dyn Source>,
        graph: &Arc<Graph>,
        n_threads: u32,
        wanted: impl Fn(WeightId) -> bool,
    ) -> Result<Reading> {
        let mut need = vec![Need::Row; graph.weights.len()];
        for node in graph.nodes.iter().filter(|n| !matches!(n.op, Op::Embed(_))) {
            graph.reads(node).for_each(|w| need[w.weight.0 as usize] = Need::Token);
        }
        for w in graph.ropes.iter().flat_map(|r| r.factors.weights()) {
            need[w.0 as usize] = Need::Load;
        }
        let all = (0..graph.weights.len() as u32).map(WeightId);
        let mut order: Vec<(Need, WeightId)> = all.filter(|w| wanted(*w)).map(|w| (need[w.0 as usize], w)).collect();
        order.sort_by_key(|(need, w)| (*need, graph.weight(*w).split, graph.weight(*w).offset));
        let mut turn = vec![0; graph.weights.len()];
        for (i, (_, w)) in order.iter().enumerate() {
            turn[w.0 as usize] = i + 1;
        }
        let shared = Shared {
            source,
            graph: Arc::clone(graph),
            order,
            turn,
            n_threads,
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        let shared = Arc::new(shared);
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("rekindle-read".to_owned())
            .spawn(move || {
                if for_thread.read().is_err() {
                    for_thread.state.lock().failed =
                        Some(Error::new(Status::Internal, "the thread that reads the file panicked"));
                    for_thread.changed.notify_all();
                }
            })
            .map_err(|e| Error::new(Status::OutOfMemory, format!("no thread to read with: {e}")))?;
        Ok(Reading { shared, thread: Some(thread) })
    }

    /// What is read, in pieces, in the order of reading.
    pub fn pieces(&self) -> impl Iterator<Item = (Need, &TensorInfo, Range<usize>)> {
        let infos = self.shared.order.iter().map(|(need, w)| (*need, self.shared.graph.weight(*w)));
        infos.flat_map(|(need, info)| pieces(info).map(move |piece| (need, info, piece)))
    }

    /// Waits for the first `bytes` bytes.
    ///
    /// # Errors
    /// `Io` naming the tensor.
    pub fn wait_for_bytes(&self, bytes: usize) -> Result<()> {
        let mut state = self.shared.state.lock();
        while state.bytes < bytes {
            if let Some(e) = &state.failed {
                return Err(e.clone());
            }
            self.shared.changed.wait(&mut state);
        }
        Ok(())
    }

    /// How long the disk takes for so many bytes; `None` before it has shown that.
    pub fn seconds_for(&self, bytes: usize) -> Option<f64> {
        let state = self.shared.state.lock();
        (state.disk_bytes >= PIECE).then(|| bytes as f64 * state.disk_seconds / state.disk_bytes as f64)
    }

    /// Whether all is in memory and its threads are gone.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
            && self.shared.state.lock().tensors == self.shared.order.len()
    }

    /// How far nodes can be computed at this moment, the first at least; waits for what that one reads.
    ///
    /// # Errors
    /// `Io` naming the tensor; `Cancelled` soon after `cancel` is set.
    pub fn computable(&self, nodes: Range<usize>, micro: &Micro<'_>, cancel: &AtomicBool) -> Result<usize> {
        let shared = &*self.shared;
        let tensors = self.wait_for(&shared.graph.nodes[nodes.start], micro, cancel)?;
        let rest = &shared.graph.nodes[nodes.start + 1..nodes.end];
        Ok(nodes.start + 1 + rest.iter().take_while(|n| shared.turn_of(n) <= tensors).count())
    }

    /// Waits for what a node reads, and says how many tensors are in memory then.
    fn wait_for(&self, node: &Node, micro: &Micro<'_>, cancel: &AtomicBool) -> Result<usize> {
        let shared = &*self.shared;
        let turn = shared.turn_of(node);
        let mut state = shared.state.lock();
        while state.tensors < turn {
            if let Some(e) = &state.failed {
                return Err(e.clone());
            }
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::new(Status::Cancelled, "decode was cancelled"));
            }
            match node.op {
                Op::Embed(Embed { table, .. })
                    if micro.tokens.len() * ROW_COST < shared.graph.weight(table).n_bytes as usize =>
                {
                    let tensors = state.tensors;
                    drop(state);
                    return shared.bring_rows(shared.graph.weight(table), micro.tokens).map(|()| tensors);
                }
                // Not told when it is cancelled, so it looks again and again.
                _ => drop(shared.changed.wait_for(&mut state, Duration::from_millis(50))),
            }
        }
        Ok(state.tensors)
    }
}

impl Drop for Reading {
    /// Waits for the pieces under way: no thread must run on where the library may be unloaded.
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn turn_of(&self, node: &Node) -> usize {
        self.graph.reads(node).map(|w| self.turn[w.weight.0 as usize]).max().unwrap_or(0)
    }

    /// What the thread does, with others that touch what it read. An error is a panic.
    fn read(&self) -> std::thread::Result<()> {
        let (came, to_touch) = mpsc::channel::<(&TensorInfo, Range<usize>)>();
        let to_touch = Mutex::new(to_touch);
        let touch = || {
            loop {
                let next = to_touch.lock().recv();
                let Ok((info, piece)) = next else { return };
                let over = |s: &State| s.stop || s.failed.is_some();
                if over(&self.state.lock()) {
                    return;
                }
                self.source.touch(info, piece);
            }
        };
        std::thread::scope(|scope| {
            let mut touching = Vec::new();
            let mut outcome = catch_unwind(AssertUnwindSafe(|| {
                self.read_all(|info, piece| {
                    if touching.is_empty() {
                        let start =
                            || std::thread::Builder::new().name("rekindle-touch".to_owned()).spawn_scoped(scope, touch);
                        // Without them those who compute are the first to touch.
                        touching.extend((0..self.n_threads.min(TOUCHING)).filter_map(|_| start().ok()));
                    }
                    for first in piece.clone().step_by(TOUCH) {
                        let _ = came.send((info, first..piece.end.min(first + TOUCH)));
                    }
                });
            }));
            // They end with this end of the channel. The scope's own end would not wait until the system's threads are
            // gone.
            drop(came);
            for thread in touching {
                outcome = outcome.and(thread.join());
            }
            outcome
        })
    }

    /// Reads the tensors, and hands out what may have come from the disk and is computed with as a whole.
    fn read_all<'a>(&'a self, mut from_disk: impl FnMut(&'a TensorInfo, Range<usize>)) {
        let mut left = FIRST;
        for (_, w) in &self.order {
            let info = self.graph.weight(*w);
            let n = left.min(info.n_bytes as usize);
            self.source.expect(info, 0..n);
            left -= n;
            if left == 0 {
                break;
            }
        }
        for (i, (need, w)) in self.order.iter().enumerate() {
            let info = self.graph.weight(*w);
            for piece in pieces(info) {
                let (start, n) = (Instant::now(), piece.len());
                let outcome = self.source.bring_in(info, piece.clone());
                let seconds = start.elapsed().as_secs_f64();
                let mut state = self.state.lock();
                if let Err(e) = outcome {
                    state.failed = Some(e);
                    self.changed.notify_all();
                    return;
                }
                state.bytes += n;
                if is_slow(n, seconds) {
                    state.from_disk = state.bytes + READ_AHEAD;
                }
                let from_disk_too = state.from_disk >= state.bytes;
                if from_disk_too {
                    state.disk_bytes += n;
                    state.disk_seconds += seconds;
                }
                if state.stop {
                    return;
                }
                drop(state);
                self.changed.notify_all();
                if from_disk_too && *need != Need::Row {
                    from_disk(info, piece);
                }
            }
            self.state.lock().tensors = i + 1;
            self.changed.notify_all();
        }
    }

    /// Reads rows of a table; the session checked the ids.
    fn bring_rows(&self, table: &TensorInfo, rows: &[i32]) -> Result<()> {
        let row_bytes = (table.n_bytes / table.ne[1]) as usize;
        rows.iter()
            .map(|row| *row as usize * row_bytes)
            .try_for_each(|at| self.source.bring_row(table, at..at + row_bytes))
    }
}

/// Whether so many bytes took so long that they cannot have been in memory.
fn is_slow(bytes: usize, seconds: f64) -> bool {
    seconds > bytes as f64 / FROM_MEMORY + AT_ONCE
}

/// A tensor's bytes in pieces.
fn pieces(info: &TensorInfo) -> impl Iterator<Item = Range<usize>> + use<> {
    let bytes = info.n_bytes as usize;
    (0..bytes).step_by(PIECE).map(move |first| first..bytes.min(first + PIECE))
}

#[cfg(test)]
mod tests {
    use super::super::{Batch, LoadParams, Model};
    use super::*;
    use crate::context::{Context, LogLevel};
    use crate::plan::{Params, Plan};
    use std::collections::HashSet;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc::{Receiver, Sender, channel};

    fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf")
    }

    /// A small model's, but with a large token embedding that is not the output's weight as well.
    fn graph() -> Arc<Graph> {
        let mut graph = crate::arch::build(&Gguf::open(&path()).unwrap()).unwrap().1;
        let own = WeightId(graph.weights.len() as u32);
        for node in &mut graph.nodes {
            if let Op::Embed(Embed { table, .. }) = &mut node.op {
                let mut info = TensorInfo { name: TABLE.to_owned(), ..graph.weights[table.0 as usize].clone() };
                info.ne[1] *= 32;
                info.n_bytes *= 32;
                assert!((ROW_COST..99 * ROW_COST).contains(&(info.n_bytes as usize)));
                graph.weights.push(info);
                *table = own;
            }
        }
        Arc::new(graph)
    }
    const TABLE: &str = "table";

    /// A disk that brings a tensor each time it is told to, rows and the table at once, and says which rows it was
    /// asked for.
    struct Disk {
        may: Mutex<Receiver<Result<()>>>,
        rows: Mutex<Sender<Range<usize>>>,
    }

    impl Source for Disk {
        fn bring_in(&self, info: &TensorInfo, _: Range<usize>) -> Result<()> {
            if info.name == TABLE { Ok(()) } else { self.may.lock().recv().unwrap_or(Ok(())) }
        }
        fn bring_row(&self, info: &TensorInfo, row: Range<usize>) -> Result<()> {
            assert_eq!(info.name, TABLE);
            self.rows.lock().send(row).unwrap();
            Ok(())
        }
        fn expect(&self, _: &TensorInfo, _: Range<usize>) {}
        fn touch(&self, _: &TensorInfo, _: Range<usize>) {}
    }

    /// The end that lets it go on comes last, so that a test that fails ends it first.
    fn start(graph: &Arc<Graph>) -> (Receiver<Range<usize>>, Reading, Sender<Result<()>>) {
        let ((go, may), (say, rows)) = (channel(), channel());
        let disk = Arc::new(Disk { may: Mutex::new(may), rows: Mutex::new(say) });
        (rows, Reading::start(disk, graph, 1, |_| true).unwrap(), go)
    }

    fn micro(tokens: &[i32]) -> Micro<'_> {
        Micro { tokens, positions: tokens, caches: &[], outputs: &[], first_output: 0 }
    }

    /// However little is there, no node is handed out before its tensors, none is left out, and a token waits only for
    /// its row.
    #[test]
    fn nodes_wait_for_their_tensors() {
        let graph = graph();
        let (rows, reading, go) = start(&graph);
        let never = AtomicBool::new(false);
        let order = &reading.shared.order;
        assert!(order.is_sorted_by_key(|(need, w)| (*need, graph.weight(*w).offset)));
        let name = |w: WeightId| graph.weight(w).name.as_str();
        let by_row: Vec<&str> = order.iter().filter(|o| o.0 == Need::Row).map(|o| name(o.1)).collect();
        assert_eq!(by_row, [TABLE]);
        // What the disk may have brought in.
        let mut there: HashSet<&str> = by_row.into_iter().collect();
        let mut coming = order.iter();
        let (mut at, mut stretches) = (0, 0);
        while at < graph.nodes.len() {
            for w in graph.reads(&graph.nodes[at]).map(|r| r.weight) {
                while !there.contains(name(w)) {
                    there.insert(name(coming.next().unwrap().1));
                    go.send(Ok(())).unwrap();
                }
            }
            let end = reading.computable(at..graph.nodes.len(), &micro(&[7]), &never).unwrap();
            assert!(end > at);
            let mut reads = graph.nodes[at..end].iter().flat_map(|n| graph.reads(n).map(|r| r.weight));
            assert!(reads.all(|w| there.contains(name(w))), "nodes {at}..{end}");
            (at, stretches) = (end, stretches + 1);
        }
        assert!(stretches > 5);
        drop(go);
        reading.wait_for_bytes(reading.pieces().map(|p| p.2.len()).sum()).unwrap();
        let table = graph.weights.iter().find(|w| w.name == TABLE).unwrap();
        let row_bytes = (table.n_bytes / table.ne[1]) as usize;
        assert_eq!(rows.try_iter().collect::<Vec<_>>(), vec![7 * row_bytes..8 * row_bytes]);
    }

    #[test]
    fn errors_reach_everyone_who_waits() {
        let graph = graph();
        let (_rows, reading, go) = start(&graph);
        let never = AtomicBool::new(false);
        go.send(Ok(())).unwrap();
        go.send(Err(Error::new(Status::Io, "bad sector"))).unwrap();
        let total = reading.pieces().map(|p| p.2.len()).sum();
        assert_eq!(reading.wait_for_bytes(total).unwrap_err().status, Status::Io);
        for tokens in [&[7][..], &[7; 99]] {
            let all = 0..graph.nodes.len();
            assert_eq!(reading.computable(all, &micro(tokens), &never).unwrap_err().status, Status::Io);
        }
    }

    #[test]
    fn a_wait_can_be_cancelled() {
        let graph = graph();
        let (_rows, reading, _go) = start(&graph);
        // Many tokens need all of the table, which comes last.
        let outcome = reading.computable(0..graph.nodes.len(), &micro(&[7; 99]), &AtomicBool::new(true));
        assert_eq!(outcome.unwrap_err().status, Status::Cancelled);
    }

    /// A file that comes slowly, and where it is bad not at all.
    #[derive(Default)]
    struct Slow {
        bad: Option<&'static str>,
        expected: AtomicUsize,
        touched: AtomicUsize,
    }

    impl Source for Slow {
        fn expect(&self, _: &TensorInfo, piece: Range<usize>) {
            self.expected.fetch_add(piece.len(), Ordering::Relaxed);
        }
        fn bring_in(&self, info: &TensorInfo, _: Range<usize>) -> Result<()> {
            assert_ne!(self.expected.load(Ordering::Relaxed), 0);
            std::thread::sleep(Duration::from_millis(1));
            if self.bad == Some(&info.name) { Err(Error::new(Status::Io, "bad sector")) } else { Ok(()) }
        }
        fn bring_row(&self, _: &TensorInfo, _: Range<usize>) -> Result<()> {
            Ok(())
        }
        fn touch(&self, _: &TensorInfo, piece: Range<usize>) {
            self.touched.fetch_add(piece.len(), Ordering::Relaxed);
        }
    }

    /// Logits are the same while the file comes in as afterwards; where it cannot be read, every call fails from then
    /// on.
    #[test]
    fn a_model_computes_while_its_file_comes_in() {
        let context = Context::new("cpu", 2, None, LogLevel::Warn).unwrap();
        let plan =
            Plan::new(&context, &Arc::new(Gguf::open(&path()).unwrap()), &Params { n_ctx: 64, ..Params::default() })
                .unwrap();
        let model = Model::load(&context, &Arc::new(plan), LoadParams::default()).unwrap();
        let graph = Arc::clone(&model.plan().exact.as_ref().unwrap().graph);
        let logits = |bad: Option<Option<&'static str>>| {
            model.state.write().machine.reading =
                bad.map(|bad| Reading::start(Arc::new(Slow { bad, ..Slow::default() }), &graph, 1, |_| true).unwrap());
            model.seq_remove(-1, -1, -1)?;
            model.decode(&Batch { tokens: &[5, 6, 7], ..Batch::default() })?;
            // Reading takes many times as long as computing: without waiting it would not be over.
            let all_is_there = |r: &Reading| r.shared.state.lock().tensors == r.shared.order.len();
            assert!(model.state.read().machine.reading.as_ref().is_none_or(all_is_there));
            let (row, n) = model.logits(0)?;
            // SAFETY: the row stays until the next decode.
            Ok::<_, Error>(unsafe { std::slice::from_raw_parts(row, n as usize) }.to_vec())
        };
        let expected = logits(None).unwrap();
        assert_eq!(logits(Some(None)).unwrap(), expected);
        assert_eq!(logits(None).unwrap(), expected);
        assert_eq!(logits(Some(Some("blk.1.ffn_down.weight"))).unwrap_err().status, Status::Io);
        assert_eq!(logits(None).unwrap_err().status, Status::Io);
        assert_eq!(model.seq_shift(0, 0, -1, 1).unwrap_err().status, Status::Io);
    }

    #[test]
    fn a_disk_is_slower_than_memory() {
        // 2 and 7 GB/s of disks, and a small norm; 32 MiB of pages that only need mapping.
        for (n, seconds) in [(PIECE, 0.016), (PIECE, 0.0048), (8 << 10, 0.0001)] {
            assert!(is_slow(n, seconds));
        }
        for (n, seconds) in [(PIECE, 0.001), (8 << 10, 0.000_002)] {
            assert!(!is_slow(n, seconds));
        }
    }

    /// What comes from a disk is touched, each byte once, but for the table, and no thread is left.
    #[test]
    fn what_came_from_the_disk_is_touched() {
        let graph = graph();
        let disk = Arc::new(Slow::default());
        let reading = Reading::start(disk.clone(), &graph, 3, |_| true).unwrap();
        let total: usize = reading.pieces().filter(|p| p.1.name != TABLE).map(|p| p.2.len()).sum();
        let whole: usize = reading.pieces().map(|p| p.2.len()).sum();
        reading.wait_for_bytes(whole).unwrap();
        while !reading.is_over() {
            assert!(reading.shared.state.lock().failed.is_none());
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(disk.touched.load(Ordering::Relaxed), total);
        assert_eq!(disk.expected.load(Ordering::Relaxed), whole.min(FIRST));
        assert_eq!(Arc::strong_count(&reading.shared), 1);
    }
}
