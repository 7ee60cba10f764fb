//! Places that the caller chooses by patterns of tensors' names.

use super::*;

const MIXTURE: &str = "qwen3:30b-a3b";

fn placed(tag: &str, devices: &str, placements: &str) -> rekindle::Result<Plan> {
    let params = Params { placements: placements.into(), ..with_kv(Type::F16, 4096) };
    Plan::new(&context(devices), &file(tag), &params)
}

/// The layers whose experts are on another device.
fn apart(p: &Plan) -> Vec<u32> {
    p.layers.iter().filter(|l| l.experts_device != l.device).map(|l| l.layer).collect()
}

#[test]
fn experts_are_where_the_caller_puts_them() {
    let host = die_and_host(2, 64);
    let (free, p) =
        (placed(MIXTURE, &host, "").unwrap(), placed(MIXTURE, &host, r"blk\.(3|5|6)\..*_exps=CPU").unwrap());
    assert!(free.fits && apart(&free).is_empty() && p.fits, "{}", p.text());
    assert_eq!(apart(&p), [3, 5, 6]);
    assert!(p.layers.iter().all(|l| l.device < 2), "{}", p.text());
    // The dies have just the bytes of these experts less, and the CPU reads them from the map.
    let weights = |p: &Plan| p.devices[..2].iter().map(|d| d.memory.weights).sum::<u64>();
    let moved = weights(&free) - weights(&p);
    assert_eq!(moved, p.devices[2].memory.mapped - free.devices[2].memory.mapped);
    assert!(moved > 3 * 200 * MIB, "{moved}");
    let reason = "experts of layers 3, 5-6 on the CPU: placements";
    assert!(p.reasons.iter().any(|r| r == reason), "{:?}", p.reasons);
    assert!(p.prediction.unwrap().decode < free.prediction.unwrap().decode);
    // More of them go there if the dies are too small.
    let small = placed(MIXTURE, &die_and_host(1, 64), r"blk\.40\..*_exps=CPU").unwrap();
    let n = apart(&small).len() as u32;
    assert!(small.fits && apart(&small) == (0..n - 1).chain([40]).collect::<Vec<_>>(), "{}", small.text());
}

/// A plan that names just the planner's own choice is the same plan.
#[test]
fn naming_the_planner_s_choice_changes_nothing() {
    let host = die_and_host(1, 64);
    let own = placed(MIXTURE, &host, "").unwrap();
    let named = apart(&own).iter().map(|l| format!(r"blk\.{l}\..*_exps\.=CPU")).collect::<Vec<_>>().join(",");
    let same = placed(MIXTURE, &host, &named).unwrap();
    assert!(!named.is_empty() && same.fits, "{}", same.text());
    let places = |p: &Plan| p.layers.iter().map(|l| (l.device, l.experts_device)).collect::<Vec<_>>();
    assert_eq!(places(&own), places(&same));
    for (a, b) in own.devices.iter().zip(&same.devices) {
        assert_eq!(a.memory, b.memory);
    }
    let (a, b) = (own.prediction.unwrap().decode, same.prediction.unwrap().decode);
    assert!((a / b - 1.0).abs() < 1e-9, "{a} {b}");
}

