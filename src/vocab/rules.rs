//! The pre-tokenisers that files name in `tokenizer.ggml.pre`: rules that cut a text into words.
//!
//! A rule is a regular expression (`patterns`). The first rule of a list cuts the text, and every further rule cuts
//! each of the pieces that the one before it made. Each match is a piece, and so is the text between two matches.

use super::bpe::{Symbols, Whole};
use super::patterns::*;

pub(super) struct Pre {
    pub(super) names: &'static [&'static str],
    pub(super) rules: &'static [Rule],
    /// The words that stay whole if they are tokens.
    pub(super) whole: Whole,
    /// The default for `tokenizer.ggml.add_bos_token`.
    pub(super) add_bos: bool,
    pub(super) symbols: Symbols,
}

const fn pre(names: &'static [&'static str], rules: &'static [Rule]) -> Pre {
    Pre { names, rules, whole: Whole::None, add_bos: false, symbols: Symbols::Bytes }
}

/// The pre-tokeniser of this name.
pub(super) fn find(name: &str) -> Option<&'static Pre> {
    PRES.iter().find(|p| p.names.contains(&name))
}

#[cfg(test)]
pub(super) fn all() -> &'static [Pre] {
    PRES
}

static PRES: &[Pre] = &[
    pre(&["default"], DEFAULT),
    pre(
        &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "gigachat",
            "jina-v2-es",
            "jina-v2-de",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "jina-v1-en",
            "jina-v2-code",
            "roberta-bpe",
            "exaone4",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
        ],
        &[GPT2],
    ),
    Pre {
        whole: Whole::All,
        add_bos: true,
        ..pre(
            &["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
            &[LLAMA3],
        )
    },
    pre(&["dbrx", "smaug-bpe", "chatglm-bpe"], &[LLAMA3]),
    Pre { whole: Whole::All, ..pre(&["glm4", "glm5"], &[LLAMA3]) },
    pre(
        &["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"],
        &[QWEN2],
    ),
    pre(&["qwen35"], &[QWEN35]),
    pre(
        &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &[DIGIT, GPT2],
    ),
    pre(&["falcon"], FALCON),
    pre(&["deepseek-llm"], DEEPSEEK_LLM),
    pre(&["deepseek-coder"], DEEPSEEK_CODER),
    pre(&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], &[DIGITS_3, KANA_HAN, DEEPSEEK_V3]),
    pre(&["spark2_5"], SPARK),
    pre(&["afmoe"], AFMOE),
    pre(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[GPT4O]),
    Pre { whole: Whole::All, ..pre(&["granite-embed-multi-97m"], &[GPT4O]) },
    pre(&["tiny_aya", "cohere2moe"], TINY_AYA),
    Pre { whole: Whole::All, ..pre(&["youtu"], YOUTU) },
    pre(&["kimi-k2"], &[KIMI_K2]),
    Pre { whole: Whole::All, add_bos: true, ..pre(&["tekken"], &[TEKKEN]) },
    pre(&["poro-chat", "bloom", "gpt3-finnish"], &[CLAUSES]),
    pre(&["viking"], &[CLAUSES, DIGIT]),
    pre(&["bailingmoe", "bailingmoe2", "llada-moe"], &[BAILING]),
    pre(&["seed-coder"], &[SEED_CODER]),
    pre(&["exaone-moe"], &[EXAONE_MOE]),
    Pre {
        symbols: Symbols::Escaped,
        whole: Whole::Newlines,
        add_bos: true,
        ..pre(&["gemma4", "granite-embed-multi-311m"], &[LINES])
    },
    Pre { symbols: Symbols::Escaped, ..pre(&["sarvam-moe"], &[LINES]) },
    Pre { symbols: Symbols::Chars, ..pre(&["whitespace"], &[keep(r"\S+")]) },
    pre(&["laguna"], &[LINES, QWEN2]),
    pre(&["ufakzeka"], &[UFAKZEKA]),
    pre(&["jais-2"], &[JAIS2]),
    Pre { whole: Whole::All, ..pre(&["minicpm5"], MINICPM5) },
    pre(&["superbpe"], &[keep(r"\p{N}+"), thousands(r"\d+")]),
    Pre { add_bos: true, ..pre(&["chameleon"], CHAMELEON) },
];
