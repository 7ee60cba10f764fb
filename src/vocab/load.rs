//! A vocabulary from a file's keys.

use super::attached::Attached;
use super::bpe::{self, Bpe, Merges, Symbols};
use super::dna::Dna;
use super::partition::{Partition, Strips};
use super::plamo::Plamo;
use super::rwkv::Rwkv;
use super::special::SpecialIds;
use super::split::Splitter;
use super::spm::Spm;
use super::tokens::{TokenType, Tokens};
use super::unigram::Unigram;
use super::wordpiece::WordPiece;
use super::words::{Before, Words};
use super::{Algorithm, Vocab, rules};
use crate::error::{Error, Result};
use crate::gguf::Gguf;

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";

impl Vocab {
    /// Builds the tokeniser that the file describes. The texts are copied, so the file may be closed afterwards.
    ///
    /// # Errors
    /// `Unsupported` if the file has no tokeniser or one that is not known here (the model still decodes token ids),
    /// `BadFile` if its keys contradict each other. The message names the file and the key.
    pub fn from_gguf(gguf: &Gguf) -> Result<Vocab> {
        load(gguf).map_err(|e| e.at(gguf.path()))
    }
}

fn load(gguf: &Gguf) -> Result<Vocab> {
    let Some(model) = gguf.get_str(MODEL)? else {
        return Err(Error::unsupported(format!(
            "no tokeniser: key '{MODEL}' is missing; only token ids can be decoded"
        ))
        .subject(MODEL));
    };
    let pre = gguf.get_str(PRE)?.filter(|p| !p.is_empty()).unwrap_or("default");
    match model {
        "llama" => llama(gguf, model, pre),
        "gpt2" | "whitespace" | "hybriddna" => gpt2(gguf, model, pre),
        "gemma4" => gpt2(gguf, model, "gemma4"),
        "bert" => bert(gguf, model, pre),
        "t5" => t5(gguf, model, pre),
        "rwkv" => rwkv(gguf, model, pre),
        "plamo2" => plamo2(gguf, model, pre),
        _ => Err(Error::unsupported(format!(
            "key '{MODEL}' is '{model}' ('{PRE}' is '{pre}'): this tokeniser is not supported, expected 'llama', 'gpt2', \
             'gemma4', 'whitespace', 'hybriddna', 'bert', 't5', 'rwkv' or 'plamo2'; only token ids can be decoded"
        ))
        .subject(MODEL)),
    }
}

fn llama(gguf: &Gguf, model: &str, pre: &str) -> Result<Vocab> {
    let mut tokens = Tokens::from_gguf(gguf)?;
    let defaults = SpecialIds { bos: Some(1), eos: Some(2), unk: Some(0), ..SpecialIds::default() };
    let special = SpecialIds::from_gguf(gguf, &mut tokens, defaults)?;
    let algorithm = Algorithm::Spm(Spm::new(&tokens));
    let add_space_prefix = gguf.get_bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    finish(gguf, (model, pre), tokens, algorithm, special, true, add_space_prefix)
}

fn gpt2(gguf: &Gguf, model: &str, name: &str) -> Result<Vocab> {
    let Some(pre) = rules::find(name) else {
        return Err(Error::unsupported(format!(
            "key '{PRE}' is '{name}' ('{MODEL}' is '{model}'): this pre-tokeniser is not supported; \
             only token ids can be decoded"
        ))
        .subject(PRE));
    };
    let mut tokens = Tokens::from_gguf(gguf)?;
    let lines = gguf
        .get_array(bpe::MERGES)?
        .ok_or_else(|| Error::bad_file(format!("key '{}' is missing", bpe::MERGES)).subject(bpe::MERGES))?;
    let merges = Merges::from_gguf(lines, &tokens)?;
    // Old Falcon files have no keys for these; in files of other families token 11 is a word like any other.
    let falcon = Some(11).filter(|id| {
        *id < tokens.len() as i32 && tokens.ty(11) == TokenType::Control && pre.symbols != Symbols::Escaped
    });
    let defaults = SpecialIds { bos: falcon, eos: falcon, ..SpecialIds::default() };
    let special = SpecialIds::from_gguf(gguf, &mut tokens, defaults)?;
    let before = match model {
        "whitespace" => {
            let small = gguf.get_bool("tokenizer.ggml.normalizer.lowercase")?.unwrap_or(name != "whitespace");
            Before::Words { small }
        }
        "hybriddna" => Dna::new(&tokens).map_or(Before::Nothing, Before::Dna),
        _ => Before::Nothing,
    };
    let bpe = Bpe::new(merges, &tokens, pre.symbols, pre.whole);
    let algorithm = Algorithm::Bpe(bpe, Words { splitter: Splitter::new(pre.rules)?, before });
    finish(gguf, (model, name), tokens, algorithm, special, pre.add_bos, false)
}

