//! Dies that share each layer: the same logits as on one die, and the bytes that were planned.

use std::sync::Arc;

use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::plan::{ANY_GROUP, DeviceLimit, Objective, Params, Plan};
use rekindle::session::{LoadParams, Model};

use crate::cases::*;
use crate::support::*;
use crate::virtual_rig::*;

/// Every fixture on groups of 2 and 4 dies: a batch, then tokens one by one. The sums are added in another order than
/// on one die, so bits differ; the normalised mean squared error to float64 is 1e-6 at most. What cannot be shared
/// stays whole, and the plan says why.
#[test]
fn groups_give_the_logits_of_one_die() {
    with_dies("groups::groups_give_the_logits_of_one_die", FOUR, |rig| {
        let mut shared_by = [0, 0];
        let only = std::env::var("REKINDLE_CASE").unwrap_or_default();
        for case in cases().into_iter().filter(|case| case.name.contains(&only)) {
            for (i, n_group) in [2, 4].into_iter().enumerate() {
                let what = format!("{} on {n_group}", case.name);
                let params = Params { n_group, ..exact_kv() };
                let (context, plan) = plan(rig, &format!("cuda:{n_group}"), &case.file, &params, false, false);
                let shared = plan.layers.iter().filter(|l| l.devices.len() == n_group as usize).count();
                if shared == 0 {
                    let why = plan.reasons.iter().find(|r| r.contains(" whole: "));
                    println!("{what:30} not shared: {}", why.unwrap_or_else(|| panic!("{what}: {}", plan.text())));
                    continue;
                }
                let model = load_on(rig, &context, &plan, &what);
                let n = case.tokens.len();
                let (head, tail) = case.tokens.split_at(n - 2);
                let mut all = decode_at(&model, 0, 0, head);
                for (i, token) in tail.iter().enumerate() {
                    all.extend(decode_at(&model, 0, (head.len() + i) as i32, &[*token]));
                }
                let own: Vec<f32> = case.rows.iter().flat_map(|r| all[*r].iter().copied()).collect();
                let error = nmse(&own, &case.exact);
                println!("{what:30} {error:10.2e}, {shared} of {} layers shared", plan.n_layer);
                assert!(error <= 1e-6, "{what}: {error:e}");
                shared_by[i] += 1;
                drop((model, plan, context));
                rig.check_empty(&what);
            }
        }
        assert!(!only.is_empty() || shared_by.iter().all(|n| *n >= 10), "{shared_by:?} models were shared");
    });
}

/// The same bits with sums that go by way of the host, since dies have no proved links or since these lie.
#[test]
fn sums_go_by_way_of_the_host() {
    with_rig("groups::sums_go_by_way_of_the_host", FOUR, |rig| {
        let file = fixture("models/llama-F32.gguf");
        let mut all = Vec::new();
        for peer in ["yes", "no", "lies"] {
            rig.config(&format!("dies = 2; memory = 64MiB; overhead = 1MiB; peer = {peer}"));
            let params = Params { n_group: 2, ..exact_kv() };
            let (context, plan) = plan(rig, "cuda:2", &file, &params, false, false);
            let way = if peer == "yes" { "sums go from die to die" } else { "sums go by way of the host" };
            assert!(plan.reasons.iter().any(|r| r.contains(way)), "{:?}", plan.reasons);
            let model = load_on(rig, &context, &plan, peer);
            all.push(decode_at(&model, 0, 0, &[1, 2, 3, 4, 5]));
            // Short steps are recorded and replayed.
            (5..9).for_each(|at| all.push(decode_at(&model, 0, at, &[at])));
            drop((model, plan, context));
            rig.check_empty(peer);
        }
        assert!(same_bits(&all[..5].concat(), &all[5..10].concat()), "by way of the host");
        assert!(same_bits(&all[..5].concat(), &all[10..].concat()), "links that lie");
    });
}

