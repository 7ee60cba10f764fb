//! One file per model family, which describes the family's graph.
//!
//! The file's key `general.architecture` picks the family. To add one, write a file with a `build` function that says
//! how the family differs from the plain decoder, and a line in `FAMILIES`. A family that is no such decoder is
//! described in the words of `graph::Builder`.

mod afmoe;
mod alibi;
mod apertus;
mod arctic;
mod bailingmoe2;
mod batch;
mod bert;
mod bitnet;
mod cogvlm;
mod cohere;
mod decoder;
mod deepseek;
mod deepseek2;
mod describe;
mod diffusion;
mod ernie;
mod eurobert;
mod exaone;
mod experts;
mod gemma;
mod gemma4;
mod gemma_embedding;
mod glm;
mod gpt;
mod gpt_oss;
mod granite;
mod grovemoe;
mod hparams;
mod hrm_text;
mod hunyuan;
mod hy_v3;
mod keys;
mod kimi_linear;
mod latent;
mod layers;
mod lfm2;
mod llama;
mod llama4;
mod maincoder;
mod mamba;
mod mellum;
mod mimo2;
mod minimax_m2;
mod mistral3;
mod modern_bert;
mod muse_glimmer;
mod nanbeige;
mod nemotron_h;
mod olmo;
mod olmo2;
mod openelm;
mod paddleocr;
mod phi;
mod phi2;
mod plamo;
mod qwen2;
mod qwen2moe;
mod qwen3;
mod qwen35;
mod recurrent;
mod refused;
mod smallthinker;
mod spark;
mod squared;
mod step35;
mod talkie;
mod words;

pub use batch::{BatchDefaults, GLOBAL_BATCH, batch_defaults};
pub use hparams::{Experts, Hparams};
pub use keys::Keys;

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::graph::{Graph, Pooling};

