//! Shapes read from files: real tensor directories, keys per layer, keys that are missing or hostile.

use std::path::{Path, PathBuf};

use super::gguf::{Val, in_memory, sparse};
use super::*;
use crate::error::Error;
use crate::gguf::Gguf;

/// Name, then bytes of all layers, of layer 0, of the output and of the KV cache at 4096 tokens in F16, and F and P
/// before the margin; computed apart from the same directories.
const REAL: &[(&str, [u64; 6])] = &[
    ("codellama-7b_Q4_0", [3643801600, 113868800, 107590144, 2147483648, 310380544, 370149376]),
    ("cogito-3b_Q4_K_M", [1688322048, 63946752, 323217408, 469762048, 268959744, 598456320]),
    ("deepcoder-1.5b_Q4_K_M", [788652032, 29990912, 191445504, 117440512, 314310656, 505750016]),
    ("deepseek-r1-1.5b_Q4_K_M", [788652032, 29990912, 191445504, 117440512, 314310656, 505750016]),
    ("deepseek-r1-8b_Q4_K_M", [4358836224, 127566848, 510521344, 603979776, 402653184, 402653184]),
    ("gemma-2b_Q4_0", [1115062272, 61947904, 557342720, 75497472, 528744448, 959039488]),
    ("gemma3-1b_Q4_K_M", [478656256, 19491584, 320868864, 39845888, 539230208, 786956288]),
    ("gemma3n-e2b_Q4_K_M", [1115414208, 39631520, 440840192, 251658240, 2166358016, 3929686016]),
    ("llama3.2-1b_Q8_0", [1034158080, 64634880, 279093248, 134217728, 293603328, 486526976]),
    ("mistral-7b_Q4_0", [3926917120, 122716160, 110116864, 536870912, 310380544, 319817728]),
    ("mistral-7b_Q4_K_M", [4186439680, 138936320, 110116864, 536870912, 310380544, 319817728]),
    ("qwen2.5vl-7b_Q4_K_M", [3923476480, 149112832, 447082496, 234881024, 274027861, 274027861]),
    ("qwen3-1.7b_Q4_K_M", [923037696, 34587648, 255260672, 469762048, 156587349, 156587349]),
    ("smollm2-1.7b_Q8_0", [1711669248, 71319552, 106962944, 805306368, 293603328, 321128448]),
];

#[test]
fn real_tensor_directories() {
    let given = std::env::var_os("REKINDLE_SHARED").map(PathBuf::from);
    let folder = given.clone().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    if given.is_none() && !folder.exists() {
        println!("SKIPPED: no folder {} (set REKINDLE_SHARED)", folder.display());
        return;
    }
    for (name, expected) in REAL {
        let path = folder.join("tensors").join(format!("{name}.json"));
        let Ok(text) = std::fs::read_to_string(&path) else {
            // Automatic runs that were given the folder must not pass without its files.
            assert!(std::env::var_os("CI").is_none(), "{} is missing", path.display());
            println!("SKIPPED: no {}", path.display());
            continue;
        };
        let shape = Shape::read(&from_json(name, &text)).unwrap();
        let e = estimate(&shape, &Query { margin: 1.0, ..query(4096, &[]) });
        let layers: u64 = shape.layer_weights.iter().sum();
        let kv: u64 = e.layer_kv.iter().sum();
        assert_eq!([layers, shape.layer_weights[0], shape.output_weights, kv, e.full, e.partial], *expected, "{name}");
    }
}

/// The file that a directory describes; long arrays, which are null there, are left out.
fn from_json(name: &str, text: &str) -> Gguf {
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    let keys: Vec<(String, Val)> = json["model_info"]
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(key, value)| {
            let text = value.as_str().map(|s| Val::Str(s.to_owned()));
            let number = || value.as_u64().and_then(|n| u32::try_from(n).ok()).map(Val::U32);
            Some((key.clone(), text.or_else(number)?))
        })
        .collect();
    let tensors: Vec<(String, Type, Vec<u64>)> = json["tensors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| {
            let ty = Type::from_name(t[1].as_str().unwrap()).unwrap();
            let shape = t[2].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
            (t[0].as_str().unwrap().to_owned(), ty, shape)
        })
        .collect();
    sparse(name, &keys, &tensors)
}

