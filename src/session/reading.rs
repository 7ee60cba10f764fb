//! The tensors that stay in a file's map, on their way into memory: a thread reads them while the load and the first tokens go on.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::cpu::Micro;
use crate::error::{Error, Result, Status};
use crate::gguf::TensorInfo;
use crate::graph::{Graph, Node, Op, WeightId};

/// Bytes that are asked of the disk at once.
const PIECE: usize = 32 << 20;
/// Bytes per second above which a piece was in memory already: no disk is as fast.
const FROM_MEMORY: f64 = 16e9;
/// Bytes of a piece from which on its time tells that.
const TELLS: usize = 1 << 20;
/// Bytes behind a piece from the disk that the system may have read with it.
const READ_AHEAD: usize = 32 << 20;
/// Tokens of a micro-batch up to which their rows of the token embedding are read, not all of it.
const FEW_ROWS: usize = 8;
/// How often a wait looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(50);

/// Brings bytes of a tensor into memory.
type Bring = dyn Fn(&TensorInfo, Range<usize>) -> Result<()> + Send + Sync;

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

/// Ends with the last tensor, with an error, or when it is dropped.
pub(super) struct Reading {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    bring: Box<Bring>,
    graph: Arc<Graph>,
    /// In the order of reading.
    order: Vec<(Need, WeightId)>,
    /// Per weight of the graph: how many tensors are in memory when it is.
    turn: Vec<usize>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// In memory.
    tensors: usize,
    bytes: usize,
    /// Bytes up to which the disk was waited for.
    from_disk: usize,
    failed: Option<Error>,
    stop: bool,
}

impl Reading {
    /// Starts to read those weights of a graph that are `wanted`, in the file's order: so a disk is fastest.
    ///
    /// # Errors
    /// `OutOfMemory` if no thread can be started.
    pub fn start(graph: &Arc<Graph>, wanted: impl Fn(WeightId) -> bool, bring: Box<Bring>) -> Result<Reading> {
        let mut need = vec![Need::Row; graph.weights.len()];
        for node in graph.nodes.iter().filter(|n| !matches!(n.op, Op::Embed { .. })) {
            graph.weights_of(node).for_each(|w| need[w.0 as usize] = Need::Token);
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
        let shared =
            Arc::new(Shared { bring, graph: Arc::clone(graph), order, turn, state: Mutex::default(), changed: Condvar::new() });
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("rekindle-read".to_owned())
            .spawn(move || for_thread.read())
            .map_err(|e| Error::new(Status::OutOfMemory, format!("no thread to read with: {e}")))?;
        Ok(Reading { shared, thread: Some(thread) })
    }

    /// What is read, in pieces, in the order of reading.
    pub fn pieces(&self) -> impl Iterator<Item = (Need, &TensorInfo, Range<usize>)> {
        let infos = self.shared.order.iter().map(|(need, w)| (*need, self.shared.graph.weight(*w)));
        infos.flat_map(|(need, info)| pieces(info).map(move |piece| (need, info, piece)))
    }

    /// Waits for the first `bytes` bytes, and tells whether the last of them came from the disk.
    ///
    /// # Errors
    /// `Io` naming the tensor.
    pub fn wait_for_bytes(&self, bytes: usize) -> Result<bool> {
        let mut state = self.shared.state.lock();
        while state.bytes < bytes {
            if let Some(e) = &state.failed {
                return Err(e.clone());
            }
            self.shared.changed.wait(&mut state);
        }
        Ok(state.from_disk >= bytes)
    }

    /// Waits for what a node reads.
    ///
    /// # Errors
    /// `Io` naming the tensor; `Cancelled` soon after `cancel` is set.
    fn wait_for(&self, node: &Node, micro: &Micro<'_>, cancel: &AtomicBool) -> Result<()> {
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
                Op::Embed { table, .. } if shared.order[turn - 1].0 == Need::Row && micro.tokens.len() <= FEW_ROWS => {
                    drop(state);
                    return shared.read_rows(shared.graph.weight(table), micro.tokens);
                }
                _ => drop(shared.changed.wait_for(&mut state, LOOK)),
            }
        }
        Ok(())
    }

    /// How far nodes can be computed at this moment, at least one; waits for what that one reads. `None` if all is in memory.
    ///
    /// # Errors
    /// As for `wait_for`.
    pub fn computable(&self, nodes: Range<usize>, micro: &Micro<'_>, cancel: &AtomicBool) -> Result<Option<usize>> {
        let shared = &*self.shared;
        let there = |state: &State| state.tensors == shared.order.len();
        if there(&shared.state.lock()) {
            return Ok(None);
        }
        let nodes_of = &shared.graph.nodes[nodes.clone()];
        let Some(first) = nodes_of.first() else { return Ok(Some(nodes.end)) };
        self.wait_for(first, micro, cancel)?;
        let tensors = shared.state.lock().tensors;
        let more = nodes_of[1..].iter().take_while(|n| shared.turn_of(n) <= tensors).count();
        Ok(Some(nodes.start + 1 + more))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, nothing is lost by it here.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn turn_of(&self, node: &Node) -> usize {
        self.graph.weights_of(node).map(|w| self.turn[w.0 as usize]).max().unwrap_or(0)
    }

    /// The thread's work.
    fn read(&self) {
        for (i, (_, w)) in self.order.iter().enumerate() {
            let info = self.graph.weight(*w);
            for piece in pieces(info) {
                let (start, n) = (Instant::now(), piece.len());
                let outcome = (self.bring)(info, piece);
                let waited = n >= TELLS && start.elapsed() > Duration::from_secs_f64(n as f64 / FROM_MEMORY);
                let mut state = self.state.lock();
                match outcome {
                    Ok(()) => state.bytes += n,
                    Err(e) => state.failed = Some(e),
                }
                if waited {
                    state.from_disk = state.bytes + READ_AHEAD;
                }
                self.changed.notify_all();
                if state.stop || state.failed.is_some() {
                    return;
                }
            }
            self.state.lock().tensors = i + 1;
            self.changed.notify_all();
        }
    }

    /// Reads rows of a table; the session checked the ids.
    fn read_rows(&self, table: &TensorInfo, rows: &[i32]) -> Result<()> {
        let row_bytes = (table.n_bytes / table.ne[1].max(1)) as usize;
        rows.iter().try_for_each(|row| (self.bring)(table, *row as usize * row_bytes..(*row as usize + 1) * row_bytes))
    }
}

