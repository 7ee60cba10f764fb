//! Adapters: small files that change what a model computes.
//!
//! There are two kinds. A LoRA (arXiv:2106.09685) has for some matrices W of the model two narrow ones, A and B, whose
//! rank r is small, and the model computes W x + s alpha / r B (A x). A control vector has for some layers a direction,
//! and s times that is added to the layer's result. The scale s is the host's.
//!
//! # Idea
//!
//! An adapter's file becomes one more file of the model, and its tensors join the model's under names of their own:
//!
//! ```text
//! blk.7.attn_q.weight.lora_a     of the second adapter becomes     adapter.1.blk.7.attn_q.weight.lora_a
//! direction.7                                                      adapter.1.direction.7
//! ```
//!
//! So whoever plans, loads or places tensors does the same with these, and the graph's builder finds them by name
//! (`graph/adapters.rs`).
//!
//! Everything is checked here: the pairs, their shapes against the model's tensor, the ranks, the numbers.

use super::file::Gguf;
use super::parse::TensorInfo;
use crate::error::{Error, Result, try_vec};
use crate::quant::{Type, dequantize};

/// The most adapters of a model.
pub const MAX_ADAPTERS: usize = 32;

/// The kinds of adapter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AdapterKind {
    /// With its alpha; 0: B (A x) is not divided by the rank.
    Lora {
        alpha: f32,
    },
    ControlVector,
}

/// Facts about an adapter beside a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    pub path: String,
    /// The file's `general.name`; empty if it has none.
    pub name: String,
    pub kind: AdapterKind,
    pub n_tensors: usize,
    /// Bytes of its tensors.
    pub n_bytes: u64,
    /// Tensors that are left out: norms, which no LoRA is defined for.
    pub left_out: Vec<String>,
}

/// Reads an adapter of `model`, as its adapter `number`, whose file is to be its file `split`. Gives the tensors under
/// their new names.
///
/// # Errors
/// As for `Gguf::with_adapters`, which names the file.
pub(super) fn read(model: &Gguf, own: &Gguf, number: usize, split: usize) -> Result<(Adapter, Vec<TensorInfo>)> {
    if number >= MAX_ADAPTERS {
        return Err(Error::invalid(format!("a model has at most {MAX_ADAPTERS} adapters")).subject("paths"));
    }
    if own.n_files() != 1 {
        return Err(Error::unsupported("an adapter in several files is not known").subject("split.count"));
    }
    let kind = kind_of(model, own)?;
    let mut left_out = Vec::new();
    let mut tensors = Vec::new();
    for t in own.tensors() {
        let mut t = t.clone();
        match kind {
            AdapterKind::ControlVector => check_direction(model, &mut t)?,
            AdapterKind::Lora { .. } if t.name.ends_with("_norm.weight") => {
                left_out.push(t.name);
                continue;
            }
            AdapterKind::Lora { .. } => check_pair(model, own, &t)?,
        }
        check_finite(own, &t)?;
        t.name = format!("adapter.{number}.{}", t.name);
        t.split = split;
        tensors.push(t);
    }
    if tensors.is_empty() {
        return Err(Error::bad_file("the adapter has no tensors"));
    }
    let adapter = Adapter {
        path: own.path().to_owned(),
        name: own.get_str("general.name")?.unwrap_or_default().to_owned(),
        kind,
        n_tensors: tensors.len(),
        n_bytes: tensors.iter().map(|t| t.n_bytes).sum(),
        left_out,
    };
    Ok((adapter, tensors))
}

/// The kind of an adapter's file.
fn kind_of(model: &Gguf, own: &Gguf) -> Result<AdapterKind> {
    let word = |key: &str| own.get_str(key).map(Option::unwrap_or_default);
    let wrong = |key: &str, value: &str, expected: &str| {
        Error::unsupported(format!("key '{key}' is '{value}', expected {expected}")).subject(key)
    };
    let architecture = word("general.architecture")?;
    if architecture == "controlvector" {
        return Ok(AdapterKind::ControlVector);
    }
    let ty = word("general.type")?;
    if ty != "adapter" {
        return Err(wrong("general.type", ty, "'adapter', as LoRA files have it, or a control vector"));
    }
    let of_model = model.get_str("general.architecture")?.unwrap_or_default();
    if architecture != of_model {
        return Err(wrong("general.architecture", architecture, &format!("the model's, '{of_model}'")));
    }
    let ty = word("adapter.type")?;
    if ty != "lora" {
        return Err(wrong("adapter.type", ty, "'lora'"));
    }
    let key = "adapter.alora.invocation_tokens";
    if own.get(key).is_some() {
        let text = format!("key '{key}': adapters that begin at certain tokens are not known");
        return Err(Error::unsupported(text).subject(key));
    }
    Ok(AdapterKind::Lora { alpha: own.get_f32("adapter.lora.alpha")?.unwrap_or(0.0) })
}

