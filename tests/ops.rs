//! The table of operations (tests/ops) on every device: each op alone against a plain reference in double precision. On
//! the CPU with each of its instruction sets; on a die of the virtual rig (tests/rig), which executes the kernels on
//! the host and finds every access out of bounds, every read of what nobody wrote, and every race. With REKINDLE_GPU=1
//! the die is a card.

#[path = "ops/mod.rs"]
mod ops;
// More of it serves tests/rig.rs.
#[allow(dead_code)]
#[path = "rig/virtual_rig.rs"]
mod virtual_rig;

use std::collections::BTreeMap;

use ops::cpu::Cpu;
use ops::cuda::Cuda;
use ops::row::{Near, On, Row, off};
use ops::run::{Device, run, run_after};
use ops::single::Single;
use ops::{attention, recurrent, reference, table};
use rekindle::cpu::isa::Isa;
use rekindle::graph::{Executor, Op};
use virtual_rig::with_dies;

/// Rows and the largest share of what is allowed, of each op.
#[derive(Default)]
struct Seen(BTreeMap<&'static str, (usize, f64)>);

impl Seen {
    fn add(&mut self, op: &Op, share: f64) {
        let (n, worst) = self.0.entry(op.name()).or_default();
        (*n, *worst) = (*n + 1, worst.max(share));
    }

    /// Every op that a device has is there.
    fn tell(&self, device: &str, missing: &[&str]) {
        for (op, (n, worst)) in &self.0 {
            println!("{device:9} {op:15} {n:5} rows, off by {worst:.3} of what is allowed");
        }
        println!("{device:9} {:15} {:5} rows", "all", self.0.values().map(|(n, _)| n).sum::<usize>());
        let names = names_of_ops();
        let seen: Vec<&str> = names.iter().copied().filter(|n| !missing.contains(n)).collect();
        let own: Vec<&str> = self.0.keys().copied().collect();
        assert_eq!(own, seen, "{device}: an op without a row");
    }
}

/// The names that `Op::name` gives, all of them, sorted.
fn names_of_ops() -> Vec<&'static str> {
    let source = include_str!("../src/graph/op.rs");
    let of_names = source.split("fn name(").nth(1).expect("Op::name");
    let mut names: Vec<&str> = of_names.split('"').skip(1).step_by(2).collect();
    names.sort_unstable();
    assert!(names.len() >= 18 && names.contains(&"soft_cap"), "{names:?}");
    names
}

/// A row's share of what is allowed on a device, or what is wrong; `should` is the reference's result.
fn share<D: Device>(device: &mut D, row: &Row, should: &[Near]) -> Result<f64, String> {
    let are = run(device, row).map_err(|e| format!("{}: {e}", row.name))?;
    let (share, i) = off(&are, should);
    let (is, near) = (are[i], should[i]);
    if share > 1.0 {
        let near = format!("{} within {:.3e}", near.is, near.within);
        return Err(format!("{}: number {i} of {} is {is}, not {near} ({share:.2})", row.name, are.len()));
    }
    Ok(share)
}

fn none_wrong(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong[..wrong.len().min(30)].join("\n"));
}

#[test]
fn every_op_is_exact_on_the_cpu() {
    let table = table();
    let should: Vec<Vec<Near>> = table.iter().map(|row| reference(row, On::Cpu)).collect();
    let mut wrong = Vec::new();
    for (turn, isa) in Isa::available().into_iter().enumerate() {
        let (mut cpu, mut seen) = (Cpu::new(isa, 2).unwrap(), Seen::default());
        for (i, row) in table.iter().enumerate() {
            assert!(<Cpu as Device>::X::supports(&row.op, row.ty()), "{}", row.name);
            cpu.odd = (i + turn) % 2 == 1;
            match share(&mut cpu, row, &should[i]) {
                Ok(share) => seen.add(&row.op, share),
                Err(e) => wrong.push(format!("{}: {e}", isa.name())),
            }
        }
        seen.tell(isa.name(), &[]);
    }
    none_wrong(&wrong);
}

/// True if dies compute rows of these shapes.
fn has_kernel(row: &Row) -> bool {
    let single = Single::new(row, 1, &|_, _, _| Some(0), &|_, _| 0);
    rekindle::cuda::has_kernel(&single.graph, &single.graph.nodes[single.nodes.start])
}

#[test]
fn every_op_is_exact_on_a_die() {
    let config = "dies = 1; memory = 512MiB; overhead = 1MiB";
    with_dies("every_op_is_exact_on_a_die", config, |rig| {
        let context = rig.context("cuda:1");
        let (mut die, mut seen, mut wrong) = (Cuda::new(&context.devices()[0]).unwrap(), Seen::default(), Vec::new());
        for row in table() {
            if !<Cuda as Device>::X::supports(&row.op, row.ty()) || !has_kernel(&row) {
                continue;
            }
            match share(&mut die, &row, &reference(&row, On::Cuda)) {
                Ok(share) => seen.add(&row.op, share),
                Err(e) => wrong.push(e),
            }
            // After a fault a die is of no use.
            if !die.is_at_rest() {
                wrong.push(rig.report());
                break;
            }
        }
        none_wrong(&wrong);
        // Two belong to the input, which is the host's; the CPU alone has encoders and means of texts.
        seen.tell("die", &["attend_text", "embed", "mean", "rope_table", "softmax"]);
        drop((die, context));
        rig.check_empty("every row");
    });
}

/// A recorded step finds the cells, runs and spans of the next one.
#[test]
fn replayed_steps_find_their_states() {
    let config = "dies = 1; memory = 512MiB; overhead = 1MiB";
    with_dies("replayed_steps_find_their_states", config, |rig| {
        let context = rig.context("cuda:1");
        let mut die = Cuda::new(&context.devices()[0]).unwrap();
        die.replay = true;
        let (rows, other) = recurrent::after_others();
        for row in &rows {
            // The first step runs as it is, the second is recorded.
            let are = run_after(&mut die, row, &[&other, &other]).unwrap();
            assert!(off(&are, &reference(row, On::Cuda)).0 <= 1.0, "{}", row.name);
        }
        drop((die, context));
        rig.check_empty("every row");
    });
}

/// A result that belongs to other numbers is told from the right one.
#[test]
fn wrong_results_are_found() {
    let best = Isa::detect().unwrap();
    let mut cpu = Cpu::new(best, 2).unwrap();
    let mut unseen = Vec::new();
    for row in table() {
        let are = run(&mut cpu, &row).unwrap();
        if off(&are, &reference(&row.disturbed(), On::Cpu)).0 <= 1.0 {
            unseen.push(row.name);
        }
    }
    none_wrong(&unseen);
}

/// A key that is left out, or one before the window that is not.
#[test]
fn a_key_too_few_or_too_many_shows() {
    for row in attention::telling() {
        let Op::Attention(o) = &row.op else { panic!("{}", row.name) };
        let right: Vec<f32> = attention::attention(&row, o, 0, 0).iter().map(|n| n.is as f32).collect();
        assert!(off(&right, &attention::attention(&row, o, 1, 0)).0 > 4.0, "{}: a missing key", row.name);
        let has_window = row.cached.as_ref().is_some_and(|c| c.shape.window.is_some());
        let more = off(&right, &attention::attention(&row, o, 0, 1)).0;
        assert!(!has_window || more > 4.0, "{}: a key too many", row.name);
    }
}
