//! Hyper-parameters that decoder models share, read from a file's keys and checked against each other.

use super::keys::Keys;
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::graph::{Factors, Rope, Temperature, Yarn};

/// Bounds far beyond any model. They keep products of sizes from overflowing.
const MAX_LAYERS: u32 = 512;
pub(super) const MAX_WIDTH: u32 = 1 << 24;
const MAX_EXPERTS: u32 = 4096;

#[derive(Debug, Clone)]
pub struct Hparams {
    pub n_layer: u32,
    pub n_embd: usize,
    /// The sizes of each layer; files give a size once or as an array.
    pub layers: Vec<LayerSizes>,
    pub n_vocab: usize,
    /// The context the model was trained for.
    pub n_ctx_train: u32,
    /// RMSNorms add it before they divide, and LayerNorms the other.
    pub eps: f32,
    pub layer_eps: f32,
    /// Attention scores are multiplied by it: `attention.scale`, or 1 / sqrt(head_dim).
    pub attention_scale: Option<f32>,
    pub rope: Rope,
    /// The sizes of mixtures of experts, if the file has them.
    pub experts: Option<Experts>,
}

/// The sizes that may differ from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSizes {
    /// 0 in layers without attention, and so are the KV heads.
    pub n_head: usize,
    pub n_head_kv: usize,
    /// Elements of a head's key, and of its value.
    pub key: usize,
    pub value: usize,
    /// 0 in layers without a feed-forward block, or if every layer is a mixture.
    pub n_ff: usize,
}

/// The sizes of a mixture.
#[derive(Debug, Clone, Copy)]
pub struct Experts {
    pub n_expert: usize,
    pub n_expert_used: usize,
    pub n_ff: usize,
    /// Experts stand in groups, and are chosen from some of these; 1 and 1: there are none.
    pub n_group: usize,
    pub n_group_used: usize,
}

impl Hparams {
    /// Reads them from a file's keys.
    ///
    /// # Errors
    /// `BadFile` for a missing key, a value out of range, or two that contradict each other; the key is named.
    pub fn read(k: &Keys<'_>) -> Result<Hparams> {
        let n_layer = trunk(k)?;
        let n_embd = k.size("embedding_length", MAX_WIDTH)?;
        let n = n_layer as usize;
        let n_head = k.sizes("attention.head_count", n, MAX_WIDTH)?.ok_or_else(|| k.missing("attention.head_count"))?;
        let n_head_kv = k.sizes("attention.head_count_kv", n, MAX_WIDTH)?.unwrap_or_else(|| n_head.clone());
        let n_ctx_train = k.size("context_length", 1 << 30)?;
        if let Some((heads, kv)) = n_head.iter().zip(&n_head_kv).find(|(heads, kv)| **kv != 0 && *heads % *kv != 0) {
            return Err(k.bad("attention.head_count_kv", kv, &format!("a divisor of the {heads} query heads")));
        }
        let any = n_head.iter().copied().find(|n| *n > 0).unwrap_or(1);
        let key = match k.sizes("attention.key_length", n, 65536)? {
            Some(lengths) => lengths,
            None if n_embd % any == 0 => vec![n_embd / any; n],
            None => {
                let expected = format!("a divisor of the embedding length {n_embd}");
                return Err(k.bad("attention.head_count", any, &expected));
            }
        };
        let value = k.sizes("attention.value_length", n, 65536)?.unwrap_or_else(|| key.clone());
        for (name, heads) in [("attention.head_count", &n_head), ("attention.head_count_kv", &n_head_kv)] {
            for (heads, length) in heads.iter().zip(key.iter().zip(&value).map(|(k, v)| k.max(v))) {
                if heads.checked_mul(*length).is_none_or(|n| n > MAX_WIDTH) {
                    let expected = format!("at most {} heads of length {length}", MAX_WIDTH / length);
                    return Err(k.bad(name, heads, &expected));
                }
            }
        }
        let (rms_key, layer_key) = ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon");
        let (eps, layer_eps) = (k.f32(rms_key)?, k.f32(layer_key)?);
        for (key, eps) in [(rms_key, eps), (layer_key, layer_eps)] {
            if let Some(eps) = eps.filter(|eps| !(0.0..1.0).contains(eps)) {
                return Err(k.bad(key, eps, "0 to 1"));
            }
        }
        let (Some(eps), Some(layer_eps)) = (eps.or(layer_eps), layer_eps.or(eps)) else {
            return Err(k.missing(rms_key));
        };
        let attention_scale = k.f32("attention.scale")?.filter(|s| *s != 0.0);
        let n_ff = k.sizes("feed_forward_length", n, MAX_WIDTH);
        let first = n_ff.as_ref().ok().and_then(|n| n.as_ref()).map(|n| n[0]);
        let experts = experts(k, first)?;
        let n_ff = match (n_ff?, experts) {
            (Some(n_ff), _) => n_ff,
            (None, Some(_)) => vec![0; n],
            (None, None) => return Err(k.missing("feed_forward_length")),
        };
        let layers = (0..n).map(|i| LayerSizes {
            n_head: n_head[i] as usize,
            n_head_kv: n_head_kv[i] as usize,
            key: key[i] as usize,
            value: value[i] as usize,
            n_ff: n_ff[i] as usize,
        });
        Ok(Hparams {
            n_layer,
            n_embd: n_embd as usize,
            layers: layers.collect(),
            n_vocab: n_vocab(k.file)?,
            n_ctx_train,
            eps,
            layer_eps,
            attention_scale,
            rope: rope(k, key.iter().copied().min().unwrap_or(0), n_ctx_train)?,
            experts,
        })
    }

