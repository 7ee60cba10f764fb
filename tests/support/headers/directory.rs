//! A header from a file of shared's `tensors` folder: `name`, `model_info` (null for long arrays), `tensors`.

use std::io;

use rekindle::quant::Type;
use serde_json::Value as Json;

use super::vocabulary::{Vocabulary, vocabulary};
use super::writer::{Header, Tensor, Value};

/// Ends of the names of keys that are floats, also where JSON writes them without a point.
const FLOATS: [&str; 10] = [
    "freq_base",
    "freq_base_local",
    "epsilon",
    "scaling.factor",
    "scaling.attn_factor",
    "softcapping",
    "lr_multiplier",
    "attention.scale",
    "expert_weights_scale",
    "logit_scale",
];

/// # Errors
/// Where the JSON is not of that form. Null keys of unknown meaning are left out.
pub fn of_directory(json: &Json) -> io::Result<Header> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let info = json["model_info"].as_object().ok_or_else(|| bad("no model_info"))?;
    let mut h = Header::default();
    for t in json["tensors"].as_array().ok_or_else(|| bad("no tensors"))? {
        let name = t[0].as_str().ok_or_else(|| bad("a tensor without a name"))?;
        let ty = t[1]
            .as_str()
            .and_then(Type::from_name)
            .ok_or_else(|| bad(&format!("{name}: type {} is not known", t[1])))?;
        let shape: Option<Vec<u64>> = t[2].as_array().and_then(|s| s.iter().map(Json::as_u64).collect());
        h.tensors.push(Tensor::new(name, ty, &shape.ok_or_else(|| bad(&format!("{name}: no shape")))?));
    }
    let long = Long::new(json, &h.tensors);
    for (name, v) in info {
        let value = match v {
            Json::Null => long.array(name),
            Json::Bool(b) => Some(Value::Bool(*b)),
            Json::String(s) => Some(Value::Str(s.clone())),
            Json::Number(n) => Some(number(name, n)),
            _ => return Err(bad(&format!("key {name} is {v}"))),
        };
        if let Some(value) = value {
            h.key(name, value);
        }
    }
    Ok(h)
}

/// Counts are u32, what is below zero i32; the parameter count is the one u64.
fn number(name: &str, n: &serde_json::Number) -> Value {
    if name == "general.parameter_count" {
        return Value::U64(n.as_u64().unwrap());
    }
    match n.as_i64() {
        Some(i) if !FLOATS.iter().any(|end| name.ends_with(end)) => {
            u32::try_from(i).map(Value::U32).or(i32::try_from(i).map(Value::I32)).unwrap_or(Value::I64(i))
        }
        _ => Value::F32(n.as_f64().unwrap() as f32),
    }
}

/// The source of the arrays that the JSON leaves out.
struct Long {
    vocab: Vocabulary,
    layers: usize,
}

impl Long {
    fn new(json: &Json, tensors: &[Tensor]) -> Long {
        let info = &json["model_info"];
        let text = |key: &str| info[key].as_str().unwrap_or_default();
        let n_vocab = tensors.iter().find(|t| t.name == "token_embd.weight").map_or(0, |t| t.shape[1]);
        let special: Vec<u32> = info
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(k, _)| k.starts_with("tokenizer.ggml.") && k.ends_with("_token_id"))
            .filter_map(|(_, v)| v.as_u64().map(|id| id as u32))
            .collect();
        let unknown = info["tokenizer.ggml.unknown_token_id"].as_u64().map(|id| id as u32);
        let layers = info[format!("{}.block_count", text("general.architecture"))].as_u64().unwrap_or(0) as usize;
        Long { vocab: vocabulary(text("tokenizer.ggml.model"), n_vocab as usize, &special, unknown), layers }
    }

    fn array(&self, key: &str) -> Option<Value> {
        let strings = |s: &[&str]| Value::Strs(s.iter().map(|s| (*s).to_owned()).collect());
        if let Some(name) = key.strip_prefix("tokenizer.ggml.") {
            return Some(match name {
                "tokens" => self.vocab.tokens.clone().into(),
                "scores" => self.vocab.scores.clone().into(),
                "token_type" => self.vocab.types.clone().into(),
                "merges" => self.vocab.merges.clone().into(),
                // Gemma's end of text and end of turn.
                "eos_token_ids" => vec![1i32, 106].into(),
                _ => return None,
            });
        }
        let name = key.split_once('.')?.1;
        Some(match name {
            "languages" => strings(&["en", "de", "fr"]),
            "tags" => strings(&["facebook", "meta", "text-generation"]),
            "rope.mrope_section" | "rope.dimension_sections" => vec![16i32, 24, 24].into(),
            "vision.fullatt_block_indexes" => vec![7i32, 15, 23, 31].into(),
            // Four local layers, then a global one.
            "attention.sliding_window_pattern" => (0..self.layers).map(|i| i % 5 != 4).collect::<Vec<bool>>().into(),
            // The quantile that leaves 5 % of the first ten layers' activations.
            "activation_sparsity_scale" => {
                (0..self.layers).map(|i| if i < 10 { 1.644_853_6 } else { 0.0 }).collect::<Vec<f32>>().into()
            }
            _ => return None,
        })
    }
}