struct Family {
    name: &'static str,
    build: fn(&Keys<'_>, &Hparams) -> Result<Graph>,
}

const FAMILIES: &[Family] = &[
    Family { name: "llama", build: llama::llama },
    Family { name: "seed_oss", build: llama::seed_oss },
    Family { name: "smollm3", build: llama::smollm3 },
    Family { name: "mistral3", build: mistral3::build },
    Family { name: "mistral4", build: deepseek2::build },
    Family { name: "qwen2", build: qwen2::plain },
    Family { name: "qwen2vl", build: qwen2::vl },
    Family { name: "qwen3", build: qwen3::dense },
    Family { name: "qwen3moe", build: qwen3::moe },
    Family { name: "qwen3vl", build: qwen3::vl },
    Family { name: "qwen3vlmoe", build: qwen3::vl_moe },
    Family { name: "gemma", build: gemma::gemma },
    Family { name: "gemma2", build: gemma::gemma2 },
    Family { name: "gemma3", build: gemma::gemma3 },
    Family { name: "gemma4", build: gemma4::build },
    Family { name: "phi2", build: phi2::build },
    Family { name: "phi3", build: phi::phi3 },
    Family { name: "phimoe", build: phi::phimoe },
    Family { name: "gpt-oss", build: gpt_oss::build },
    Family { name: "gptoss", build: gpt_oss::build },
    Family { name: "deepseek2", build: deepseek2::build },
    Family { name: "granite", build: granite::plain },
    Family { name: "granitemoe", build: granite::plain },
    Family { name: "granite_swa", build: granite::windowed },
    Family { name: "chatglm", build: glm::chatglm },
    Family { name: "glm4", build: glm::glm4 },
    Family { name: "glm4moe", build: glm::glm4moe },
    Family { name: "olmo2", build: olmo2::build },
    Family { name: "exaone4", build: exaone::exaone4 },
    Family { name: "exaone-moe", build: exaone::moe },
    Family { name: "ernie4_5", build: ernie::dense },
    Family { name: "ernie4_5-moe", build: ernie::moe },
    Family { name: "hunyuan-dense", build: hunyuan::dense },
    Family { name: "hunyuan-moe", build: hunyuan::moe },
    Family { name: "llama4", build: llama4::build },
    Family { name: "bailingmoe2", build: bailingmoe2::build },
    Family { name: "minimax-m2", build: minimax_m2::build },
    Family { name: "mimo2", build: mimo2::build },
    Family { name: "step35", build: step35::build },
    Family { name: "muse-glimmer", build: muse_glimmer::build },
    Family { name: "command-r", build: cohere::command_r },
    Family { name: "cohere2", build: cohere::cohere2 },
    Family { name: "stablelm", build: cohere::stablelm },
    Family { name: "gpt2", build: gpt::gpt2 },
    Family { name: "gptneox", build: gpt::gptneox },
    Family { name: "starcoder2", build: gpt::starcoder2 },
    Family { name: "falcon", build: gpt::falcon },
    Family { name: "qwen35", build: qwen35::dense },
    Family { name: "qwen35moe", build: qwen35::moe },
    Family { name: "qwen3next", build: qwen35::next },
    Family { name: "lfm2", build: lfm2::build },
    Family { name: "lfm2moe", build: lfm2::build },
    Family { name: "mamba", build: mamba::mamba },
    Family { name: "mamba2", build: mamba::mamba2 },
    Family { name: "jamba", build: mamba::jamba },
    Family { name: "falcon-h1", build: mamba::falcon_h1 },
    Family { name: "nemotron_h", build: nemotron_h::build },
    Family { name: "nemotron_h_moe", build: nemotron_h::build },
    Family { name: "granitehybrid", build: granite::hybrid },
    Family { name: "kimi-linear", build: kimi_linear::build },
    Family { name: "xverse", build: llama::dense },
    Family { name: "internlm2", build: llama::dense },
    Family { name: "nanbeige", build: nanbeige::build },
    Family { name: "exaone", build: llama::halves },
    Family { name: "pangu-embedded", build: llama::halves },
    Family { name: "cogvlm", build: cogvlm::build },
    Family { name: "arcee", build: squared::arcee },
    Family { name: "nemotron", build: squared::nemotron },
    Family { name: "jais2", build: squared::nemotron },
    Family { name: "olmo", build: olmo::olmo },
    Family { name: "olmoe", build: olmo::olmoe },
    Family { name: "baichuan", build: alibi::baichuan },
    Family { name: "refact", build: alibi::refact },
    Family { name: "bloom", build: alibi::bloom },
    Family { name: "mpt", build: alibi::mpt },
    Family { name: "jais", build: alibi::jais },
    Family { name: "deepseek", build: deepseek::deepseek },
    Family { name: "bailingmoe", build: deepseek::bailingmoe },
    Family { name: "dots1", build: deepseek::dots1 },
    Family { name: "openelm", build: openelm::openelm },
    Family { name: "deci", build: openelm::deci },
    Family { name: "qwen", build: openelm::qwen },
    Family { name: "plamo", build: plamo::plamo },
    Family { name: "plamo3", build: plamo::plamo3 },
    Family { name: "plm", build: latent::plm },
    Family { name: "minicpm3", build: latent::minicpm3 },
    Family { name: "qwen2moe", build: qwen2moe::build },
    Family { name: "mellum", build: mellum::mellum },
    Family { name: "maple", build: mellum::maple },
    Family { name: "smallthinker", build: smallthinker::build },
    Family { name: "apertus", build: apertus::build },
    Family { name: "afmoe", build: afmoe::afmoe },
    Family { name: "laguna", build: afmoe::laguna },
    Family { name: "arctic", build: arctic::arctic },
    Family { name: "dbrx", build: arctic::dbrx },
    Family { name: "grok", build: arctic::grok },
    Family { name: "spark2_5", build: spark::build },
    Family { name: "hy_v3", build: hy_v3::build },
    Family { name: "maincoder", build: maincoder::build },
    Family { name: "bitnet", build: bitnet::build },
    Family { name: "starcoder", build: gpt::gpt2 },
    Family { name: "codeshell", build: gpt::starcoder2 },
    Family { name: "orion", build: gpt::orion },
    Family { name: "paddleocr", build: paddleocr::build },
    Family { name: "hunyuan_vl", build: hunyuan::dense },
    Family { name: "minicpm", build: granite::minicpm },
    Family { name: "cohere2moe", build: cohere::cohere2moe },
    Family { name: "plamo2", build: plamo::plamo2 },
    Family { name: "hrm_text", build: hrm_text::build },
    Family { name: "talkie", build: talkie::build },
    Family { name: "grovemoe", build: grovemoe::build },
    Family { name: "pockettts", build: gpt::pockettts },
    Family { name: "qwen3tts", build: qwen3::vl },
    Family { name: "deepseek32", build: deepseek2::indexed },
    Family { name: "glm-dsa", build: deepseek2::indexed },
];

/// Architectures whose tokens see the whole text.
const ENCODERS: &[Family] = &[
    Family { name: "bert", build: bert::bert },
    Family { name: "nomic-bert", build: bert::nomic },
    Family { name: "nomic-bert-moe", build: bert::nomic_moe },
    Family { name: "jina-bert-v2", build: bert::jina_v2 },
    Family { name: "jina-bert-v3", build: bert::jina_v3 },
    Family { name: "modern-bert", build: modern_bert::build },
    Family { name: "neo-bert", build: eurobert::neo_bert },
    Family { name: "eurobert", build: eurobert::eurobert },
    Family { name: "gemma-embedding", build: gemma_embedding::build },
];

/// Architectures that write by steps: tokens see the whole text, and there are logits of all of them.
const BY_STEPS: &[Family] = &[
    Family { name: "dream", build: diffusion::dream },
    Family { name: "llada", build: diffusion::llada },
    Family { name: "llada-moe", build: diffusion::moe },
    Family { name: "rnd1", build: diffusion::moe },
];

/// The architectures that can be planned exactly, loaded and decoded.
pub fn supported() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().chain(BY_STEPS).chain(ENCODERS).map(|f| f.name)
}

