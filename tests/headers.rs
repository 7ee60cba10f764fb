//! Header-only files of real models open with the keys and the directory they were written with, and plan on real
//! shapes.

mod support;

#[path = "support/headers/mod.rs"]
mod headers;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use headers::{Header, ModelRow, Tensor, Value};
use rekindle::gguf::{self, Gguf};
use rekindle::quant::Type;

const GIB: f64 = (1u64 << 30) as f64;
const MOST_ON_DISK: u64 = 40 << 20;

fn folder() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("headers");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// The JSON files; none, with a line that says so, where the folder is missing.
fn directories() -> Vec<PathBuf> {
    let Some(tensors) = support::model_file("shared:tensors") else { return Vec::new() };
    headers::directories(tensors.parent().unwrap()).unwrap()
}

fn listed(file: &Gguf) -> Vec<Tensor> {
    file.tensors().iter().map(|t| Tensor::new(&t.name, t.ty, &t.ne[..t.n_dims as usize])).collect()
}

/// Opens the file, compares it with `header`, and builds its graph where the architecture has one.
fn check(path: &Path, header: &Header) {
    let meta = std::fs::metadata(path).unwrap();
    assert!(meta.blocks() * 512 < MOST_ON_DISK, "{} takes {} bytes", path.display(), meta.blocks() * 512);
    let file = Gguf::open(path).unwrap();
    assert_eq!(file.n_bytes(), meta.len());
    assert_eq!(listed(&file), header.tensors, "{}", path.display());
    assert_eq!(file.keys().len(), header.keys.len(), "{}", path.display());
    for (name, value) in &header.keys {
        assert!(same(file.get(name).unwrap(), value), "{}: key {name}", path.display());
    }
    if let Some(n) = file.get_u64("general.parameter_count").unwrap() {
        assert_eq!(header.parameters(), n, "{}", path.display());
    }
    let n_vocab = file.tensor("token_embd.weight").unwrap().ne[1];
    for key in ["tokens", "scores", "token_type"] {
        if let Some(a) = file.get_array(&format!("tokenizer.ggml.{key}")).unwrap() {
            assert_eq!(a.len() as u64, n_vocab, "{}: {key}", path.display());
        }
    }
    let arch = rekindle::arch::architecture(&file).unwrap();
    if ["llama", "qwen2"].contains(&arch) {
        let (h, graph) = rekindle::arch::build(&file).unwrap();
        assert_eq!(h.n_vocab as u64, n_vocab);
        assert!(!graph.weights.is_empty());
    }
}

fn same(read: gguf::Value, written: &Value) -> bool {
    use gguf::Value as R;
    match (read, written) {
        (R::U32(a), Value::U32(b)) => a == *b,
        (R::I32(a), Value::I32(b)) => a == *b,
        (R::F32(a), Value::F32(b)) => a == *b,
        (R::Bool(a), Value::Bool(b)) => a == *b,
        (R::U64(a), Value::U64(b)) => a == *b,
        (R::Str(a), Value::Str(b)) => a == b.as_bytes(),
        (R::Array(a), Value::Strs(b)) => a.len() == b.len() && a.strs().unwrap().eq(b.iter().map(String::as_bytes)),
        (R::Array(a), Value::I32s(b)) => a.elem_type() == gguf::ValueType::I32 && a.i32s().unwrap() == *b,
        (R::Array(a), Value::F32s(b)) => a.elem_type() == gguf::ValueType::F32 && a.f32s().unwrap() == *b,
        (R::Array(a), Value::Bools(b)) => a.iter().eq(b.iter().map(|b| R::Bool(*b))),
        _ => false,
    }
}

/// The JSON's own words against the file's: nothing may be lost on the way through `Header`.
fn check_against_json(path: &Path, json: &serde_json::Value) {
    let file = Gguf::open(path).unwrap();
    let info = json["model_info"].as_object().unwrap();
    let left_out: Vec<_> = info.keys().filter(|k| file.get(k).is_none()).collect();
    assert!(left_out.is_empty() && file.keys().len() == info.len(), "{}: without {left_out:?}", path.display());
    for (name, want) in info {
        let have = file.get(name).unwrap();
        let equal = match want {
            serde_json::Value::Null => matches!(have, gguf::Value::Array(a) if !a.is_empty()),
            serde_json::Value::Bool(b) => have == gguf::Value::Bool(*b),
            serde_json::Value::String(s) => have == gguf::Value::Str(s.as_bytes()),
            n => have.as_float().unwrap() as f32 == n.as_f64().unwrap() as f32,
        };
        assert!(equal, "{}: key {name} is {have:?}, the JSON has {want}", path.display());
    }
    let entry = |t: &Tensor| serde_json::json!([t.name, t.ty.name(), t.shape]);
    let have: Vec<_> = listed(&file).iter().map(entry).collect();
    assert_eq!(&have, json["tensors"].as_array().unwrap(), "{}", path.display());
}

