//! Hyper-parameters that decoder models share, read from a file's keys and checked against each other.

use crate::error::{Error, Result};
use crate::gguf::{Gguf, Value};
use crate::graph::{Rope, Yarn};

/// Bounds far beyond any model, so that products of these never overflow.
const MAX_LAYERS: u32 = 4096;
const MAX_WIDTH: u32 = 1 << 24;

#[derive(Debug, Clone)]
pub struct Hparams {
    pub n_layer: u32,
    pub n_embd: usize,
    pub n_head: usize,
    pub n_head_kv: usize,
    pub head_dim: usize,
    pub n_ff: usize,
    pub n_vocab: usize,
    /// The context the model was trained for.
    pub n_ctx_train: u32,
    pub rms_eps: f32,
    /// What scores are multiplied by: `attention.scale`, or 1 / sqrt(head_dim).
    pub attention_scale: f32,
    pub rope: Rope,
}

/// Reads keys below `{architecture}.`.
struct Keys<'a> {
    file: &'a Gguf,
    arch: &'a str,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.arch)
    }
    fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.file.get_u32(&self.name(key))
    }
    fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.file.get_f32(&self.name(key))
    }
    fn text(&self, key: &str) -> Result<Option<&str>> {
        self.file.get_str(&self.name(key))
    }
    fn missing(&self, key: &str) -> Error {
        let key = self.name(key);
        Error::bad_file(format!("key '{key}' is missing")).subject(key)
    }
    fn bad(&self, key: &str, found: impl std::fmt::Display, expected: &str) -> Error {
        let key = self.name(key);
        Error::bad_file(format!("key '{key}' is {found}, expected {expected}")).subject(key)
    }
    /// A size from 1 to `max`.
    fn size(&self, key: &str, max: u32) -> Result<u32> {
        let n = self.u32(key)?.ok_or_else(|| self.missing(key))?;
        self.in_range(key, n, max)
    }
    fn in_range(&self, key: &str, n: u32, max: u32) -> Result<u32> {
        if n == 0 || n > max {
            return Err(self.bad(key, n, &format!("1 to {max}")));
        }
        Ok(n)
    }
    /// A size that some files give once and others per layer; all layers must agree.
    fn uniform_size(&self, key: &str, max: u32) -> Result<Option<u32>> {
        let Some(Value::Array(a)) = self.file.get(&self.name(key)) else {
            return self.u32(key)?.map(|n| self.in_range(key, n, max)).transpose();
        };
        let all = a.u64s().map_err(|e| e.at(&self.name(key)))?;
        let first =
            all.first().copied().and_then(|n| u32::try_from(n).ok()).ok_or_else(|| self.bad(key, "out of range", "sizes"))?;
        if all.iter().any(|n| *n != u64::from(first)) {
            let key = self.name(key);
            return Err(Error::unsupported(format!(
                "key '{key}' differs between layers, which this architecture's graph has no word for"
            ))
            .subject(key));
        }
        self.in_range(key, first, max).map(Some)
    }
}

