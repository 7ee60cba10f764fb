//! The CPU, with one of its instruction sets.

use std::sync::Arc;
use std::time::Instant;

use rekindle::Result;
use rekindle::cpu::isa::Isa;
use rekindle::cpu::matmul::Kernels;
use rekindle::cpu::{Executor, Held, Parts, Pool, workspace_bytes};
use rekindle::device::Arena;
use rekindle::graph::{Cache, Graph, Limits, Micro, Node};
use rekindle::quant::Type;

use super::row::{On, Row};
use super::run::Device;
use super::single::Single;

pub struct Cpu {
    pool: Arc<Pool>,
    pub isa: Isa,
    /// Weights begin at odd addresses, as those of a file may.
    pub odd: bool,
    weights: Vec<Vec<u8>>,
}

impl Cpu {
    pub fn new(isa: Isa, n_threads: usize) -> Result<Cpu> {
        Ok(Cpu { pool: Arc::new(Pool::new(n_threads)?), isa, odd: false, weights: Vec::new() })
    }
}

impl Device for Cpu {
    type X = Executor;
    const ON: On = On::Cpu;

    fn workspace(&self, graph: &Graph, node: &Node, limits: Limits) -> Option<usize> {
        workspace_bytes(graph, node, limits, self.pool.n_threads())
    }

    fn tables(&self, _: Limits, _: &[Cache]) -> usize {
        0
    }

    fn begin(&mut self, single: &Single, row: &Row) -> Result<Executor> {
        let shift = usize::from(self.odd);
        let memory = |w: &super::weight::Weight| {
            let mut memory = vec![0xff; shift + w.n_bytes()];
            w.load(|at, bytes| memory[shift + at..][..bytes.len()].copy_from_slice(bytes));
            memory
        };
        self.weights = row.weights.iter().map(memory).collect();
        let held = |(i, w): (usize, &Vec<u8>)| Held { part: single.part(row, i), at: w[shift..].as_ptr() };
        let [type_k, type_v] = row.cached.as_ref().map_or([Type::F32; 2], |c| [c.type_k, c.type_v]);
        let parts = Parts {
            graph: single.graph.clone(),
            layout: single.layout.clone(),
            kernels: Kernels::new(self.isa),
            pool: self.pool.clone(),
            weights: self.weights.iter().enumerate().map(held).collect(),
            states: single.places.clone(),
            here: single.here(),
            kv: Arena::new("the cache", single.kv_bytes)?,
            compute: Arena::new("activations", single.layout.bytes)?,
            type_k,
            type_v,
            rotations: single.rotations.clone(),
            n_outputs_max: single.limits.n_outputs,
        };
        // SAFETY: the weights are kept until the next executor is made, and hold the parts that the rows say.
        Ok(unsafe { Executor::new(parts) })
    }

    fn bring(&mut self, _: &mut Executor, _: &Micro<'_>) -> Result<()> {
        Ok(())
    }

    fn end(&mut self, _: Executor) -> Result<()> {
        Ok(())
    }

    fn seconds(&mut self, x: &mut Executor, times: usize, call: &dyn Fn(&mut Executor) -> Result<()>) -> Result<f64> {
        let start = Instant::now();
        (0..times).try_for_each(|_| call(x))?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// A read, by as many threads as compute.
    fn plain(&mut self, bytes: usize) -> Result<f64> {
        let numbers = vec![1u64; bytes / 8];
        let read = || {
            let start = Instant::now();
            std::thread::scope(|scope| {
                for part in numbers.chunks(numbers.len().div_ceil(self.pool.n_threads())) {
                    scope.spawn(|| std::hint::black_box(part.iter().fold(0, |sum: u64, x| sum.wrapping_add(*x))));
                }
            });
            start.elapsed().as_secs_f64()
        };
        Ok((0..5).map(|_| bytes as f64 / read()).fold(0.0, f64::max))
    }
}