#[test]
fn whole_layers_are_where_the_caller_puts_them() {
    let tag = "deepseek-r1:14b";
    let device = |p: &Plan| p.layers.iter().map(|l| l.device).collect::<Vec<_>>();
    let host = die_and_host(2, 64);
    assert_eq!(placed(tag, &host, "").unwrap().n_dies(), 1);
    for (text, layers, at) in [
        (r"blk\.4[0-7]\.=CPU", 40..48, 2),
        (r"blk\.[0-9]\.=CUDA1", 0..10, 1),
        (r"^blk\.4[5-7]\.=CPU, ^blk\.=CUDA1", 0..45, 1),
        (r"^output=CPU", 48..49, 2),
    ] {
        let p = placed(tag, &host, text).unwrap();
        let of = device(&p);
        assert!(p.fits && layers.clone().all(|l| of[l] == at), "{text}: {}", p.text());
        assert!(p.reasons.iter().any(|r| r.ends_with("placements")), "{:?}", p.reasons);
    }
    // Layers 0-19 and 21-47 would be two pieces of device 1.
    let torn = placed(tag, &host, r"^blk\.20\.=CUDA0, ^blk\.=CUDA1").unwrap();
    assert!(!torn.fits && torn.reasons.iter().any(|r| r.starts_with("no order of the devices")), "{}", torn.text());
    // Experts follow their layer, or go to the CPU alone.
    let p = placed(MIXTURE, &host, r"blk\.47\..*_exps=CPU,blk\.47\.=CUDA1,blk\.0\.=CUDA0").unwrap();
    assert_eq!((p.layers[47].device, p.layers[47].experts_device, p.layers[0].device), (1, 2, 0), "{}", p.text());
    // Questions are asked with the CPU, where layers are on it.
    for (placements, n) in [("", 1), (r"blk\.0\.=CUDA0,blk\.4[0-7]\.=CPU", 2), (r"blk\.0\.=CUDA0,blk\.1\.=CUDA1", 2)] {
        let params = Params { placements: placements.into(), ..at(4096) };
        let answer = Plan::ask(&context(&host), &file(tag), &params, Question::FewestDevices).unwrap();
        assert_eq!(answer, Some(Answer::Devices(n)), "{placements}");
    }
}

#[test]
fn other_places_are_refused_by_name() {
    let host = die_and_host(2, 64);
    for (tag, text, expected) in [
        (MIXTURE, "blk", "'blk' has no '='"),
        (MIXTURE, "blk=GPU", "names device 'GPU'"),
        (MIXTURE, "blk=CUDA2", "names device 'CUDA2'"),
        (MIXTURE, "blk(=CPU", "'blk(' is no regular expression"),
        (MIXTURE, r"blk\.99\.=CPU", r"'blk\.99\.=CPU' names no tensor of the model"),
        (MIXTURE, r"blk\.3\.attn_q=CPU", "'blk.3.attn_"),
        (MIXTURE, r"blk\.3\.ffn_up_exps=CPU", "blk.3.ffn_"),
        (MIXTURE, r"blk\.3\.ffn_.*_exps=CUDA0", "on the CPU only"),
        (MIXTURE, r"token_embd=CUDA0", "'token_embd.weight'"),
        (MIXTURE, r"blk\.3\.ffn_up_exps=CPU,blk\.3\..*_exps=CUDA0", "goes to another device"),
    ] {
        let e = placed(tag, &host, text).err().unwrap();
        assert_eq!((e.status, e.detail.subject.as_str()), (Status::InvalidArgument, "placements"), "{text}: {e}");
        assert!(e.message.contains(expected), "{text}: {}", e.message);
    }
    let many = vec!["blk=CPU"; 257].join(",");
    assert!(placed(MIXTURE, &host, &many).err().unwrap().message.contains("more than 256 pairs"));
    assert!(placed(MIXTURE, &host, &"x".repeat(1 << 17)).err().unwrap().message.contains("131072 bytes"));
    assert!(
        placed(MIXTURE, &host, "(((a{100}){100}){100})=CPU").err().unwrap().message.contains("no regular expression")
    );
    // The CPU that takes no layers; formulas, which know no tensors.
    assert!(placed(MIXTURE, "k80:2", "_exps=CPU").is_err());
    let formulas = Params { estimator: EstimatorKind::Family, placements: "_exps=CPU".into(), ..at(4096) };
    let e = Plan::new(&context(&host), &file(MIXTURE), &formulas).err().unwrap();
    assert_eq!(e.status, Status::Unsupported);
    // Too many bytes for the CPU.
    let p = placed(MIXTURE, &die_and_host(2, 8), "_exps=CPU").unwrap();
    assert!(!p.fits, "{}", p.text());
}
