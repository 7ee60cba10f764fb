//! Devices that are found or are not: drivers, cards, kernels, links.

use std::sync::Arc;

use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::plan::{Params, Plan};

use crate::cases::*;
use crate::support::*;
use crate::virtual_rig::*;

/// Without a driver, `auto` gives the CPU, and the plan says why.
#[test]
fn no_driver_means_the_cpu() {
    with_library_path("found::no_driver_means_the_cpu", "/nonexistent", || {
        // A machine with a driver finds it all the same.
        if rekindle::device::Finder::all(&rekindle::cuda::Search, 1, true).is_ok() {
            println!("SKIPPED: this machine has CUDA devices");
            return;
        }
        no_gpu_because("is not there");
    });
}

fn no_gpu_because(why: &str) {
    let context = Context::new("auto", 1, None, LogLevel::Error).unwrap();
    assert_eq!(context.devices().len(), 1);
    let gguf = Arc::new(Gguf::open(&fixture("models/llama-F32.gguf")).unwrap());
    let plan = Plan::new(&context, &gguf, &Params::default()).unwrap();
    assert!(plan.reasons.iter().any(|r| r.contains("no GPU is used") && r.contains(why)), "{:?}", plan.reasons);
    let Err(e) = Context::new("cuda", 1, None, LogLevel::Error) else { panic!("there is no GPU") };
    assert!(e.status == rekindle::Status::Device && e.message.contains(why), "{e}");
}

#[test]
fn an_old_driver_is_told() {
    with_rig("found::an_old_driver_is_told", "driver = 10020", |_| no_gpu_because("10.2"));
}

#[test]
fn a_driver_without_devices_is_told() {
    with_rig("found::a_driver_without_devices_is_told", "dies = 0", |_| no_gpu_because("no device"));
}

/// A card that no image fits is left out of `auto`, and noted.
#[test]
fn a_card_that_is_too_old_is_left_out() {
    with_rig(
        "found::a_card_that_is_too_old_is_left_out",
        "dies = 2; die.0.cc = 2.0; memory = 64MiB; overhead = 1MiB",
        |_| {
            let context = Context::new("auto", 1, None, LogLevel::Error).unwrap();
            assert_eq!(context.devices().len(), 2, "{:?}", context.inventory().notes);
            assert!(
                context.inventory().notes.iter().any(|n| n.contains("2.0 is too old")),
                "{:?}",
                context.inventory().notes
            );
        },
    );
}

/// Peer copies are used only where a pattern arrived; results are the same either way.
#[test]
fn peers_are_proved() {
    with_rig("found::peers_are_proved", FOUR, |rig| {
        let file = fixture("models/llama-F32.gguf");
        let mut all = Vec::new();
        for (peer, proved) in [("yes", true), ("no", false), ("lies", false)] {
            rig.config(&format!("dies = 2; memory = 64MiB; overhead = 1MiB; peer = {peer}"));
            let (context, plan) = plan(rig, "cuda:2", &file, &exact_kv(), true, false);
            assert_eq!(context.inventory().link(0, 1).is_some(), proved, "{peer}");
            assert_eq!(
                plan.reasons.iter().any(|r| r.contains("does not arrive")),
                peer == "lies",
                "{:?}",
                plan.reasons
            );
            all.push(decode_at(&load_on(rig, &context, &plan, peer), 0, 0, &[1, 2, 3, 4, 5]));
            drop((context, plan));
            rig.check_empty(peer);
        }
        assert!(same_bits(&all[0], &all[1]) && same_bits(&all[0], &all[2]));
    });
}

/// A kernel that the images lack is told of by name when a die is opened, not when it is first launched.
#[test]
fn a_missing_kernel_is_told_at_once() {
    with_rig("found::a_missing_kernel_is_told_at_once", FOUR, |rig| {
        rig.config("dies = 1; memory = 256MiB; overhead = 1MiB; without = activation");
        let e = Context::new("cuda:1", 1, None, LogLevel::Error).err().expect("activation is missing");
        assert!(e.message.contains("activation") && e.message.contains("elementwise"), "{e}");
        rig.check_empty("without activation");
    });
}
