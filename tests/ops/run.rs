//! Running a row on a device.

use std::sync::atomic::AtomicBool;

use rekindle::Result;
use rekindle::graph::{Cache, CacheView, Executor, Graph, Limits, Micro, Move, Node, Op, Run, Span, ValueId};
use rekindle::quant::{Type, dequantize};

use super::row::{Batch, Cached, On, Row};
use super::single::Single;

/// Makes executors of single ops.
pub trait Device {
    type X: Executor;
    const ON: On;
    /// Bytes of workspace that a node takes.
    fn workspace(&self, graph: &Graph, node: &Node, limits: Limits) -> Option<usize>;
    /// Bytes before the caches in the KV arena.
    fn tables(&self, limits: Limits, caches: &[Cache]) -> usize;
    /// In arenas that nobody has written yet, but for the weights.
    fn begin(&mut self, single: &Single, row: &Row) -> Result<Self::X>;
    /// Whatever comes before nodes can run on a micro-batch.
    fn bring(&mut self, x: &mut Self::X, micro: &Micro<'_>) -> Result<()>;
    fn end(&mut self, x: Self::X) -> Result<()>;
    /// Seconds that calls take together, by the device's own clock.
    fn seconds(&mut self, x: &mut Self::X, times: usize, call: &dyn Fn(&mut Self::X) -> Result<()>) -> Result<f64>;
    /// Bytes per second of a plain read of so many, or of a copy, read and written.
    fn plain(&mut self, bytes: usize) -> Result<f64>;
}

/// What lies where nothing may be written.
const UNTOUCHED: f32 = -12345.0;

/// An executor of a row's op, with what it reads in place.
pub struct Ready<'a, D: Device> {
    pub device: &'a mut D,
    pub x: D::X,
    pub single: Single,
    row: &'a Row,
}

impl<'a, D: Device> Ready<'a, D> {
    pub fn new(device: &'a mut D, row: &'a Row, copies: usize) -> Result<Ready<'a, D>> {
        let (workspace, tables) = (|g: &_, n: &_, l| device.workspace(g, n, l), |l, c: &_| device.tables(l, c));
        let single = Single::new(row, copies, &workspace, &tables);
        let x = device.begin(&single, row)?;
        let mut ready = Ready { device, x, single, row };
        // The cache's keys and values, the result and the inputs may have one place, so the order is this.
        ready.fill()?;
        if let Some(v) = ready.single.output {
            ready.x.write(v, 0, &vec![UNTOUCHED; rows_of(&ready.single, v) * row.cols])?;
        }
        for (v, m) in ready.single.inputs.iter().zip(&row.inputs) {
            ready.x.write(*v, 0, &m.x)?;
        }
        Ok(ready)
    }

    /// Runs the op, each of its copies.
    pub fn run(&mut self) -> Result<()> {
        let nodes = self.single.nodes.clone();
        self.micro(nodes, &self.row.batch)
    }

    fn micro(&mut self, nodes: std::ops::Range<usize>, batch: &Batch) -> Result<()> {
        let (device, x) = (&mut *self.device, &mut self.x);
        with_micro(self.row, batch, |micro| {
            device.bring(x, micro)?;
            x.run(nodes, micro, &AtomicBool::new(false))?;
            x.finish()
        })
    }

    /// Stores the keys and values that the cache has before.
    fn fill(&mut self) -> Result<()> {
        let Some(c) = &self.row.cached else { return Ok(()) };
        if c.recurrent {
            let cells: Vec<u32> = c.filled.iter().map(|(cell, ..)| *cell).collect();
            let floats = c.filled.iter().flat_map(|(_, state, _)| state);
            return self.x.write_cells(c.cache, &cells, &floats.flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
        }
        let Some((nodes, values)) = self.single.fill.clone() else { return Ok(()) };
        for some in c.filled.chunks(self.single.limits.n_tokens) {
            let mut batch = Batch { cells: some.iter().map(|(cell, ..)| *cell).collect(), ..Batch::of(some.len()) };
            batch.runs.clear();
            let sides = [|f: &(u32, Vec<f32>, Vec<f32>)| f.1.clone(), |f: &(u32, Vec<f32>, Vec<f32>)| f.2.clone()];
            for (v, side) in values.iter().zip(sides) {
                self.x.write(*v, 0, &some.iter().flat_map(side).collect::<Vec<f32>>())?;
            }
            self.micro(nodes.clone(), &batch)?;
        }
        Ok(())
    }

    /// The result, if nothing else was written.
    fn result(&mut self, v: ValueId) -> Result<Vec<f32>> {
        let (row, batch) = (self.row, &self.row.batch);
        let mut all = vec![0.0; rows_of(&self.single, v) * row.cols];
        self.x.read(v, 0, &mut all)?;
        let first = if let Op::SelectOutputs | Op::Mean = row.op { batch.first_output } else { 0 };
        let own = first * row.cols..(first + row.n_rows()) * row.cols;
        let others = all[..own.start].iter().chain(&all[own.end..]);
        assert!({ others }.all(|x| *x == UNTOUCHED), "{}: written where the result is not", row.name);
        Ok(all[own].to_vec())
    }

    /// What the row's cells hold after its moves, cell by cell: keys, then values.
    fn cells(&mut self, c: &Cached) -> Result<Vec<f32>> {
        let mut moves: Vec<Vec<Move>> = vec![Vec::new(); 2];
        moves[c.cache].clone_from(&c.moves);
        self.x.move_cells(&moves)?;
        let cells = super::kv::cells(self.row);
        let each: usize = (0..self.single.graph.states.len()).map(|s| self.x.state_bytes(c.cache, s)).sum();
        let mut bytes = vec![0; each * cells.len()];
        self.x.read_cells(c.cache, &cells, &mut bytes)?;
        // What was read can be written elsewhere, and read again.
        let (turned, mut again) = (cells.iter().rev().copied().collect::<Vec<u32>>(), vec![0; bytes.len()]);
        self.x.write_cells(c.cache, &turned, &bytes)?;
        self.x.read_cells(c.cache, &turned, &mut again)?;
        assert!(bytes == again, "{}: cells are not what was written to them", self.row.name);
        assert!(self.x.read_cells(c.cache, &cells, &mut bytes[1..]).is_err(), "a buffer that is too small");
        let (k, v) = (c.shape.n_head_kv * c.shape.head_dim_k, c.shape.n_head_kv * c.shape.head_dim_v);
        let k_bytes = c.type_k.row_bytes(k).expect("whole blocks");
        let mut floats = Vec::new();
        for cell in bytes.chunks_exact(each) {
            floats.extend(decoded(c.type_k, &cell[..k_bytes], k));
            if !c.shape.v_in_k {
                floats.extend(decoded(c.type_v, &cell[k_bytes..], v));
            }
        }
        Ok(floats)
    }

    /// Seconds that one run of one copy takes: the best of three rounds of about `round` seconds.
    pub fn seconds(&mut self, round: f64) -> Result<f64> {
        let (nodes, device, x) = (self.single.nodes.clone(), &mut *self.device, &mut self.x);
        with_micro(self.row, &self.row.batch, |micro| {
            device.bring(x, micro)?;
            let one = |x: &mut D::X| x.run(nodes.clone(), micro, &AtomicBool::new(false));
            // A die's kernels are found at the first time, and launches recorded at the second.
            let mut seconds = device.seconds(x, 3, &one)? / 3.0;
            let mut best = f64::INFINITY;
            for _ in 0..3 {
                let times = (round / seconds.max(1e-7)).clamp(1.0, 1e4) as usize;
                seconds = device.seconds(x, times, &one)? / times as f64;
                best = best.min(seconds);
            }
            Ok(best / nodes.len() as f64)
        })
    }

    pub fn end(self) -> Result<()> {
        self.device.end(self.x)
    }
}

