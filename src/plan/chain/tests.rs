use super::*;
use crate::context::{Context, LogLevel};
use crate::gguf::Gguf;
use crate::graph::{Graph, Op, StateId};
use crate::plan::params::{Params, Weights};
use crate::plan::places::Places;
use crate::plan::request::Request;
use std::sync::Arc;

/// The bytes that the search is told for a range are those that are measured for it: every range, on a die and on
/// the CPU.
#[test]
fn a_range_takes_what_is_measured_for_it() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut n, mut mixtures) = (0, 0);
    // The shipped model has more layers than REPEATS.
    for entry in ["tests/fixtures/models", "models"].iter().flat_map(|f| std::fs::read_dir(root.join(f)).unwrap()) {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "gguf") {
            continue;
        }
        let file = Arc::new(Gguf::open(&path).unwrap());
        let (_, graph) = crate::arch::build(&file).unwrap();
        // Some experts where the planner puts them, some where the caller does.
        let put = r"blk\.[13579]\..*_exps=CPU";
        for (n_ubatch, n_outputs_max, weights, text) in [
            (7, 1, Weights::Auto, ""),
            (64, 33, Weights::Copied, ""),
            (7, 3, Weights::Auto, put),
            (9, 2, Weights::Copied, put),
        ] {
            let context = Context::new("k80:2,cpu", 3, None, LogLevel::Error).unwrap();
            let params = Params { n_ctx: 100, n_batch: 64, n_ubatch, n_outputs_max, weights, ..Params::default() };
            let r = Request::new(&context, &file, &params).unwrap();
            let Ok(places) = Places::new(text, &graph, context.inventory(), |_| true) else { continue };
            let units = Units::new(&r, &graph, &places);
            let types = (Type::F16, Type::F32);
            let mut ranges = Ranges::new(&units, types, 100, n_ubatch).unwrap();
            let n_units = ranges.n_units();
            let tables = ranges.tables as usize;
            let mut check = |split: usize, d: usize, other: u32, first: usize, end: usize| {
                let mut layers = vec![other; n_units];
                layers[first..end].fill(d as u32);
                let placement = units.placement(layers, split);
                let sizing = r.sizing(types);
                let m = arenas::measure(context.devices(), &graph, &placement, r.limits(), 100, sizing).unwrap();
                ranges.split = split;
                let (fixed, kv) = ranges.bytes(d, first, end);
                let what = format!("{} {first}..{end} on {d}, experts of {split} layers on the CPU", file.path());
                // The dies' page-locked memory is the host's.
                let dies = (0..2).filter(|d| placement.layers.contains(d)).count();
                let staging = if d == 2 { cuda::staging_bytes(dies, tables) as u64 } else { 0 };
                assert_eq!(fixed + kv + staging, m.memory[d].needed() - m.memory[d].driver, "{what}");
                n += 1;
            };
            let all = (0..n_units).flat_map(|a| (a + 1..=n_units).map(move |b| (a, b)));
            for (first, end) in all.clone() {
                check(0, 0, 2, first, end);
                check(0, 2, 0, first, end);
            }
            let last = units.has_experts.iter().rposition(|has| *has).map_or(0, |last| last + 1);
            for split in [1, 2, last / 2, last.saturating_sub(1), last]
                .into_iter()
                .filter(|s| last > 0 && (1..=last).contains(s))
            {
                all.clone().for_each(|(first, end)| check(split, 0, 1, first, end));
                // The CPU's part is the same wherever the layers are.
                for cut in 0..=n_units {
                    let mut layers = vec![0; n_units];
                    layers[cut..].fill(1);
                    let dies = 1 + usize::from(cut > 0 && cut < n_units);
                    let staging = cuda::staging_bytes(dies, tables) as u64;
                    let m = arenas::measure(
                        context.devices(),
                        &graph,
                        &units.placement(layers, split),
                        r.limits(),
                        100,
                        r.sizing(types),
                    );
                    let cpu = m.unwrap().memory[2].needed();
                    assert_eq!(units.bytes(2, 0, 0, split) + staging, cpu, "{} {split}", file.path());
                }
                mixtures += 1;
            }
        }
    }
    assert!(mixtures > 40, "{mixtures} splits");
    assert!(n > 500, "{n} ranges");
}