/// The model's tensor that a tensor of a LoRA belongs to, and the ending of the other one of the pair.
fn base(name: &str) -> Option<(&str, &'static str)> {
    let a = name.strip_suffix(".lora_a").map(|base| (base, ".lora_b"));
    a.or_else(|| name.strip_suffix(".lora_b").map(|base| (base, ".lora_a")))
}

/// Checks a tensor of a LoRA against the other one of its pair and the model's tensor.
fn check_pair(model: &Gguf, own: &Gguf, t: &TensorInfo) -> Result<()> {
    let bad = |text: String| Err(Error::bad_file(format!("tensor '{}' {text}", t.name)).subject(&t.name));
    let Some((base, other)) = base(&t.name) else {
        return bad("is none that a LoRA has, expected a name that ends with .lora_a or .lora_b".into());
    };
    let Some(of_model) = model.tensor(base) else {
        return bad(format!("belongs to tensor '{base}', which the model does not have"));
    };
    let name = format!("{base}{other}");
    let Some(pair) = own.tensor(&name) else { return bad(format!("stands alone, expected '{name}' beside it")) };
    let (a, b) = if other == ".lora_b" { (t, pair) } else { (pair, t) };
    // Rows of a token embedding are looked up, and so are those of its A.
    let is_table = base == "token_embd.weight";
    let (rank, n_in) = if is_table { (a.ne[0], a.ne[1]) } else { (a.ne[1], a.ne[0]) };
    let [cols, rows, stack @ ..] = of_model.ne;
    let (from, to) = if is_table { (rows, cols) } else { (cols, rows) };
    let fits = (n_in, b.ne[1]) == (from, to) && a.ne[2..] == stack && b.ne[2..] == stack;
    if !fits || rank != b.ne[0] || rank == 0 {
        return bad(format!(
            "and the other one of its pair have shapes {} and {}, which do not fit the model's '{base}' of {}",
            t.shape(),
            pair.shape(),
            of_model.shape()
        ));
    }
    Ok(())
}

/// Refuses numbers that are none: 0 times these would be none either, so rows that do not use the adapter would be
/// lost. It reads the file, which is small beside a model.
fn check_finite(own: &Gguf, t: &TensorInfo) -> Result<()> {
    const BLOCKS: usize = 1024;
    let mut row = try_vec("a row of an adapter", t.ty.block_len() * BLOCKS, 0f32)?;
    let mut bytes = try_vec("blocks of an adapter", t.ty.block_bytes() * BLOCKS, 0u8)?;
    for first in (0..t.n_bytes as usize).step_by(bytes.len()) {
        let n = bytes.len().min(t.n_bytes as usize - first);
        own.read_tensor(t, first as u64, &mut bytes[..n])?;
        let row = &mut row[..n / t.ty.block_bytes() * t.ty.block_len()];
        dequantize(t.ty, &bytes[..n], row);
        if let Some(x) = row.iter().find(|x| !x.is_finite()) {
            let text = format!("tensor '{}' holds {x}, expected finite numbers", t.name);
            return Err(Error::bad_file(text).subject(&t.name));
        }
    }
    Ok(())
}

/// Checks a direction of a control vector. It becomes a matrix of one column, by which the scale is multiplied.
fn check_direction(model: &Gguf, t: &mut TensorInfo) -> Result<()> {
    let architecture = model.get_str("general.architecture")?.unwrap_or_default();
    let size = |key: &str| model.get_u32(&format!("{architecture}.{key}")).map(|n| u64::from(n.unwrap_or(0)));
    let behind = size("nextn_predict_layers")?;
    let (n_embd, n_layer) = (size("embedding_length")?, size("block_count")?.saturating_sub(behind));
    let layer = t.name.strip_prefix("direction.").and_then(|n| n.parse::<u64>().ok());
    if layer.is_none_or(|n| n == 0 || n >= n_layer) {
        let text = format!("tensor '{}' is none of 'direction.1' to 'direction.{}'", t.name, n_layer.saturating_sub(1));
        return Err(Error::bad_file(text).subject(&t.name));
    }
    if t.ne != [n_embd, 1, 1, 1] || t.ty != Type::F32 {
        let text = format!("tensor '{}' is {} {}, expected F32 [{n_embd}]", t.name, t.ty.name(), t.shape());
        return Err(Error::bad_file(text).subject(&t.name));
    }
    (t.ne, t.n_dims) = ([1, n_embd, 1, 1], 2);
    Ok(())
}
