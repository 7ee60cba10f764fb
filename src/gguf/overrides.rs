//! Values of keys that a host gives in place of the file's: another pre-tokeniser, the number of experts, a rope's
//! base.
//!
//! They come as a JSON object and are written as GGUF has them, so that whoever reads a key need not know. A key that
//! the file has keeps its type. Of a new one, whole numbers are u32, i32 or i64, the first that holds it; others are
//! f32.

use serde_json::Value;

use super::value::ValueType;
use crate::error::{Error, Result};

/// Overrides at most, and bytes of their text.
const MOST: usize = 1024;
const MOST_BYTES: usize = 1 << 20;

fn bad(key: &str, text: String) -> Error {
    Error::invalid(format!("override of key '{key}': {text}")).subject(key)
}

/// The keys and values of a JSON object.
///
/// # Errors
/// `InvalidArgument` for anything else.
pub(super) fn read(json: &str) -> Result<Vec<(String, Value)>> {
    let wrong = |text: String| Error::invalid(format!("overrides: {text}")).subject("overrides");
    if json.len() > MOST_BYTES {
        return Err(wrong(format!("{} bytes, expected at most {MOST_BYTES}", json.len())));
    }
    let object: serde_json::Map<String, Value> =
        serde_json::from_str(json).map_err(|e| wrong(format!("expected a JSON object of keys and values: {e}")))?;
    if object.len() > MOST {
        return Err(wrong(format!("{} keys, expected at most {MOST}", object.len())));
    }
    Ok(object.into_iter().collect())
}

/// The type that a value is written as; `old` is that of the key in the file.
///
/// # Errors
/// `InvalidArgument` if the type does not hold the value, or the key says how the file itself is read.
pub(super) fn type_of(key: &str, value: &Value, old: Option<ValueType>) -> Result<ValueType> {
    use ValueType::*;
    if key.is_empty() || key == "general.alignment" || key.starts_with("split.") {
        return Err(bad(key, "it says how the file is read and stays as it is".into()));
    }
    let whole = whole(value);
    let ty = old.unwrap_or(match value {
        Value::Bool(_) => Bool,
        Value::String(_) => Str,
        Value::Number(_) => match whole {
            Some(0..=0xffff_ffff) => U32,
            Some(-0x8000_0000..=-1) => I32,
            Some(_) => I64,
            None => F32,
        },
        _ => Array,
    });
    let range = |ty: ValueType| match ty {
        U8 => 0..=i128::from(u8::MAX),
        I8 => i128::from(i8::MIN)..=i128::from(i8::MAX),
        U16 => 0..=i128::from(u16::MAX),
        I16 => i128::from(i16::MIN)..=i128::from(i16::MAX),
        U32 => 0..=i128::from(u32::MAX),
        I32 => i128::from(i32::MIN)..=i128::from(i32::MAX),
        U64 => 0..=i128::from(u64::MAX),
        _ => i128::from(i64::MIN)..=i128::from(i64::MAX),
    };
    let holds = match ty {
        Bool => value.is_boolean(),
        Str => value.is_string(),
        F32 | F64 => value.is_number(),
        Array => false,
        _ => whole.is_some_and(|n| range(ty).contains(&n)),
    };
    match holds {
        true => Ok(ty),
        false if ty == Array => {
            Err(bad(key, "expected a number, a text or a truth value, and a key that is no array".into()))
        }
        false => Err(bad(key, format!("{value} is no {}", ty.name()))),
    }
}

fn whole(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))
}

/// Writes a value as GGUF has it; the type holds it.
pub(super) fn write(value: &Value, ty: ValueType, to: &mut Vec<u8>) {
    let text = value.as_str().unwrap_or_default();
    let float = value.as_f64().unwrap_or_default();
    match ty {
        ValueType::Bool => to.push(u8::from(value.as_bool().unwrap_or_default())),
        ValueType::Str => {
            to.extend((text.len() as u64).to_le_bytes());
            to.extend(text.as_bytes());
        }
        ValueType::F32 => to.extend((float as f32).to_le_bytes()),
        ValueType::F64 => to.extend(float.to_le_bytes()),
        // Little-endian: the first bytes of a wider number are the narrower one.
        _ => to.extend(&whole(value).unwrap_or_default().to_le_bytes()[..ty.fixed_size().unwrap_or(0)]),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::gguf::Gguf;

    fn open() -> Gguf {
        Gguf::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf")).unwrap()
    }

    #[test]
    fn values_take_the_place_of_the_files() {
        let mut f = open();
        let n = f.keys().len();
        f.override_keys(
            r#"{"llama.rope.freq_base": 5e5, "llama.context_length": 99, "tokenizer.ggml.pre": "qwen2",
                "mine.small": -5, "mine.large": 5000000000, "mine.half": 0.5, "mine.yes": true}"#,
        )
        .unwrap();
        assert_eq!(f.get_f32("llama.rope.freq_base").unwrap(), Some(5e5));
        assert_eq!(f.get_u32("llama.context_length").unwrap(), Some(99));
        assert_eq!(f.get_str("tokenizer.ggml.pre").unwrap(), Some("qwen2"));
        assert_eq!(f.get_i64("mine.small").unwrap(), Some(-5));
        assert_eq!(f.get_u64("mine.large").unwrap(), Some(5_000_000_000));
        assert_eq!(f.get_f32("mine.half").unwrap(), Some(0.5));
        assert_eq!(f.get_bool("mine.yes").unwrap(), Some(true));
        assert!(f.keys().len() <= n + 6 && f.get_str("general.architecture").unwrap() == Some("llama"));
        // A second one takes the place of the first.
        f.override_keys(r#"{"llama.context_length": 7}"#).unwrap();
        assert_eq!(f.get_u32("llama.context_length").unwrap(), Some(7));
    }

    #[test]
    fn bad_ones_are_named() {
        for (json, named) in [
            ("[]", "overrides"),
            ("{", "overrides"),
            (r#"{"llama.context_length": -1}"#, "llama.context_length"),
            (r#"{"llama.context_length": 1.5}"#, "llama.context_length"),
            (r#"{"llama.context_length": 4294967296}"#, "llama.context_length"),
            (r#"{"llama.context_length": "7"}"#, "llama.context_length"),
            (r#"{"general.architecture": 7}"#, "general.architecture"),
            (r#"{"tokenizer.ggml.tokens": "a"}"#, "tokenizer.ggml.tokens"),
            (r#"{"mine": [1]}"#, "mine"),
            (r#"{"mine": null}"#, "mine"),
            (r#"{"general.alignment": 64}"#, "general.alignment"),
            (r#"{"split.count": 2}"#, "split.count"),
        ] {
            let e = open().override_keys(json).unwrap_err();
            assert_eq!((e.status, e.detail.subject.as_str()), (crate::Status::InvalidArgument, named), "{e}");
        }
    }
}
