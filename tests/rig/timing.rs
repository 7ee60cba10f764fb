//! Models of real size by the rig's clock (tests/rig/clock.h): their files are sparse, and nothing is computed. The
//! plan's predictions are held against it.

use std::path::PathBuf;
use std::sync::Arc;

use rekindle::context::Context;
use rekindle::plan::{Params, Plan};
use rekindle::quant::Type;
use rekindle::session::{Batch, LoadParams, Model};

use crate::cases::*;
use crate::headers;
use crate::virtual_rig::*;

/// Dies of K80 boards, on which nothing is executed.
pub const TIMED: &str = "dies = 4; overhead = 95MiB; execute = 0";

/// Seconds of a token that is decoded, and of a prompt's token.
pub struct Speeds {
    pub decode: f64,
    pub prompt: f64,
}

/// Writes the header of a model of real shape; its weights are a hole.
pub fn real_file(tag: &str) -> PathBuf {
    // Each test is a process of its own, and some want the same file at the same time.
    let name = format!("timed-{}-{}", std::process::id(), headers::file_name(tag));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    headers::from_row(headers::row(tag), &path).unwrap();
    path
}

fn decode(model: &Model, first: i32, n: usize) {
    let (tokens, seqs) = (vec![1; n], vec![0; n]);
    let positions: Vec<i32> = (0..n as i32).map(|i| first + i).collect();
    let mut outputs = vec![0u8; n];
    outputs[n - 1] = 1;
    let batch = Batch { tokens: &tokens, positions: Some(&positions), seq_ids: Some(&seqs), outputs: Some(&outputs) };
    model.decode(&batch).unwrap();
}

/// A prompt of `n_prompt` tokens; then tokens one by one, the first ones of which are still recorded.
pub fn speeds(rig: &Rig, model: &Model, n_prompt: usize) -> Speeds {
    let seconds = |f: &mut dyn FnMut()| {
        let begun = rig.time();
        f();
        (rig.time() - begun) * 1e-6
    };
    decode(model, 0, n_prompt);
    let prompt = seconds(&mut || decode(model, n_prompt as i32, n_prompt)) / n_prompt as f64;
    let at = 2 * n_prompt as i32;
    (0..3).for_each(|i| decode(model, at + i, 1));
    rig.reset();
    let n = 4;
    let decode = seconds(&mut || (3..3 + n).for_each(|i| decode(model, at + i, 1))) / f64::from(n);
    Speeds { decode, prompt }
}

/// Loads a model of real shape on dies, or on a group of all of them, and gives its plan and speeds.
fn timed(rig: &Rig, tag: &str, n_dies: u32, group: bool, n_prompt: usize) -> (Arc<Plan>, Speeds, Arc<Context>) {
    let path = real_file(tag);
    let kv = Some(Type::F16);
    let n_group = if group { n_dies } else { 0 };
    let params = Params { n_ctx: 4096, type_k: kv, type_v: kv, n_group, ..Params::default() };
    let (context, plan) = plan(rig, &format!("cuda:{n_dies}"), &path, &params, n_dies > 1 && !group, false);
    let model = load_on(rig, &context, &plan, tag);
    let speeds = speeds(rig, &model, n_prompt);
    drop(model);
    std::fs::remove_file(&path).unwrap();
    (plan, speeds, context)
}

/// Launches of a token, and what they would take: nodes one by one, and joined.
#[test]
fn launches_of_a_token_are_few() {
    with_rig("timing::launches_of_a_token_are_few", TIMED, |rig| {
        println!("model              launches a token: one by one   joined   decode t/s: one by one   joined");
        for (tag, most) in [("llama3.1:8b", 300), ("deepseek-r1:14b", 450), ("gemma3:4b", 480)] {
            let path = real_file(tag);
            let params = Params { n_ctx: 4096, type_k: Some(Type::F16), type_v: Some(Type::F16), ..Params::default() };
            let (context, plan) = plan(rig, "cuda:1", &path, &params, false, false);
            let own = [true, false].map(|one_by_one| {
                let load = LoadParams { one_by_one, ..LoadParams::default() };
                let model = Model::load(&context, &plan, load).unwrap();
                let speeds = speeds(rig, &model, 16);
                let before = rig.launches();
                decode(&model, 1000, 1);
                (rig.launches() - before, 1.0 / speeds.decode)
            });
            println!("{tag:18} {:28} {:8} {:24.2} {:8.2}", own[0].0, own[1].0, own[0].1, own[1].1);
            assert!(own[1].0 <= most, "{tag}: {} launches", own[1].0);
            rig.check(tag);
            std::fs::remove_file(&path).unwrap();
        }
    });
}