impl Hparams {
    /// # Errors
    /// `BadFile` for a missing key, a value out of range, or two that contradict each other; the key is named.
    pub fn read(file: &Gguf, arch: &str) -> Result<Hparams> {
        let k = Keys { file, arch };
        if let Some(n) = k.u32("expert_count")?
            && n > 0
        {
            let key = k.name("expert_count");
            return Err(Error::unsupported(format!("key '{key}' is {n}: mixtures of experts are not supported yet")).subject(key));
        }
        let n_layer = k.size("block_count", MAX_LAYERS)?;
        let n_embd = k.size("embedding_length", MAX_WIDTH)?;
        let n_head = k.uniform_size("attention.head_count", MAX_WIDTH)?.ok_or_else(|| k.missing("attention.head_count"))?;
        let n_head_kv = k.uniform_size("attention.head_count_kv", MAX_WIDTH)?.unwrap_or(n_head);
        let n_ff = k.uniform_size("feed_forward_length", MAX_WIDTH)?.ok_or_else(|| k.missing("feed_forward_length"))?;
        let n_ctx_train = k.size("context_length", 1 << 30)?;
        if n_head % n_head_kv != 0 {
            return Err(k.bad("attention.head_count_kv", n_head_kv, &format!("a divisor of the {n_head} query heads")));
        }
        let head_dim = match k.u32("attention.key_length")? {
            Some(n) => k.in_range("attention.key_length", n, 65536)?,
            None if n_embd % n_head == 0 => n_embd / n_head,
            None => return Err(k.bad("attention.head_count", n_head, &format!("a divisor of the embedding length {n_embd}"))),
        };
        if let Some(n) = k.u32("attention.value_length")?
            && n != head_dim
        {
            return Err(k.bad("attention.value_length", n, &format!("{head_dim}, the length of keys")));
        }
        for (key, heads) in [("attention.head_count", n_head), ("attention.head_count_kv", n_head_kv)] {
            if heads.checked_mul(head_dim).is_none_or(|n| n > MAX_WIDTH) {
                return Err(k.bad(key, heads, &format!("at most {} heads of length {head_dim}", MAX_WIDTH / head_dim)));
            }
        }
        let rms_key = "attention.layer_norm_rms_epsilon";
        let rms_eps = k.f32(rms_key)?.ok_or_else(|| k.missing(rms_key))?;
        if !(0.0..1.0).contains(&rms_eps) {
            return Err(k.bad(rms_key, rms_eps, "0 to 1"));
        }
        let attention_scale = match k.f32("attention.scale")? {
            Some(s) if s != 0.0 => s,
            _ => 1.0 / (head_dim as f32).sqrt(),
        };
        Ok(Hparams {
            n_layer,
            n_embd: n_embd as usize,
            n_head: n_head as usize,
            n_head_kv: n_head_kv as usize,
            head_dim: head_dim as usize,
            n_ff: n_ff as usize,
            n_vocab: n_vocab(file)?,
            n_ctx_train,
            rms_eps,
            attention_scale,
            rope: rope(&k, head_dim, n_ctx_train)?,
        })
    }
}

/// The rows of the token embedding; keys about the vocabulary may be absent in files without a tokeniser.
fn n_vocab(file: &Gguf) -> Result<usize> {
    let name = "token_embd.weight";
    let t = file.tensor(name).ok_or_else(|| Error::bad_file(format!("tensor '{name}' is missing")).subject(name))?;
    if t.ne[1] > i32::MAX as u64 {
        return Err(Error::bad_file(format!("tensor '{name}' has {} rows, expected at most {}", t.ne[1], i32::MAX)).subject(name));
    }
    Ok(t.ne[1] as usize)
}

fn rope(k: &Keys, head_dim: u32, n_ctx_train: u32) -> Result<Rope> {
    let n_rot = k.u32("rope.dimension_count")?.unwrap_or(head_dim);
    if n_rot == 0 || n_rot % 2 != 0 || n_rot > head_dim {
        return Err(k.bad("rope.dimension_count", n_rot, &format!("an even number up to the head length {head_dim}")));
    }
    let freq_base = k.f32("rope.freq_base")?.unwrap_or(10000.0);
    if freq_base <= 1.0 {
        return Err(k.bad("rope.freq_base", freq_base, "more than 1"));
    }
    let mut kind = k.text("rope.scaling.type")?.unwrap_or("linear");
    let mut factor = k.f32("rope.scaling.factor")?;
    if factor.is_none() {
        // What older files call it.
        factor = k.f32("rope.scale_linear")?;
    }
    let factor = factor.filter(|f| *f != 0.0).unwrap_or(1.0);
    if factor < 0.0 {
        return Err(k.bad("rope.scaling.factor", factor, "a positive number"));
    }
    let mut freq_scale = 1.0 / factor;
    if kind == "none" {
        (kind, freq_scale) = ("linear", 1.0);
    }
    let yarn = match kind {
        "linear" => None,
        "yarn" => Some(Yarn {
            n_ctx_orig: k.u32("rope.scaling.original_context_length")?.filter(|n| *n > 0).unwrap_or(n_ctx_train),
            ext_factor: k.f32("rope.scaling.yarn_ext_factor")?.filter(|f| *f >= 0.0).unwrap_or(1.0),
            beta_fast: k.f32("rope.scaling.yarn_beta_fast")?.filter(|f| *f > 0.0).unwrap_or(32.0),
            beta_slow: k.f32("rope.scaling.yarn_beta_slow")?.filter(|f| *f > 0.0).unwrap_or(1.0),
        }),
        other => {
            let key = k.name("rope.scaling.type");
            let other: String = other.chars().take(40).collect();
            return Err(Error::unsupported(format!("key '{key}' is '{other}', expected none, linear or yarn")).subject(key));
        }
    };
    let attn_factor = k.f32("rope.scaling.attn_factor")?.filter(|f| *f > 0.0).unwrap_or(1.0);
    Ok(Rope { n_rot: n_rot as usize, freq_base, freq_scale, attn_factor, yarn, factors: None })
}