/// Reads a file's hyper-parameters and builds its graph, without a part that makes drafts.
///
/// # Errors
/// `Unsupported` for an architecture without a graph, `BadFile` for missing or contradicting keys and tensors.
pub fn build(file: &Gguf) -> Result<(Hparams, Graph)> {
    build_with(file, Wish::default())
}

/// The results that a graph leaves besides the trunk's logits, or in their place.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish {
    /// Nodes of a prediction layer behind the trunk.
    pub draft: bool,
    pub pooling: PoolBy,
}

/// The one who says which rows a graph leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PoolBy {
    /// Logits; for an encoder, which has none, as the file says.
    #[default]
    Family,
    /// The file: `{architecture}.pooling_type`, or a row for each token if it says nothing.
    File,
    Caller(Pooling),
}

/// The same with a wish.
///
/// # Errors
/// As for `build`; `InvalidArgument` if the file has no prediction layer, or the family none that is known; if a draft
/// is asked for and logits are not left; if scores are asked for and the file has no head that makes them.
pub fn build_with(file: &Gguf, wish: Wish) -> Result<(Hparams, Graph)> {
    let place = file.path();
    let name = architecture(file)?;
    let family = FAMILIES.iter().chain(BY_STEPS).chain(ENCODERS).find(|f| f.name == name).ok_or_else(|| {
        let known: Vec<_> = supported().collect();
        let why = refused::reason(name).map(|why| format!(" ({why})")).unwrap_or_default();
        Error::unsupported(format!(
            "{place}: architecture '{name}' is not supported{why}, expected one of: {}",
            known.join(", ")
        ))
        .subject("general.architecture")
    })?;
    let draft = wish.draft;
    let pooling = match wish.pooling {
        PoolBy::Family if !ENCODERS.iter().any(|f| f.name == name) => None,
        PoolBy::Family | PoolBy::File => Some(pooling_of(file, name).map_err(|e| e.at(place))?),
        PoolBy::Caller(pooling) => Some(pooling),
    };
    if let Some(pooling) = pooling.filter(|_| draft) {
        let name = pooling.name();
        return Err(no_draft(format!("{place}: drafts need logits, which a plan with pooling {name} does not leave")));
    }
    let keys = Keys { file, arch: name, draft, pooling };
    let h = Hparams::read(&keys).map_err(|e| e.at(place))?;
    let behind = keys.u32("nextn_predict_layers").map_err(|e| e.at(place))?.unwrap_or(0);
    if draft && behind == 0 {
        return Err(no_draft(format!(
            "{place}: drafts need a prediction layer, but key '{}' is missing or 0",
            keys.name("nextn_predict_layers")
        )));
    }
    let graph = (family.build)(&keys, &h).and_then(|g| all_read(&keys, &g).map(|()| g)).map_err(|e| e.at(place))?;
    if draft && graph.draft.is_none() {
        return Err(no_draft(format!("{place}: the prediction layers of architecture '{name}' are not known")));
    }
    Ok((h, graph))
}