/// Layers on one die and split over two, by the clock and by the plan: both decode and prompts within 10 % of each
/// other.
#[test]
fn predictions_are_the_clocks() {
    with_rig("timing::predictions_are_the_clocks", TIMED, |rig| {
        println!("model             dies  decode t/s: clock   plan   prompt t/s: clock   plan   dies busy");
        for (tag, n_dies) in [("llama3.1:8b", 1), ("llama3.1:8b", 2), ("deepseek-r1:14b", 1), ("deepseek-r1:14b", 2)] {
            // A prompt so short that attention hardly counts: the plan's figures are those of an empty context.
            let (plan, own, _context) = timed(rig, tag, n_dies, false, 128);
            let told = plan.prediction.expect("a plan on dies has a prediction");
            let launches = rig.launches();
            let share: Vec<_> = (0..n_dies as i32).map(|d| format!("{:.0} ms", rig.busy(d) * 1e-3)).collect();
            println!(
                "{tag:17} {n_dies:4} {:18.2} {:6.2} {:19.1} {:6.1}   {} ({launches} launches)",
                1.0 / own.decode,
                told.decode,
                1.0 / own.prompt,
                told.prompt,
                share.join(", ")
            );
            if n_dies == 1 {
                println!("{}", rig.profile());
            }
            let near = |plan: f64, clock: f64, within: f64| (plan * clock - 1.0).abs() <= within;
            let decode = near(told.decode, own.decode, 0.1);
            assert!(decode, "{tag}: decode {} s, planned {}", own.decode, 1.0 / told.decode);
            let prompt = near(told.prompt, own.prompt, 0.1);
            assert!(prompt, "{tag}: prompt {} s, planned {}", own.prompt, 1.0 / told.prompt);
            rig.check(tag);
        }
    });
}

/// A token decoded by groups of two and four dies against one die, by the clock, and the plan's prediction of it, which
/// is within 10 % for two dies. The plan does not know what four dies wait for each other. The output is not shared,
/// and products of fewer rows or columns do not read as fast: so it is less than the dies are.
#[test]
fn groups_decode_faster() {
    with_rig("timing::groups_decode_faster", TIMED, |rig| {
        println!("model             dies  decode t/s: clock   plan   times one die   dies busy   calls launches");
        for (tag, dies) in
            [("llama3.1:8b", &[(1, 1.0), (2, 1.6)][..]), ("deepseek-r1:14b", &[(1, 1.0), (2, 1.65), (4, 2.15)][..])]
        {
            let mut one = 0.0;
            for (n_dies, least) in dies.iter().copied() {
                let (plan, own, _context) = timed(rig, tag, n_dies, n_dies > 1, 128);
                let told = plan.prediction.expect("a plan on dies has a prediction").decode;
                one = if n_dies == 1 { own.decode } else { one };
                let share: Vec<_> = (0..n_dies as i32).map(|d| format!("{:.0} ms", rig.busy(d) * 1e-3)).collect();
                println!(
                    "{tag:17} {n_dies:4} {:18.2} {told:6.2} {:15.2}   {} {} {}",
                    1.0 / own.decode,
                    one / own.decode,
                    share.join(", "),
                    rig.calls(),
                    rig.launches()
                );
                if std::env::var_os("REKINDLE_PROFILE").is_some() {
                    println!("{}", rig.profile());
                }
                assert!(one / own.decode >= least, "{tag} on {n_dies}: {:.2} times one die", one / own.decode);
                let off = (told * own.decode - 1.0).abs();
                assert!(off < if n_dies > 2 { 0.2 } else { 0.1 }, "{tag} on {n_dies}: the plan is {off:.2} off");
                rig.check(tag);
            }
        }
    });
}