fn bert(gguf: &Gguf, model: &str, pre: &str) -> Result<Vocab> {
    let mut tokens = Tokens::from_gguf(gguf)?;
    let defaults = SpecialIds {
        bos: Some(101),
        unk: Some(100),
        sep: Some(102),
        pad: Some(0),
        mask: Some(103),
        ..SpecialIds::default()
    };
    let special = SpecialIds::from_gguf(gguf, &mut tokens, defaults)?;
    let lowercase = gguf.get_bool("tokenizer.ggml.normalizer.lowercase")?.unwrap_or(true);
    let strip_accents = gguf.get_bool("tokenizer.ggml.normalizer.strip_accents")?.unwrap_or(lowercase);
    let algorithm = Algorithm::WordPiece(WordPiece::new(&tokens, lowercase, strip_accents)?);
    let vocab = finish(gguf, (model, pre), tokens, algorithm, special, true, true)?;
    // Both ends are always there, whatever the file says.
    Ok(Vocab { add_bos: true, add_eos: false, add_sep: true, ..vocab })
}

fn t5(gguf: &Gguf, model: &str, pre: &str) -> Result<Vocab> {
    let mut tokens = Tokens::from_gguf(gguf)?;
    let defaults = SpecialIds { eos: Some(1), unk: Some(2), pad: Some(0), ..SpecialIds::default() };
    let special = SpecialIds::from_gguf(gguf, &mut tokens, defaults)?;
    let unigram = Unigram::new(gguf, &tokens)?;
    let prefix = unigram.prefixes();
    let vocab = finish(gguf, (model, pre), tokens, Algorithm::Unigram(unigram), special, false, prefix)?;
    Ok(Vocab { add_eos: gguf.get_bool("tokenizer.ggml.add_eos_token")?.unwrap_or(true), ..vocab })
}

/// As in the reference, a text has no BOS token here unless the file asks for one.
fn rwkv(gguf: &Gguf, model: &str, pre: &str) -> Result<Vocab> {
    let mut tokens = Tokens::from_gguf(gguf)?;
    let special = SpecialIds::from_gguf(gguf, &mut tokens, SpecialIds::default())?;
    let algorithm = Algorithm::Rwkv(Rwkv::new(&tokens)?);
    finish(gguf, (model, pre), tokens, algorithm, special, false, false)
}

fn plamo2(gguf: &Gguf, model: &str, pre: &str) -> Result<Vocab> {
    let mut tokens = Tokens::from_gguf(gguf)?;
    let defaults = SpecialIds { bos: Some(1), eos: Some(2), unk: Some(0), pad: Some(3), ..SpecialIds::default() };
    let special = SpecialIds::from_gguf(gguf, &mut tokens, defaults)?;
    let algorithm = Algorithm::Plamo(Plamo::new(&tokens));
    finish(gguf, (model, pre), tokens, algorithm, special, false, false)
}

fn finish(
    gguf: &Gguf,
    (model, pre): (&str, &str),
    tokens: Tokens,
    algorithm: Algorithm,
    special: SpecialIds,
    add_bos: bool,
    add_space_prefix: bool,
) -> Result<Vocab> {
    // Files of this family that say otherwise are known to be wrong.
    let always_bos = ["gemma4", "granite-embed-multi-311m"].contains(&pre);
    Ok(Vocab {
        add_bos: gguf.get_bool("tokenizer.ggml.add_bos_token")?.unwrap_or(add_bos) || always_bos,
        add_eos: gguf.get_bool("tokenizer.ggml.add_eos_token")?.unwrap_or(false),
        add_sep: false,
        model: model.to_owned(),
        pre: pre.to_owned(),
        suppressed: Vocab::suppressed_in(gguf, tokens.len())?,
        partition: Partition::new(&tokens, strips(gguf, pre, &tokens)),
        tokens,
        algorithm,
        special,
        add_space_prefix,
        attached: Attached::default(),
    })
}

/// The special tokens that swallow white space. No key of the file says so, but its names do: those of Phi-3 take what
/// is behind them, but for three, and a mask takes what is before it.
fn strips(gguf: &Gguf, pre: &str, tokens: &Tokens) -> Strips {
    let name = gguf.get_str("general.name").ok().flatten().unwrap_or_default().to_lowercase();
    let arch = gguf.get_str("general.architecture").ok().flatten().unwrap_or_default();
    let masks = ["jina-v2-de", "jina-v2-es", "jina-v2-code"].iter().any(|part| pre.contains(part))
        || ["nomic-bert-moe", "jina-bert-v3"].iter().any(|part| arch.contains(part));
    if masks {
        return Strips { left: tokens.find(b"<mask>"), ..Strips::default() };
    }
    if name.contains("phi-3") || name.contains("phi3") {
        let keeps = |id: &u32| [&b"<unk>"[..], b"<s>", b"<|endoftext|>"].contains(&tokens.text(*id));
        let special = |id: &u32| {
            matches!(tokens.ty(*id), TokenType::Control | TokenType::UserDefined | TokenType::Unknown)
                || tokens.text(*id) == b"</s>"
        };
        let right = (0..tokens.len() as u32).filter(special).filter(|id| !keeps(id)).collect();
        return Strips { right, ..Strips::default() };
    }
    let left = if name.contains("modern-bert") { tokens.find(b"[MASK]") } else { None };
    Strips { left, ..Strips::default() }
}