/// An architecture without a graph, with these keys besides the two that are needed.
fn with_keys(keys: Vec<(&str, Val)>) -> Result<Shape, Error> {
    let mut all: Vec<(String, Val)> = vec![
        ("general.architecture".to_owned(), Val::Str("odd".to_owned())),
        ("odd.block_count".to_owned(), Val::U32(3)),
        ("odd.embedding_length".to_owned(), Val::U32(64)),
    ];
    for (key, value) in keys {
        all.retain(|(name, _)| name != key);
        all.push((key.to_owned(), value));
    }
    let tensors: Vec<(String, Type, Vec<u64>)> = [
        ("token_embd.weight", vec![64, 11]),
        ("output_norm.weight", vec![64]),
        ("blk.0.attn_qkv.bias", vec![96]),
        ("blk.2.ffn_gate_exps.weight", vec![64, 8, 2]),
        ("blk.3.past_the_last.weight", vec![64]),
        ("blk.x.no_number.weight", vec![64]),
        ("v.blk.1.of_another_tower.weight", vec![64]),
        ("rope_freqs.weight", vec![16]),
    ]
    .map(|(name, shape)| (name.to_owned(), Type::F32, shape))
    .into();
    Shape::read(&in_memory(&all, &tensors))
}

#[test]
fn missing_keys_have_defaults() {
    let s = with_keys(vec![]).unwrap();
    assert_eq!(
        (s.n_layer(), s.n_head, s.n_head_kv, s.head_dim_k, s.n_vocab, s.n_ff, s.window),
        (3, 1, 1, 64, 11, 0, None)
    );
    assert_eq!(s.layer_weights, [96 * 4, 0, 1024 * 4]);
    // Tied: the embedding stands for the output.
    assert_eq!(s.output_weights, (11 + 1) * 64 * 4);
    assert_eq!((s.n_qkv_bias, s.n_rope_freqs, s.expert_gate_bytes, s.expert_gate_rows), (Some(96), 16, None, None));
    let s = with_keys(vec![("odd.attention.head_count", Val::U32(4))]).unwrap();
    assert_eq!((s.n_head_kv, s.n_head_kv_min, s.head_dim_k, s.head_dim_v), (4, 4, 16, 16));
    let s = with_keys(vec![("tokenizer.ggml.tokens", Val::Strs(vec!["a", "b"]))]).unwrap();
    assert_eq!(s.n_vocab, 2);
}

#[test]
fn keys_per_layer() {
    let s = with_keys(vec![
        ("odd.attention.head_count", Val::U32s(vec![8, 16, 8])),
        ("odd.attention.head_count_kv", Val::U32s(vec![4, 0, 2])),
        ("odd.feed_forward_length", Val::U32s(vec![100, 300, 200])),
        ("odd.attention.key_length", Val::U32(12)),
    ])
    .unwrap();
    assert_eq!((s.n_head, s.n_head_kv, s.n_head_kv_min, s.n_ff), (16, 4, 0, 300));
    assert_eq!((s.head_dim_k, s.head_dim_v), (12, 4));
    // No least count of KV heads: divided by one, not by zero.
    let e = estimate(&s, &Query { margin: 1.0, ..query(100, &[]) });
    assert_eq!(e.partial, 16 * (3 * 100 * (12 + 4) * 4 * 2) / 6);
    // No heads at all, as in recurrent models.
    let s = with_keys(vec![("odd.attention.head_count", Val::U32(0))]).unwrap();
    assert_eq!((s.head_dim_k, estimate(&s, &query(100, &[])).full), (0, 0));
}

#[test]
fn bad_keys_are_named() {
    let subject = |key, value| with_keys(vec![(key, value)]).unwrap_err().detail.subject;
    for (key, value) in [
        ("odd.block_count", Val::U32(0)),
        ("odd.block_count", Val::U32(u32::MAX)),
        ("odd.block_count", Val::U32s(vec![])),
        ("odd.embedding_length", Val::U32(0)),
        ("odd.attention.head_count", Val::I32(-1)),
        ("odd.attention.head_count_kv", Val::U32s(vec![1, u32::MAX])),
        ("odd.attention.key_length", Val::Str("long".to_owned())),
        ("odd.attention.sliding_window", Val::Strs(vec!["wide"])),
    ] {
        assert_eq!(subject(key, value), key);
    }
    // Keys of another architecture are not its own.
    assert_eq!(subject("general.architecture", Val::Str("other".to_owned())), "other.block_count");
}