#[test]
fn directories_of_real_files_open_as_they_were_listed() {
    for json in directories() {
        let path = folder().join(json.with_extension("gguf").file_name().unwrap());
        let text = support::json(&json);
        headers::from_directory(&json, &path).unwrap();
        check(&path, &headers::of_directory(&text).unwrap());
        check_against_json(&path, &text);
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn rows_open_as_they_were_written() {
    for row in headers::all_rows() {
        let path = folder().join(headers::file_name(row.tag));
        headers::from_row(row, &path).unwrap();
        check(&path, &headers::of_row(row));
        std::fs::remove_file(path).unwrap();
    }
}

/// Planning needs only counts, but a host that opens the file also asks for its tokeniser.
#[test]
fn made_vocabularies_load() {
    for tag in ["deepseek-r1:14b", "llama3.2:1b", "gemma3:4b", "gpt-oss:20b"] {
        let path = folder().join(format!("vocabulary-{}", headers::file_name(tag)));
        headers::from_row(headers::row(tag), &path).unwrap();
        let vocab = rekindle::vocab::Vocab::from_gguf(&Gguf::open(&path).unwrap()).unwrap();
        assert_eq!(vocab.n_tokens(), headers::row(tag).vocab as usize);
        let lengths: usize = (0..vocab.n_tokens() as i32).map(|id| vocab.token_text(id).unwrap().len()).sum();
        let mean = lengths as f64 / vocab.n_tokens() as f64;
        assert!((5.0..9.0).contains(&mean), "{tag}: tokens of {mean:.2} bytes in the mean");
        std::fs::remove_file(path).unwrap();
    }
}

/// 7.96 GiB without token_embd, 0.59 GiB of them the output.
#[test]
fn deepseek_r1_14b_has_its_known_size() {
    let h = headers::of_row(headers::row("deepseek-r1:14b"));
    let bytes =
        |f: &dyn Fn(&str) -> bool| h.tensors.iter().filter(|t| f(&t.name)).map(Tensor::bytes).sum::<u64>() as f64 / GIB;
    assert_eq!(format!("{:.2}", bytes(&|n| n != "token_embd.weight")), "7.96");
    assert_eq!(format!("{:.2}", bytes(&|n| n == "output.weight")), "0.59");
}

fn real(file: &str) -> Option<Header> {
    let json = support::model_file(&format!("shared:tensors/{file}.json"))?;
    Some(headers::of_directory(&support::json(&json)).unwrap())
}

fn sorted(mut t: Vec<Tensor>) -> Vec<Tensor> {
    t.sort();
    t
}

/// For real directories that are at hand, the rule gives the same tensors, and in the same order if llama.cpp made the
/// file.
#[test]
fn rows_give_the_tensors_of_real_files() {
    let qwen3_1_7b = ModelRow {
        layers: 28,
        d: 2048,
        heads: 16,
        ff: 6144,
        context: 40960,
        yarn: None,
        ..*headers::row("deepseek-r1:8b-2025-05")
    };
    let gemma3_1b = ModelRow {
        layers: 26,
        d: 1152,
        heads: 4,
        heads_kv: 1,
        ff: 6912,
        window: Some(512),
        ..*headers::row("gemma3:4b")
    };
    let cogito_3b = ModelRow { layers: 28, d: 3072, heads: 24, ff: 8192, ..*headers::row("llama3.1:8b") };
    for (file, row) in [
        ("deepseek-r1-1.5b_Q4_K_M", *headers::row("deepseek-r1:1.5b")),
        ("deepcoder-1.5b_Q4_K_M", *headers::row("deepseek-r1:1.5b")),
        ("deepseek-r1-8b_Q4_K_M", *headers::row("deepseek-r1:8b-2025-05")),
        ("qwen3-1.7b_Q4_K_M", qwen3_1_7b),
        ("gemma3-1b_Q4_K_M", gemma3_1b),
        ("cogito-3b_Q4_K_M", cogito_3b),
    ] {
        let Some(real) = real(file) else { continue };
        assert_eq!(headers::of_row(&row).tensors, real.tensors, "{file}");
    }
}

/// Other makers count layers in another order: which are Q6_K differs, how many and how many bytes does not.
#[test]
fn rows_give_the_bytes_of_real_files() {
    let Some(real) = real("mistral-7b_Q4_K_M") else { return };
    let row = headers::of_row(headers::row("mistral:7b"));
    let total = |h: &Header| h.tensors.iter().map(Tensor::bytes).sum::<u64>();
    let six = |h: &Header, of: &str| h.tensors.iter().filter(|t| t.ty == Type::Q6_K && t.name.contains(of)).count();
    assert_eq!(total(&row), total(&real));
    for of in ["attn_v", "ffn_down"] {
        assert_eq!((six(&row, of), six(&real, of)), (16, 16), "{of}");
    }
    let untyped = |h: &Header| sorted(h.tensors.iter().map(|t| Tensor { ty: Type::F32, ..t.clone() }).collect());
    assert_eq!(untyped(&row), untyped(&real));
}

/// A row says of its architecture what the real file says.
#[test]
fn rows_give_the_keys_of_real_files() {
    for (file, tag) in
        [("deepseek-r1-1.5b_Q4_K_M", "deepseek-r1:1.5b"), ("deepseek-r1-8b_Q4_K_M", "deepseek-r1:8b-2025-05")]
    {
        let Some(real) = real(file) else { continue };
        let row = headers::of_row(headers::row(tag));
        let own = |h: &Header| {
            let mut keys: Vec<_> = h.keys.iter().filter(|k| k.0.starts_with("qwen")).cloned().collect();
            keys.sort_by(|a, b| a.0.cmp(&b.0));
            keys
        };
        assert_eq!(own(&row), own(&real), "{file}");
    }
}

/// Types that neither a real directory at hand nor a plain Q4_K shows.
#[test]
fn fallbacks_follow_the_rows() {
    let ty = |tag: &str, name: &str| {
        let h = headers::of_row(headers::row(tag));
        h.tensors.iter().find(|t| t.name == name).unwrap_or_else(|| panic!("{tag}: no {name}")).ty
    };
    assert_eq!(ty("qwen2.5:0.5b", "token_embd.weight"), Type::Q8_0);
    assert_eq!(ty("qwen2.5:0.5b", "blk.0.attn_q.weight"), Type::Q5_0);
    assert_eq!(ty("deepseek-v2-lite", "blk.1.ffn_down_exps.weight"), Type::Q8_0);
    assert_eq!(ty("deepseek-v2-lite", "blk.3.ffn_down_exps.weight"), Type::Q5_0);
    assert_eq!(ty("deepseek-v2-lite", "blk.0.ffn_down.weight"), Type::Q8_0);
    assert_eq!(ty("deepseek-r1:70b", "blk.10.attn_v.weight"), Type::Q5_K);
    assert_eq!(ty("phi3:3.8b", "blk.0.attn_qkv.weight"), Type::Q5_K);
    assert_eq!(ty("gpt-oss:20b", "blk.0.ffn_down_exps.weight"), Type::MXFP4);
}

/// Counts of tensors, of those in F32, and sizes in GiB, as loaders reported them for real files; prediction layers are
/// taken off. Types and shapes are the quantiser's and the converter's work, so equal counts and bytes say that both
/// rules are right here.
#[test]
fn varied_rows_have_the_sizes_of_real_files() {
    for (tag, tensors, plain, gib) in [
        ("qwen3.5:9b", None, None, Some("5.23")),
        ("qwen3.6:27b", Some(866 - 15), Some(360 - 7), Some("15.401")),
        ("qwen3.6:35b-a3b", Some(753 - 20), Some(310 - 9), None),
        ("gemma4:26b-a4b", Some(658), Some(392), None),
        ("gemma4:31b", Some(833), None, None),
        ("gemma4:e4b", Some(720), Some(339), Some("4.95")),
    ] {
        let h = headers::of_row(headers::row(tag));
        let bytes = h.tensors.iter().map(Tensor::bytes).sum::<u64>() as f64 / GIB;
        assert!(tensors.is_none_or(|n| n == h.tensors.len()), "{tag}: {} tensors", h.tensors.len());
        let f32s = h.tensors.iter().filter(|t| t.ty == Type::F32).count();
        assert!(plain.is_none_or(|n| n == f32s), "{tag}: {f32s} in F32");
        let digits = |told: &str| told.split_once('.').map_or(0, |(_, d)| d.len());
        assert!(gib.is_none_or(|told| format!("{bytes:.*}", digits(told)) == told), "{tag}: {bytes} GiB");
    }
}

/// Published parameter counts, and of granite4:h-small the size of its weights at two bytes each: 59.99 GiB. Another
/// number of recurrent heads, another length of their state or an output of its own would give another size.
#[test]
fn varied_rows_have_the_parameters_of_real_models() {
    let parameters = |tag: &str| headers::of_row(headers::row(tag)).parameters() as f64;
    for (tag, billions) in
        [("gemma4:31b", "30.70"), ("nemotron-3-nano:30b-a3b", "31.6"), ("lfm2.5:8b-a1b", "8.5"), ("qwen3.5:9b", "8.95")]
    {
        let digits = billions.split_once('.').map_or(0, |(_, d)| d.len());
        assert_eq!(format!("{:.*}", digits, parameters(tag) / 1e9), billions, "{tag}");
    }
    assert_eq!(format!("{:.2}", 2.0 * parameters("granite4:h-small") / GIB), "59.99");
}
