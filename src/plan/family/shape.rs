//! The sizes of a file that the formulas need. They are read leniently: any architecture, keys that may be missing or
//! given per layer.

use crate::arch;
use crate::error::{Error, Result};
use crate::gguf::{Gguf, TensorInfo, Value};

/// Bounds far beyond any model, so that the formulas' products stay within 128 bits.
const MAX_LAYERS: u64 = 4096;
const MAX_WIDTH: u64 = 1 << 24;
const MAX_ROWS: u64 = 1 << 40;

/// The sizes of a model. Counts of heads are the largest over the layers, except for `n_head_kv_min`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    pub architecture: String,
    pub n_embd: u64,
    pub n_head: u64,
    pub n_head_kv: u64,
    pub n_head_kv_min: u64,
    pub head_dim_k: u64,
    pub head_dim_v: u64,
    pub n_ff: u64,
    pub n_vocab: u64,
    /// Tokens that a layer with a sliding window sees.
    pub window: Option<u64>,
    /// Bytes of each layer's tensors.
    pub layer_weights: Vec<u64>,
    /// Bytes of output_norm and output, or of token_embd if the output is tied to it.
    pub output_weights: u64,
    /// Elements of the first layer's fused QKV bias.
    pub n_qkv_bias: Option<u64>,
    /// Elements of rope_freqs.
    pub n_rope_freqs: u64,
    /// Bytes of the first layer's ffn_gate_exps.
    pub expert_gate_bytes: Option<u64>,
    /// Second dimension of the first layer's ffn_gate.0.
    pub expert_gate_rows: Option<u64>,
}

impl Shape {
    /// # Errors
    /// `BadFile` for a key that is needed and missing, or holds no size; the key is named.
    pub fn read(file: &Gguf) -> Result<Shape> {
        let architecture = arch::architecture(file)?.to_owned();
        Shape::read_as(file, architecture).map_err(|e| e.at(file.path()))
    }

    fn read_as(file: &Gguf, architecture: String) -> Result<Shape> {
        let k = Keys { file, arch: &architecture };
        let n_layer = k.trunk()?;
        let n_embd = k.needed("embedding_length", MAX_WIDTH)?;
        // Recurrent architectures have no heads, or none in some layers.
        let n_head = k.sizes("attention.head_count")?.map_or(1, |s| s.most);
        let heads_kv = k.sizes("attention.head_count_kv")?.unwrap_or(Sizes { least: n_head, most: n_head });
        let head_dim = n_embd.checked_div(n_head).unwrap_or(0);
        let size = |key: &str| k.sizes(key).map(|s| s.map(|s| s.most));
        let mut shape = Shape {
            n_embd,
            n_head,
            n_head_kv: heads_kv.most,
            n_head_kv_min: heads_kv.least,
            head_dim_k: size("attention.key_length")?.unwrap_or(head_dim),
            head_dim_v: size("attention.value_length")?.unwrap_or(head_dim),
            n_ff: size("feed_forward_length")?.unwrap_or(0),
            n_vocab: n_vocab(file)?,
            window: size("attention.sliding_window")?.filter(|n| *n > 0),
            layer_weights: vec![0; n_layer as usize],
            n_qkv_bias: file.tensor("blk.0.attn_qkv.bias").map(|t| t.ne[0].min(MAX_ROWS)),
            n_rope_freqs: file.tensor("rope_freqs.weight").map_or(0, elements),
            expert_gate_bytes: file.tensor("blk.0.ffn_gate_exps.weight").map(|t| t.n_bytes),
            expert_gate_rows: file.tensor("blk.0.ffn_gate.0.weight").map(|t| t.ne[1].min(MAX_ROWS)),
            ..Shape::default()
        };
        shape.add_weights(file.tensors());
        shape.architecture = architecture;
        Ok(shape)
    }