/// The units of a small model whose graph was changed, on two dies and the CPU.
fn with_units(change: impl Fn(&mut Graph), check: impl Fn(&Graph, &Units<'_>, &Ranges<'_, '_>)) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf");
    let file = Arc::new(Gguf::open(&path).unwrap());
    let (_, mut graph) = crate::arch::build(&file).unwrap();
    change(&mut graph);
    let context = Context::new("k80:2,cpu", 1, None, LogLevel::Error).unwrap();
    let params = Params { n_ctx: 64, ..Params::default() };
    let r = Request::new(&context, &file, &params).unwrap();
    let places = Places::new("", &graph, context.inventory(), |_| true).unwrap();
    let units = Units::new(&r, &graph, &places);
    let ranges = Ranges::new(&units, (Type::F16, Type::F16), 64, 64).unwrap();
    check(&graph, &units, &ranges);
}

/// A layer that reads an earlier one's cache has none of its own, and is on the same device.
#[test]
fn a_layer_that_reads_an_earlier_cache_is_where_that_is() {
    let share = |graph: &mut Graph| {
        // Layer 3 reads the cache of layer 1.
        graph.nodes.retain(|n| n.layer != 3 || !matches!(n.op, Op::StoreKv(_)));
        let shared = StateId(graph.states.iter().position(|s| s.layer == 1).unwrap() as u32);
        for node in &mut graph.nodes {
            if let (3, Op::Attention(o)) = (node.layer, &mut node.op) {
                o.state = shared;
            }
        }
        let own = graph.states.iter().position(|s| s.layer == 3).unwrap();
        graph.states.remove(own);
        for node in &mut graph.nodes {
            match &mut node.op {
                Op::Attention(o) if o.state.0 as usize > own => o.state.0 -= 1,
                Op::StoreKv(o) if o.state.0 as usize > own => o.state.0 -= 1,
                _ => {}
            }
        }
    };
    with_units(share, |graph, units, ranges| {
        let n = graph.n_layer as usize;
        assert_eq!((0..=n).map(|u| units.may_cut(u)).collect::<Vec<_>>(), [true, true, false, false, true, true, true]);
        let fits = |first, end| ranges.range(0, first, end).is_some_and(|c| c.seconds.is_finite());
        assert!(fits(0, 1) && !fits(0, 2) && !fits(1, 3) && fits(1, 4) && !fits(3, 4) && fits(0, n + 1));
        let kv = |first: usize, end: usize| ranges.kv[end] - ranges.kv[first];
        assert!(kv(3, 4) == 0 && kv(1, 2) > 0 && kv(0, n) == (n as u64 - 1) * kv(1, 2));
    });
}

/// Weights of a type that only the CPU computes with are never on a die. Weights that nobody computes with can be
/// planned anywhere.
#[test]
fn what_only_the_cpu_computes_is_on_the_cpu() {
    for (ty, on_dies) in [(Type::TQ2_0, false), (Type::Q8_K, true), (Type::Q4_K, true)] {
        let change = |graph: &mut Graph| {
            let w = graph.weights.iter_mut().find(|w| w.name == "blk.2.ffn_down.weight").unwrap();
            w.ty = ty;
        };
        with_units(change, |graph, _, ranges| {
            let n = graph.n_layer as usize;
            let fits = |d, first, end| ranges.range(d, first, end).is_some();
            assert!(fits(0, 0, 2) && fits(1, 3, n + 1) && fits(2, 2, 3), "{}", ty.name());
            assert_eq!((fits(0, 2, 3), fits(1, 0, n + 1)), (on_dies, on_dies), "{}", ty.name());
        });
    }
}

/// A layer that reads a part of a weight has that part's bytes. On the CPU too they are its own, although whole weights
/// stay in the file's map there.
#[test]
fn a_part_of_a_weight_takes_its_own_bytes() {
    let name = "blk.2.ffn_down.weight";
    let bytes = |of_rows: usize| {
        let half = |graph: &mut Graph| {
            let w = graph.weights.iter().position(|w| w.name == name).unwrap();
            for node in &mut graph.nodes {
                match &mut node.op {
                    Op::MatMul(o) if o.matrix.weight.0 as usize == w => o.matrix.n_rows /= of_rows,
                    _ => {}
                }
            }
        };
        let seen = std::cell::Cell::new((0, 0, 0));
        with_units(half, |graph, units, _| {
            let w = graph.weights.iter().find(|w| w.name == name).unwrap();
            seen.set((units.bytes(0, 2, 3, 0), units.bytes(2, 2, 3, 0), w.n_bytes));
        });
        seen.get()
    };
    let ((die, cpu, whole), (half_die, half_cpu, _)) = (bytes(1), bytes(2));
    assert_eq!(die - half_die, arenas::aligned(whole) - arenas::aligned(whole / 2));
    // The CPU held none of the whole weight.
    assert_eq!(half_cpu, cpu - whole + arenas::aligned(whole / 2));
}

/// The bytes that are promised for each die of a group are those that are measured, for every range of layers.
#[test]
fn every_die_of_a_group_takes_what_was_promised() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf");
    let file = Arc::new(Gguf::open(&path).unwrap());
    let (_, whole) = crate::arch::build(&file).unwrap();
    for n_group in [2, 3, 4] {
        let context = Context::new("k80:4,cpu", 1, None, LogLevel::Error).unwrap();
        let params = Params { n_ctx: 100, n_batch: 64, n_ubatch: 16, n_group, ..Params::default() };
        let r = Request::new(&context, &file, &params).unwrap();
        let graph = crate::graph::shard(&whole, n_group as usize).graph;
        let places = Places::new("", &graph, context.inventory(), |_| true).unwrap();
        let units = Units::new(&r, &graph, &places);
        let types = (Type::F16, Type::F16);
        let ranges = Ranges::new(&units, types, 100, 16).unwrap();
        let n = ranges.n_units();
        for (first, end) in (0..n).flat_map(|a| (a + 1..=n).map(move |b| (a, b))) {
            let mut layers = vec![4; n];
            layers[first..end].fill(0);
            let placement = units.placement(layers, 0);
            let limits = r.limits();
            let m = arenas::measure(context.devices(), &graph, &placement, limits, 100, r.sizing(types)).unwrap();
            for (d, fixed, kv, _) in ranges.shares(0, first, end) {
                let what = format!("layers {first}..{end} on die {d} of {n_group}");
                assert_eq!(fixed + kv, m.memory[d].needed() - m.memory[d].driver, "{what}");
            }
        }
    }
}