/// Two groups of two dies behind each other, and a group beside layers on the CPU.
#[test]
fn groups_stand_behind_each_other() {
    with_dies("groups::groups_stand_behind_each_other", FOUR, |rig| {
        let file = fixture("models/llama-F32.gguf");
        let tokens: Vec<i32> = (1..20).collect();
        let expected = decode_at(&load(&file, &exact_kv()), 0, 0, &tokens).concat();
        for (spec, devices) in [("cuda:4", [vec![0, 1], vec![2, 3]]), ("cuda:2,cpu", [vec![2], vec![0, 1]])] {
            let context = rig.context(spec);
            let gguf = Arc::new(Gguf::open(&file).unwrap());
            let one = |device| DeviceLimit { device, reserve_bytes: 0, max_layers: Some(1) };
            let params =
                Params { n_group: 2, limits: (0..context.devices().len() as u32).map(one).collect(), ..exact_kv() };
            let plan = Arc::new(Plan::new(&context, &gguf, &params).unwrap());
            let mut own: Vec<_> = plan.layers.iter().map(|l| l.devices.clone()).collect();
            own.dedup();
            own.sort_by_key(|d| d.len());
            assert!(plan.fits && devices.iter().all(|d| own.contains(d)), "{own:?}\n{}", plan.text());
            let model = load_on(rig, &context, &plan, spec);
            let error = nmse(&decode_at(&model, 0, 0, &tokens).concat(), &expected);
            assert!(error <= 1e-6, "{spec}: {error:e}");
            drop((model, plan, context));
            rig.check_empty(spec);
        }
    });
}

/// Groups that cannot be are refused by name, and a planner that may choose says what it compared.
#[test]
fn groups_that_cannot_be_are_refused() {
    let gguf = Arc::new(Gguf::open(&root().join("models/bible-5M-Q8_0.gguf")).unwrap());
    let on = |spec: &str, params: Params| {
        let context = Context::new(spec, 1, None, LogLevel::Error).unwrap();
        Plan::new(&context, &gguf, &Params { n_ctx: 256, ..params })
    };
    let group = |n_group| Params { n_group, ..Params::default() };
    let unlike = r#"[{"profile":"k80"},{"kind":"cuda","name":"slow","total_bytes":8589934592}]"#;
    let placed = Params { placements: "^blk=CUDA0".to_owned(), ..group(2) };
    for (spec, params, what) in [
        ("k80:2", group(5), "expected at most 4"),
        ("k80:2", group(3), "2 dies may compute layers"),
        ("cpu", group(2), "0 dies may compute layers"),
        (unlike, group(2), "are unlike"),
        ("k80:2", placed, "placements"),
    ] {
        let Err(e) = on(spec, params) else { panic!("{spec}: {what}") };
        assert!(e.message.contains(what) && e.detail.subject == "n_group", "{spec}: {}", e.message);
    }
    for objective in [Objective::Latency, Objective::Throughput] {
        let plan = on("k80:4", Params { objective, ..group(ANY_GROUP) }).unwrap();
        let compared = plan.reasons.iter().find(|r| r.starts_with("tokens/s predicted"));
        println!("{}", compared.unwrap_or_else(|| panic!("{:?}", plan.reasons)));
    }
}

/// A sequence that a group has read goes on on one die, and the other way round: saved rows have one form.
#[test]
fn a_saved_sequence_goes_on_elsewhere() {
    with_dies("groups::a_saved_sequence_goes_on_elsewhere", FOUR, |rig| {
        let mut n = 0;
        let names = ["llama-F32", "llama-moe", "deepseek2", "gemma3", "gpt-oss"];
        for case in cases().into_iter().filter(|c| names.iter().any(|name| c.name.starts_with(name))) {
            let of = |n_group: u32| {
                let params = Params { n_group, n_seq_max: 2, ..exact_kv() };
                let (context, plan) = plan(rig, "cuda:2", &case.file, &params, false, false);
                let shared = plan.layers.iter().any(|l| l.devices.len() > 1);
                // Two models share the dies, so their bytes are not those of one plan.
                (Model::load(&context, &plan, LoadParams::default()).unwrap(), shared)
            };
            let ((one, _), (group, shared)) = (of(0), of(2));
            if !shared {
                continue;
            }
            let tokens = &case.tokens[..12];
            for (from, to) in [(&one, &group), (&group, &one)] {
                let expected = decode_at(from, 0, 0, tokens);
                let mut bytes = Vec::new();
                from.seq_save(0, &mut |piece, _| {
                    bytes.extend_from_slice(piece);
                    Ok(())
                })
                .unwrap();
                from.seq_remove(0, 0, -1).unwrap();
                to.seq_load(1, &mut &bytes[..], bytes.len() as u64, &mut |_| true).unwrap();
                let next = decode_at(to, 1, 12, &case.tokens[12..13]).concat();
                let all = decode_at(to, 0, 0, &case.tokens[..13]);
                let error = nmse(&next, &all[12]).max(nmse(&all[..12].concat(), &expected.concat()));
                assert!(error <= 1e-6, "{}: {error:e}", case.name);
                to.seq_remove(0, 0, -1).unwrap();
                to.seq_remove(1, 0, -1).unwrap();
            }
            n += 1;
        }
        assert!(n >= 3, "{n} models");
    });
}
