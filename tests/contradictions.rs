//! Files whose keys or tensors contradict each other: each is refused with a message that names the culprit.

#[path = "support/headers/mod.rs"]
mod headers;

use headers::{Header, Tensor, Value, of_row, row};
use rekindle::error::{Error, Status};
use rekindle::gguf::Gguf;
use rekindle::quant::Type;

fn refusal(name: &str, tag: &str, change: impl Fn(&mut Header)) -> Error {
    let mut header = of_row(row(tag));
    change(&mut header);
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("contradiction-{name}.gguf"));
    header.write(&path).unwrap();
    let result = rekindle::arch::build(&Gguf::open(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    result.err().unwrap_or_else(|| panic!("{name}: the graph was built"))
}

fn set(header: &mut Header, key: &str, value: impl Into<Value>) {
    header.keys.retain(|(k, _)| k != key);
    header.keys.push((key.to_owned(), value.into()));
}

fn lose(header: &mut Header, tensor: &str) {
    let before = header.tensors.len();
    header.tensors.retain(|t| t.name != tensor);
    assert_eq!(header.tensors.len() + 1, before, "{tensor}");
}

#[test]
fn each_is_named() {
    type Change = fn(&mut Header);
    let cases: [(&str, &str, Change, &str); 13] = [
        ("more-used", "qwen3:30b-a3b", |h| set(h, "qwen3moe.expert_used_count", 129u32), "qwen3moe.expert_used_count"),
        ("none-used", "qwen3:30b-a3b", |h| set(h, "qwen3moe.expert_used_count", 0u32), "qwen3moe.expert_used_count"),
        ("no-experts", "qwen3:30b-a3b", |h| lose(h, "blk.3.ffn_up_exps.weight"), "blk.3.ffn_up_exps.weight"),
        ("no-router", "qwen3:30b-a3b", |h| lose(h, "blk.0.ffn_gate_inp.weight"), "blk.0.ffn_gate_inp.weight"),
        ("dense", "qwen3:30b-a3b", |h| set(h, "qwen3moe.expert_count", 0u32), "blk.0.ffn_up.weight"),
        ("no-sinks", "gpt-oss:20b", |h| lose(h, "blk.1.attn_sinks.weight"), "blk.1.attn_sinks.weight"),
        (
            "no-window",
            "gpt-oss:20b",
            |h| set(h, "gpt-oss.attention.sliding_window", 0u32),
            "gpt-oss.attention.sliding_window",
        ),
        (
            "short-pattern",
            "gemma3:4b",
            |h| set(h, "gemma3.attention.sliding_window_pattern", Value::Bools(vec![true; 3])),
            "gemma3.attention.sliding_window_pattern",
        ),
        (
            "head-length",
            "llama3.1:8b",
            |h| set(h, "llama.attention.head_count_kv", 7u32),
            "llama.attention.head_count_kv",
        ),
        (
            "rope",
            "deepseek-v2-lite",
            |h| set(h, "deepseek2.rope.dimension_count", 192u32),
            "deepseek2.rope.dimension_count",
        ),
        (
            "groups",
            "deepseek-v2-lite",
            |h| set(h, "deepseek2.expert_group_count", 7u32),
            "deepseek2.expert_group_count",
        ),
        (
            "gating",
            "deepseek-v2-lite",
            |h| set(h, "deepseek2.expert_gating_func", 9u32),
            "deepseek2.expert_gating_func",
        ),
        (
            "no-trunk",
            "deepseek-v2-lite",
            |h| set(h, "deepseek2.nextn_predict_layers", 27u32),
            "deepseek2.nextn_predict_layers",
        ),
    ];
    for (name, tag, change, subject) in cases {
        let e = refusal(name, tag, change);
        assert!(matches!(e.status, Status::BadFile | Status::Unsupported), "{name}: {e}");
        assert_eq!(e.detail.subject, subject, "{name}: {e}");
        assert!(e.message.contains(subject), "{name}: {e}");
    }
}

/// Without the key that says which layers predict further tokens, the trunk would end in one of them.
#[test]
fn layers_that_predict_further_tokens_are_counted() {
    let name = "blk.26.nextn.eh_proj.weight";
    let e = refusal("nextn", "deepseek-v2-lite", |h| h.tensors.push(Tensor::new(name, Type::F32, &[4096, 2048])));
    assert_eq!((e.status, e.detail.subject.as_str()), (Status::Unsupported, name), "{e}");
}

/// One of the two tensors of longrope alone would be read, and not used.
#[test]
fn factors_of_a_rope_come_in_twos() {
    for (there, missing) in [("long", "short"), ("short", "long")] {
        let name = format!("rope_factors_{there}.weight");
        let e =
            refusal(&format!("rope-{there}"), "phi3:3.8b", |h| h.tensors.push(Tensor::new(&name, Type::F32, &[48])));
        let subject = format!("rope_factors_{missing}.weight");
        assert_eq!((e.status, e.detail.subject), (Status::BadFile, subject));
    }
}

/// A tensor that the graph does not read would be a model that decodes wrongly.
#[test]
fn what_nobody_reads_is_refused() {
    let e = refusal("unread", "llama3.1:8b", |h| {
        let mut extra = h.tensors.iter().find(|t| t.name == "blk.2.attn_norm.weight").unwrap().clone();
        extra.name = "blk.2.attn_sub_norm.weight".to_owned();
        h.tensors.push(extra);
    });
    assert_eq!((e.status, e.detail.subject.as_str()), (Status::Unsupported, "blk.2.attn_sub_norm.weight"));
}

/// The same file as one of another family.
fn renamed(header: &mut Header, from: &str, to: &str) {
    set(header, "general.architecture", to);
    for (key, _) in &mut header.keys {
        if let Some(rest) = key.strip_prefix(&format!("{from}.")) {
            *key = format!("{to}.{rest}");
        }
    }
}

/// A gemma4 of gemma3's sizes: every sixth layer sees all, the others a window.
fn gemma4(header: &mut Header) {
    renamed(header, "gemma3", "gemma4");
    set(header, "gemma4.attention.key_length_swa", 256u32);
    let pattern = (0..34).map(|i| i % 6 != 5).collect();
    set(header, "gemma4.attention.sliding_window_pattern", Value::Bools(pattern));
}

/// Arrays that do not cover all layers, sections that are not four, caches that nobody keeps.
#[test]
fn what_layers_say_of_themselves_is_checked() {
    type Change = fn(&mut Header);
    let cases: [(&str, &str, Change, &str); 8] = [
        (
            "sections",
            "qwen3:30b-a3b",
            |h| {
                renamed(h, "qwen3moe", "qwen3vlmoe");
                set(h, "qwen3vlmoe.rope.dimension_sections", Value::I32s(vec![24, 20, 20]));
            },
            "qwen3vlmoe.rope.dimension_sections",
        ),
        (
            "pattern",
            "gemma3:4b",
            |h| {
                gemma4(h);
                set(h, "gemma4.attention.sliding_window_pattern", Value::Bools(vec![true; 33]));
            },
            "gemma4.attention.sliding_window_pattern",
        ),
        (
            "no-pattern",
            "gemma3:4b",
            |h| {
                gemma4(h);
                h.keys.retain(|(k, _)| k != "gemma4.attention.sliding_window_pattern");
            },
            "gemma4.attention.sliding_window_pattern",
        ),
        // All layers would read caches of others.
        (
            "all-shared",
            "gemma3:4b",
            |h| {
                gemma4(h);
                set(h, "gemma4.attention.shared_kv_layers", 34u32);
            },
            "gemma4.attention.shared_kv_layers",
        ),
        // The last two layers with caches of their own both have a window, so layers without would read one of those.
        (
            "one-kind-shared",
            "gemma3:4b",
            |h| {
                gemma4(h);
                set(h, "gemma4.attention.shared_kv_layers", 31u32);
            },
            "gemma4.attention.shared_kv_layers",
        ),
        ("no-scale", "llama3.1:8b", |h| renamed(h, "llama", "granite"), "granite.logit_scale"),
        (
            "limits",
            "qwen3:30b-a3b",
            |h| {
                renamed(h, "qwen3moe", "step35");
                set(h, "step35.attention.sliding_window", 512u32);
                set(h, "step35.attention.sliding_window_pattern", 4u32);
                set(h, "step35.swiglu_clamp_exp", Value::F32s(vec![7.0; 5]));
            },
            "step35.swiglu_clamp_exp",
        ),
        (
            "no-feed-forward",
            "llama3.1:8b",
            |h| {
                let mut widths = vec![14336; 32];
                widths[7] = 0;
                set(h, "llama.feed_forward_length", Value::I32s(widths));
            },
            "llama.feed_forward_length",
        ),
    ];
    for (name, tag, change, subject) in cases {
        let e = refusal(name, tag, change);
        assert!(matches!(e.status, Status::BadFile | Status::Unsupported), "{name}: {e}");
        assert_eq!(e.detail.subject, subject, "{name}: {e}");
        assert!(e.message.contains(subject), "{name}: {e}");
    }
}