/// Rows that a value has room for.
fn rows_of(single: &Single, v: ValueId) -> usize {
    single.limits.rows(single.graph.value(v).rows)
}

/// The values of a cached row.
fn decoded(ty: Type, row: &[u8], n: usize) -> Vec<f32> {
    let mut floats = vec![0.0; n];
    dequantize(ty, row, &mut floats);
    floats
}

/// The micro-batch of a row, with a token of its own in the other cache.
fn with_micro<T>(row: &Row, batch: &Batch, then: impl FnOnce(&Micro<'_>) -> T) -> T {
    let n = batch.tokens.len();
    let (cells, run, span) =
        (vec![0; n], Run { first: 0, n: 1, first_span: 0, n_spans: 1 }, Span { cell: 0, pos: 0, len: 1 });
    let other = CacheView { cells: &cells, runs: &[run], spans: &[span] };
    let mut caches = Vec::new();
    if let Some(c) = &row.cached {
        caches = vec![other; 2];
        caches[c.cache] = CacheView { cells: &batch.cells, runs: &batch.runs, spans: &batch.spans };
    }
    if let Op::AttendText(_) = row.op {
        caches = vec![CacheView { cells: &cells, runs: &batch.runs, spans: &batch.spans }];
    }
    let (tokens, positions, outputs) = (&batch.tokens, &batch.positions, &batch.outputs);
    then(&Micro {
        tokens,
        positions,
        caches: &caches,
        outputs,
        first_output: batch.first_output,
        adapters: &[],
        n_before: 0,
    })
}

/// What a device makes of a row: the result of its op, or what the cells then hold.
pub fn run<D: Device>(device: &mut D, row: &Row) -> Result<Vec<f32>> {
    run_after(device, row, &[])
}

/// The same, after the op has run on other batches.
pub fn run_after<D: Device>(device: &mut D, row: &Row, before: &[&Batch]) -> Result<Vec<f32>> {
    let mut ready = Ready::new(device, row, 1)?;
    let nodes = ready.single.nodes.clone();
    before.iter().try_for_each(|batch| ready.micro(nodes.clone(), batch))?;
    ready.run()?;
    let made = match (ready.single.output, &row.cached) {
        (Some(v), Some(c)) if c.recurrent => ready.result(v).and_then(|made| Ok([made, ready.cells(c)?].concat())),
        (Some(v), _) => ready.result(v),
        (None, Some(c)) => ready.cells(c),
        (None, None) => panic!("{}: an op that makes nothing", row.name),
    };
    ready.end()?;
    made
}