/// A tensor's bytes in pieces.
fn pieces(info: &TensorInfo) -> impl Iterator<Item = Range<usize>> + use<> {
    let bytes = info.n_bytes as usize;
    (0..bytes).step_by(PIECE).map(move |first| first..bytes.min(first + PIECE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Gguf;
    use std::collections::HashSet;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A small model's, but with a token embedding that is not the output's weight as well.
    fn graph() -> Arc<Graph> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf");
        let mut graph = crate::arch::build(&Gguf::open(&path).unwrap()).unwrap().1;
        let own = WeightId(graph.weights.len() as u32);
        for node in &mut graph.nodes {
            if let Op::Embed { table, .. } = &mut node.op {
                let info = graph.weights[table.0 as usize].clone();
                graph.weights.push(TensorInfo { name: TABLE.to_owned(), ..info });
                *table = own;
            }
        }
        Arc::new(graph)
    }
    const TABLE: &str = "table";

    /// A disk that brings a tensor each time it is told to, and says which range of which it was asked for.
    fn disk() -> (Sender<Result<()>>, Receiver<(String, Range<usize>)>, Box<Bring>) {
        let ((go, may), (say, asked)) = (channel(), channel());
        let may = Mutex::new(may);
        let bring = move |info: &TensorInfo, piece: Range<usize>| {
            say.send((info.name.clone(), piece)).unwrap();
            // A row of the embedding is there at once.
            if info.name == TABLE { Ok(()) } else { may.lock().recv().unwrap_or(Ok(())) }
        };
        (go, asked, Box::new(bring))
    }

    fn micro(tokens: &[i32]) -> Micro<'_> {
        Micro { tokens, positions: tokens, caches: &[], outputs: &[], first_output: 0 }
    }

    /// However little is there, no node is handed out before its tensors, none is left out, and a token waits only for its row.
    #[test]
    fn nodes_wait_for_their_tensors() {
        let graph = graph();
        let (go, asked, bring) = disk();
        let reading = Reading::start(&graph, |_| true, bring).unwrap();
        let (order, never) = (reading.shared.order.clone(), AtomicBool::new(false));
        assert!(order.is_sorted_by_key(|(need, w)| (*need, graph.weight(*w).offset)));
        let name = |w: WeightId| graph.weight(w).name.clone();
        let rows: Vec<String> = order.iter().filter(|o| o.0 == Need::Row).map(|o| name(o.1)).collect();
        assert_eq!(rows, [TABLE]);
        // What the disk was let bring in, which is at least what the reading has.
        let mut there: HashSet<String> = rows.into_iter().collect();
        let mut at = 0;
        let mut stretches = 0;
        let mut waiting = order.iter();
        while at < graph.nodes.len() {
            // Told before it waits, so it gets by with just what the next node needs.
            for w in graph.weights_of(&graph.nodes[at]) {
                while !there.contains(&name(w)) {
                    there.insert(name(waiting.next().unwrap().1));
                    go.send(Ok(())).unwrap();
                }
            }
            let Some(end) = reading.computable(at..graph.nodes.len(), &micro(&[7]), &never).unwrap() else { break };
            assert!(end > at);
            let mut reads = graph.nodes[at..end].iter().flat_map(|n| graph.weights_of(n));
            assert!(reads.all(|w| there.contains(&name(w))), "nodes {at}..{end}");
            (at, stretches) = (end, stretches + 1);
        }
        assert!(stretches > 5);
        drop(go);
        let total = reading.pieces().map(|p| p.2.len()).sum();
        reading.wait_for_bytes(total).unwrap();
        let row = graph.weights.iter().find(|w| w.name == TABLE).unwrap();
        let row_bytes = (row.n_bytes / row.ne[1]) as usize;
        let asked: Vec<_> = asked.try_iter().filter(|(name, _)| name == TABLE).map(|a| a.1).collect();
        assert!(asked.contains(&(7 * row_bytes..8 * row_bytes)));
    }

    #[test]
    fn errors_reach_everyone_who_waits() {
        let graph = graph();
        let (go, _asked, bring) = disk();
        let reading = Reading::start(&graph, |_| true, bring).unwrap();
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
        let (go, _asked, bring) = disk();
        let reading = Reading::start(&graph, |_| true, bring).unwrap();
        // Many tokens need all of the embedding, which comes last.
        let outcome = reading.computable(0..graph.nodes.len(), &micro(&[7; 99]), &AtomicBool::new(true));
        assert_eq!(outcome.unwrap_err().status, Status::Cancelled);
        // Dropping it waits for the piece that is under way.
        drop(go);
        drop(reading);
    }
}