/// True for architectures whose tokens see the whole text, which keep nothing from one batch to the next.
pub fn is_encoder(architecture: &str) -> bool {
    ENCODERS.iter().chain(BY_STEPS).any(|f| f.name == architecture)
}

/// The file's `{architecture}.pooling_type`: 0 to 4, as `Pooling` lists them.
fn pooling_of(file: &Gguf, architecture: &str) -> Result<Pooling> {
    let key = format!("{architecture}.pooling_type");
    let all = [Pooling::None, Pooling::Mean, Pooling::Cls, Pooling::Last, Pooling::Rank];
    let Some(n) = file.get_u32(&key)? else { return Ok(Pooling::None) };
    all.get(n as usize)
        .copied()
        .ok_or_else(|| Error::bad_file(format!("key '{key}' is {n}, expected 0 to {}", all.len() - 1)).subject(key))
}

fn no_draft(text: String) -> Error {
    Error::invalid(text).subject("n_draft")
}

/// Parts of names of tensors that layers may have and graphs leave out. They are scales that an architecture does not
/// apply, or that are 1 unless activations are quantised; tables that are computed instead; matrices that only another
/// form of the layer reads (latent attention).
const LEFT_OUT: [&str; 4] = [".scale", ".input_scale", ".attn_rot_embd.", ".attn_kv_b."];

/// Starts of names of tensors that stand beside the model: encoders of images and sound, and heads that classify.
const BESIDE: [&str; 4] = ["v.", "a.", "mm.", "cls."];

/// Refuses a file with a tensor that the graph does not read: it belongs to a model that the graph would decode
/// wrongly. Layers behind the trunk are left out on purpose.
fn all_read(k: &Keys<'_>, graph: &Graph) -> Result<()> {
    let read = graph.weights.iter().map(|w| w.name.as_str()).chain(graph.unread.iter().map(String::as_str));
    let read: HashSet<&str> = read.collect();
    let behind = graph.n_layer..k.u32("block_count")?.unwrap_or(0);
    let layer = |name: &str| name.strip_prefix("blk.")?.split('.').next()?.parse().ok();
    let left_out = |name: &str| {
        LEFT_OUT.iter().any(|part| if part.ends_with('.') { name.contains(part) } else { name.ends_with(part) })
    };
    let beside =
        |name: &str| BESIDE.iter().any(|b| name.starts_with(b)) || layer(name).is_some_and(|n| behind.contains(&n));
    let mut names = k.file.tensors().iter().map(|t| t.name.as_str());
    let is_own = |name: &str| !name.starts_with("adapter.");
    let unread = names.find(|n| !read.contains(n) && !(is_own(n) && (left_out(n) || beside(n))));
    match unread {
        None => Ok(()),
        Some(name) => {
            Err(Error::unsupported(format!("tensor '{name}' has no place in this architecture's graph")).subject(name))
        }
    }
}

/// The file's `general.architecture`.
pub fn architecture(file: &Gguf) -> Result<&str> {
    let key = "general.architecture";
    file.get_str(key)
        .and_then(|name| name.ok_or_else(|| Error::bad_file(format!("key '{key}' is missing")).subject(key)))
        .map_err(|e| e.at(file.path()))
}

/// The context that a file was trained for, if the file does not say it.
const CTX_TRAIN: u32 = 4096;

/// The file's `{architecture}.context_length`, in tokens.
pub fn n_ctx_train(file: &Gguf) -> Result<u32> {
    let key = format!("{}.context_length", architecture(file)?);
    Ok(file.get_u32(&key).map_err(|e| e.at(file.path()))?.filter(|n| *n > 0).unwrap_or(CTX_TRAIN))
}