    /// The sizes of the first layer.
    pub fn first(&self) -> LayerSizes {
        // `read` refuses a file without layers.
        self.layers[0]
    }

    /// Refuses a file with a mixture of experts, or with values and keys of different lengths. Architectures call it
    /// that have neither.
    ///
    /// # Errors
    /// `Unsupported` for a mixture of experts, `BadFile` for values of another length than keys.
    pub fn dense(&self, k: &Keys<'_>) -> Result<()> {
        if let Some(e) = self.experts {
            let key = k.name("expert_count");
            return Err(Error::unsupported(format!(
                "key '{key}' is {}: mixtures of experts are not known for this architecture",
                e.n_expert
            ))
            .subject(key));
        }
        self.equal_heads(k)
    }

    /// Refuses a file with values and keys of different lengths, or with a layer without attention or feed-forward.
    ///
    /// # Errors
    /// `BadFile`, naming the key.
    pub fn equal_heads(&self, k: &Keys<'_>) -> Result<()> {
        self.all_attend(k)?;
        match self.layers.iter().find(|l| l.key != l.value) {
            Some(l) => Err(k.bad("attention.value_length", l.value, &format!("{}, the length of keys", l.key))),
            None => Ok(()),
        }
    }

    /// Refuses a file with a layer without attention or feed-forward.
    ///
    /// # Errors
    /// `BadFile`, naming the key.
    pub fn all_attend(&self, k: &Keys<'_>) -> Result<()> {
        let without = |of: fn(&LayerSizes) -> usize| self.layers.iter().any(|l| of(l) == 0);
        let (mixed, size) = (self.experts.is_some(), format!("1 to {MAX_WIDTH}"));
        match () {
            _ if without(|l| l.n_head) => Err(k.bad("attention.head_count", 0, &size)),
            _ if without(|l| l.n_head_kv) => Err(k.bad("attention.head_count_kv", 0, &size)),
            _ if !mixed && without(|l| l.n_ff) => Err(k.bad("feed_forward_length", 0, &size)),
            () => Ok(()),
        }
    }
}

/// Layers of the trunk. `block_count` counts those behind it, too, which predict the tokens after the next.
fn trunk(k: &Keys<'_>) -> Result<u32> {
    let (n, key) = (k.size("block_count", MAX_LAYERS)?, "nextn_predict_layers");
    let behind = k.u32(key)?.unwrap_or(0);
    if behind >= n {
        return Err(k.bad(key, behind, &format!("less than the block_count of {n}")));
    }
    Ok(n - behind)
}