    fn add_weights(&mut self, tensors: &[TensorInfo]) {
        let (mut norm, mut output, mut embedding) = (0u64, None, 0u64);
        for t in tensors {
            let mut parts = t.name.split('.');
            let bytes = match parts.next().unwrap_or_default() {
                "blk" => {
                    match parts.next().and_then(|n| n.parse().ok()).and_then(|n: usize| self.layer_weights.get_mut(n)) {
                        Some(bytes) => bytes,
                        // A block past the last layer, of a draft head say.
                        None => continue,
                    }
                }
                "output_norm" => &mut norm,
                "output" => output.get_or_insert(0),
                "token_embd" => &mut embedding,
                _ => continue,
            };
            *bytes = bytes.saturating_add(t.n_bytes);
        }
        self.output_weights = norm.saturating_add(output.unwrap_or(embedding));
    }

    pub fn n_layer(&self) -> u32 {
        self.layer_weights.len() as u32
    }

    /// The window of `layer`; None if it keeps the whole context, or if the fork does not know better.
    pub fn window_of(&self, layer: u32) -> Option<u64> {
        self.window.filter(|_| self.architecture == "gemma3" && !(layer + 1).is_multiple_of(6))
    }
}

fn elements(t: &TensorInfo) -> u64 {
    t.ne.iter().copied().fold(1, u64::saturating_mul)
}

/// Tokens of the vocabulary, or rows of the token embedding in files without a tokeniser.
fn n_vocab(file: &Gguf) -> Result<u64> {
    if let Some(Value::Array(tokens)) = file.get("tokenizer.ggml.tokens") {
        return Ok((tokens.len() as u64).min(MAX_ROWS));
    }
    let name = "token_embd.weight";
    let t = file.tensor(name).ok_or_else(|| Error::bad_file(format!("tensor '{name}' is missing")).subject(name))?;
    Ok(t.ne[1].min(MAX_ROWS))
}

#[derive(Clone, Copy)]
struct Sizes {
    least: u64,
    most: u64,
}

/// Reads keys below `{arch}.`.
struct Keys<'a> {
    file: &'a Gguf,
    arch: &'a str,
}

impl Keys<'_> {
    /// Layers without those behind the trunk, which predict the tokens after the next.
    fn trunk(&self) -> Result<u64> {
        let (n, key) = (self.needed("block_count", MAX_LAYERS)?, "nextn_predict_layers");
        let behind = self.sizes(key)?.map_or(0, |s| s.most);
        n.checked_sub(behind).filter(|n| *n > 0).ok_or_else(|| {
            let name = format!("{}.{key}", self.arch);
            Error::bad_file(format!("key '{name}' is {behind}, expected less than the block_count of {n}"))
                .subject(name)
        })
    }

    /// A size from 1 to `max`.
    fn needed(&self, key: &str, max: u64) -> Result<u64> {
        let name = format!("{}.{key}", self.arch);
        match self.sizes(key)? {
            Some(s) if (1..=max).contains(&s.most) => Ok(s.most),
            Some(s) => Err(Error::bad_file(format!("key '{name}' is {}, expected 1 to {max}", s.most)).subject(name)),
            None => Err(Error::bad_file(format!("key '{name}' is missing")).subject(name)),
        }
    }

    /// The least and the largest of a key's values, which may be one for all layers or one for each. None if there is
    /// no such key, or an empty array.
    fn sizes(&self, key: &str) -> Result<Option<Sizes>> {
        let name = format!("{}.{key}", self.arch);
        let one = |v: Value| {
            v.as_int().and_then(|n| u64::try_from(n).ok()).filter(|n| *n <= MAX_WIDTH).ok_or_else(|| {
                Error::bad_file(format!("key '{name}' holds {v:?}, expected an integer from 0 to {MAX_WIDTH}"))
                    .subject(&name)
            })
        };
        let mut sizes: Option<Sizes> = None;
        let mut add = |v: Value| {
            let n = one(v)?;
            sizes = Some(
                sizes.map_or(Sizes { least: n, most: n }, |s| Sizes { least: s.least.min(n), most: s.most.max(n) }),
            );
            Ok::<(), Error>(())
        };
        match self.file.get(&name) {
            Some(Value::Array(all)) => all.iter().try_for_each(&mut add)?,
            Some(v) => add(v)?,
            None => {}
        }
        Ok(sizes)
    }
}