fn experts(k: &Keys<'_>, n_ff: Option<u32>) -> Result<Option<Experts>> {
    let n_expert = k.u32("expert_count")?.unwrap_or(0);
    if n_expert == 0 {
        return Ok(None);
    }
    k.in_range("expert_count", n_expert, MAX_EXPERTS)?;
    // nemotron_h's layers may differ in both; its file looks at each.
    let differ = k.arch.starts_with("nemotron_h");
    let size = |key: &str, max| if differ { k.some_size(key, max) } else { k.uniform_size(key, max) };
    let used_key = "expert_used_count";
    let used = size(used_key, MAX_EXPERTS)?.ok_or_else(|| k.missing(used_key))?;
    if used > n_expert {
        return Err(k.bad(used_key, used, &format!("at most the {n_expert} experts")));
    }
    // Some files write 0, which means: as long as the dense ones.
    let zero = matches!(k.u32("expert_feed_forward_length"), Ok(Some(0)));
    let own = if zero { None } else { size("expert_feed_forward_length", MAX_WIDTH)? };
    let n_ff = own.or(n_ff).ok_or_else(|| k.missing("expert_feed_forward_length"))?;
    let groups = |key| Ok(k.u32(key)?.unwrap_or(0).max(1));
    let (n_group, n_group_used) = (groups("expert_group_count")?, groups("expert_group_used_count")?);
    if n_expert % n_group != 0 || n_group_used > n_group || used > n_expert / n_group * n_group_used {
        let expected = format!("a divisor of {n_expert} experts whose groups hold those used");
        return Err(k.bad("expert_group_count", n_group, &expected));
    }
    Ok(Some(Experts {
        n_expert: n_expert as usize,
        n_expert_used: used as usize,
        n_ff: n_ff as usize,
        n_group: n_group as usize,
        n_group_used: n_group_used as usize,
    }))
}

/// The rows of the token embedding; keys about the vocabulary may be absent in files without a tokeniser.
fn n_vocab(file: &Gguf) -> Result<usize> {
    let name = "token_embd.weight";
    let t = file.tensor(name).ok_or_else(|| Error::bad_file(format!("tensor '{name}' is missing")).subject(name))?;
    if t.ne[1] > i32::MAX as u64 {
        return Err(Error::bad_file(format!("tensor '{name}' has {} rows, expected at most {}", t.ne[1], i32::MAX))
            .subject(name));
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
        // Older files have this name for it.
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
        // The factors of longrope are tensors.
        "linear" | "longrope" => None,
        "yarn" => Some(Yarn {
            n_ctx_orig: k.u32("rope.scaling.original_context_length")?.filter(|n| *n > 0).unwrap_or(n_ctx_train),
            ext_factor: k.f32("rope.scaling.yarn_ext_factor")?.filter(|f| *f >= 0.0).unwrap_or(1.0),
            beta_fast: k.f32("rope.scaling.yarn_beta_fast")?.filter(|f| *f > 0.0).unwrap_or(32.0),
            beta_slow: k.f32("rope.scaling.yarn_beta_slow")?.filter(|f| *f > 0.0).unwrap_or(1.0),
        }),
        other => {
            let key = k.name("rope.scaling.type");
            let other: String = other.chars().take(40).collect();
            return Err(Error::unsupported(format!(
                "key '{key}' is '{other}', expected none, linear, longrope or yarn"
            ))
            .subject(key));
        }
    };
    let attn_factor = k.f32("rope.scaling.attn_factor")?.filter(|f| *f > 0.0).unwrap_or(1.0);
    Ok(Rope { n_rot: n_rot as usize, freq_base, freq_scale, attn_factor, yarn, factors: Factors::None, sections: None })
}

/// The growth of queries with their position, if `attention.temperature_scale` asks for it. They grow once in `length`
/// tokens; without a length, once in the context from before YaRN.
pub(super) fn temperature(k: &Keys<'_>, h: &Hparams, length: Option<u32>) -> Result<Option<Temperature>> {
    let Some(scale) = k.positive("attention.temperature_scale")? else { return Ok(None) };
    let orig = k.u32("rope.scaling.original_context_length")?;
    let length = length.or(orig).filter(|n| *n > 0).unwrap_or(h.n_ctx_train);
    Ok(Some(Temperature { scale, length, offset: 0 }))
}
